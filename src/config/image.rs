//! What of images goes by itself.

use super::ConfigError;
use super::value::Given;
use std::time::Duration;

/// When images nobody uses are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageCleanup {
    /// Whether at all.
    pub enabled: bool,
    /// Between two cycles.
    pub interval: Duration,
    /// How long an image is unused before.
    pub minimum_age: Duration,
    /// How many in one cycle.
    pub per_cleanup: usize,
    /// Those that were pulled or loaded by hand as well.
    pub untracked: bool,
    /// From how many percent on the disk is too full.
    pub disk_high: u8,
    /// To how many percent room is made then.
    pub disk_low: u8,
}

impl Default for ImageCleanup {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_mins(30),
            minimum_age: Duration::from_hours(1),
            per_cleanup: 5,
            untracked: false,
            disk_high: 85,
            disk_low: 80,
        }
    }
}

/// `85%` or `85`, of 1 to 100.
pub(super) fn percent(given: &Given) -> Result<u8, ConfigError> {
    let text = given.value.trim();
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    number
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| given.invalid("it must be a percentage such as 85%, from 1% to 100%"))
}
