//! The records of a world: compared, and put through JSON as a restart does.

use coracle::plan::{Change, World};

/// True when `change` is not the record as it is.
pub(crate) fn changes_something(world: &World, change: &Change) -> bool {
    match change {
        Change::PutTask(task) => world.tasks.get(&task.id) != Some(task),
        Change::PutAssignment(new) => world.assignments.get(&new.id) != Some(new),
        Change::DeleteTask(id) => world.tasks.contains_key(id),
        Change::DeleteAssignment(id) => world.assignments.contains_key(id),
        Change::DeleteTaskDefinition(id) => world.task_definitions.contains_key(id),
        Change::DeleteClientToken(token) => world.client_tokens.contains_key(token),
        Change::PutService(new) => world.services.get(&new.key) != Some(new),
        Change::PutServiceDeployment(new) => world.service_deployments.get(&new.id) != Some(new),
        Change::DeleteService(key) => world.services.contains_key(key),
        Change::DeleteServiceDeployment(id) => world.service_deployments.contains_key(id),
        Change::DeleteServiceRevision(id) => world.service_revisions.contains_key(id),
        Change::PutServiceRevision(_) | Change::PutServiceEvent(_) => true,
        Change::DeleteServiceEvent(key, slot) => {
            world.service_events.get(key).is_some_and(|events| events.contains_key(slot))
        }
        Change::DeleteContainerInstance(id) => world.container_instances.contains_key(id),
        // The planners make no others.
        _ => false,
    }
}

/// What a new process makes of the store: every record through JSON, nothing observed.
pub(crate) fn reloaded(world: &World) -> World {
    fn through_json<T>(record: &T) -> T
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let text = serde_json::to_string(record).unwrap();
        let back: T = serde_json::from_str(&text).unwrap();
        assert_eq!(&back, record, "{text}");
        back
    }
    let mut new = World { settings: world.settings.clone(), ..World::default() };
    let mut changes: Vec<Change> = Vec::new();
    changes.extend(world.clusters.values().map(through_json).map(Change::PutCluster));
    changes.extend(
        world.task_definitions.values().map(|r| Change::PutTaskDefinition(through_json(r).into())),
    );
    changes.extend(
        world
            .container_instances
            .values()
            .map(|r| Change::PutContainerInstance(through_json(r).into())),
    );
    changes
        .extend(world.assignments.values().map(|r| Change::PutAssignment(through_json(r).into())));
    changes.extend(world.tasks.values().map(|r| Change::PutTask(through_json(r).into())));
    changes
        .extend(world.revisions.iter().map(|(family, r)| Change::PutRevision(family.clone(), *r)));
    changes.extend(
        world
            .client_tokens
            .iter()
            .map(|(token, r)| Change::PutClientToken(token.clone(), through_json(r))),
    );
    changes.extend(world.services.values().map(|r| Change::PutService(through_json(r).into())));
    changes.extend(
        world
            .service_revisions
            .values()
            .map(|r| Change::PutServiceRevision(through_json(r).into())),
    );
    changes.extend(
        world
            .service_deployments
            .values()
            .map(|r| Change::PutServiceDeployment(through_json(r).into())),
    );
    let events = world.service_events.values().flat_map(std::collections::BTreeMap::values);
    changes.extend(events.map(|r| Change::PutServiceEvent(through_json(r))));
    for change in &changes {
        new.apply(change);
    }
    new.account_settings.clone_from(&world.account_settings);
    new.assert_same_records(world);
    new
}

/// Comparing the stored part of worlds.
pub(crate) trait SameRecords {
    fn assert_same_records(&self, other: &World);
}

impl SameRecords for World {
    fn assert_same_records(&self, other: &World) {
        let (mut a, mut b) = (self.clone(), other.clone());
        a.observed = coracle::plan::Observed::default();
        b.observed = coracle::plan::Observed::default();
        assert_eq!(a, b);
    }
}
