//! How large log files become, how many are kept and how long.

use crate::model::task_definition::logging::Local;
use serde::{Deserialize, Serialize};

/// What holds for containers that say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDefaults {
    /// A file is rotated when it would grow beyond this; 0 is never.
    pub max_size: u64,
    /// How many files are kept, the current one included.
    pub max_file: u32,
    /// How many seconds lines are kept; 0 is for ever.
    #[serde(default)]
    pub max_age: u64,
    /// How many bytes the logs of tasks that are over may have together; 0 is any number.
    #[serde(default)]
    pub max_total: u64,
}

impl Default for LogDefaults {
    fn default() -> Self {
        Self { max_size: 10 << 20, max_file: 3, max_age: 30 * 24 * 3600, max_total: 1 << 30 }
    }
}

/// What holds for one container.
#[expect(clippy::struct_field_names, reason = "the names of the options and settings")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub(crate) max_size: u64,
    pub(crate) max_file: u32,
    pub(crate) max_age: u64,
}

impl LogOptions {
    /// What a definition says, and the box where it says nothing.
    pub(crate) fn of(local: Local, defaults: LogDefaults) -> Self {
        Self {
            max_size: local.max_size.unwrap_or(defaults.max_size),
            max_file: local.max_file.unwrap_or(defaults.max_file).max(1),
            max_age: defaults.max_age,
        }
    }
}
