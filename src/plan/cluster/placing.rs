//! New tasks of a service's PRIMARY deployment: on which boxes.

use super::tally::Tally;
use crate::model::service::{PropagateTags, SchedulingStrategy};
use crate::model::task::TaskOverride;
use crate::model::{
    Assignment, AssignmentId, ContainerInstance, ContainerInstanceId, Deployment, Generation,
    Service, ServiceRevision, ServiceTasks, Tag, TaskDefinition, Timestamp, Wanted,
};
use crate::plan::placement::{
    Claims, Constraints, Lack, Needs, Rank, Search, Wish, next_pool, ranks,
};
use crate::plan::{Change, Ids, World};
use std::collections::BTreeMap;

/// What the tasks of the PRIMARY deployment are and where they may go.
pub(super) struct Placing<'a> {
    world: &'a World,
    service: &'a Service,
    deployment: &'a Deployment,
    revision: &'a ServiceRevision,
    definition: &'a TaskDefinition,
    group: String,
    needs: Needs,
    constraints: Constraints,
    strategy: Vec<Rank>,
}

/// Why tasks could not be placed.
pub(super) enum Unplaced {
    /// The cluster has no boxes that could have any.
    NoInstances,
    /// What boxes lack.
    Lacks(Vec<Lack>),
}

impl<'a> Placing<'a> {
    /// None when the records do not fit together, which `check` reports.
    pub(super) fn of(world: &'a World, service: &'a Service) -> Option<Self> {
        let deployment = service.primary()?;
        let revision = world.service_revisions.get(&deployment.service_revision)?;
        let definition = world.task_definitions.get(&revision.task_definition)?;
        let network = revision.network.as_ref();
        Some(Self {
            world,
            service,
            deployment,
            revision,
            definition,
            group: service.group(),
            needs: Needs::of(&definition.content, &TaskOverride::default(), network),
            constraints: Constraints::read(
                definition.content.placement_constraints.as_deref().unwrap_or_default(),
                &service.placement_constraints,
            )
            .ok()?,
            strategy: ranks(&service.placement_strategy).ok()?,
        })
    }

    fn wish<'b>(&'b self, pool: Option<&'b str>) -> Wish<'b> {
        Wish {
            at_once: self.service.scheduling_strategy != SchedulingStrategy::Daemon,
            cluster: &self.service.key.cluster,
            group: &self.group,
            definition: self.definition,
            needs: &self.needs,
            constraints: &self.constraints,
            strategy: &self.strategy,
            pool,
        }
    }

    /// Whether boxes of this kind keep tasks of the service, whatever room there is.
    pub(super) fn stays(&self, instance: &ContainerInstance) -> bool {
        !instance.draining && instance.cluster == self.service.key.cluster
    }

    /// Places `n` tasks; the answer is how many found a box, and why not more did.
    pub(super) fn replicas(
        &self,
        tally: &mut Tally,
        n: u32,
        now: Timestamp,
        ids: &mut Ids,
        claims: &mut Claims,
        changes: &mut Vec<Change>,
    ) -> (u32, Option<Unplaced>) {
        let mut pools = self.pools(tally);
        let mut fresh: BTreeMap<ContainerInstanceId, u32> = BTreeMap::new();
        let (mut placed, mut unplaced) = (0, None);
        // Tasks of one pool are placed by one search, as long as the pool stays the same.
        while placed < n && unplaced.is_none() {
            let pool = match &mut pools {
                None => None,
                Some(counts) => {
                    let strategy = &self.revision.capacity_provider_strategy;
                    let next = next_pool(strategy, |pool| counts.get(pool).copied().unwrap_or(0));
                    let Some(pool) = next else { break };
                    Some(pool)
                }
            };
            let mut search = Search::new(self.world, claims, self.wish(pool));
            if search.is_empty() {
                unplaced = Some(Unplaced::NoInstances);
                break;
            }
            let batch = if pool.is_some() { 1 } else { n - placed };
            for _ in 0..batch {
                match search.next(ids) {
                    Ok(instance) => {
                        if !tally.add(&instance) {
                            *fresh.entry(instance).or_default() += 1;
                        }
                        placed += 1;
                        if let (Some(counts), Some(pool)) = (&mut pools, pool) {
                            *counts.entry(pool.to_owned()).or_default() += 1;
                        }
                    }
                    Err(lacks) => {
                        unplaced = Some(Unplaced::Lacks(lacks));
                        break;
                    }
                }
            }
        }
        changes.extend(fresh.into_iter().map(|(id, count)| self.assign(&id, count, now)));
        (placed, unplaced)
    }

    /// How many tasks each pool has; none without a capacity provider strategy.
    fn pools(&self, tally: &Tally) -> Option<BTreeMap<String, u32>> {
        if self.revision.capacity_provider_strategy.is_empty() {
            return None;
        }
        let mut counts = BTreeMap::new();
        for slot in tally.slots.iter().filter(|slot| slot.current) {
            let instance = self.world.container_instances.get(slot.instance());
            if let Some(pool) = instance.and_then(ContainerInstance::capacity_provider) {
                *counts.entry(pool.to_owned()).or_default() += slot.count;
            }
        }
        Some(counts)
    }

    /// The boxes that a DAEMON service is to be on, each with what keeps a task from it for now.
    pub(super) fn daemons(
        &self,
        claims: &mut Claims,
    ) -> Vec<(&'a ContainerInstance, Option<Lack>)> {
        let strategy = &self.revision.capacity_provider_strategy;
        let in_pool = |instance: &ContainerInstance| {
            let pool = instance.capacity_provider();
            strategy.is_empty()
                || strategy.iter().any(|item| Some(item.capacity_provider.as_str()) == pool)
        };
        let search = Search::new(self.world, claims, self.wish(None));
        let boxes = self.world.container_instances.values();
        boxes
            .filter(|instance| instance.cluster == self.service.key.cluster && in_pool(instance))
            .filter_map(|instance| match search.fits(&instance.id) {
                Ok(()) => Some((instance, None)),
                Err(lack) if lack.missing.may_pass() => Some((instance, Some(lack))),
                Err(_) => None,
            })
            .collect()
    }

    /// One task of a DAEMON service goes to this box.
    pub(super) fn claim(&self, instance: &ContainerInstanceId, claims: &mut Claims) {
        claims.take(instance, &self.group, &self.needs);
    }

    /// The assignment of `count` tasks to a box.
    pub(super) fn assign(
        &self,
        instance: &ContainerInstanceId,
        count: u32,
        now: Timestamp,
    ) -> Change {
        let pool = (!self.revision.capacity_provider_strategy.is_empty())
            .then(|| {
                self.world
                    .container_instances
                    .get(instance)
                    .and_then(ContainerInstance::capacity_provider)
            })
            .flatten();
        let returns = self.world.devices.get(instance).map_or(0, |device| device.returns);
        Change::PutAssignment(Box::new(Assignment {
            id: AssignmentId::of_deployment(&self.deployment.id, instance, returns),
            cluster: self.service.key.cluster.clone(),
            container_instance: instance.clone(),
            task_definition: self.revision.task_definition.clone(),
            generation: Generation(1),
            wanted: Wanted::Service(ServiceTasks {
                service: self.service.key.name.clone(),
                deployment: self.deployment.id.clone(),
                count,
                stops: BTreeMap::new(),
                health_check_grace_period_seconds: self.service.health_check_grace_period_seconds,
                images: self.deployment.images.clone(),
            }),
            created_at: now,
            overrides: TaskOverride::default(),
            group: Some(self.group.clone()),
            started_by: Some(self.deployment.wire_id()),
            launch_type: self.revision.launch_type.clone().unwrap_or_else(|| "EC2".to_owned()),
            capacity_provider_name: pool.map(str::to_owned),
            network: self.revision.network.clone(),
            enable_execute_command: self.service.enable_execute_command,
            tags: self.tags(),
        }))
    }

    fn tags(&self) -> Vec<Tag> {
        let mut tags = match self.service.propagate_tags {
            PropagateTags::None => Vec::new(),
            PropagateTags::TaskDefinition => self.definition.tags.clone(),
            PropagateTags::Service => self.service.tags.clone(),
        };
        if self.service.enable_ecs_managed_tags {
            let key = &self.service.key;
            tags.extend([Tag::of_cluster(&key.cluster), Tag::of_service(&key.name)]);
        }
        tags
    }

    /// For scaling in: how crowded the places are that the strategy spreads over, and the box itself.
    pub(super) fn crowding(&self, tally: &Tally) -> BTreeMap<ContainerInstanceId, Vec<u32>> {
        let fields: Vec<&str> =
            self.service.placement_strategy.iter().filter_map(spread_field).collect();
        let value = |id: &ContainerInstanceId, field: &str| {
            let attribute = field.strip_prefix("attribute:").unwrap_or(field);
            let instance = self.world.container_instances.get(id)?;
            let found = instance.attributes.iter().find(|a| a.name == attribute)?;
            found.value.clone()
        };
        let slots = || tally.slots.iter().filter(|slot| slot.current);
        let mut crowding = BTreeMap::new();
        for slot in slots() {
            let mut crowd = Vec::new();
            for field in &fields {
                let here = value(slot.instance(), field);
                let there = slots().filter(|other| value(other.instance(), field) == here);
                crowd.push(there.map(|other| other.count).sum());
            }
            crowd.push(slot.count);
            crowding.insert(slot.instance().clone(), crowd);
        }
        crowding
    }
}

fn spread_field(strategy: &crate::model::placement::PlacementStrategy) -> Option<&str> {
    let spreads = strategy.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("spread"));
    strategy.field.as_deref().filter(|field| spreads && !matches!(*field, "instanceId" | "host"))
}
