//! HTTP proxies: ours, or those that all programs know.

use super::sources::{Sources, invalid};
use crate::config::ConfigError;
use crate::config::proxy::{self, Exception, Proxies, Proxy};
use crate::config::value::Given;

/// The proxies; each from its own source.
pub(super) fn proxies(
    from: &Sources<'_>,
    http: Option<String>,
    https: Option<String>,
    exceptions_of_file: Option<String>,
) -> Result<Proxies, ConfigError> {
    Ok(Proxies {
        http: proxy(from, "http_proxy", http)?,
        https: proxy(from, "https_proxy", https)?,
        exceptions: exceptions(from, exceptions_of_file)?,
    })
}

/// A proxy of the settings or of the environment; empty is none.
fn proxy(
    from: &Sources<'_>,
    key: &str,
    file: Option<String>,
) -> Result<Option<Proxy>, ConfigError> {
    let given = from.text(key, None, file).or_else(|| of_others(from, key));
    let Some(given) = given.filter(|given| !given.value.trim().is_empty()) else {
        return Ok(None);
    };
    // An error shows the value, but not a password in it.
    let refuse = |rule| invalid(given.origin.clone(), proxy::shown(&given.value), rule);
    Proxy::parse(&given.value).map(Some).map_err(refuse)
}

/// Who is asked without a proxy.
fn exceptions(from: &Sources<'_>, file: Option<String>) -> Result<Vec<Exception>, ConfigError> {
    let ours = from.text("no_proxy", None, file);
    let is_ours = ours.is_some();
    let Some(given) = ours.or_else(|| of_others(from, "no_proxy")) else { return Ok(Vec::new()) };
    let mut exceptions = Vec::new();
    for entry in given.value.split([',', ' ']).filter(|entry| !entry.is_empty()) {
        match Exception::parse(entry) {
            Some(exception) => exceptions.push(exception),
            // The environment is for every program, and may hold what only others understand.
            None if !is_ours => {}
            None => {
                let rule = "an entry is a host, .DOMAIN, an address, ADDRESS/BITS, or *";
                return Err(invalid(given.origin, entry, rule));
            }
        }
    }
    Ok(exceptions)
}

/// A variable that all programs know, lower case first as curl has it.
fn of_others(from: &Sources<'_>, key: &str) -> Option<Given> {
    let names = [key.to_owned(), key.to_ascii_uppercase()];
    names.into_iter().find_map(|name| {
        let value = from.variables.get(&name)?.clone();
        Some(Given { value, origin: name })
    })
}
