//! What the hub makes of what boxes, and those who want to become one, tell it.
//!
//! A box tells of itself and its own tasks alone: whatever else it sends is skipped. Events count in the order of their
//! numbers, each once; a report decides only what no event can tell any more.

use super::command::{Answer, Enrol, answer};
use super::hub::{abandoned, lost};
use crate::model::container_instance::Attribute;
use crate::model::fleet::{
    AgentInformation, Device, Event, EventsTaken, JoinToken, Presence, Progress, Report, VERSION,
};
use crate::model::{
    Cluster, ClusterName, ContainerInstanceId, Task, TaskId, TaskStatus, Timestamp, Wanted,
};
use crate::plan::command::{CommandError, Outcome, RegisterThisInstance, instance};
use crate::plan::{Change, Reply, World};
use std::collections::BTreeMap;

/// Join tokens that are kept at most.
const TOKENS: usize = 1000;
/// Requests that a token remembers, to answer a repetition.
const REMEMBERED: usize = 64;
/// What tells a hub's key apart is not longer.
const KEY_NAME: usize = 64;
/// What a task is told that its box does not know any more.
const FORGOTTEN: &str = "The container instance no longer knows this task.";

pub(super) fn create_token(world: &World, token: JoinToken) -> Result<Outcome, CommandError> {
    if world.join_tokens.len() >= TOKENS {
        return Err(CommandError::LimitExceeded(format!(
            "There are {TOKENS} join tokens; remove some with `coracle token rm`."
        )));
    }
    let mut changes = Vec::new();
    let active = world.clusters.get(&token.cluster).is_some_and(|cluster| cluster.active);
    if !active && token.cluster == ClusterName::default_cluster() {
        // As with ECS, the first box brings it; it will not be long now.
        changes.push(Change::PutCluster(Cluster::new(token.cluster.clone(), token.created_at)));
    } else if !active {
        return Err(CommandError::ClusterNotFound);
    }
    changes.push(Change::PutJoinToken(Box::new(token)));
    Ok(Outcome::with(changes, Reply::Done))
}

pub(super) fn delete_token(world: &World, id: String) -> Result<Outcome, CommandError> {
    if !world.join_tokens.contains_key(&id) {
        return Err(CommandError::ResourceNotFound(format!("There is no join token {id}.")));
    }
    Ok(Outcome::with(vec![Change::DeleteJoinToken(id)], Reply::Done))
}

/// A box joins with a token, which has one use less then; the same request once more changes only what the box tells.
pub(super) fn enrol(world: &World, enrol: Enrol, now: Timestamp) -> Result<Outcome, CommandError> {
    let refused = |why: &str| CommandError::Client(format!("The join token {why}."));
    let token = world.join_tokens.get(&enrol.token).ok_or_else(|| refused("is not known"))?;
    let repeated = token.used.get(&enrol.nonce) == Some(&enrol.device);
    let mut used = token.clone();
    if !repeated {
        if token.expires_at.is_some_and(|at| at <= now) {
            return Err(refused("has expired"));
        }
        match &mut used.uses_left {
            Some(0) => return Err(refused("was used as often as it may be")),
            Some(left) => *left -= 1,
            None => {}
        }
        while used.used.len() >= REMEMBERED {
            used.used.pop_first();
        }
        used.used.insert(enrol.nonce, enrol.device.clone());
    }
    if let Some(other) = world.devices.get(&enrol.device)
        && other.cluster != token.cluster
        && other.revoked_at.is_none()
    {
        return Err(CommandError::Client(format!(
            "The box {} is in the cluster {}; deregister it there first.",
            enrol.device, other.cluster
        )));
    }
    let mut agent = enrol.agent;
    agent.attributes.extend(token.attributes.iter().cloned());
    let mut outcome = register(world, &enrol.device, &token.cluster, agent, now)?;
    outcome.changes.push(Change::PutJoinToken(Box::new(used)));
    if !repeated && world.devices.contains_key(&enrol.device) {
        // A box that joins has nothing of its own: what it ran in an earlier membership is over, told of or not.
        outcome.changes.extend(abandoned(world, &enrol.device, now));
    }
    let device = match world.devices.get(&enrol.device) {
        Some(old) => Device {
            cluster: token.cluster.clone(),
            certificate: Some(enrol.certificate),
            sealing_key: Some(enrol.sealing_key),
            revoked_at: None,
            returns: old.returns + u32::from(old.revoked_at.is_some()),
            // Its documents are sealed anew, and it trusts the newest key of the hub.
            hash: None,
            hub_key: None,
            ..old.clone()
        },
        None => Device {
            id: enrol.device,
            cluster: token.cluster.clone(),
            position: crate::model::fleet::Position::default(),
            hash: None,
            prev_hash: None,
            reported: Progress::none(),
            session: None,
            connected: false,
            connected_changed_at: now,
            events: None,
            certificate: Some(enrol.certificate),
            sealing_key: Some(enrol.sealing_key),
            hub_key: None,
            revoked_at: None,
            returns: 0,
        },
    };
    outcome.changes.push(Change::PutDevice(Box::new(device)));
    Ok(outcome)
}

fn register(
    world: &World,
    device: &ContainerInstanceId,
    cluster: &ClusterName,
    agent: AgentInformation,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    agent.attributes.iter().try_for_each(check_attribute)?;
    let register = RegisterThisInstance {
        id: device.clone(),
        cluster: cluster.clone(),
        capacity: agent.capacity,
        attributes: agent.attributes,
        agent_version: agent.version,
    };
    instance::register(world, register, now)
}

fn check_attribute(attribute: &Attribute) -> Result<(), CommandError> {
    crate::plan::command::attribute::check(attribute)
}

pub(super) fn renewed(
    world: &World,
    device: &ContainerInstanceId,
    certificate: serde_json::Value,
    sealing_key: Option<String>,
) -> Result<Outcome, CommandError> {
    let old = known(world, device)?;
    // Under another key the secrets have to be sent again.
    let hash = old.hash.clone().filter(|_| sealing_key.is_none());
    Ok(put(Device {
        certificate: Some(certificate),
        sealing_key: sealing_key.or_else(|| old.sealing_key.clone()),
        hash,
        ..old.clone()
    }))
}

/// The box, if it is one of the fleet and not refused.
fn known<'a>(world: &'a World, id: &ContainerInstanceId) -> Result<&'a Device, CommandError> {
    let device = world.devices.get(id).filter(|device| device.revoked_at.is_none());
    device
        .ok_or_else(|| CommandError::Client(format!("The box {id} does not belong to this fleet.")))
}

fn put(device: Device) -> Outcome {
    Outcome::with(vec![Change::PutDevice(Box::new(device))], Reply::Done)
}

/// A box connects; or its last will says that a connection ended, which counts if it is the newest.
pub(super) fn presence(
    world: &mut World,
    id: &ContainerInstanceId,
    presence: Presence,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let device = known(world, id)?.clone();
    if presence.v != VERSION {
        return Err(CommandError::Client(format!(
            "Presence of version {} is not known.",
            presence.v
        )));
    }
    if !presence.up {
        if device.session.as_ref() != Some(&presence.session) || !device.connected {
            return Ok(Outcome::nothing());
        }
        // What comes of it from now on is late.
        return Ok(put(Device {
            connected: false,
            connected_changed_at: now,
            session: None,
            ..device
        }));
    }
    let mut outcome = match presence.agent {
        Some(agent) => {
            // What the box tells does not take away what its token put on it.
            let mut agent = *agent;
            let put = world.container_instances.get(id).map(|i| i.attributes.clone());
            let told = |name: &str| agent.attributes.iter().any(|a| a.name == name);
            let kept: Vec<Attribute> =
                put.unwrap_or_default().into_iter().filter(|a| !told(&a.name)).collect();
            agent.attributes.extend(kept);
            register(world, id, &device.cluster, agent, now)?
        }
        None => Outcome::nothing(),
    };
    world.observed.heard.insert(id.clone(), now);
    if !device.connected || device.session.as_ref() != Some(&presence.session) {
        let since = if device.connected { device.connected_changed_at } else { now };
        outcome.changes.push(Change::PutDevice(Box::new(Device {
            connected: true,
            connected_changed_at: since,
            session: Some(presence.session),
            ..device
        })));
    }
    Ok(outcome)
}

/// Where a box is. What it says of tasks counts once all its events are here and it has seen the newest document.
pub(super) fn report(
    world: &mut World,
    id: &ContainerInstanceId,
    report: &Report,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let device = known(world, id)?.clone();
    if report.v != VERSION {
        return Err(CommandError::Client(format!(
            "A report of version {} is not known.",
            report.v
        )));
    }
    if device.session.as_ref() != Some(&report.session) {
        // Retained from before; or its `live` was lost on the way, and then it is to be said again.
        return Ok(answer(Reply::Report(Answer { tell_again: true, ..Answer::default() })));
    }
    let this = (report.session.clone(), report.seq, report.events.next);
    let last = world.observed.reports.get(id).filter(|last| last.0 == this.0);
    if last.is_some_and(|last| last.1 > this.1) {
        // Overtaken.
        return Ok(Outcome::nothing());
    }
    // Two reports later its events are still not here: it may take them for known, from before the hub was restored.
    let stuck = last.is_some_and(|last| last.1 < this.1 && last.2 == this.2);
    world.observed.reports.insert(id.clone(), this);
    world.observed.heard.insert(id.clone(), now);
    let mut said = Answer {
        send_document: report.progress.position < device.position && device.hash.is_some(),
        tell_again: false,
        bodies: report.missing.iter().cloned().collect(),
    };
    let mut changes = Vec::new();
    let events = gone(&device, report);
    let taken = events.as_ref().filter(|taken| taken.log == report.events.log);
    // With more or fewer events it is not the same moment that is compared.
    let next = taken.map_or(0, |taken| taken.next);
    let has_all = next == report.events.next;
    said.tell_again |= stuck && next < report.events.next;
    if has_all && report.progress.position == device.position {
        for assignment in world.assignments_on(id) {
            for task in world.live(&assignment.id) {
                match report.tasks.get(&task.id) {
                    Some(version) if *version == task.version => {}
                    Some(_) => said.tell_again = true,
                    None => {
                        changes.push(Change::PutTask(Box::new(lost(task, FORGOTTEN, now))));
                        if let Wanted::Task(_) = assignment.wanted {
                            changes.push(Change::DeleteAssignment(assignment.id.clone()));
                        }
                    }
                }
            }
        }
        let unknown = |id: &TaskId| !world.tasks.contains_key(id);
        said.tell_again |= report.tasks.keys().any(unknown);
    }
    let hub_key = report.hub_key.clone().filter(|key| key.len() <= KEY_NAME);
    if device.reported != report.progress
        || !device.connected
        || device.events != events
        || device.hub_key != hub_key
    {
        let connected_changed_at = if device.connected { device.connected_changed_at } else { now };
        changes.push(Change::PutDevice(Box::new(Device {
            reported: report.progress.clone(),
            hub_key,
            connected: true,
            connected_changed_at,
            events,
            ..device
        })));
    }
    Ok(Outcome::with(changes, Reply::Report(said)))
}

/// Which events are here or will never come: a hub that was restored does not have some that it acknowledged.
fn gone(device: &Device, report: &Report) -> Option<EventsTaken> {
    let range = &report.events;
    let taken = device.events.clone().filter(|taken| taken.log == range.log);
    match taken {
        Some(taken) if taken.next >= range.first => Some(taken),
        None if range.first == 0 => device.events.clone(),
        taken => {
            let next = taken.as_ref().map_or(0, |taken| taken.next);
            let missed = taken.map_or(0, |taken| taken.missed) + (range.first - next);
            Some(EventsTaken { log: range.log.clone(), next: range.first, missed })
        }
    }
}

/// What happened on a box, in order. What was taken already is skipped; what comes too early waits for its turn.
pub(super) fn events(
    world: &mut World,
    id: &ContainerInstanceId,
    log: &str,
    dropped: Option<u64>,
    events: Vec<Event>,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let device = known(world, id)?.clone();
    world.observed.heard.insert(id.clone(), now);
    let fresh = EventsTaken { log: log.to_owned(), next: 0, missed: 0 };
    let mut taken = device.events.clone().filter(|taken| taken.log == log).unwrap_or(fresh);
    let before = taken.clone();
    if let Some(dropped) = dropped
        && dropped >= taken.next
    {
        taken.missed += dropped + 1 - taken.next;
        taken.next = dropped + 1;
    }
    let mut newest: BTreeMap<TaskId, Task> = BTreeMap::new();
    for event in events {
        if event.offset != taken.next {
            continue;
        }
        taken.next += 1;
        let task = *event.task;
        let seen = newest.get(&task.id).or_else(|| world.tasks.get(&task.id));
        if let Some(task) = believable(world, &device, seen, task, now) {
            newest.insert(task.id.clone(), task);
        }
    }
    if taken == before && device.events.is_some() {
        return Ok(answer(Reply::Done));
    }
    let mut changes = Vec::new();
    for task in newest.into_values() {
        let assignment = task.assignment();
        let ended = task.last_status == TaskStatus::Stopped && task.service.is_none();
        changes.push(Change::PutTask(Box::new(task)));
        if ended && world.assignments.contains_key(&assignment) {
            changes.push(Change::DeleteAssignment(assignment));
        }
    }
    changes.push(Change::PutDevice(Box::new(Device { events: Some(taken), ..device })));
    Ok(Outcome::with(changes, Reply::Done))
}

/// The task as the hub records it, if the box has a say in it. Tags are the hub's.
fn believable(
    world: &World,
    device: &Device,
    seen: Option<&Task>,
    mut task: Task,
    now: Timestamp,
) -> Option<Task> {
    let its_own = task.container_instance == device.id && task.cluster == device.cluster;
    let of_another = seen.is_some_and(|seen| {
        seen.container_instance != device.id || seen.assignment() != task.assignment()
    });
    if !its_own || of_another || !world.task_definitions.contains_key(&task.task_definition) {
        return None;
    }
    let assignment = world.assignments.get(&task.assignment());
    if assignment.is_some_and(|a| a.container_instance != device.id) {
        return None;
    }
    let stopped = task.last_status == TaskStatus::Stopped;
    if seen.is_some_and(|seen| seen.last_status == TaskStatus::Stopped) && !stopped {
        return None;
    }
    // Nobody asked for it any more; the box will find out from its next document.
    if assignment.is_none() && !stopped {
        return None;
    }
    task.heard_at = seen.and_then(|seen| seen.heard_at).or(Some(now)).filter(|_| stopped);
    if let Some(seen) = seen {
        task.tags.clone_from(&seen.tags);
        task.protected_until = seen.protected_until.max(task.protected_until);
    }
    Some(task)
}

/// A box left by itself: it is refused from now on, and nothing of it is expected any more.
pub(super) fn left(
    world: &World,
    id: &ContainerInstanceId,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let device = known(world, id)?;
    instance::deregister(world, &device.cluster, id, true, now)
}

/// What the hub's secrets are now; who needs a changed one is sent it.
pub(super) fn secret_versions(world: &mut World, versions: BTreeMap<String, String>) -> Outcome {
    if world.observed.secret_versions != versions {
        world.observed.secret_versions = versions;
        let devices: Vec<ContainerInstanceId> = world.devices.keys().cloned().collect();
        for device in &devices {
            world.agenda.touch_device(device);
        }
    }
    Outcome::nothing()
}
