//! What the agent does once it is up, and then daily: it keeps a copy of the store, removes old logs and gives back the
//! memory that its start, or the day, has left over. Memory it also gives back whenever it has come to rest.
//!
//! Copies are for the operator whose disk damaged the store; one is kept when the agent stops as well. A copy that
//! cannot be made is no reason to stop. Logs rotate and age in their shims when something is written; what nobody
//! writes to any longer ages here.

use crate::engine::Handle;
use crate::sys;
use std::time::Duration;

/// Between two rounds.
const DAY: Duration = Duration::from_hours(24);

/// After a failure, for example for want of space.
const HOUR: Duration = Duration::from_hours(1);

/// Nothing was written for so long: what was done is over.
const REST: Duration = Duration::from_mins(1);

/// Gives memory back each time that what was going on is over, the start before all, for as long as it is polled. Nobody wakes an
/// agent for this that has nothing to do.
pub(super) async fn rest(handle: Handle) {
    let mut commits = handle.watch();
    loop {
        while tokio::time::timeout(REST, commits.changed()).await.is_ok_and(|more| more.is_ok()) {}
        sys::give_back();
        if commits.changed().await.is_err() {
            return;
        }
    }
}

/// Goes round for as long as it is polled.
pub(super) async fn keep(handle: Handle, max_age: Duration) {
    loop {
        remove_old_logs(&handle, max_age).await;
        let pause = if keep_one(&handle).await { DAY } else { HOUR };
        sys::give_back();
        tokio::time::sleep(pause).await;
    }
}

/// Keeps a copy if something has changed; false when that failed.
pub(super) async fn keep_one(handle: &Handle) -> bool {
    match handle.keep_copy().await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%error, "cannot keep a copy of the store; the one before stays");
            false
        }
    }
}

async fn remove_old_logs(handle: &Handle, max_age: Duration) {
    let Ok(logs) = handle.logs() else { return };
    let removed = tokio::task::spawn_blocking(move || logs.expire(max_age, sys::now())).await;
    match removed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot look for old logs"),
        Err(error) => tracing::warn!(%error, "cannot look for old logs"),
    }
}
