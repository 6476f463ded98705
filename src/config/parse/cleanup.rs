//! When images that nobody uses go.

use super::sources::{Sources, checked};
use super::written::Written;
use crate::config::ConfigError;
use crate::config::image::{ImageCleanup, percent};
use crate::config::value::{at_least, boolean, number};
use std::time::Duration;

/// What is set of it; its texts are taken out of the file.
pub(super) fn image_cleanup(
    from: &Sources<'_>,
    file: &mut Written,
    default: ImageCleanup,
) -> Result<ImageCleanup, ConfigError> {
    let high = from.text("image_disk_high", None, file.image_disk_high.take());
    let low = from.text("image_disk_low", None, file.image_disk_low.take());
    let disk_high = checked(high, percent, default.disk_high)?;
    if let Some(given) = &low
        && percent(given)? > disk_high
    {
        return Err(
            given.invalid(format!("it must not be more than image_disk_high, {disk_high}%"))
        );
    }
    Ok(ImageCleanup {
        enabled: from
            .typed("image_cleanup", file.image_cleanup.take(), boolean)?
            .unwrap_or(default.enabled),
        interval: checked(
            from.text("image_cleanup_interval", None, file.image_cleanup_interval.take()),
            |given| at_least(given, Duration::from_secs(10), "10s"),
            default.interval,
        )?,
        minimum_age: checked(
            from.text("image_minimum_age", None, file.image_minimum_age.take()),
            |given| at_least(given, Duration::from_secs(1), "1s"),
            default.minimum_age,
        )?,
        per_cleanup: from
            .typed("images_per_cleanup", file.images_per_cleanup.take(), number)?
            .unwrap_or(default.per_cleanup),
        untracked: from
            .typed("image_cleanup_untracked", file.image_cleanup_untracked.take(), boolean)?
            .unwrap_or(default.untracked),
        disk_high,
        // With only the upper bound set, the lower one is not above it.
        disk_low: checked(low, percent, default.disk_low.min(disk_high))?,
    })
}
