//! Collects images that nobody uses, every so often and when a pull finds the disk full.

use crate::config::ImageCleanup;
use crate::engine::{CollectError, Collected, Handle};
use crate::image::Rules;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Between two looks at how full the disk is, if that is shorter than between two cycles.
const LOOK: Duration = Duration::from_mins(5);

/// Goes round for as long as it is polled.
pub(super) async fn keep(handle: Handle, settings: ImageCleanup) {
    let rules = Rules {
        automatic: settings.enabled,
        interval: settings.interval,
        minimum_age: settings.minimum_age,
        per_cycle: settings.per_cleanup,
        untracked: settings.untracked,
        high: settings.disk_high,
        low: settings.disk_low,
    };
    if !rules.automatic {
        return;
    }
    let Ok(store) = handle.images().cloned() else { return };
    let (room, mut wanted) = mpsc::channel::<oneshot::Sender<()>>(16);
    store.ask_for_room(room);
    let start = Instant::now();
    let (mut next_cycle, mut next_look) = (start + rules.interval, start);
    loop {
        let full = tokio::select! {
            () = sleep_until(next_cycle.min(next_look)) => None,
            Some(done) = wanted.recv() => Some(done),
        };
        let now = Instant::now();
        let due = now >= next_cycle;
        if due {
            next_cycle = now + rules.interval;
        }
        next_look = now + LOOK;
        if !due && full.is_none() && !is_too_full(&handle, &rules).await {
            continue;
        }
        tell(handle.collect_images(&rules, full.is_some()).await, &handle).await;
        // Whoever waits tries again, whatever came of it; those who came meanwhile as well.
        while let Ok(done) = wanted.try_recv() {
            let _ = done.send(());
        }
        if let Some(done) = full {
            let _ = done.send(());
        }
    }
}

async fn is_too_full(handle: &Handle, rules: &Rules) -> bool {
    fill(handle).await.is_some_and(|fill| fill > rules.high)
}

async fn fill(handle: &Handle) -> Option<u8> {
    let store = handle.images().ok()?.clone();
    let looked = tokio::task::spawn_blocking(move || store.disk()).await;
    match looked.ok()? {
        Ok(disk) => Some(disk.fill),
        Err(error) => {
            tracing::warn!(%error, "it is not known how full the disk is");
            None
        }
    }
}

/// One line for what went, or why nothing could.
async fn tell(result: Result<Collected, CollectError>, handle: &Handle) {
    match result {
        Ok(collected) if collected.is_empty() => {}
        Ok(collected) => {
            let names: Vec<&str> = collected
                .images
                .iter()
                .flat_map(|(_, names)| names.iter().map(String::as_str))
                .collect();
            let swept = collected.swept;
            let fill = fill(handle).await.unwrap_or_default();
            tracing::info!(
                "image cleanup: {} images ({}), {} blobs and {} unpacked layers went, {} MiB; the disk is {fill}% full",
                collected.images.len(),
                names.join(", "),
                swept.blobs,
                swept.layers,
                swept.bytes >> 20,
            );
        }
        Err(CollectError::Shared) => {
            tracing::info!("image cleanup: {}", CollectError::Shared);
        }
        Err(error) => tracing::warn!(%error, "image cleanup"),
    }
}
