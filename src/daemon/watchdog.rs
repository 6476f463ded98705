//! systemd's watchdog, fed for as long as the engine comes round.
//!
//! Before each feed the engine's writer carries out an empty round. While it is stuck, be it in a plan, in a lock or in a
//! write that the disk does not finish, nothing is fed, systemd starts the program again, and tasks go on meanwhile. Half of what
//! `WatchdogSec=` allows passes between two feeds, so that an idle program is woken no more often than it was asked.

use crate::engine::Handle;
use crate::sys;
use sd_notify::NotifyState;

/// Feeds the watchdog, if there is one, until the engine ends.
pub(super) async fn feed(handle: Handle) {
    let Some(within) = sd_notify::watchdog_enabled().filter(|within| !within.is_zero()) else {
        return;
    };
    let pause = within / 2;
    loop {
        let asked = sys::uptime();
        if !handle.ping().await {
            return;
        }
        let took = sys::uptime().saturating_sub(asked);
        if took > pause {
            tracing::warn!("the engine was stuck for {} s", took.as_secs());
        }
        // It waits for a manager that does not read.
        let fed = tokio::task::spawn_blocking(|| sd_notify::notify(&[NotifyState::Watchdog])).await;
        if let Ok(Err(error)) = fed {
            tracing::warn!(%error, "cannot feed systemd's watchdog");
        }
        tokio::time::sleep(pause).await;
    }
}
