//! What only the file has: registries and roles, each with a table of its own.

use super::sources::{Sources, invalid};
use crate::config::role::{RoleSource, WrittenRole};
use crate::config::value::{is_host, is_role};
use crate::config::{ConfigError, Registry};
use std::collections::BTreeMap;

/// Checks the tables of registries.
pub(super) fn registries(
    registries: BTreeMap<String, Registry>,
    from: &Sources<'_>,
) -> Result<BTreeMap<String, Registry>, ConfigError> {
    for (host, registry) in &registries {
        let key = from.origin(&format!("registries.\"{host}\""));
        if !is_host(host) {
            return Err(invalid(
                key,
                host,
                "a registry is named HOST or HOST:PORT, as in image names",
            ));
        }
        for mirror in &registry.mirrors {
            let bare = mirror
                .strip_prefix("https://")
                .or_else(|| mirror.strip_prefix("http://"))
                .unwrap_or(mirror);
            if !is_host(bare.trim_end_matches('/')) {
                return Err(invalid(
                    key,
                    mirror,
                    "a mirror is HOST[:PORT], or http:// or https:// and that",
                ));
            }
        }
        let files = [
            ("ca_file", &registry.ca_file),
            ("client_cert", &registry.client_cert),
            ("client_key", &registry.client_key),
        ];
        for (name, file) in files {
            if file.as_ref().is_some_and(|file| !file.is_absolute()) {
                return Err(invalid(key, name, "it must be an absolute path"));
            }
        }
        if registry.client_cert.is_some() != registry.client_key.is_some() {
            return Err(invalid(key, host, "client_cert and client_key go together"));
        }
    }
    Ok(registries)
}

/// Checks the tables of roles.
pub(super) fn roles(
    written: BTreeMap<String, WrittenRole>,
    from: &Sources<'_>,
) -> Result<BTreeMap<String, RoleSource>, ConfigError> {
    let checked = written.into_iter().map(|(arn, role)| {
        let key = from.origin(&format!("roles.\"{arn}\""));
        if !is_role(&arn) {
            let rule =
                "a role is named by its ARN, arn:aws:iam::ACCOUNT:role/NAME, or by its name alone";
            return Err(invalid(key, arn, rule));
        }
        match role.source() {
            Ok(source) => Ok((arn, source)),
            Err(rule) => Err(invalid(key, arn, rule)),
        }
    });
    checked.collect()
}
