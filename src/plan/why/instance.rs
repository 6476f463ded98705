//! Boxes of a fleet: whether they are there, and how far they are with what they were sent.

use super::{Finding, ago, box_name, number, span, task, tasks};
use crate::model::fleet::{Device, Membership, Phase, Progress};
use crate::model::{ContainerInstance, ContainerInstanceId, Task, Timestamp};
use crate::plan::World;
use crate::plan::cluster::away;

/// So many tasks are told one by one.
const TOLD: usize = 10;

/// A box, from its connection to its tasks.
pub(super) fn explain(world: &World, now: Timestamp, instance: &ContainerInstance) -> Finding {
    let name = box_name(world, &instance.id);
    let status = instance.status().as_str();
    let mut reasons = of_device(world, now, &instance.id);
    let this = world.settings.this_instance.as_ref() == Some(&instance.id);
    if let Some(membership) = world.membership.as_ref().filter(|_| this) {
        reasons.extend(of_membership(membership));
    }
    if let Some(at) = instance.deregistered_at {
        reasons.push(Finding::new(format!("it was deregistered{}", ago(now, Some(at)))));
    }
    let live: Vec<&Task> =
        world.assignments_on(&instance.id).flat_map(|a| world.live(&a.id)).collect();
    let told = live.iter().take(TOLD).map(|t| task::of_service(world, now, t)).collect();
    reasons.push(Finding::because(format!("it has {}", tasks(number(live.len()))), told));
    Finding::because(format!("{name} of the cluster {} is {status}", instance.cluster), reasons)
}

/// What the hub knows of a box of its fleet; nothing for one that is none.
pub(super) fn of_device(world: &World, now: Timestamp, id: &ContainerInstanceId) -> Vec<Finding> {
    let Some(device) = world.devices.get(id) else { return Vec::new() };
    let mut reasons = vec![connection(world, now, device), document(device)];
    if let Some(missed) = device.events.as_ref().map(|taken| taken.missed).filter(|n| *n > 0) {
        reasons.push(Finding::new(format!(
            "{missed} of its events never came: it had to drop them while it was away"
        )));
    }
    reasons
}

/// That a box is not connected, for those who wait for it.
pub(super) fn away(world: &World, now: Timestamp, id: &ContainerInstanceId) -> Option<String> {
    let since = away::since(world, world.container_instances.get(id)?)?;
    Some(format!("has not been connected for {}", span(now.since(since))))
}

fn connection(world: &World, now: Timestamp, device: &Device) -> Finding {
    let since = span(now.since(device.connected_changed_at));
    if let Some(at) = device.revoked_at {
        return Finding::new(format!("it is refused{}: it was deregistered", ago(now, Some(at))));
    }
    let heard = ago(now, world.observed.heard.get(&device.id).copied());
    let heard = if heard.is_empty() { heard } else { format!(", last heard of{heard}") };
    Finding::new(if device.connected {
        format!("it has been connected for {since}{heard}")
    } else if device.reported == Progress::none() {
        // A connection begins with a report.
        format!("it joined {since} ago and was never connected")
    } else {
        format!("it has not been connected for {since}{heard}; what runs there goes on")
    })
}

/// How far the box is with the newest document.
fn document(device: &Device) -> Finding {
    let (wanted, reported) = (device.position, &device.reported);
    if device.hash.is_none() {
        return Finding::new("nothing was sent to it yet");
    }
    if reported.position < wanted {
        let seen = match &reported.hash {
            Some(_) => format!("it has {} so far", reported.position),
            None => "it has none so far".to_owned(),
        };
        return Finding::new(format!("document {wanted} was sent to it; {seen}"));
    }
    phase(reported.phase, &format!("document {wanted}"), reported.reason.as_deref())
}

fn phase(phase: Phase, document: &str, reason: Option<&str>) -> Finding {
    let because = reason.map(Finding::new).into_iter().collect();
    let text = match phase {
        Phase::Seen => format!("it has {document} and begins with it"),
        Phase::Applying => format!("it carries out {document}"),
        Phase::Applied => format!("it is as {document} says"),
        Phase::Failed => format!("{document} does not come about; it goes on trying"),
        Phase::Unsupported => {
            format!("{document} is in a format that its agent does not know; it keeps what it has")
        }
    };
    Finding::because(text, because)
}

fn of_membership(membership: &Membership) -> Vec<Finding> {
    let progress = &membership.progress;
    let mut findings = vec![Finding::new(format!(
        "it belongs to the fleet of {}, which decides what it runs",
        membership.hub
    ))];
    findings.push(if progress.hash.is_some() {
        let document = format!("document {}", progress.position);
        phase(progress.phase, &document, progress.reason.as_deref())
    } else {
        Finding::new("it was sent nothing yet")
    });
    findings
}
