//! One repository at one endpoint: requests with authentication and retries.

use super::access::{Access, Source};
use super::address::Url;
use super::auth::{self, Challenge, Credentials, Login};
use super::error::{PullError, TransferError};
use super::patience::{Place, TRIES};
use super::transfer::{Answer, Ask, Client};
use crate::image::reference::Reference;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::{Mutex, OnceCell};

const ERROR_LIMIT: u64 = 64 << 10;

/// Credentials, and where they are from.
#[derive(Debug)]
pub(super) struct Credential {
    /// What is sent.
    pub credentials: Credentials,
    /// They came with the pull, from `repositoryCredentials`.
    pub given: bool,
}

/// Talks to one source about one image.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    source: Source,
    image: Reference,
    access: Arc<Access>,
    /// Where the source answers, once it has.
    endpoint: OnceCell<Url>,
    /// What there is to answer challenges with; looked for when the first one comes.
    credential: OnceCell<Option<Credential>>,
    /// What the last challenge was answered with. Layers share it; it expires in the middle of long pulls.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Session {
    /// Nothing is sent yet.
    pub(super) fn new(
        client: Client,
        source: Source,
        image: Reference,
        access: Arc<Access>,
        login: Option<Login>,
    ) -> Self {
        let given =
            login.map(|login| Some(Credential { credentials: login.credentials(), given: true }));
        Self {
            client,
            source,
            image,
            access,
            endpoint: OnceCell::new(),
            credential: OnceCell::new_with(given),
            authorization: Mutex::default(),
        }
    }

    /// The image.
    pub(super) fn image(&self) -> &Reference {
        &self.image
    }

    /// Who is asked, for messages.
    pub(super) fn host(&self) -> String {
        self.source.url.authority()
    }

    /// The HTTP client, for reading bodies.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks for `kind/name` of the repository (`manifests/latest`), trying again where that may help; between the tries
    /// without the `place` that the caller holds.
    pub(super) async fn get(
        &self,
        kind: &str,
        name: &str,
        headers: &HeaderMap,
        mut place: Option<&mut Place>,
    ) -> Result<Answer, PullError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.get_once(kind, name, headers).await {
                Err(error) if tries < TRIES && error.is_transient() => {
                    Place::pause(place.as_deref_mut(), tries, None).await;
                }
                Ok(answer) if tries < TRIES && is_busy(answer.status) => {
                    let asked = answer.headers.get(header::RETRY_AFTER);
                    Place::pause(place.as_deref_mut(), tries, asked).await;
                }
                Ok(answer) => return self.judge(answer, name).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks once, and once more after answering a challenge.
    async fn get_once(
        &self,
        kind: &str,
        name: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, PullError> {
        let settled = self.endpoint.get_or_try_init(|| self.source.settle(&self.client)).await;
        let endpoint = settled.map_err(|e| self.transfer_failed(e))?;
        let url = endpoint.below(&format!("v2/{}/{kind}/{name}", self.image.repository()));
        let mut used = self.authorization.lock().await.clone();
        let mut challenged = false;
        loop {
            let ask = Ask {
                url: url.clone(),
                headers: headers.clone(),
                authorization: used.clone(),
                form: None,
            };
            let answer = self.client.ask(ask).await.map_err(|e| self.transfer_failed(e))?;
            // A challenge of somebody we were redirected to is none of the registry's.
            let ours = answer.url.origin() == url.origin();
            if answer.status != StatusCode::UNAUTHORIZED || challenged || !ours {
                return Ok(answer);
            }
            challenged = true;
            let mut authorization = self.authorization.lock().await;
            if *authorization == used || authorization.is_none() {
                let fresh = self.answer(endpoint, &answer.headers).await?;
                if fresh.is_none() {
                    return Ok(answer);
                }
                *authorization = fresh;
            }
            // Else another layer answered the challenge meanwhile.
            used.clone_from(&authorization);
        }
    }

    /// The `Authorization` that answers a challenge.
    async fn answer(
        &self,
        endpoint: &Url,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, PullError> {
        let failed = |source| PullError::Auth { image: self.image.to_string(), source };
        let challenge = Challenge::parse(headers).map_err(failed)?;
        let repository = self.image.repository();
        let look = || self.access.credentials(&self.source, repository);
        let credential = self.credential.get_or_try_init(look).await.map_err(failed)?;
        let credentials = credential.as_ref().map(|credential| &credential.credentials);
        let scope = format!("repository:{repository}:pull");
        auth::answer(&self.client, &challenge, endpoint, credentials, Some(&scope)).await.map_err(
            |error| match &error {
                auth::AuthError::Refused { status: 401 | 403, .. } => {
                    self.denied(&error.to_string())
                }
                _ => failed(error),
            },
        )
    }

    /// The error of a registry that does not let us in, with what to do about it.
    fn denied(&self, reason: &str) -> PullError {
        let name = &self.source.name;
        let advice = match self.credential.get() {
            Some(Some(Credential { given: true, .. })) => {
                "the login of repositoryCredentials is not accepted".to_owned()
            }
            Some(Some(Credential { credentials: Credentials::Password { user, .. }, .. })) => {
                let user: String = user.chars().filter(|c| !c.is_control()).take(100).collect();
                format!("the login of {user} for {name} is not accepted")
            }
            Some(Some(_)) => format!("the stored token for {name} is not accepted"),
            _ => format!(
                "this box has no login for {name}; `coracle login {name}` or repositoryCredentials gives it one"
            ),
        };
        PullError::Denied { image: self.image.to_string(), reason: format!("{reason}; {advice}") }
    }

    /// Turns an answer that is not the content into an error.
    async fn judge(&self, answer: Answer, name: &str) -> Result<Answer, PullError> {
        let status = answer.status;
        if status.is_success() {
            return Ok(answer);
        }
        let url = answer.url.clone();
        let body = self.client.body(answer, ERROR_LIMIT).await.unwrap_or_default();
        let reason = reason(&body)
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned());
        let image = self.image.to_string();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(&reason),
            StatusCode::NOT_FOUND
                if name.starts_with("sha256:") && url.path.contains("/blobs/") =>
            {
                PullError::NoBlob { registry: self.host(), digest: name.to_owned(), image }
            }
            StatusCode::NOT_FOUND => PullError::NotFound { image },
            StatusCode::TOO_MANY_REQUESTS => {
                let advice =
                    "the registry limits pulls, for many registries less strictly after a login";
                PullError::Status { url, status: 429, reason: format!("{reason}; {advice}") }
            }
            _ => PullError::Status { url, status: status.as_u16(), reason },
        })
    }

    /// An error of the connection, about this image.
    pub(super) fn transfer_failed(&self, source: TransferError) -> PullError {
        PullError::Transfer { image: self.image.to_string(), source }
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502..=504)
}

/// The first error of the registry's JSON, made harmless for logs.
fn reason(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<OneError>,
    }
    #[derive(Deserialize)]
    struct OneError {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let first = serde_json::from_slice::<Errors>(body).ok()?.errors.into_iter().next()?;
    let text = if first.message.is_empty() { first.code } else { first.message };
    Some(text.chars().filter(|c| !c.is_control()).take(300).collect())
}
