//! The values of settings, from text.

use super::ConfigError;
use crate::model::capacity_provider;
use crate::plan::world::PullBehavior;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// A text, and where it came from, for the error.
pub(super) struct Given {
    pub(super) value: String,
    pub(super) origin: String,
}

impl Given {
    pub(super) fn invalid(&self, rule: impl Into<String>) -> ConfigError {
        ConfigError::Invalid {
            origin: self.origin.clone(),
            value: self.value.clone(),
            rule: rule.into(),
        }
    }
}

pub(super) fn number<T: std::str::FromStr>(given: &Given) -> Result<T, ConfigError> {
    given
        .value
        .trim()
        .parse()
        .map_err(|_| given.invalid("it must be a whole number, not too large"))
}

pub(super) fn boolean(given: &Given) -> Result<bool, ConfigError> {
    given.value.trim().parse().map_err(|_| given.invalid("it must be true or false"))
}

pub(super) fn ports(given: &Given) -> Result<Vec<u16>, ConfigError> {
    let text = given.value.trim().trim_start_matches('[').trim_end_matches(']');
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|port| port.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|_| given.invalid("it must be port numbers separated by commas"))
}

pub(super) fn list<L: FromIterator<String>>(given: &Given) -> L {
    let parts = given.value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// The name of a capacity provider.
pub(super) fn pool(given: &Given) -> Result<String, ConfigError> {
    if capacity_provider::is_name(&given.value) {
        Ok(given.value.clone())
    } else {
        Err(given
            .invalid(format!("a capacity provider is named with {}", capacity_provider::NAME_RULE)))
    }
}

pub(super) fn attribute_list(given: &Given) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut attributes = BTreeMap::new();
    for part in given.value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if attributes.insert(name.trim().to_owned(), value.trim().to_owned()).is_some() {
            return Err(given.invalid(format!("it sets {name} twice")));
        }
    }
    Ok(attributes)
}

/// The end of names: labels of letters, digits and hyphens, joined by dots.
pub(super) fn domain(given: &Given) -> Result<String, ConfigError> {
    let domain = given.value.trim().trim_matches('.').to_ascii_lowercase();
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if domain.len() > 100 || !domain.split('.').all(label_ok) {
        return Err(given.invalid("it must be a domain such as internal or boxes.example"));
    }
    Ok(domain)
}

/// `ADDRESS:PORT`, of something that listens.
pub(super) fn address(
    given: Option<Given>,
    default: SocketAddr,
) -> Result<SocketAddr, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    let example = format!("it must be ADDRESS:PORT, for example {default}");
    given.value.trim().parse().map_err(|_| given.invalid(example))
}

/// `ADDRESS`, or `ADDRESS:PORT`.
pub(super) fn name_server(given: &Given) -> Result<SocketAddr, ConfigError> {
    let text = given.value.trim();
    let with_port = || text.parse::<SocketAddr>().ok().filter(|server| server.port() != 0);
    let server = text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    server
        .or_else(with_port)
        .filter(|server| !server.ip().is_unspecified())
        .ok_or_else(|| given.invalid("it must be the address of a name server, or ADDRESS:PORT"))
}

/// `HOST` or `HOST:PORT`; an IPv6 address stands in brackets.
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_ok = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        }
    };
    host_ok && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// `arn:PARTITION:iam::ACCOUNT:role/NAME`, or a bare name.
pub(super) fn is_role(text: &str) -> bool {
    let named = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_/".contains(&b))
    };
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, role] => {
            !partition.is_empty()
                && !account.is_empty()
                && role.strip_prefix("role/").is_some_and(named)
        }
        [name] => named(name) && !name.contains('/'),
        _ => false,
    }
}

pub(super) fn cgroup(given: &Given) -> Result<String, ConfigError> {
    let name = given.value.trim_matches('/');
    let part_ok = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:@".contains(c))
    };
    if name.split('/').all(part_ok) {
        Ok(name.to_owned())
    } else {
        Err(given.invalid("it must be names of letters, digits and - _ . : @, separated by /"))
    }
}

pub(super) fn region_name(given: &Given) -> Result<String, ConfigError> {
    let ok = (1..=63).contains(&given.value.len())
        && given.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if ok {
        Ok(given.value.clone())
    } else {
        Err(given.invalid("it must be lower-case letters, digits and hyphens"))
    }
}

pub(super) fn account_id(given: &Given) -> Result<String, ConfigError> {
    if given.value.len() == 12 && given.value.bytes().all(|b| b.is_ascii_digit()) {
        Ok(given.value.clone())
    } else {
        Err(given.invalid("it must be twelve digits"))
    }
}

pub(super) fn pull_behavior(given: &Given) -> Result<PullBehavior, ConfigError> {
    match given.value.as_str() {
        "default" => Ok(PullBehavior::Default),
        "always" => Ok(PullBehavior::Always),
        "once" => Ok(PullBehavior::Once),
        "prefer-cached" => Ok(PullBehavior::PreferCached),
        _ => Err(given.invalid("it must be default, always, once or prefer-cached")),
    }
}

/// A level, and `TARGET=LEVEL`, separated by commas.
pub(super) fn log(given: &Given) -> Result<Targets, ConfigError> {
    let rule = "it must be a level (off, error, warn, info, debug, trace), and TARGET=LEVEL, separated by commas";
    let mut targets = Targets::new();
    for part in given.value.split(',').map(str::trim) {
        let (target, level) = part.split_once('=').map_or((None, part), |(t, l)| (Some(t), l));
        // `LevelFilter` takes numbers and the empty text as well, which here are mistakes.
        let known = level.chars().all(|c| c.is_ascii_alphabetic()) && !level.is_empty();
        let level: LevelFilter =
            level.parse().ok().filter(|_| known).ok_or_else(|| given.invalid(rule))?;
        targets = match target {
            Some("") => return Err(given.invalid(rule)),
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

pub(super) fn at_least(
    given: &Given,
    least: Duration,
    text: &str,
) -> Result<Duration, ConfigError> {
    match duration(&given.value) {
        Some(duration) if duration >= least => Ok(duration),
        _ => {
            Err(given
                .invalid(format!("it must be a time such as 90s, 10m or 1h30m, at least {text}")))
        }
    }
}

/// How long something is kept: a time of at least an hour, or 0 for ever.
pub(super) fn kept_for(given: &Given) -> Result<Duration, ConfigError> {
    if given.value.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    match duration(&given.value) {
        Some(duration) if duration >= Duration::from_hours(1) => Ok(duration),
        _ => Err(given.invalid("it must be a time such as 720h, at least 1h, or 0 for ever")),
    }
}

/// Numbers with units, `1h30m`; the units are h, m, s and ms.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let number: u64 = number.parse().ok()?;
        let part = match unit {
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    Some(total)
}

/// As [`size`], or 0 for any number of bytes.
pub(super) fn total(given: &Given) -> Result<u64, ConfigError> {
    if given.value.trim() == "0" { Ok(0) } else { size(given) }
}

/// Bytes, with k, m or g for the powers of 1024.
pub(super) fn size(given: &Given) -> Result<u64, ConfigError> {
    let text = given.value.trim().to_ascii_lowercase();
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "b" => Some(1),
        "k" | "kb" => Some(1 << 10),
        "m" | "mb" => Some(1 << 20),
        "g" | "gb" => Some(1_u64 << 30),
        _ => None,
    };
    let bytes = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes >= 4096)
        .ok_or_else(|| given.invalid("it must be a size such as 512k, 10m or 1g, at least 4k"))
}
