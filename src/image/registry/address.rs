//! Where requests go: the part of URLs that a registry client needs.

use hyper::Uri;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An absolute `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// True for `https`.
    pub secure: bool,
    /// Host name or address; IPv6 without brackets; lower-case.
    pub host: String,
    /// The port, also when it is the scheme's own.
    pub port: u16,
    /// Path and query, with the leading slash.
    pub path: String,
}

/// The text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an http or https URL")]
pub struct UrlError(pub String);

/// Scheme, host and port: what credentials belong to.
pub(super) type Origin = (bool, String, u16);

impl Url {
    /// Reads an absolute URL. One with a user name in it is refused: it could be mistaken for the host.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let refuse = || UrlError(text.chars().take(200).collect());
        let uri: Uri = text.parse().map_err(|_| refuse())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refuse()),
        };
        let authority = uri.authority().ok_or_else(refuse)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(refuse());
        }
        let host = authority.host();
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) if address.parse::<Ipv6Addr>().is_err() => return Err(refuse()),
            Some(address) => address.to_ascii_lowercase(),
            None if host.contains(['[', ']', ':']) => return Err(refuse()),
            None => host.to_ascii_lowercase(),
        };
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // What follows the host is no port number.
            None if authority.as_str() != authority.host() => return Err(refuse()),
            None if secure => 443,
            None => 80,
        };
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            path if path.starts_with('/') => path.to_owned(),
            query => format!("/{query}"),
        };
        Ok(Self { secure, host, port, path })
    }

    /// The URL of a registry by its `host` or `host:port`.
    pub fn of_host(host: &str, plain: bool) -> Result<Self, UrlError> {
        Self::parse(&format!("{}://{host}/", if plain { "http" } else { "https" }))
    }

    /// The same place with another path below this one's.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        let base = self.path.trim_end_matches('/');
        Self { path: format!("{base}/{path}"), ..self.clone() }
    }

    /// Where a `Location` leads from here.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.scheme()));
        }
        if location.contains("://") {
            return Self::parse(location);
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let directory = self.path.split('?').next().unwrap_or("/");
            let end = directory.rfind('/').map_or(0, |slash| slash + 1);
            format!("{}{location}", &directory[..end])
        };
        Self::parse(&format!("{}://{}{path}", self.scheme(), self.authority()))
    }

    /// What credentials belong to.
    pub fn origin(&self) -> Origin {
        (self.secure, self.host.clone(), self.port)
    }

    /// Host and port as they stand in a `Host` header.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            _ => format!("{host}:{}", self.port),
        }
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// True when the host is this machine by its name or address.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// True when both hosts belong to one owner, as far as names tell: the same host, or the same registrable domain.
    pub fn is_akin(&self, other: &Self) -> bool {
        if self.host == other.host {
            return true;
        }
        let is_address = |url: &Self| url.host.parse::<IpAddr>().is_ok();
        if is_address(self) || is_address(other) {
            return false;
        }
        let domain = |url: &Self| -> Option<Vec<String>> {
            let labels: Vec<String> = url.host.split('.').map(str::to_owned).collect();
            // `co.uk` and the like: a short second level under a country.
            let country = labels.len() >= 2
                && labels[labels.len() - 1].len() == 2
                && labels[labels.len() - 2].len() <= 3;
            let length = if country { 3 } else { 2 };
            (labels.len() >= length).then(|| labels[labels.len() - length..].to_vec())
        };
        domain(self).is_some() && domain(self) == domain(other)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A query may hold a signature that is as good as a password.
        let path = self.path.split('?').next().unwrap_or("/");
        write!(f, "{}://{}{path}", self.scheme(), self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_joined() {
        let url = Url::parse("https://Reg.example:5000/v2/a?x=1").unwrap();
        assert_eq!(url.origin(), (true, "reg.example".to_owned(), 5000));
        assert_eq!(url.to_string(), "https://reg.example:5000/v2/a");
        assert_eq!(url.join("/b?c").unwrap().path, "/b?c");
        assert_eq!(url.join("b").unwrap().path, "/v2/b");
        assert_eq!(url.join("http://other/b").unwrap().origin(), (false, "other".to_owned(), 80));
        assert_eq!(url.join("//other/b").unwrap().origin(), (true, "other".to_owned(), 443));
        assert_eq!(Url::parse("http://[::1]:5/").unwrap().authority(), "[::1]:5");
        for text in
            ["ftp://a/", "http://", "https://user@host/", "/a", "http://a:99999/", "http://a b/"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn kin() {
        let akin = |a: &str, b: &str| {
            Url::of_host(a, false).unwrap().is_akin(&Url::of_host(b, false).unwrap())
        };
        assert!(akin("registry-1.docker.io", "auth.docker.io"));
        assert!(akin("registry.gitlab.com", "gitlab.com"));
        assert!(akin("127.0.0.1:5000", "127.0.0.1:6000"));
        assert!(!akin("registry.example.com", "evil.com"));
        assert!(!akin("a.co.uk", "b.co.uk"));
        assert!(akin("r.a.co.uk", "t.a.co.uk"));
        assert!(!akin("127.0.0.1", "127.0.0.2"));
        assert!(!akin("registry", "auth"));
    }
}
