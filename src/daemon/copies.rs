//! When copies of the store are kept: once the agent is up, then daily, and when it stops.
//!
//! They are for the operator whose disk damaged the store; a copy that cannot be made is no reason to stop.

use crate::engine::Handle;
use std::time::Duration;

/// Between two copies.
const DAY: Duration = Duration::from_hours(24);

/// After a failure, for example for want of space.
const HOUR: Duration = Duration::from_hours(1);

/// Keeps copies for as long as it is polled.
pub(super) async fn keep(handle: Handle) {
    loop {
        let pause = if keep_one(&handle).await { DAY } else { HOUR };
        tokio::time::sleep(pause).await;
    }
}

/// Keeps one if something has changed; false when that failed.
pub(super) async fn keep_one(handle: &Handle) -> bool {
    match handle.keep_copy().await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "cannot keep a copy of the store; the one before stays");
            false
        }
    }
}
