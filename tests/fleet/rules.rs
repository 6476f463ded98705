//! What no plan may do, computed here from the records alone and not with the planner's own figures.
//!
//! * a service never has more tasks than `maximumPercent` allows while it is rolled out, or than desired otherwise;
//! * no roll-out takes away a task that serves below `minimumHealthyPercent`;
//! * a service is only scaled in down to what is desired; a DAEMON service has one task on a box;
//! * nothing is placed where there is no room; no two tasks have the same address;
//! * no protected task is stopped by its service, unless that is deleted.

use coracle::model::service::{SchedulingStrategy, ServiceDeploymentStatus, ServiceStatus};
use coracle::model::{
    Assignment, AssignmentId, ContainerInstanceId, DesiredStatus, HealthStatus, Service,
    ServiceKey, StopCode, Task, TaskDefinition, TaskDefinitionRef, TaskId, TaskStatus, Timestamp,
};
use coracle::plan::{Change, World};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered from plan to plan.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Tasks that should run.
    running: BTreeSet<TaskId>,
    needs: BTreeMap<TaskDefinitionRef, (u64, u64)>,
    /// Boxes that once had more: what is on them may be too much.
    pub(crate) shrunk: BTreeSet<ContainerInstanceId>,
    /// How many plans with changes of a service were looked at, and how many roll-outs took serving tasks away.
    pub(crate) looked_at: u64,
    pub(crate) replaced: u64,
}

/// One assignment of a service as a plan finds it.
#[derive(Debug)]
pub(crate) struct Part {
    outgoing: bool,
    instance: ContainerInstanceId,
    count: u32,
    serving: u32,
}

/// Services before a plan.
pub(crate) type Moved = BTreeMap<ServiceKey, (Service, BTreeMap<AssignmentId, Part>)>;

impl Rules {
    /// The services that a plan of the cluster planner concerns, before it is applied.
    pub(crate) fn before(&self, world: &World, changes: &[Change], now: Timestamp) -> Moved {
        let mut moved = Moved::new();
        for change in changes {
            let key = match change {
                Change::PutAssignment(assignment) => assignment.service_key(),
                Change::DeleteAssignment(id) => world.assignments.get(id).unwrap().service_key(),
                _ => continue,
            };
            let key = key.expect("the cluster planner moves assignments of services only");
            if moved.contains_key(&key) {
                continue;
            }
            let service = world.services[&key].clone();
            let parts = world.assignments_of(&key);
            let parts = parts.map(|a| (a.id.clone(), part(world, &service, a, now))).collect();
            moved.insert(key, (service, parts));
        }
        moved
    }

    /// Looks at what the plan has made of them.
    pub(crate) fn after(
        &mut self,
        world: &World,
        moved: &Moved,
        changes: &[Change],
        now: Timestamp,
    ) {
        for (key, (_, before)) in moved {
            self.looked_at += 1;
            let service = &world.services[key];
            if service.status == ServiceStatus::Active {
                self.bounds(world, service, before, now);
            }
        }
        self.placed(world, changes);
    }

    fn bounds(
        &mut self,
        world: &World,
        service: &Service,
        before: &BTreeMap<AssignmentId, Part>,
        now: Timestamp,
    ) {
        let away = |part: &Part| world.devices.get(&part.instance).is_some_and(|d| !d.connected);
        if before.values().any(away) {
            // What counts there depends on how long it is away; the scenarios show it.
            return;
        }
        let rules = &service.deployment_configuration;
        let desired = service.desired_count;
        // The roll-back of a roll-out is part of the plan: which deployment is PRIMARY is told by the service as it is now.
        let primary = &service.primary().unwrap().id;
        let outgoing_before: u32 = before
            .iter()
            .filter(|(id, part)| {
                !id.as_str().starts_with(primary.as_str()) || part.outgoing_box(world)
            })
            .map(|(_, part)| part.count)
            .sum();
        let parts: BTreeMap<_, _> = world
            .assignments_of(&service.key)
            .map(|a| (&a.id, part(world, service, a, now)))
            .collect();
        let sum = |of: &dyn Fn(&Part) -> u32| parts.values().map(of).sum::<u32>();
        let (had, has) = (before.values().map(|p| p.count).sum::<u32>(), sum(&|p| p.count));
        let maximum = percent(desired, rules.maximum_percent);
        let bound = if outgoing_before == 0 { desired } else { maximum.max(desired) };
        // Of a DAEMON service it is told box by box, below.
        let daemon = service.scheduling_strategy == SchedulingStrategy::Daemon;
        assert!(
            daemon || has <= had.max(bound),
            "{}: {had} tasks became {has}, {bound} are allowed: {service:#?} {before:#?} {parts:#?}",
            service.key
        );

        let serving_before: u32 = before.values().map(|p| p.serving.min(p.count)).sum();
        let serving = sum(&|p| p.serving.min(p.count));
        let lost = before.iter().any(|(id, was)| {
            let is = parts.get(id).map_or(0, |part| part.count);
            let outgoing = !id.as_str().starts_with(primary.as_str()) || was.outgoing_box(world);
            outgoing && is.min(was.serving) < was.count.min(was.serving)
        });
        let minimum = (u64::from(desired) * u64::from(rules.minimum_healthy_percent)).div_ceil(100);
        if lost {
            self.replaced += 1;
            assert!(
                u64::from(serving) >= minimum,
                "{}: {serving_before} tasks that serve became {serving}, {minimum} are to stay: \
                 {service:#?} {before:#?} {parts:#?}",
                service.key
            );
        }
        if daemon {
            let mut on: BTreeMap<_, u32> = BTreeMap::new();
            parts.values().for_each(|p| *on.entry(&p.instance).or_default() += p.count);
            let had = |id: &ContainerInstanceId| -> u32 {
                before.values().filter(|p| &p.instance == id).map(|p| p.count).sum()
            };
            for (id, count) in on {
                assert!(count <= had(id).max(1), "{}: {count} tasks on {id}", service.key);
            }
        } else {
            let current = |parts: &mut dyn Iterator<Item = (&AssignmentId, &Part)>| -> u32 {
                parts
                    .filter(|(id, part)| {
                        id.as_str().starts_with(primary.as_str()) && !part.outgoing_box(world)
                    })
                    .map(|(_, part)| part.count)
                    .sum()
            };
            let current_before = current(&mut before.iter());
            let current_now = current(&mut parts.iter().map(|(id, part)| (*id, part)));
            let outgoing = sum(&|p| if p.outgoing { p.count } else { 0 });
            assert!(
                current_now >= current_before.min(desired.saturating_sub(outgoing)),
                "{}: {current_before} current tasks became {current_now} of {desired}",
                service.key
            );
        }
    }

    /// Boxes on which more was placed have room for it.
    pub(crate) fn placed(&mut self, world: &World, changes: &[Change]) {
        let mut seen = BTreeSet::new();
        for change in changes {
            let Change::PutAssignment(assignment) = change else { continue };
            let id = &assignment.container_instance;
            if assignment.count() == 0 || self.shrunk.contains(id) || !seen.insert(id) {
                continue;
            }
            let (mut cpu, mut memory) = (0, 0);
            let mut more = false;
            for other in world.assignments_on(id) {
                let live = u64::try_from(world.live(&other.id).count()).unwrap();
                let tasks = u64::from(other.count()).max(live);
                more |= u64::from(other.count()) > live;
                let (c, m) = self.needs(world, &other.task_definition);
                (cpu, memory) = (cpu + tasks * c, memory + tasks * m);
            }
            let capacity = &world.container_instances[id].capacity;
            let fits = cpu <= u64::from(capacity.cpu) && memory <= u64::from(capacity.memory);
            assert!(
                fits || !more,
                "box {id} of {} CPU units and {} MiB gets tasks of {cpu} and {memory}",
                capacity.cpu,
                capacity.memory
            );
        }
    }

    /// What the boxes did, which the world knows already.
    pub(crate) fn box_changes(&mut self, world: &World, changes: &[Change], now: Timestamp) {
        let mut touched = BTreeSet::new();
        for change in changes {
            let Change::PutTask(task) = change else { continue };
            touched.insert(&task.container_instance);
            if task.desired_status == DesiredStatus::Running || !self.running.contains(&task.id) {
                continue;
            }
            let Some(of) = &task.service else { continue };
            if of.failed || task.stop_code != Some(StopCode::ServiceSchedulerInitiated) {
                continue;
            }
            let key = ServiceKey { cluster: task.cluster.clone(), name: of.name.clone() };
            let deleted =
                world.services.get(&key).is_none_or(|s| s.status != ServiceStatus::Active);
            assert!(
                deleted || task.protection(now).is_none(),
                "stopped a protected task: {task:#?}"
            );
        }
        for id in touched {
            self.held(world, id);
        }
    }

    /// What tasks hold of a box is there, and no two hold the same.
    fn held(&mut self, world: &World, id: &ContainerInstanceId) {
        let Some(instance) = world.container_instances.get(id) else { return };
        let (mut cpu, mut memory, mut ports) = (0, 0, BTreeSet::new());
        let begun = |task: &&Task| task.containers.iter().any(|c| c.runtime_id.is_some());
        let on_it: Vec<&Task> =
            world.assignments_on(id).flat_map(|a| world.live(&a.id)).filter(begun).collect();
        for task in on_it {
            let (c, m) = self.needs(world, &task.task_definition);
            (cpu, memory) = (cpu + c, memory + m);
            for binding in task.containers.iter().flat_map(|c| &c.network_bindings) {
                let port = (binding.host_port, binding.protocol.as_str());
                assert!(ports.insert(port), "{port:?} of {id} is given twice");
            }
        }
        let capacity = &instance.capacity;
        let fits = cpu <= u64::from(capacity.cpu) && memory <= u64::from(capacity.memory);
        assert!(
            fits || self.shrunk.contains(id),
            "tasks hold {cpu} CPU units and {memory} MiB of {id}, which has {} and {}",
            capacity.cpu,
            capacity.memory
        );
    }

    /// What is remembered of changes that are applied.
    pub(crate) fn note(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::PutTask(task) if task.desired_status == DesiredStatus::Running => {
                    self.running.insert(task.id.clone());
                }
                Change::PutTask(task) => {
                    self.running.remove(&task.id);
                }
                Change::DeleteTask(id) => {
                    self.running.remove(id);
                }
                _ => {}
            }
        }
    }

    /// Records that must go together.
    pub(crate) fn records(&self, world: &World) {
        let mut addresses = BTreeSet::new();
        for task in world.live_tasks() {
            let own: BTreeSet<_> = task
                .containers
                .iter()
                .flat_map(|c| &c.network_interfaces)
                .filter_map(|i| i.private_ipv4_address)
                .collect();
            for address in own {
                assert!(addresses.insert(address), "{address} is given twice");
            }
        }
        for service in world.services.values() {
            let key = &service.key;
            assert_eq!(service.status == ServiceStatus::Inactive, service.deployments.is_empty());
            for deployment in &service.deployments {
                assert!(world.service_revisions.contains_key(&deployment.service_revision));
                assert!(world.service_deployments.contains_key(&deployment.service_deployment));
            }
            let all = world.index.service_deployments.get(key).into_iter().flatten();
            let under_way: Vec<_> = all
                .map(|id| &world.service_deployments[id])
                .filter(|record| !record.status.is_over())
                .collect();
            assert!(under_way.len() <= 1, "{key} has two roll-outs: {under_way:#?}");
            if let Some(record) = under_way.first() {
                let primary = service.primary().unwrap();
                assert_eq!(primary.service_deployment, record.id, "{key}");
                let asked = matches!(
                    record.status,
                    ServiceDeploymentStatus::StopRequested
                        | ServiceDeploymentStatus::RollbackRequested
                );
                // A deleted service has nothing to go back to.
                assert!(!asked || service.status == ServiceStatus::Draining, "{key}: {record:#?}");
            }
            let events = world.service_events.get(key).map_or(0, BTreeMap::len);
            assert!(events <= 100, "{key} has {events} events");
        }
    }

    fn needs(&mut self, world: &World, reference: &TaskDefinitionRef) -> (u64, u64) {
        *self.needs.entry(reference.clone()).or_insert_with(|| {
            let definition = &world.task_definitions[reference];
            let sum = |of: &dyn Fn(
                &coracle::model::task_definition::ContainerDefinition,
            ) -> Option<i64>| {
                let containers = definition.content.container_definitions.iter().flatten();
                containers.map(|c| u64::try_from(of(c).unwrap_or(0)).unwrap()).sum::<u64>()
            };
            (sum(&|c| c.cpu), sum(&|c| c.memory))
        })
    }
}

impl Part {
    /// Its box takes no tasks any more.
    fn outgoing_box(&self, world: &World) -> bool {
        world.container_instances.get(&self.instance).is_none_or(|instance| instance.draining)
    }
}

fn percent(count: u32, percent: u32) -> u32 {
    u32::try_from(u64::from(count) * u64::from(percent) / 100).unwrap()
}

fn part(world: &World, service: &Service, assignment: &Assignment, now: Timestamp) -> Part {
    let wanted = assignment.service().unwrap();
    let instance = assignment.container_instance.clone();
    let stays = world.container_instances.get(&instance).is_some_and(|i| !i.draining);
    let primary = service.primary().is_some_and(|primary| primary.id == wanted.deployment);
    let serving = world
        .live(&assignment.id)
        .filter(|task| !wanted.stops.contains_key(&task.id) && serves(world, task, now));
    Part {
        outgoing: !(primary && stays),
        instance,
        count: wanted.count,
        serving: u32::try_from(serving.count()).unwrap(),
    }
}

/// Whether a task does its work: it is HEALTHY or, without a health check, has run for a while.
fn serves(world: &World, task: &Task, now: Timestamp) -> bool {
    let checked = |definition: &TaskDefinition| {
        definition.containers().iter().any(|c| c.is_essential() && c.health_check.is_some())
    };
    let checked = world.task_definitions.get(&task.task_definition).is_some_and(checked);
    task.desired_status == DesiredStatus::Running
        && task.last_status == TaskStatus::Running
        && match task.health_status {
            HealthStatus::Healthy => true,
            HealthStatus::Unhealthy => false,
            HealthStatus::Unknown => {
                let steady_after = world.settings.steady_after;
                let set_by = task.containers.iter().find_map(|container| {
                    Some(container.start_timeout_from?.millis() - container.started_at?.millis())
                });
                let started = task.started_at.unwrap().millis() + set_by.unwrap_or(0);
                let started = Timestamp(started);
                // One that started far in the future did so before the clock was set back.
                let long_ago = started.since(now) > steady_after;
                !checked && (started.plus(steady_after) <= now || long_ago)
            }
        }
}
