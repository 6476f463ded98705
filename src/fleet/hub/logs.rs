//! The logs of boxes, as they come: stored in `STATE/logs/BOX/TASK/CONTAINER.log`, and acknowledged when that is durable.
//!
//! A box writes into its own directory alone, under names that cannot leave it. What it may write is bounded: the files of
//! a container by rotation, containers of a task by number, and all of a box in bytes and tasks, of which the oldest go
//! first. So a box that lies or floods harms nothing but what is stored of itself.

use super::take::Sender;
use super::{Shared, lock, take};
use crate::fleet::log_batch::{self, LogBatch};
use crate::fleet::message::ReadError;
use crate::model::{ContainerInstanceId, ContainerName, TaskId, Timestamp};
use crate::runtime::logs::{Arrival, LogDefaults, LogDirectory, LogError, StoredLog, Told};
use crate::sys;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Logs that are kept open.
const OPEN: usize = 256;
/// Batches that are written at the same time: each waits for the disk.
const AT_ONCE: usize = 4;
/// Containers of a task; ECS has ten.
const CONTAINERS: usize = 64;
/// Tasks of a box.
const TASKS: usize = 4096;
/// Between two looks at how much there is of all boxes.
const TIDY: Duration = Duration::from_hours(1);

/// How logs of boxes are stored.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The hub's state directory.
    pub state_dir: PathBuf,
    /// Of each container, and of all boxes together.
    pub bounds: LogDefaults,
    /// Bytes of one box; zero is any number.
    pub of_box: u64,
}

type Key = (ContainerInstanceId, TaskId, ContainerName);

/// The logs of all boxes.
pub(super) struct Logs {
    settings: LogSettings,
    open: Mutex<HashMap<Key, StoredLog>>,
    /// Written to is shared; what removes files has it alone.
    files: RwLock<()>,
    room: Semaphore,
}

/// What became of a batch.
enum Stored {
    UpTo(Told),
    /// The box has more of them than it may.
    TooMany,
}

impl Logs {
    pub(super) fn new(settings: LogSettings) -> Self {
        let open = Mutex::default();
        Self { settings, open, files: RwLock::new(()), room: Semaphore::new(AT_ONCE) }
    }

    fn of_box(&self, device: &ContainerInstanceId) -> LogDirectory {
        LogDirectory::of_box(&self.settings.state_dir, device)
    }

    /// Messages of one box come one after the other, so nobody else has its logs meanwhile.
    fn store(&self, device: &ContainerInstanceId, batch: &LogBatch) -> Result<Stored, LogError> {
        let head = &batch.head;
        let key = (device.clone(), head.task.clone(), head.container.clone());
        let grown = {
            let _shared = self.files.read().unwrap_or_else(PoisonError::into_inner);
            let known = lock(&self.open).remove(&key);
            let (mut log, is_new) = if let Some(log) = known {
                (log, false)
            } else {
                let logs = self.of_box(device);
                let is_new = !logs.has(&head.task, &head.container);
                if is_new && logs.containers(&head.task)? >= CONTAINERS {
                    return Ok(Stored::TooMany);
                }
                let bounds = self.settings.bounds;
                (StoredLog::open(&logs, &head.task, &head.container, bounds)?, is_new)
            };
            log.add(&Arrival {
                epoch: head.epoch,
                from: head.from,
                hole: head.hole.as_ref(),
                bytes: &batch.lines,
            })?;
            let told = log.told();
            let has_rotated = log.has_rotated();
            let mut open = lock(&self.open);
            if open.len() >= OPEN {
                // Whichever: it is opened again when something comes.
                let some = open.keys().next().cloned();
                some.and_then(|key| open.remove(&key));
            }
            open.insert(key, log);
            (is_new || has_rotated).then_some(told).ok_or(told)
        };
        match grown {
            Err(told) => Ok(Stored::UpTo(told)),
            Ok(told) => {
                self.bound(device, &head.task)?;
                Ok(Stored::UpTo(told))
            }
        }
    }

    /// Removes the oldest logs of a box that has too much, but not those of `task`.
    fn bound(&self, device: &ContainerInstanceId, task: &TaskId) -> Result<(), LogError> {
        let _alone = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let logs = self.of_box(device);
        let before = logs.tasks()?;
        logs.bound(self.settings.of_box, |other| other != task)?;
        logs.keep_newest(TASKS)?;
        if logs.tasks()? < before {
            // Files that are gone are written to no longer.
            lock(&self.open).retain(|(of, ..), _| of != device);
        }
        Ok(())
    }

    /// Removes what is too old, and the oldest of what is too much.
    fn tidy(&self, now: Timestamp) -> Result<(), LogError> {
        let _alone = self.files.write().unwrap_or_else(PoisonError::into_inner);
        lock(&self.open).clear();
        let LogDefaults { max_age, max_total, .. } = self.settings.bounds;
        let max_age = Duration::from_secs(max_age);
        LogDirectory::tidy_boxes(&self.settings.state_dir, max_age, max_total, now)
    }
}

/// Goes round for as long as it is polled.
pub(super) async fn keep_tidy(shared: Arc<Shared>) {
    loop {
        let logs = Arc::clone(&shared);
        match tokio::task::spawn_blocking(move || logs.logs.tidy(sys::now())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "old logs of boxes cannot be removed"),
            Err(_) => return,
        }
        tokio::time::sleep(TIDY).await;
    }
}

/// Takes a batch, and tells the box how far its log is stored.
pub(super) async fn take(
    hub: &Arc<Shared>,
    from: &Sender<'_>,
    payload: Vec<u8>,
) -> Result<(), ReadError> {
    let Ok(_room) = hub.logs.room.acquire().await else { return Ok(()) };
    let (shared, key) = (Arc::clone(hub), from.key.clone());
    let (topic, device) = (from.topic.clone(), from.device.clone());
    let taken = tokio::task::spawn_blocking(move || {
        let batch = LogBatch::open_up(&key, &topic, &payload)?;
        let stored = shared.logs.store(&device, &batch);
        let stream = log_batch::stream(&batch.head.task, &batch.head.container);
        Ok::<_, ReadError>((stream, stored))
    });
    // One that panicked has said so; the box sends it again.
    let Ok(taken) = taken.await else { return Ok(()) };
    match taken? {
        (stream, Ok(Stored::UpTo(told))) => {
            take::tell(hub, from, stream, &told.epoch.to_string(), told.to).await;
        }
        (_, Ok(Stored::TooMany)) => hub.refuse("streams", from.topic),
        (_, Err(error)) => {
            hub.refuse("unwritten", from.topic);
            tracing::warn!(device = %from.device, %error, "a box's log cannot be stored now; it is sent again");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
