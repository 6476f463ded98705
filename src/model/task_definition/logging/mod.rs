//! What a `logConfiguration` asks for, read once and for all.
//!
//! RunTask reads it to refuse by name what is not supported; the shim reads it again, with the values of
//! `secretOptions`, to carry it out. Both therefore agree. The options are those that Docker's drivers have
//! ([`table`]); what differs from Docker is told in `docs/task-definition.md`.

mod address;
mod drivers;
mod extra;
pub mod table;
mod tag;
mod values;

pub use address::Address;
pub use drivers::{Compression, Driver, Fluentd, Gelf, Syslog, SyslogFormat};
pub use extra::Extra;
pub use tag::{Subject, Tag};

use super::LogConfiguration;
use std::collections::BTreeMap;
use values::Values;

/// What waits at most for a remote receiver, where `max-buffer-size` says nothing: ECS's default.
pub const DEFAULT_BUFFER: u64 = 10 << 20;

/// A `logConfiguration`, read.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Where output goes, besides the local store.
    pub driver: Driver,
    /// What happens when the receiver does not keep up.
    pub mode: Mode,
    /// What is kept on the box; none keeps nothing.
    pub local: Option<Local>,
    /// Environment variables and labels that go with each line.
    pub extra: Extra,
}

/// What happens when the receiver does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The container waits.
    Blocking,
    /// So many bytes wait, what comes on top is dropped and counted.
    NonBlocking(u64),
}

/// The bounds of what is kept on the box; the box's own where unset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// A file is rotated when it would grow beyond this; 0 is never.
    pub max_size: Option<u64>,
    /// How many files are kept, the current one included.
    pub max_file: Option<u32>,
}

/// A member of a `logConfiguration` that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logConfiguration.{member}: {remedy}")]
pub struct LogProblem {
    /// Its path below `logConfiguration`, for example `options.syslog-address`.
    pub member: String,
    /// What to do instead.
    pub remedy: String,
}

impl LogSettings {
    /// Reads `configuration` with the resolved values of its `secretOptions`; without one, output is kept on the box.
    ///
    /// # Errors
    /// The first member that cannot be carried out.
    pub fn read(
        configuration: Option<&LogConfiguration>,
        secrets: &BTreeMap<String, String>,
    ) -> Result<Self, LogProblem> {
        let driver = configuration.and_then(|c| c.log_driver.as_deref()).unwrap_or("json-file");
        let known = table::options(driver).ok_or_else(|| LogProblem {
            member: "logDriver".to_owned(),
            remedy: format!("{driver:?} is not supported: set it to one of {}", table::names()),
        })?;
        let empty = BTreeMap::new();
        let options = configuration.and_then(|c| c.options.as_ref()).unwrap_or(&empty);
        let named = configuration.and_then(|c| c.secret_options.as_deref()).unwrap_or_default();
        let named = named.iter().filter_map(|secret| secret.name.as_deref());
        for (name, list) in options
            .keys()
            .map(|name| (name.as_str(), "options"))
            .chain(named.clone().map(|name| (name, "secretOptions")))
        {
            if let Some((_, why)) = table::REFUSED.iter().find(|(refused, _)| *refused == name) {
                return Err(LogProblem {
                    member: format!("{list}.{name}"),
                    remedy: (*why).to_owned(),
                });
            }
            if !known.contains(&name) {
                return Err(LogProblem {
                    member: format!("{list}.{name}"),
                    remedy: format!("{driver} has no such option: leave it out"),
                });
            }
        }
        let values = Values { options, secrets, open: named.map(str::to_owned).collect() };
        Ok(Self {
            driver: Driver::read(driver, &values)?,
            mode: mode(&values)?,
            local: local(driver, &values)?,
            extra: Extra::read(&values)?,
        })
    }
}

fn mode(values: &Values<'_>) -> Result<Mode, LogProblem> {
    // Read in any case, so that a slip in it is told.
    let buffer = values.size("max-buffer-size")?.unwrap_or(DEFAULT_BUFFER);
    match values.one_of("mode", &["blocking", "non-blocking"])? {
        Some("blocking") => Ok(Mode::Blocking),
        _ => Ok(Mode::NonBlocking(buffer)),
    }
}

fn local(driver: &str, values: &Values<'_>) -> Result<Option<Local>, LogProblem> {
    let (size, file, compress) = match driver {
        "none" => return Ok(None),
        "json-file" => ("max-size", "max-file", "compress"),
        _ => ("cache-max-size", "cache-max-file", "cache-compress"),
    };
    // Files are kept as they are: the bound is on what has been written either way.
    values.flag(compress)?;
    let local = Local { max_size: values.size(size)?, max_file: values.count(file)? };
    Ok((!values.flag("cache-disabled")?.unwrap_or(false)).then_some(local))
}

#[cfg(test)]
mod tests;
