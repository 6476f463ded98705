//! How large log files become and how many are kept.

use crate::model::task_definition::LogConfiguration;
use serde::{Deserialize, Serialize};

/// What holds for containers that say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDefaults {
    /// A file is rotated when it would grow beyond this; 0 is never.
    pub max_size: u64,
    /// How many files are kept, the current one included.
    pub max_file: u32,
}

impl Default for LogDefaults {
    fn default() -> Self {
        Self { max_size: 10 << 20, max_file: 3 }
    }
}

/// What holds for one container; none discards its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) max_size: u64,
    pub(crate) max_file: u32,
}

/// An option that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log option {name}: {value:?} is not {expected}")]
pub(crate) struct OptionError {
    name: &'static str,
    value: String,
    expected: &'static str,
}

impl LogOptions {
    /// Reads `max-size` and `max-file`; none when the driver is `none`. Options of other drivers are for those who forward.
    pub(crate) fn of(
        configuration: Option<&LogConfiguration>,
        defaults: LogDefaults,
    ) -> Result<Option<Self>, OptionError> {
        let mut options = Self { max_size: defaults.max_size, max_file: defaults.max_file.max(1) };
        let Some(configuration) = configuration else { return Ok(Some(options)) };
        if configuration.log_driver.as_deref() == Some("none") {
            return Ok(None);
        }
        let given = |name: &str| configuration.options.as_ref().and_then(|o| o.get(name));
        if let Some(value) = given("max-size") {
            options.max_size = size(value).ok_or_else(|| OptionError {
                name: "max-size",
                value: value.clone(),
                expected: "a size such as 10m",
            })?;
        }
        if let Some(value) = given("max-file") {
            options.max_file =
                value.parse().ok().filter(|n| *n >= 1).ok_or_else(|| OptionError {
                    name: "max-file",
                    value: value.clone(),
                    expected: "a number of at least 1",
                })?;
        }
        Ok(Some(options))
    }
}

/// `10`, `10k`, `10m`, `1g`, with or without `b`; −1 is no limit.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    if text == "-1" {
        return Some(0);
    }
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 10),
        (at, 'm') => (&text[..at], 20),
        (at, 'g') => (&text[..at], 30),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(driver: &str, pairs: &[(&str, &str)]) -> Result<Option<LogOptions>, OptionError> {
        let configuration = LogConfiguration {
            log_driver: Some(driver.into()),
            options: Some(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
            ..LogConfiguration::default()
        };
        LogOptions::of(Some(&configuration), LogDefaults::default())
    }

    #[test]
    fn sizes_and_counts_are_read() {
        let found = options("json-file", &[("max-size", "2k"), ("max-file", "5")]).unwrap();
        assert_eq!(found, Some(LogOptions { max_size: 2048, max_file: 5 }));
        assert_eq!(options("none", &[]).unwrap(), None);
        assert_eq!(options("awslogs", &[]).unwrap().unwrap().max_file, 3);
        assert!(options("json-file", &[("max-size", "big")]).is_err());
        assert!(options("json-file", &[("max-file", "0")]).is_err());
        assert_eq!(size("1GB"), Some(1 << 30));
    }
}
