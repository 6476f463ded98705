//! HTTP proxies: which one a request goes through, if any.
//!
//! | setting | variables of others | for |
//! | --- | --- | --- |
//! | `http_proxy` | `http_proxy`, `HTTP_PROXY` | requests without TLS |
//! | `https_proxy` | `https_proxy`, `HTTPS_PROXY` | requests with TLS |
//! | `no_proxy` | `no_proxy`, `NO_PROXY` | hosts that are asked directly |
//!
//! A setting wins over the variables, lower case over upper case; empty is none. This machine itself is never asked
//! through a proxy.

use std::fmt;
use std::net::IpAddr;

/// The proxies, and who is asked without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For requests without TLS.
    pub http: Option<Proxy>,
    /// For requests with TLS.
    pub https: Option<Proxy>,
    /// Who is asked directly.
    pub exceptions: Vec<Exception>,
}

impl Proxies {
    /// The proxy for a request to `host` (lower case, IPv6 without brackets).
    #[must_use]
    pub fn of(&self, secure: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if secure { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = host.trim_end_matches('.');
        let address = host.parse::<IpAddr>().ok();
        let local = host == "localhost"
            || host.ends_with(".localhost")
            || address.is_some_and(|address| address.is_loopback());
        let direct = local || self.exceptions.iter().any(|e| e.covers(host, address, port));
        (!direct).then_some(proxy)
    }
}

/// An HTTP proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address; IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `USER:PASSWORD`, never shown.
    pub login: Option<String>,
}

impl Proxy {
    /// Reads `http://[USER:PASSWORD@]HOST[:PORT]`; the scheme may be left out. The error is the rule that is broken.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                let scheme: String = scheme.chars().take(20).collect();
                return Err(format!(
                    "a proxy that is spoken to by {scheme} is not supported, only http://HOST:PORT"
                ));
            }
        };
        let rule = || "a proxy is http://[USER:PASSWORD@]HOST[:PORT]".to_owned();
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(decoded(login).ok_or_else(rule)?), place),
            None => (None, rest),
        };
        let (host, port) = host_and_port(place).ok_or_else(rule)?;
        Ok(Self { host, port: port.unwrap_or(80), login: login.filter(|login| !login.is_empty()) })
    }
}

/// What of a proxy's URL may be shown: all but the login.
pub(super) fn shown(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, place)) => {
            let scheme = before.split_once("://").map_or(String::new(), |(s, _)| format!("{s}://"));
            format!("{scheme}…@{place}")
        }
        None => text.to_owned(),
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Who is asked without a proxy: an entry of `no_proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exception {
    /// `*`
    All,
    /// `example.com`: it and everything below it, perhaps at one port only. A dot or `*.` before it changes nothing.
    Domain(String, Option<u16>),
    /// `192.0.2.1`, `[2001:db8::1]:443`
    Address(IpAddr, Option<u16>),
    /// `192.0.2.0/24`: the bits that count.
    Network(IpAddr, u8),
}

impl Exception {
    /// Reads one entry.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
            let most = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= most).then_some(Self::Network(address, bits));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = host_and_port(text.strip_prefix('*').unwrap_or(text))?;
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let domain = host.trim_matches('.');
        (!domain.is_empty()).then(|| Self::Domain(domain.to_owned(), port))
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let here = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::All => true,
            Self::Domain(domain, at) => {
                let below = host.strip_suffix(domain.as_str());
                here(at) && below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Self::Address(own, at) => here(at) && address == Some(*own),
            Self::Network(network, bits) => match (network, address) {
                (IpAddr::V4(network), Some(IpAddr::V4(address))) => {
                    let differing = network.to_bits() ^ address.to_bits();
                    differing.checked_shr(32 - u32::from(*bits)).unwrap_or(0) == 0
                }
                (IpAddr::V6(network), Some(IpAddr::V6(address))) => {
                    let differing = network.to_bits() ^ address.to_bits();
                    differing.checked_shr(128 - u32::from(*bits)).unwrap_or(0) == 0
                }
                _ => false,
            },
        }
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]:PORT`; in lower case, without brackets.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None => host.to_ascii_lowercase(),
    };
    let known = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    (!host.is_empty() && host.chars().all(known) && port != Some(0)).then_some((host, port))
}

/// Percent-decoded.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_and_their_logins_never_shown() {
        let proxy = Proxy::parse("http://ada:p%40ss%3a@Proxy.example:3128/").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.login.as_deref(), Some("ada:p@ss:"));
        assert_eq!(format!("{proxy} {proxy:?}"), "proxy.example:3128 Proxy(proxy.example:3128)");
        assert_eq!(Proxy::parse("[::1]:3128").unwrap().to_string(), "[::1]:3128");
        assert_eq!(Proxy::parse("proxy").unwrap().port, 80);
        for text in ["https://a:1", "socks5://a:1", "http://", "http://a:b:c", "http://a:0", "a b"]
        {
            assert!(Proxy::parse(text).is_err(), "{text}");
        }
        assert!(Proxy::parse("socks5h://u:secret@a:1").unwrap_err().contains("socks5h"));
        assert_eq!(shown("socks5://u:se@cret@a:1"), "socks5://…@a:1");
    }

    #[test]
    fn exceptions() {
        let entries = "example.com, .dotted.example *.star.example 192.0.2.7 [2001:db8::1]:443 10.0.0.0/8 2001:db8:1::/48 ported.example:5000";
        let exceptions = entries
            .split([',', ' '])
            .filter(|entry| !entry.is_empty())
            .map(|entry| Exception::parse(entry).unwrap())
            .collect();
        let proxy = Proxy::parse("proxy:1").unwrap();
        let proxies = Proxies { http: None, https: Some(proxy), exceptions };
        for (host, port, direct) in [
            ("example.com", 443, true),
            ("a.example.com", 443, true),
            ("notexample.com", 443, false),
            ("dotted.example", 443, true),
            ("a.star.example", 443, true),
            ("192.0.2.7", 1, true),
            ("192.0.2.8", 1, false),
            ("2001:db8::1", 443, true),
            ("2001:db8::1", 444, false),
            ("10.255.0.1", 1, true),
            ("11.0.0.1", 1, false),
            ("2001:db8:1:2::3", 1, true),
            ("2001:db8:2::3", 1, false),
            ("ported.example", 5000, true),
            ("ported.example", 443, false),
            ("localhost", 1, true),
            ("127.8.0.1", 1, true),
            ("::1", 1, true),
        ] {
            assert_eq!(proxies.of(true, host, port).is_none(), direct, "{host}:{port}");
        }
        assert_eq!(proxies.of(false, "other", 80), None);
        let all = Proxies { exceptions: vec![Exception::All], ..proxies };
        assert_eq!(all.of(true, "other", 443), None);
        for text in ["", "a b", "10.0.0.0/33", "x/8", "a:70000", "*.", "10.*"] {
            assert_eq!(Exception::parse(text), None, "{text}");
        }
    }
}
