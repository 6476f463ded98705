//! Who is asked for an image and how: mirrors before the registry; scheme, trust, proxy and credentials of each.

use super::Options;
use super::address::{Url, UrlError};
use super::auth::{self, Challenge, Credentials, Login, LoginSummary, Logins};
use super::error::{LoginError, PullError};
use super::session::{Credential, Session};
use super::tls::Trust;
use super::transfer::{Ask, Client};
use crate::image::reference::{DEFAULT_REGISTRY, Reference};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Where Docker Hub answers.
const HUB: &str = "registry-1.docker.io";
/// Other names of Docker Hub.
const HUB_NAMES: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// What the settings and the logins say of registries.
#[derive(Debug)]
pub(in crate::image) struct Access {
    options: Options,
    logins: Logins,
}

/// Somebody who may have an image: a registry or a mirror of it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// As the settings and the credentials name it.
    pub name: String,
    /// Whether it stands in for the registry.
    pub is_mirror: bool,
    /// Where it answers.
    pub url: Url,
    /// Whether it may be that it does without TLS.
    pub maybe_plain: bool,
}

impl Access {
    /// `directory` is where the logins are kept.
    pub(in crate::image) fn new(options: Options, directory: PathBuf) -> Self {
        Self { options, logins: Logins::new(directory) }
    }

    /// The settings.
    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Whom to ask for `image`, one after the other.
    pub(super) fn sources(&self, image: &Reference) -> Result<Vec<Source>, PullError> {
        let mirrors = self.options.mirrors.get(image.registry()).map_or(&[][..], Vec::as_slice);
        let mirrors = mirrors.iter().map(|mirror| self.source(mirror, true));
        let own = std::iter::once_with(|| self.source(image.registry(), false));
        Ok(mirrors.chain(own).collect::<Result<_, UrlError>>()?)
    }

    fn source(&self, place: &str, is_mirror: bool) -> Result<Source, UrlError> {
        if place.contains("://") {
            let url = Url::parse(place)?;
            return Ok(Source { name: url.authority(), is_mirror, url, maybe_plain: false });
        }
        let host = if place == DEFAULT_REGISTRY { HUB } else { place };
        let options = &self.options;
        let insecure = options.insecure.contains(place);
        // On this machine nobody listens in; but who sets something about TLS means it.
        let is_local = !insecure
            && Url::of_host(host, true)?.is_loopback()
            && !options.certificate_authorities.contains_key(place)
            && !options.client_certificates.contains_key(place);
        let url = Url::of_host(host, is_local)?;
        Ok(Source { name: place.to_owned(), is_mirror, url, maybe_plain: insecure })
    }

    /// The client for a source of images of `registry`.
    fn client(&self, source: &Source, registry: &str) -> Client {
        let options = &self.options;
        let names = [source.name.as_str(), registry];
        let authorities =
            names.iter().filter_map(|name| options.certificate_authorities.get(*name));
        let trust = Trust {
            host: source.url.host.clone(),
            authorities: authorities.cloned().collect(),
            unverified: options.insecure.contains(&source.name),
            identity: options.client_certificates.get(&source.name).cloned(),
        };
        Client::new(trust, options.proxies.clone())
    }

    /// What to ask `source` for `image` with. Nothing is sent yet.
    pub(super) fn session(
        self: &Arc<Self>,
        source: Source,
        image: &Reference,
        login: Option<Login>,
    ) -> Session {
        let client = self.client(&source, image.registry());
        // A login that came with the pull is for the registry alone.
        let login = login.filter(|_| !source.is_mirror);
        Session::new(client, source, image.clone(), self.clone(), login)
    }

    /// The credentials for `repository` at `source`.
    pub(super) async fn credentials(
        &self,
        source: &Source,
        repository: &str,
    ) -> Result<Option<Credential>, auth::AuthError> {
        let own = self.logins.path();
        let files = std::iter::once(&own).chain(&self.options.docker_configs).cloned().collect();
        let found = auth::find(files, &self.options.search_path, &source.name, repository).await?;
        Ok(found.map(|credentials| Credential { credentials, given: false }))
    }

    /// The registry that a user means: as images name it.
    fn registry(text: &str) -> Result<String, LoginError> {
        let refuse = || LoginError::Name(text.chars().take(200).collect());
        let host = text.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.trim_end_matches('/');
        let host = host.strip_suffix("/v1").or(host.strip_suffix("/v2")).unwrap_or(host);
        if host.is_empty() || HUB_NAMES.contains(&host) {
            return Ok(DEFAULT_REGISTRY.to_owned());
        }
        let image = format!("{host}/x").parse::<Reference>().map_err(|_| refuse())?;
        // `ghcr.io/team` would be an image of `ghcr.io`; `busybox` one of Docker Hub.
        if image.registry() == host { Ok(host.to_owned()) } else { Err(refuse()) }
    }

    /// Has the registry confirm the login, and keeps it. Returns the registry's name.
    pub(in crate::image) async fn log_in(
        self: &Arc<Self>,
        registry: &str,
        login: Login,
    ) -> Result<String, LoginError> {
        let registry = Self::registry(registry)?;
        self.confirm(&registry, &login).await?;
        let (access, name) = (self.clone(), registry.clone());
        blocking(move || access.logins.keep(&name, &login)).await?;
        Ok(registry)
    }

    /// Forgets the login for a registry; its name, and whether there was one.
    pub(in crate::image) async fn log_out(
        self: &Arc<Self>,
        registry: &str,
    ) -> Result<(String, bool), LoginError> {
        let registry = Self::registry(registry)?;
        let (access, name) = (self.clone(), registry.clone());
        let found = blocking(move || access.logins.forget(&name)).await?;
        Ok((registry, found))
    }

    /// The logins that are kept.
    pub(in crate::image) async fn logins(
        self: &Arc<Self>,
    ) -> Result<Vec<LoginSummary>, LoginError> {
        let access = self.clone();
        blocking(move || access.logins.list()).await
    }

    async fn confirm(&self, registry: &str, login: &Login) -> Result<(), LoginError> {
        let name = || registry.to_owned();
        let source = self.source(registry, false).map_err(|_| LoginError::Name(name()))?;
        let client = self.client(&source, registry);
        let failed = |source| LoginError::Transfer { registry: name(), source };
        let endpoint = source.settle(&client).await.map_err(failed)?;
        let mut ask = Ask {
            url: endpoint.below("v2/"),
            headers: HeaderMap::new(),
            authorization: None,
            form: None,
        };
        let answer = client.ask(ask.clone()).await.map_err(failed)?;
        let status = answer.status;
        if status.is_success() {
            // It lets everybody in here; who knows what it asks for elsewhere.
            return Ok(());
        }
        if status != StatusCode::UNAUTHORIZED || answer.url.origin() != ask.url.origin() {
            return Err(LoginError::NoRegistry { url: ask.url, status: status.as_u16() });
        }
        let auth_failed = |source: auth::AuthError| match source {
            auth::AuthError::Refused { status: 400 | 401 | 403, .. } => {
                LoginError::Refused { registry: name(), reason: source.to_string() }
            }
            source => LoginError::Auth { registry: name(), source },
        };
        let challenge = Challenge::parse(&answer.headers).map_err(auth_failed)?;
        let credentials: Credentials = login.credentials();
        ask.authorization = auth::answer(&client, &challenge, &endpoint, Some(&credentials), None)
            .await
            .map_err(auth_failed)?;
        let answer = client.ask(ask).await.map_err(failed)?;
        match answer.status.as_u16() {
            200..300 => Ok(()),
            401 | 403 => Err(LoginError::Refused {
                registry: name(),
                reason: format!("{} answers {}", answer.url, answer.status.as_u16()),
            }),
            status => Err(LoginError::NoRegistry { url: answer.url, status }),
        }
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, auth::AuthError> + Send + 'static,
) -> Result<T, LoginError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(LoginError::Ending),
    }
}

impl Source {
    /// Where it answers: an insecure registry may do without TLS, which shows only when it is asked.
    pub(super) async fn settle(&self, client: &Client) -> Result<Url, super::error::TransferError> {
        if !self.maybe_plain {
            return Ok(self.url.clone());
        }
        let Err(error) = client.reach(&self.url).await else { return Ok(self.url.clone()) };
        let plain = Url::of_host(&self.url.authority(), true)?;
        match client.reach(&plain).await {
            Ok(()) => Ok(plain),
            Err(_) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_meant_by_many_names() {
        for name in ["", "docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            assert_eq!(Access::registry(name).unwrap(), "docker.io", "{name}");
        }
        assert_eq!(Access::registry("https://ghcr.io/").unwrap(), "ghcr.io");
        assert_eq!(Access::registry("localhost:5000").unwrap(), "localhost:5000");
        let account = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        assert_eq!(Access::registry(account).unwrap(), account);
        for name in ["ghcr.io/team", "busybox", "a b", "user@ghcr.io", "ghcr.io:x", "../etc"] {
            assert!(matches!(Access::registry(name), Err(LoginError::Name(_))), "{name}");
        }
    }

    #[test]
    fn mirrors_come_first_each_with_what_is_set_for_itself() {
        let options = Options {
            insecure: ["lab.example:5000".to_owned()].into(),
            mirrors: [(
                "docker.io".to_owned(),
                vec!["lab.example:5000".to_owned(), "https://m.example".to_owned()],
            )]
            .into(),
            ..Options::default()
        };
        let access = Access::new(options, "/nowhere".into());
        let sources = access.sources(&"busybox".parse().unwrap()).unwrap();
        let shown: Vec<String> = sources
            .iter()
            .map(|s| format!("{} {} {} {}", s.name, s.url, s.is_mirror, s.maybe_plain))
            .collect();
        assert_eq!(
            shown,
            [
                "lab.example:5000 https://lab.example:5000/ true true",
                "m.example https://m.example/ true false",
                "docker.io https://registry-1.docker.io/ false false",
            ]
        );
        let local = access.sources(&"127.0.0.1:5000/x".parse().unwrap()).unwrap();
        assert_eq!(local[0].url.to_string(), "http://127.0.0.1:5000/");
    }
}
