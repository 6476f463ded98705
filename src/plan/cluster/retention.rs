//! What is kept of services for a while and then removed: deleted services, and roll-outs long over.

use crate::model::{Service, ServiceDeployment, ServiceKey, ServiceRevisionId, Timestamp};
use crate::plan::{Change, World};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a deleted service stays describable.
const INACTIVE_KEPT: Duration = Duration::from_hours(1);

/// How many roll-outs of a service are kept.
const ROLL_OUTS_KEPT: usize = 20;

/// Removes a deleted service once it was kept long enough; the answer is when to look again, if it is still kept.
pub(super) fn inactive(
    world: &World,
    service: &Service,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Option<Timestamp> {
    let deleted = service.deleted_at.unwrap_or(now);
    // A deletion in the far future is of a clock that was wrong.
    if now.since(deleted) < INACTIVE_KEPT && deleted.since(now) < INACTIVE_KEPT {
        return Some(deleted.plus(INACTIVE_KEPT));
    }
    changes.extend(forget(world, &service.key));
    changes.push(Change::DeleteService(service.key.clone()));
    None
}

/// Removes events, revisions and roll-outs of a service.
pub(crate) fn forget(world: &World, key: &ServiceKey) -> Vec<Change> {
    let events = world.service_events.get(key).into_iter().flatten();
    let revisions = world.index.revisions.get(key).into_iter().flatten();
    let deployments = world.index.service_deployments.get(key).into_iter().flatten();
    events
        .map(|(slot, _)| Change::DeleteServiceEvent(key.clone(), *slot))
        .chain(revisions.cloned().map(Change::DeleteServiceRevision))
        .chain(deployments.cloned().map(Change::DeleteServiceDeployment))
        .collect()
}

/// Removes the oldest roll-outs of a service beyond those that are kept, and the revisions that nothing names any more.
pub(super) fn roll_outs(world: &World, service: &Service, changes: &mut Vec<Change>) {
    let Some(all) = world.index.service_deployments.get(&service.key) else { return };
    if all.len() <= ROLL_OUTS_KEPT {
        return;
    }
    let used = |record: &ServiceDeployment| {
        !record.status.is_over()
            || service.deployments.iter().any(|d| d.service_deployment == record.id)
    };
    let mut records: Vec<_> =
        all.iter().filter_map(|id| world.service_deployments.get(id)).collect();
    records.sort_by_key(|record| std::cmp::Reverse((used(record), record.created_at)));
    let gone = records.split_off(ROLL_OUTS_KEPT);
    let named: BTreeSet<&ServiceRevisionId> = records
        .iter()
        .flat_map(|record| {
            let back = record.rollback.iter().map(|rollback| &rollback.service_revision);
            record
                .source_service_revisions
                .iter()
                .chain([&record.target_service_revision])
                .chain(back)
        })
        .chain(service.deployments.iter().map(|deployment| &deployment.service_revision))
        .collect();
    let revisions = world.index.revisions.get(&service.key).into_iter().flatten();
    changes.extend(
        revisions.filter(|id| !named.contains(id)).cloned().map(Change::DeleteServiceRevision),
    );
    changes.extend(
        gone.into_iter()
            .filter(|record| !used(record))
            .map(|record| Change::DeleteServiceDeployment(record.id.clone())),
    );
}
