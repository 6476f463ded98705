//! Observations: what the shell saw, put into the records and into [`Observed`](crate::plan::Observed).
//!
//! Every observation takes its action out of flight. What belongs to another generation or another run than the
//! record's is otherwise ignored; a run that no record knows is remembered as an orphan, to be released.

use super::{Outcome, scan};
use crate::model::fleet::Device;
use crate::model::{
    Attachment, Container, ContainerStatus, DesiredStatus, Generation, HealthStatus, ImageDigest,
    NetworkBinding, StopCode, Task, TaskDefinition, TaskId, TaskStatus, Timestamp,
};
use crate::plan::action::{ActionKey, ContainerRun};
use crate::plan::connection::mappings;
use crate::plan::instance::health;
use crate::plan::observation::Connected;
use crate::plan::world::{ClientToken, Orphan};
use crate::plan::{Change, Observation, Reply, World};

/// What ECS says of a container that the kernel killed for want of memory.
const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// Takes note of `observation`.
pub(super) fn observe(world: &mut World, observation: Observation, now: Timestamp) -> Outcome {
    let changes = match observation {
        Observation::ImageReady { image, credentials, digest, source } => {
            image_ready(world, image, credentials.as_deref(), (&digest, source.as_ref()), now)
        }
        Observation::ImageFailed { image, credentials, reason } => {
            image_failed(world, &image, credentials.as_deref(), &reason)
        }
        Observation::Started { run, at, network } => started(world, &run, at, network),
        Observation::StartFailed { run, reason } => start_failed(world, &run, &reason, now),
        Observation::Signalled { run, killed } => signalled(world, run, killed, now),
        Observation::Exited { run, exit_code, out_of_memory, at } => {
            exited(world, &run, exit_code, out_of_memory, at)
        }
        Observation::Probed { run, exit_code, at } => probed(world, &run, exit_code, at),
        Observation::ShimLost { task, generation, reason } => {
            lost(world, &task, generation, &reason, now)
        }
        Observation::Released { task, generation } => released(world, &task, generation, now),
        Observation::Forgotten { task } => forgotten(world, task),
        Observation::ClockStepped { by } => clock_stepped(world, by, now),
        // The engine has looked already.
        Observation::ImagesChanged => return Outcome::nothing(),
        Observation::Stopping => {
            world.observed.stopping = true;
            return Outcome::nothing();
        }
        Observation::Scanned { rebooted } => return scan::scanned(world, rebooted, now),
    };
    Outcome::with(changes, Reply::Done)
}

fn put(mut task: Task) -> Vec<Change> {
    task.version += 1;
    vec![Change::PutTask(Box::new(task))]
}

/// True for a container that waits for the image its task has asked for.
fn awaits_image(task: &Task, container: &Container, image: &str) -> bool {
    task.pull_started_at.is_some()
        && container.last_status == ContainerStatus::Pending
        && container.runtime_id.is_none()
        && container.image_digest.is_none()
        && container.wanted_image() == image
}

/// Changes the containers that wait for `image` asked for with `credentials`, in all tasks of this box. Who asked with
/// another login waits for an answer of his own.
fn change_waiting(
    world: &World,
    image: &str,
    credentials: Option<&str>,
    edit: impl Fn(&mut Task, usize),
) -> Vec<Change> {
    let mut changes = Vec::new();
    for task in world.live_tasks() {
        if Some(&task.container_instance) != world.settings.this_instance.as_ref() {
            continue;
        }
        let definition = world.task_definitions.get(&task.task_definition);
        let login = |container: &Container| {
            definition?.container(container.name.as_str())?.registry_login()
        };
        let mut edited: Option<Task> = None;
        for (at, container) in task.containers.iter().enumerate() {
            if awaits_image(task, container, image) && login(container) == credentials {
                edit(edited.get_or_insert_with(|| task.clone()), at);
            }
        }
        changes.extend(edited.into_iter().flat_map(put));
    }
    changes
}

fn image_ready(
    world: &mut World,
    image: String,
    credentials: Option<&str>,
    (digest, source): (&ImageDigest, Option<&ImageDigest>),
    now: Timestamp,
) -> Vec<Change> {
    let key = ActionKey::Pull(image.clone(), credentials.map(str::to_owned));
    let pulled = world.observed.in_flight.remove(&key);
    if pulled {
        world.observed.pulled.insert(image.clone());
    }
    let changes = change_waiting(world, &image, credentials, |task, at| {
        let container = &mut task.containers[at];
        container.image_digest = Some(digest.clone());
        container.image_source = container.image_source.take().or_else(|| source.cloned());
        task.pull_stopped_at = Some(now);
    });
    world.observed.images.insert(image, digest.clone());
    if let Some(source) = source {
        world.observed.image_sources.insert(digest.clone(), source.clone());
    }
    changes
}

fn image_failed(
    world: &mut World,
    image: &str,
    credentials: Option<&str>,
    reason: &str,
) -> Vec<Change> {
    let key = ActionKey::Pull(image.to_owned(), credentials.map(str::to_owned));
    world.observed.in_flight.remove(&key);
    change_waiting(world, image, credentials, |task, at| {
        let container = &mut task.containers[at];
        container.last_status = ContainerStatus::Stopped;
        container.reason = Some(reason.to_owned());
    })
}

/// The task and the place of the container of exactly this run, if the record knows it.
fn known<'a>(world: &'a World, run: &ContainerRun) -> Option<(&'a Task, usize)> {
    let task = world.tasks.get(&run.task)?;
    let at = task.containers.iter().position(|c| c.name == run.container)?;
    let current = task.generation == run.generation
        && task.last_status != TaskStatus::Stopped
        && task.containers[at].runtime_id.as_ref() == Some(&run.runtime_id);
    current.then_some((task, at))
}

fn started(
    world: &mut World,
    run: &ContainerRun,
    at: Timestamp,
    network: Option<Connected>,
) -> Vec<Change> {
    world.observed.in_flight.remove(&ActionKey::Start(run.task.clone(), run.container.clone()));
    let Some((task, index)) = known(world, run) else {
        return orphan(world, &run.task, run.generation);
    };
    let container = &task.containers[index];
    match container.last_status {
        ContainerStatus::Stopped => Vec::new(),
        ContainerStatus::Running => {
            world.observed.running.insert(run.runtime_id.clone());
            Vec::new()
        }
        ContainerStatus::Pending => {
            let mut task = task.clone();
            let container = &mut task.containers[index];
            container.last_status = ContainerStatus::Running;
            container.started_at = Some(at);
            if container.restart_at.take().is_some() {
                // What the run before it ended with.
                container.exit_code = None;
                container.reason = None;
            }
            if let Some(network) = network {
                let definition = world.task_definitions.get(&task.task_definition);
                connected(&mut task, index, definition, network);
            }
            world.observed.running.insert(run.runtime_id.clone());
            put(task)
        }
    }
}

/// Takes note of a container's addresses, and of those published ports that are its own.
fn connected(
    task: &mut Task,
    index: usize,
    definition: Option<&TaskDefinition>,
    network: Connected,
) {
    let Connected { mut interface, mut bindings } = network;
    let record = definition.and_then(|d| d.container(task.containers[index].name.as_str()));
    if record.is_some_and(|container| container.disable_networking == Some(true)) {
        return;
    }
    for attachment in &mut task.attachments {
        attachment.attach(&interface);
        interface.attachment_id = Some(attachment.id.clone());
    }
    let container = &mut task.containers[index];
    if let Some(record) = record {
        bindings.retain(|b: &NetworkBinding| mappings(record).any(|mapping| b.is_of(mapping)));
    }
    container.network_bindings = bindings;
    container.network_interfaces = vec![interface];
}

/// Something runs for a task that has no use for it: not known at all, or over.
fn orphan(world: &mut World, id: &TaskId, generation: Generation) -> Vec<Change> {
    if world.tasks.get(id).is_none_or(|task| task.last_status == TaskStatus::Stopped) {
        world.observed.orphans.insert(id.clone(), Orphan { generation, released: false });
    }
    Vec::new()
}

fn start_failed(
    world: &mut World,
    run: &ContainerRun,
    reason: &str,
    now: Timestamp,
) -> Vec<Change> {
    world.observed.in_flight.remove(&ActionKey::Start(run.task.clone(), run.container.clone()));
    let Some((task, index)) = known(world, run) else { return Vec::new() };
    if task.containers[index].last_status != ContainerStatus::Pending {
        return Vec::new();
    }
    let mut task = task.clone();
    let container = &mut task.containers[index];
    container.last_status = ContainerStatus::Stopped;
    container.reason = Some(reason.to_owned());
    container.exit_code = None;
    container.restart_at = None;
    container.finished_at = Some(now);
    put(task)
}

fn signalled(world: &mut World, run: ContainerRun, killed: bool, now: Timestamp) -> Vec<Change> {
    let key = if killed { ActionKey::Kill } else { ActionKey::Stop };
    world.observed.in_flight.remove(&key(run.task.clone(), run.container.clone()));
    let ended = known(world, &run)
        .is_none_or(|(task, index)| task.containers[index].last_status == ContainerStatus::Stopped);
    if !ended {
        let signals = world.observed.signals.entry(run.runtime_id).or_default();
        let at = if killed { &mut signals.killed_at } else { &mut signals.stopped_at };
        *at = Some(now);
    }
    Vec::new()
}

fn exited(
    world: &mut World,
    run: &ContainerRun,
    exit_code: Option<i32>,
    out_of_memory: bool,
    at: Timestamp,
) -> Vec<Change> {
    forget_run(world, run);
    let Some((task, index)) = known(world, run) else {
        // The exit records of stopped tasks stay until these are forgotten.
        return if world.tasks.contains_key(&run.task) {
            Vec::new()
        } else {
            orphan(world, &run.task, run.generation)
        };
    };
    if task.containers[index].last_status == ContainerStatus::Stopped {
        return Vec::new();
    }
    let mut task = task.clone();
    let container = &mut task.containers[index];
    container.last_status = ContainerStatus::Stopped;
    if container.restart_at.take().is_some() {
        container.reason = None;
    }
    // A run that was over before it was reported had started all the same.
    container.started_at.get_or_insert(at);
    container.finished_at = Some(at);
    container.exit_code = exit_code;
    if out_of_memory && exit_code != Some(0) {
        container.reason = Some(OUT_OF_MEMORY.to_owned());
    }
    put(task)
}

/// The run is over: nothing of it is in flight or counted any more.
fn forget_run(world: &mut World, run: &ContainerRun) {
    let observed = &mut world.observed;
    observed.running.remove(&run.runtime_id);
    observed.signals.remove(&run.runtime_id);
    observed.health.remove(&run.runtime_id);
}

fn probed(
    world: &mut World,
    run: &ContainerRun,
    exit_code: Option<i32>,
    at: Timestamp,
) -> Vec<Change> {
    world.observed.in_flight.remove(&ActionKey::Probe(run.task.clone(), run.container.clone()));
    let Some((task, index)) = known(world, run) else { return Vec::new() };
    let container = &task.containers[index];
    let Some(definition) = world.task_definitions.get(&task.task_definition) else {
        return Vec::new();
    };
    let check = definition.container(container.name.as_str()).and_then(health::check);
    let (ContainerStatus::Running, Some(check)) = (container.last_status, check) else {
        return Vec::new();
    };
    let before = world.observed.health.get(&run.runtime_id).copied().unwrap_or_default();
    let (after, status) = health::judge(&check, container, before, exit_code == Some(0), at);
    let mut task = task.clone();
    world.observed.health.insert(run.runtime_id.clone(), after);
    if task.containers[index].health_status == status {
        return Vec::new();
    }
    task.containers[index].health_status = status;
    put(task)
}

fn lost(
    world: &mut World,
    id: &TaskId,
    generation: Generation,
    reason: &str,
    now: Timestamp,
) -> Vec<Change> {
    let Some(task) = world.tasks.get(id) else { return Vec::new() };
    if task.generation != generation || task.last_status == TaskStatus::Stopped {
        return Vec::new();
    }
    let runs = |c: &Container| c.last_status == ContainerStatus::Running;
    let changed = shim_lost(task, reason, now, &runs);
    let runs: Vec<_> = task.containers.iter().filter_map(|c| c.runtime_id.clone()).collect();
    for run in runs {
        world.observed.running.remove(&run);
        world.observed.signals.remove(&run);
        world.observed.health.remove(&run);
    }
    vec![Change::PutTask(Box::new(changed))]
}

/// The task after its shim went away: the containers that `lost` names have ended, how is not known.
pub(super) fn shim_lost(
    task: &Task,
    reason: &str,
    now: Timestamp,
    lost: &dyn Fn(&Container) -> bool,
) -> Task {
    let mut task = task.clone();
    task.version += 1;
    let text = format!("The task's shim process ended unexpectedly: {reason}");
    for container in task.containers.iter_mut().filter(|c| lost(c)) {
        container.last_status = ContainerStatus::Stopped;
        container.finished_at = Some(now);
        container.reason = Some(text.clone());
        container.health_status = HealthStatus::Unknown;
    }
    if task.desired_status == DesiredStatus::Running {
        task.desired_status = DesiredStatus::Stopped;
        task.stopping_at = Some(now);
        task.stop_code = Some(if task.started_at.is_some() {
            StopCode::EssentialContainerExited
        } else {
            StopCode::TaskFailedToStart
        });
        task.stopped_reason = Some(text);
    }
    task
}

fn released(world: &mut World, id: &TaskId, generation: Generation, now: Timestamp) -> Vec<Change> {
    world.observed.in_flight.remove(&ActionKey::Release(id.clone()));
    let Some(task) = world.tasks.get(id) else {
        if let Some(orphan) = world.observed.orphans.get_mut(id) {
            orphan.released = true;
        }
        return Vec::new();
    };
    world.observed.orphans.remove(id);
    if task.generation != generation || task.last_status != TaskStatus::Deprovisioning {
        return Vec::new();
    }
    let mut task = task.clone();
    task.last_status = TaskStatus::Stopped;
    task.stopped_at = Some(now);
    task.attachments.iter_mut().for_each(Attachment::delete);
    put(task)
}

fn forgotten(world: &mut World, id: TaskId) -> Vec<Change> {
    world.observed.in_flight.remove(&ActionKey::Forget(id.clone()));
    world.observed.orphans.remove(&id);
    let over = world.tasks.get(&id).is_some_and(|task| task.last_status == TaskStatus::Stopped);
    if over { vec![Change::DeleteTask(id)] } else { Vec::new() }
}

/// Keeps what is being waited for as far away as it was. What boxes of a fleet told is of their clocks, and stays.
fn clock_stepped(world: &mut World, by: i64, now: Timestamp) -> Vec<Change> {
    world.observed.clock_set_at = Some(now);
    world.touch_all();
    let stepped = |at: Timestamp| Timestamp(at.millis().saturating_add(by));
    let step = |at: &mut Option<Timestamp>| *at = at.map(stepped);
    for at in world.observed.heard.values_mut() {
        *at = stepped(*at);
    }
    step(&mut world.observed.silent_at);
    for health in world.observed.health.values_mut() {
        step(&mut health.last_at);
    }
    for signals in world.observed.signals.values_mut() {
        step(&mut signals.stopped_at);
        step(&mut signals.killed_at);
    }
    let mut changes = Vec::new();
    let is_told = |task: &Task| world.devices.contains_key(&task.container_instance);
    for task in world.live_tasks().filter(|task| !is_told(task)) {
        let mut after = task.clone();
        step(&mut after.protected_until);
        if let Some(service) = &mut after.service {
            step(&mut service.not_before);
        }
        for container in &mut after.containers {
            match container.last_status {
                ContainerStatus::Pending => step(&mut container.restart_at),
                ContainerStatus::Running => {
                    container.start_timeout_from = container.runs_since();
                    step(&mut container.start_timeout_from);
                    step(&mut container.stop_requested_at);
                }
                ContainerStatus::Stopped => {}
            }
        }
        if &after != task {
            changes.extend(put(after));
        }
    }
    for device in world.devices.values().filter(|device| !device.connected) {
        let connected_changed_at = stepped(device.connected_changed_at);
        let device = Device { connected_changed_at, ..device.clone() };
        changes.push(Change::PutDevice(Box::new(device)));
    }
    for (token, used) in &world.client_tokens {
        let used = ClientToken { used_at: stepped(used.used_at), ..used.clone() };
        changes.push(Change::PutClientToken(token.clone(), used));
    }
    changes
}
