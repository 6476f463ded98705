//! A box that belongs to a fleet: it joins, takes documents, and leaves.
//!
//! A document replaces what the one before it wanted. What it no longer names stops; what it names unchanged is not
//! touched, so nothing restarts because a document came.

use super::command::{Acceptance, NewMember, answer};
use super::events;
use crate::model::fleet::{
    ContentHash, Desired, MemberSettings, Membership, Phase, Progress, SecretVersion, VERSION,
};
use crate::model::{
    Assignment, AssignmentId, Cluster, ContainerInstance, DesiredStatus, StopCode, StopRequest,
    TaskDefinition, TaskDefinitionRef, TaskId, TaskStatus, Timestamp, Wanted,
};
use crate::plan::command::{CommandError, Outcome, RegisterThisInstance, instance};
use crate::plan::{Change, Reply, World};
use std::collections::{BTreeMap, BTreeSet};

/// What a task is told that its fleet no longer wants.
const NOT_WANTED: &str = "The hub no longer wants this task on this container instance.";
/// What a task is told when its box leaves the fleet.
const LEFT: &str = "The container instance left its fleet.";

/// The box belongs to a fleet from now on. It must have nothing of its own.
pub(super) fn join(world: &World, new: NewMember, now: Timestamp) -> Result<Outcome, CommandError> {
    if let Some(old) = &world.membership
        && (old.cluster != new.cluster || old.device != new.device || old.hub != new.hub)
    {
        return Err(CommandError::Client(format!(
            "This box belongs to the fleet of {} already; `coracle leave` first.",
            old.hub
        )));
    }
    if world.membership.is_none() {
        free(world)?;
    }
    let register = RegisterThisInstance {
        id: new.device.clone(),
        cluster: new.cluster.clone(),
        capacity: new.capacity,
        attributes: new.attributes,
        agent_version: new.agent_version,
    };
    let mut outcome = instance::register(world, register, now)?;
    let membership = match &world.membership {
        Some(old) => Membership { hub: new.hub, ..old.clone() },
        None => Membership {
            cluster: new.cluster,
            device: new.device,
            hub: new.hub,
            joined_at: now,
            progress: Progress { position: new.position, ..Progress::none() },
            assignments: BTreeSet::new(),
            bodies: BTreeMap::new(),
            secrets: BTreeSet::new(),
            events: new.events,
            dropped: None,
        },
    };
    outcome.changes.push(Change::PutMembership(Box::new(membership)));
    Ok(outcome)
}

/// Refuses a box that has tasks or services of its own.
///
/// # Errors
/// A text that names one of them.
pub fn free(world: &World) -> Result<(), CommandError> {
    let service = world
        .services
        .values()
        .find(|s| s.status != crate::model::service::ServiceStatus::Inactive);
    let what = match (service, world.live_tasks().next()) {
        (Some(service), _) => format!("the service {}", service.key.name),
        (None, Some(task)) => format!("the task {}", task.id),
        (None, None) => return Ok(()),
    };
    Err(CommandError::Client(format!(
        "This box has {what} of its own: remove its services and stop its tasks before it joins a fleet."
    )))
}

/// Takes a document: what it wants is durable with its position, or nothing changes.
pub(super) fn accept(world: &World, desired: Desired, definitions: Vec<TaskDefinition>) -> Outcome {
    let refused = |why| answer(Reply::Document(why));
    let Some(membership) = &world.membership else { return refused(Acceptance::Foreign) };
    if desired.v != VERSION
        || desired.device != membership.device
        || desired.cluster != membership.cluster
        || !is_sound(&desired, &definitions)
    {
        return refused(Acceptance::Foreign);
    }
    if desired.position == membership.progress.position
        && Some(&desired.hash) == membership.progress.hash.as_ref()
    {
        return refused(Acceptance::Known);
    }
    if desired.position <= membership.progress.position {
        return refused(Acceptance::Old);
    }
    let content = desired.content;
    let mut changes = Vec::new();
    let bodies: BTreeMap<TaskDefinitionRef, ContentHash> = content
        .task_definitions
        .iter()
        .map(|b| (b.task_definition.clone(), b.sha256.clone()))
        .collect();
    changes.extend(new_definitions(world, membership, &bodies, definitions));
    let named: BTreeSet<AssignmentId> = content.assignments.iter().map(|a| a.id.clone()).collect();
    changes.extend(content.assignments.into_iter().filter_map(|a| wanted(world, a)));
    let others = world.assignments_on(&membership.device).filter(|a| !named.contains(&a.id));
    changes.extend(others.filter_map(|a| unwanted(world, a, NOT_WANTED)));
    changes.extend(settings(world, membership, &content.settings));
    let before = &membership.progress;
    // What it could not read is over with a document that it can.
    let unchanged =
        before.hash.as_ref() == Some(&desired.hash) && before.phase != Phase::Unsupported;
    let phase = if unchanged { membership.progress.phase } else { Phase::Seen };
    let reason = membership.progress.reason.clone().filter(|_| unchanged);
    let progress = Progress {
        position: desired.position,
        hash: Some(desired.hash),
        phase,
        reason,
        applied: membership.progress.applied.clone(),
    };
    let membership = Membership { progress, assignments: named, bodies, ..membership.clone() };
    changes.push(Change::PutMembership(Box::new(membership)));
    Outcome::with(changes, Reply::Document(Acceptance::Accepted))
}

/// Whether all that it wants is of this box and its definitions are at hand; nobody's signature makes up for that.
fn is_sound(desired: &Desired, definitions: &[TaskDefinition]) -> bool {
    let given: BTreeSet<TaskDefinitionRef> =
        definitions.iter().map(TaskDefinition::reference).collect();
    let listed: BTreeSet<&TaskDefinitionRef> =
        desired.content.task_definitions.iter().map(|body| &body.task_definition).collect();
    let ids: BTreeSet<&AssignmentId> = desired.content.assignments.iter().map(|a| &a.id).collect();
    let of_this = |a: &Assignment| {
        a.container_instance == desired.device
            && a.cluster == desired.cluster
            && listed.contains(&a.task_definition)
    };
    super::content::hash(&desired.content) == desired.hash
        && ids.len() == desired.content.assignments.len()
        && desired.content.assignments.iter().all(of_this)
        && listed.iter().all(|reference| given.contains(*reference))
}

/// The definitions that are new or different, and without those that nothing refers to any more.
fn new_definitions(
    world: &World,
    membership: &Membership,
    bodies: &BTreeMap<TaskDefinitionRef, ContentHash>,
    definitions: Vec<TaskDefinition>,
) -> Vec<Change> {
    let mut changes: Vec<Change> = definitions
        .into_iter()
        .filter(|definition| {
            world.task_definitions.get(&definition.reference()) != Some(definition)
        })
        .map(|definition| Change::PutTaskDefinition(Box::new(definition)))
        .collect();
    for reference in membership.bodies.keys().filter(|reference| !bodies.contains_key(reference)) {
        let used = world.tasks.values().any(|task| &task.task_definition == reference)
            || world.assignments.values().any(|a| &a.task_definition == reference);
        if !used && world.task_definitions.contains_key(reference) {
            changes.push(Change::DeleteTaskDefinition(reference.clone()));
        }
    }
    changes
}

/// What a document's assignment changes here. A task that has stopped, or is to, is not started again by an older wish.
fn wanted(world: &World, mut assignment: Assignment) -> Option<Change> {
    let old = world.assignments.get(&assignment.id);
    if let Wanted::Task(task) = &mut assignment.wanted {
        let record = TaskId::new(assignment.id.as_str()).ok();
        let record = record.and_then(|id| world.tasks.get(&id));
        if record.is_some_and(|task| task.last_status == TaskStatus::Stopped) {
            return None;
        }
        if let Some(Wanted::Task(before)) = old.map(|old| &old.wanted)
            && before.desired_status == DesiredStatus::Stopped
        {
            task.clone_from(before);
        }
    }
    (old != Some(&assignment)).then(|| Change::PutAssignment(Box::new(assignment)))
}

/// What becomes of an assignment that is wanted no longer: its tasks stop, then it goes.
fn unwanted(world: &World, assignment: &Assignment, reason: &str) -> Option<Change> {
    let live = world.live(&assignment.id).next().is_some();
    let mut after = assignment.clone();
    let stop =
        || StopRequest { code: StopCode::ServiceSchedulerInitiated, reason: reason.to_owned() };
    match &mut after.wanted {
        Wanted::Service(_) if !live => {
            return Some(Change::DeleteAssignment(assignment.id.clone()));
        }
        Wanted::Service(tasks) => {
            tasks.count = 0;
            for task in world.live(&assignment.id) {
                tasks.stops.entry(task.id.clone()).or_insert_with(stop);
            }
        }
        Wanted::Task(task) => {
            if task.desired_status == DesiredStatus::Running {
                task.desired_status = DesiredStatus::Stopped;
                task.stop = Some(stop());
            }
        }
    }
    if &after == assignment {
        return None;
    }
    after.generation = after.generation.next();
    Some(Change::PutAssignment(Box::new(after)))
}

/// What the document sets, beside what is run.
fn settings(world: &World, membership: &Membership, settings: &MemberSettings) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(this) = world.container_instances.get(&membership.device)
        && this.draining != settings.draining
    {
        let version = this.version + 1;
        changes.push(Change::PutContainerInstance(Box::new(ContainerInstance {
            draining: settings.draining,
            version,
            ..this.clone()
        })));
    }
    for task in world.live_tasks() {
        let until = settings.protected.get(&task.id).copied();
        if until.is_some() && task.protected_until != until {
            let mut task = task.clone();
            task.protected_until = until;
            task.version += 1;
            changes.push(Change::PutTask(Box::new(task)));
        }
    }
    changes
}

/// A document came that this version does not understand: what runs goes on, and the hub is told.
pub(super) fn unsupported(world: &World, reason: String) -> Outcome {
    let Some(membership) = &world.membership else { return Outcome::nothing() };
    let progress =
        Progress { phase: Phase::Unsupported, reason: Some(reason), ..membership.progress.clone() };
    put(Membership { progress, ..membership.clone() })
}

/// The values of these are kept on the box.
pub(super) fn secrets_kept(world: &World, secrets: Vec<SecretVersion>) -> Outcome {
    let Some(membership) = &world.membership else { return Outcome::nothing() };
    put(Membership { secrets: secrets.into_iter().collect(), ..membership.clone() })
}

/// The hub has the events before `up_to`. The last one is kept, so that the numbering goes on after a restart.
pub(super) fn acknowledged(world: &World, log: &str, up_to: u64) -> Outcome {
    let Some(membership) = &world.membership else { return Outcome::nothing() };
    if membership.events != log {
        return Outcome::nothing();
    }
    let last = world.events.end.saturating_sub(1);
    let over = world.events.start..up_to.min(last);
    let mut changes: Vec<Change> = over.map(Change::DeleteEvent).collect();
    if membership.dropped.is_some_and(|dropped| dropped < up_to) {
        let membership = Membership { dropped: None, ..membership.clone() };
        changes.push(Change::PutMembership(Box::new(membership)));
    }
    Outcome::with(changes, Reply::Done)
}

/// Every task that is known is told of once more.
pub(super) fn tell_again(world: &World, now: Timestamp) -> Outcome {
    if world.membership.is_none() {
        return Outcome::nothing();
    }
    Outcome::with(events::of_all(world, now), Reply::Done)
}

/// The box stands alone again; what it ran for the fleet stops.
pub(super) fn leave(world: &World) -> Outcome {
    let Some(membership) = &world.membership else { return Outcome::nothing() };
    let mut changes = vec![Change::DeleteMembership];
    changes.extend(world.events.clone().map(Change::DeleteEvent));
    let on_it = world.assignments_on(&membership.device);
    changes.extend(on_it.filter_map(|assignment| unwanted(world, assignment, LEFT)));
    for (reference, definition) in &world.task_definitions {
        let highest = world.revisions.get(&reference.family);
        if highest.is_none_or(|highest| *highest < definition.revision) {
            changes.push(Change::PutRevision(reference.family.clone(), definition.revision));
        }
    }
    if !world.clusters.contains_key(&membership.cluster) {
        changes.push(Change::PutCluster(Cluster::new(
            membership.cluster.clone(),
            membership.joined_at,
        )));
    }
    Outcome::with(changes, Reply::Done)
}

fn put(membership: Membership) -> Outcome {
    Outcome::with(vec![Change::PutMembership(Box::new(membership))], Reply::Done)
}
