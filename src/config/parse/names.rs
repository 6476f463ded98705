//! How containers find names.

use super::sources::{Sources, checked};
use crate::config::value::{Given, boolean, domain, list, name_server};
use crate::config::{ConfigError, NameSettings};
use std::net::SocketAddr;

/// What is set of it.
pub(super) fn names(
    from: &Sources<'_>,
    dns: Option<bool>,
    dns_domain: Option<String>,
    dns_servers: Option<Vec<String>>,
    default: NameSettings,
) -> Result<NameSettings, ConfigError> {
    Ok(NameSettings {
        dns: from.typed("dns", dns, boolean)?.unwrap_or(default.dns),
        domain: checked(from.text("dns_domain", None, dns_domain), domain, default.domain)?,
        servers: name_servers(from, dns_servers)?,
    })
}

/// Servers for names, each `ADDRESS` or `ADDRESS:PORT`.
fn name_servers(
    from: &Sources<'_>,
    file: Option<Vec<String>>,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let given = from.typed("dns_servers", file, |given| Ok(list(given)))?.unwrap_or_default();
    let server = |text: String| {
        let origin = from
            .variable("dns_servers")
            .map_or_else(|| from.origin("dns_servers"), |given| given.origin);
        name_server(&Given { value: text, origin })
    };
    given.into_iter().map(server).collect()
}
