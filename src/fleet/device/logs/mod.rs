//! Forwarding the logs of containers to the hub.
//!
//! ```text
//!  shim ─► STATE/logs/TASK/web.log ──watch──► queue (pure) ─► stretch of the log ─► log/TASK ═══► hub
//!                    ▲                          ▲                                                  │ durable
//!                    └─ forwarded.json ◄────────┴───────────────── ack ◄═══════════════════════════┘
//! ```
//!
//! The files that a box keeps anyway are what waits to be sent: nothing is written twice. What rotation has removed before
//! the hub had it is declared as a hole, whose size the files tell. A log is on the disk before it goes out, so that after
//! a power cut a place in it still means the same lines; one that was set back all the same begins another numbering.
//!
//! Which logs: those of containers with the label [`LABEL`](forward_logs::LABEL), all, or none, as the box is set.

mod queue;

use super::blocking;
use crate::auth::fleet::SealingKey;
use crate::engine::Handle;
use crate::fleet::link::{Link, Message, PublishError, SessionId};
use crate::fleet::log_batch::{self, Head, LogBatch};
use crate::fleet::message::{BATCH, UP_LIMIT};
use crate::fleet::topic::{Part, Topic};
use crate::model::fleet::VERSION;
use crate::model::task_definition::forward_logs;
use crate::model::{ClusterName, ContainerInstanceId, ContainerName, TaskId, TaskStatus};
use crate::plan::World;
use crate::runtime::logs::{Forwarded, Hole, LogDirectory, LogError, LogWatch, Stretch};
use crate::sys;
use queue::{Queue, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc;

/// Between two rounds of writing down how far logs are told.
const KEEP: Duration = Duration::from_mins(10);
/// After something that did not work.
const AGAIN: Duration = Duration::from_secs(30);
/// Before the line is asked again whether there is room.
const CROWDED: Duration = Duration::from_secs(1);

/// Which logs are forwarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    /// None.
    Off,
    /// Those of containers whose label says so.
    #[default]
    Labelled,
    /// Those of all containers but the ones whose label says no.
    All,
}

/// What the box is set to forward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which logs.
    pub which: Which,
    /// Bytes a second at most; zero is any number.
    pub rate: u64,
}

/// What the membership's loop tells.
#[derive(Debug)]
pub(super) enum Word {
    /// There is another connection, or none.
    Session(Option<SessionId>),
    /// The hub is back.
    HubIsBack,
    /// The hub has so much of a stream, in this numbering.
    Acknowledged { stream: String, log: String, up_to: u64 },
}

/// Forwards the logs of one membership.
pub(super) struct Forwarder {
    pub(super) engine: Handle,
    pub(super) link: Link,
    pub(super) cluster: ClusterName,
    pub(super) device: ContainerInstanceId,
    pub(super) key: SealingKey,
    pub(super) settings: Settings,
}

/// Until the membership ends, or the engine. What is told is believed: it was signed.
pub(super) async fn forward(parts: Forwarder, mut words: mpsc::UnboundedReceiver<Word>) {
    let Ok(logs) = parts.engine.logs() else { return };
    let Some(of) = parts.engine.read(|world| world.membership.as_ref().map(|m| m.events.clone()))
    else {
        return;
    };
    let of_logs = logs.clone();
    let known = match blocking(move || of_logs.begin_forwarding(&of)).await {
        Some(Ok(known)) => known,
        Some(Err(error)) => {
            tracing::error!(%error, "logs are not forwarded");
            return;
        }
        None => return,
    };
    let watch = match LogWatch::new() {
        Ok(watch) => watch,
        Err(error) => {
            tracing::error!(%error, "logs cannot be watched, so they are not forwarded");
            return;
        }
    };
    let mut commits = parts.engine.watch();
    let queue = Queue::new(parts.settings.rate);
    let watched = Watched { watch, tasks: BTreeMap::new(), names: BTreeSet::new() };
    let mut at_work = AtWork {
        parts,
        logs,
        queue,
        watched,
        session: None,
        kept_at: sys::uptime(),
        before: BTreeSet::new(),
        told: false,
    };
    at_work.begin(known).await;
    loop {
        let now = sys::uptime();
        at_work.keep(now, false).await;
        at_work.send(now).await;
        let pause = at_work.due(sys::uptime());
        tokio::select! {
            word = words.recv() => match word {
                Some(word) => at_work.hear(word),
                None => break,
            },
            changed = at_work.watched.changed() => match changed {
                Some(task) => at_work.queue.written(&task),
                None => at_work.queue.all_written(),
            },
            changed = commits.changed() => {
                if changed.is_err() {
                    break;
                }
                at_work.refresh(false).await;
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
    at_work.keep(sys::uptime(), true).await;
}

/// The directories of tasks that may still be written to.
struct Watched {
    watch: LogWatch,
    tasks: BTreeMap<i32, TaskId>,
    names: BTreeSet<TaskId>,
}

impl Watched {
    fn add(&mut self, task: &TaskId, logs: &LogDirectory) {
        if !self.names.insert(task.clone()) {
            return;
        }
        let number = logs.prepare(task).and_then(|directory| self.watch.add(&directory));
        match number {
            Ok(number) => drop(self.tasks.insert(number, task.clone())),
            Err(error) => {
                tracing::warn!(%task, %error, "the log cannot be watched: it is forwarded late");
            }
        }
    }

    fn keep_only(&mut self, wanted: &BTreeSet<TaskId>) {
        let Self { watch, tasks, names } = self;
        names.retain(|task| wanted.contains(task));
        tasks.retain(|number, task| {
            let stays = wanted.contains(task);
            if !stays {
                watch.remove(*number);
            }
            stays
        });
    }

    /// The task whose logs were written to; none: any may have been.
    async fn changed(&self) -> Option<TaskId> {
        loop {
            let numbers = match self.watch.changed().await {
                Ok(numbers) => numbers,
                Err(error) => {
                    tracing::error!(%error, "logs are watched no longer");
                    std::future::pending().await
                }
            };
            let mut tasks = numbers.iter().filter(|number| **number >= 0);
            match (tasks.next(), tasks.next()) {
                (Some(number), None) if numbers.len() == 1 => {
                    // One of a watch that was removed means nothing.
                    if let Some(task) = self.tasks.get(number) {
                        return Some(task.clone());
                    }
                }
                _ => return None,
            }
        }
    }
}

struct AtWork {
    parts: Forwarder,
    logs: LogDirectory,
    queue: Queue,
    watched: Watched,
    session: Option<SessionId>,
    kept_at: Duration,
    /// Logs of tasks that were over at the beginning.
    before: BTreeSet<Stream>,
    /// A trouble was told of.
    told: bool,
}

impl AtWork {
    /// Takes up what was left.
    async fn begin(&mut self, known: BTreeMap<TaskId, BTreeMap<ContainerName, Forwarded>>) {
        if self.parts.settings.which == Which::Off {
            let logs = self.logs.clone();
            if let Some(Err(error)) = blocking(move || logs.end_forwarding()).await {
                tracing::warn!(%error, "logs that waited to be forwarded cannot be removed");
            }
            return;
        }
        for (task, containers) in known {
            for (container, told) in containers {
                self.queue.add((task.clone(), container), told);
            }
        }
        self.refresh(true).await;
    }

    /// Which logs there are to forward may have changed. At `first`, what ended before is left alone: it may be older than
    /// the membership.
    async fn refresh(&mut self, first: bool) {
        let which = self.parts.settings.which;
        if which == Which::Off {
            return;
        }
        let wanted = self.parts.engine.read(|world| wanted(world, which));
        if first {
            let ended = wanted.iter().filter(|(stream, over)| **over && !self.queue.has(stream));
            self.before = ended.map(|(stream, _)| stream.clone()).collect();
        }
        let mut new: BTreeMap<TaskId, BTreeMap<ContainerName, Forwarded>> = BTreeMap::new();
        for stream in wanted.keys() {
            if self.queue.has(stream) || self.before.contains(stream) {
                continue;
            }
            let (task, container) = stream.clone();
            new.entry(task).or_default().insert(container, Forwarded::default());
        }
        let tasks: BTreeSet<TaskId> = wanted.keys().map(|(task, _)| task.clone()).collect();
        self.watched.keep_only(&tasks);
        for (task, containers) in new {
            // Watched first, so that nothing is written unseen.
            self.watched.add(&task, &self.logs);
            self.write_down(&task, containers.clone()).await;
            for (container, told) in containers {
                self.queue.add((task.clone(), container), told);
            }
        }
        let again: BTreeSet<TaskId> = wanted
            .keys()
            .filter(|stream| self.queue.has(stream))
            .map(|(task, _)| task.clone())
            .collect();
        for task in again {
            self.watched.add(&task, &self.logs);
        }
        // What nobody knows any more goes when it is told.
        let gone: Vec<Stream> = self
            .queue
            .streams()
            .filter(|stream| !wanted.contains_key(*stream) && self.queue.is_done(stream))
            .cloned()
            .collect();
        for stream in gone {
            if let Some(told) = self.queue.told(&stream) {
                let (task, container) = stream.clone();
                self.write_down(&task, BTreeMap::from([(container, told)])).await;
            }
            self.queue.remove(&stream);
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Session(session) => {
                self.session = session;
                self.queue.begin();
            }
            Word::HubIsBack => self.queue.begin(),
            Word::Acknowledged { stream, log, up_to } => {
                if let (Some(stream), Ok(epoch)) = (log_batch::of_stream(&stream), log.parse()) {
                    self.queue.acknowledged(&stream, epoch, up_to);
                }
            }
        }
    }

    fn due(&self, now: Duration) -> Duration {
        let send = self.queue.due().filter(|_| self.session.is_some());
        let keep = self.queue.has_unkept().then_some(self.kept_at + KEEP);
        let due = send.into_iter().chain(keep).min().unwrap_or(Duration::MAX);
        due.saturating_sub(now).min(Duration::from_hours(1))
    }

    /// Sends what is to go now.
    async fn send(&mut self, now: Duration) {
        let Some(session) = self.session.clone() else { return };
        while let Some((stream, told)) = self.queue.next(now) {
            let (logs, (task, container)) = (self.logs.clone(), stream.clone());
            let read = blocking(move || logs.stretch(&task, &container, told.up_to, BATCH)).await;
            let stretch = match read {
                Some(Ok(stretch)) => stretch,
                Some(Err(error)) => {
                    self.complain(&error);
                    self.queue.failed(&stream, now);
                    continue;
                }
                None => return,
            };
            if stretch.end < told.up_to {
                self.queue.set_back(&stream);
                continue;
            }
            if stretch.to() == told.up_to {
                // Told as a whole, perhaps of a task that nobody knows any more.
                if !self.parts.engine.read(|world| world.tasks.contains_key(&stream.0)) {
                    self.write_down(&stream.0, BTreeMap::from([(stream.1.clone(), told)])).await;
                    self.queue.remove(&stream);
                }
                continue;
            }
            self.say(&session, &stream, told, stretch, now);
        }
    }

    fn say(
        &mut self,
        session: &SessionId,
        stream: &Stream,
        told: Forwarded,
        stretch: Stretch,
        now: Duration,
    ) {
        let Ok(part) = Part::new(stream.0.as_str()) else {
            // No task of a fleet has such an id.
            return self.queue.remove(stream);
        };
        let topic = Topic::log(&self.parts.cluster, &self.parts.device, part);
        let (to, more) = (stretch.to(), stretch.to() < stretch.end);
        let until = stretch.removed_at;
        let hole = (stretch.from > told.up_to).then_some(Hole { from: told.up_to, until });
        let head = Head {
            v: VERSION,
            task: stream.0.clone(),
            container: stream.1.clone(),
            epoch: told.epoch,
            from: stretch.from,
            hole,
        };
        let mut batch = LogBatch { head, lines: stretch.bytes };
        let mut sealed = batch.seal_up(&self.parts.key, &topic);
        if sealed.len() > UP_LIMIT {
            // A line that no message holds.
            batch.head.from = to;
            batch.head.hole = Some(Hole { from: told.up_to, until: None });
            batch.lines.clear();
            sealed = batch.seal_up(&self.parts.key, &topic);
        }
        let size = sealed.len();
        match self.parts.link.publish(Message::new(&topic, sealed).only_in(session)) {
            Ok(_) => self.queue.sent(stream, (told.up_to, to), more, size, now),
            Err(PublishError::Full) => self.queue.crowded(stream, now + CROWDED),
            // Told of by a word, or the end.
            Err(_) => self.queue.crowded(stream, now + AGAIN),
        }
    }

    /// Writes down how far logs are told, now and then.
    async fn keep(&mut self, now: Duration, at_once: bool) {
        if !at_once && (now < self.kept_at + KEEP || !self.queue.has_unkept()) {
            return;
        }
        self.kept_at = now;
        for (task, told) in self.queue.unkept() {
            self.write_down(&task, told).await;
        }
    }

    async fn write_down(&mut self, task: &TaskId, told: BTreeMap<ContainerName, Forwarded>) {
        let (logs, task) = (self.logs.clone(), task.clone());
        if let Some(Err(error)) = blocking(move || logs.keep_forwarded(&task, &told)).await {
            self.complain(&error);
        }
    }

    fn complain(&mut self, error: &LogError) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "a log cannot be forwarded now; later ones are not told of");
        }
    }
}

/// The logs that are to be forwarded, and whether their tasks are over.
fn wanted(world: &World, which: Which) -> BTreeMap<Stream, bool> {
    let mut found = BTreeMap::new();
    for task in world.tasks.values() {
        let Some(definition) = world.task_definitions.get(&task.task_definition) else { continue };
        let over = task.last_status == TaskStatus::Stopped;
        for container in definition.content.container_definitions.iter().flatten() {
            let label = forward_logs::label(container).unwrap_or_default();
            let wanted = match which {
                Which::Off => false,
                Which::Labelled => label == Some(true),
                Which::All => label != Some(false),
            };
            let name = container.name.as_deref().and_then(|name| ContainerName::new(name).ok());
            if let Some(name) = name.filter(|_| wanted) {
                found.insert((task.id.clone(), name), over);
            }
        }
    }
    found
}

/// The box leaves: its logs are its own again.
pub(super) async fn end(logs: LogDirectory) {
    if let Some(Err(error)) = blocking(move || logs.end_forwarding()).await {
        tracing::warn!(%error, "logs that waited to be forwarded cannot be removed");
    }
}
