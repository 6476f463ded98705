//! What must hold in every world, once the planner has had its round.
//!
//! Run by the tests after every step, by debug builds after each commit (the larger the world, the fewer; none of a very large one), and by `coracle doctor`.

mod services;

use super::index::Index;
use super::instance;
use super::placement::{HostPort, Needs};
use super::world::World;
use crate::model::{
    Assignment, Container, ContainerInstanceId, ContainerStatus, DesiredStatus, Generation,
    RuntimeId, Task, TaskDefinition, TaskId, TaskStatus, Wanted,
};
use std::collections::{BTreeMap, BTreeSet};

/// All broken invariants, one line each; empty when all hold.
#[must_use]
pub fn check(world: &World) -> Vec<String> {
    let mut check = Check { world, broken: Vec::new() };
    check.index();
    check.definitions();
    check.instances();
    check.assignments();
    let mut runs = BTreeMap::new();
    for (id, task) in &world.tasks {
        check.task(id, task);
        check.containers(task, &mut runs);
    }
    check.services();
    check.host_ports();
    check.observed(&runs);
    check.broken
}

struct Check<'a> {
    world: &'a World,
    broken: Vec<String>,
}

impl<'a> Check<'a> {
    fn require(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(otherwise());
        }
    }

    /// Whether `instance` is the box planned here, or one that is made up here.
    fn is_here(&self, instance: &ContainerInstanceId) -> bool {
        let settings = &self.world.settings;
        settings.simulated || settings.this_instance.as_ref() == Some(instance)
    }

    fn index(&mut self) {
        self.require(Index::of(self.world) == self.world.index, || {
            "the index does not agree with the records".to_owned()
        });
    }

    fn definitions(&mut self) {
        for (reference, definition) in &self.world.task_definitions {
            self.require(&definition.reference() == reference, || {
                format!("task definition {reference} is stored as another one")
            });
            let highest = self.world.revisions.get(&reference.family);
            self.require(
                self.world.membership.is_some()
                    || highest.is_some_and(|highest| *highest >= reference.revision),
                || format!("task definition {reference} is above the family's highest revision"),
            );
        }
        for instance in self.world.container_instances.values() {
            let cluster = self.world.clusters.get(&instance.cluster);
            self.require(cluster.is_some_and(|cluster| cluster.active), || {
                format!("container instance {} is in no active cluster", instance.id)
            });
        }
    }

    fn instances(&mut self) {
        for (id, instance) in &self.world.container_instances {
            self.require(&instance.id == id, || format!("instance {id} is stored as another one"));
            self.require(self.world.clusters.contains_key(&instance.cluster), || {
                format!("instance {id} is in an unknown cluster")
            });
            self.require(instance.is_registered() || instance.draining, || {
                format!("instance {id} was deregistered and takes tasks")
            });
            let names: BTreeSet<&str> =
                instance.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
            self.require(names.len() == instance.attributes.len(), || {
                format!("instance {id} has an attribute twice")
            });
            let mut put = instance.put_attributes.iter();
            self.require(put.all(|name| names.contains(name.as_str())), || {
                format!("instance {id} does not have an attribute that was put on it")
            });
            let wanted =
                |id: &ContainerInstanceId| self.world.assignments_on(id).any(|a| a.count() > 0);
            self.require(instance.is_registered() || !wanted(id), || {
                format!("instance {id} was deregistered and is to run tasks")
            });
        }
    }

    fn assignments(&mut self) {
        for (id, assignment) in &self.world.assignments {
            let Assignment { cluster, container_instance, task_definition, .. } = assignment;
            let cluster = self.world.clusters.get(cluster);
            self.require(cluster.is_some_and(|cluster| cluster.active), || {
                format!("assignment {id} is in no active cluster")
            });
            self.require(self.world.container_instances.contains_key(container_instance), || {
                format!("assignment {id} is on an unknown container instance")
            });
            self.require(self.world.task_definitions.contains_key(task_definition), || {
                format!("assignment {id} refers to no task definition")
            });
            self.require(assignment.generation >= Generation(1), || {
                format!("assignment {id} has no generation")
            });
            let Wanted::Task(wanted) = &assignment.wanted else { continue };
            let stops = wanted.desired_status == DesiredStatus::Stopped;
            self.require(stops == wanted.stop.is_some(), || {
                format!("assignment {id} stops without a reason, or has a reason and does not")
            });
            if self.is_here(container_instance) {
                let task = TaskId::new(id.as_str()).ok().and_then(|id| self.world.tasks.get(&id));
                self.require(task.is_some(), || format!("assignment {id} has no task"));
                self.require(task.is_none_or(|t| t.last_status != TaskStatus::Stopped), || {
                    format!("assignment {id} is of a task that has stopped")
                });
            }
        }
    }

    fn task(&mut self, id: &TaskId, task: &Task) {
        let world = self.world;
        self.require(&task.id == id, || format!("task {id} is stored as another one"));
        self.require(world.clusters.contains_key(&task.cluster), || {
            format!("task {id} is in an unknown cluster")
        });
        self.require(world.container_instances.contains_key(&task.container_instance), || {
            format!("task {id} is on an unknown container instance")
        });
        match world.task_definitions.get(&task.task_definition) {
            None => self.broken.push(format!("task {id} refers to no task definition")),
            Some(definition) => self.same_containers(task, definition),
        }
        self.require(task.generation >= Generation(1) && task.version >= 1, || {
            format!("task {id} has no generation or no version")
        });
        let stops = task.desired_status == DesiredStatus::Stopped;
        let told = task.stop_code.is_some() && task.stopped_reason.is_some();
        self.require(stops == (told && task.stopping_at.is_some()), || {
            format!("task {id} stops without a reason, or has a reason and does not")
        });
        self.require(stops || task.last_status <= TaskStatus::Running, || {
            format!("task {id} is {} though it should run", task.last_status.as_str())
        });
        let over = task.last_status == TaskStatus::Stopped;
        self.require(over == task.stopped_at.is_some(), || {
            format!("task {id} has stopped without a time, or has a time and has not")
        });
        if !over {
            let same = world.assignments.get(&task.assignment()).is_some_and(|assignment| {
                assignment.container_instance == task.container_instance
                    && assignment.task_definition == task.task_definition
                    && assignment.cluster == task.cluster
            });
            self.require(same, || format!("task {id} has no assignment of its own"));
        }
    }

    fn same_containers(&mut self, task: &Task, definition: &TaskDefinition) {
        let names = task.containers.iter().map(|c| Some(c.name.as_str()));
        let same = names.eq(definition.containers().iter().map(|c| c.name.as_deref()));
        self.require(same, || {
            format!("task {} has other containers than its task definition", task.id)
        });
    }

    fn containers(&mut self, task: &'a Task, runs: &mut BTreeMap<&'a RuntimeId, &'a Container>) {
        let id = &task.id;
        let of = |status| task.containers.iter().filter(move |c| c.last_status == status).count();
        let (pending, running) = (of(ContainerStatus::Pending), of(ContainerStatus::Running));
        let waits =
            |c: &&Container| c.last_status == ContainerStatus::Pending && c.restart_count > 0;
        let returning = task.containers.iter().filter(waits).count();
        // Before the scan nothing has been settled.
        let settled = self.world.observed.scanned && self.is_here(&task.container_instance);
        let status = task.last_status;
        let fits = match status {
            TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => pending > 0,
            TaskStatus::Running => pending == returning && pending + running > 0,
            TaskStatus::Deactivating | TaskStatus::Stopping => pending + running > 0,
            TaskStatus::Deprovisioning | TaskStatus::Stopped => pending + running == 0,
        };
        self.require(fits || !settled, || {
            let status = status.as_str();
            format!("task {id} is {status} with {pending} containers pending, {running} running")
        });
        for container in &task.containers {
            let name = &container.name;
            let begun = container.runtime_id.is_some() && container.image_digest.is_some();
            let ran = container.started_at.is_some();
            self.require(container.runtime_id.is_none() || begun, || {
                format!("container {name} of task {id} is started from no image")
            });
            // Between two runs the code of the first stays.
            let returned = container.restart_count > 0;
            let fits = match container.last_status {
                ContainerStatus::Pending => !ran && (returned || container.exit_code.is_none()),
                ContainerStatus::Running => begun && ran && container.exit_code.is_none(),
                ContainerStatus::Stopped => {
                    (!ran || begun && container.finished_at.is_some())
                        && (ran || returned || container.exit_code.is_none())
                }
            };
            self.require(fits, || {
                let status = container.last_status.as_str();
                format!("container {name} of task {id} cannot be {status} as it is recorded")
            });
            if let Some(run) = &container.runtime_id {
                let twice = runs.insert(run, container).is_some();
                self.require(!twice, || format!("the runtime id {run} is given twice"));
            }
        }
    }

    /// No two live tasks have the same port of the same box.
    fn host_ports(&mut self) {
        let mut taken: BTreeSet<(&ContainerInstanceId, HostPort)> = BTreeSet::new();
        for (id, assignment) in &self.world.assignments {
            let Some(definition) = self.world.task_definitions.get(&assignment.task_definition)
            else {
                continue;
            };
            let holders = match &assignment.wanted {
                Wanted::Task(_) => 1,
                Wanted::Service(_) => {
                    self.world.live(id).filter(|task| instance::has_begun(task)).count()
                }
            };
            let ports = Needs::of_assignment(definition, assignment).ports;
            for port in (0..holders).flat_map(|_| ports.iter().copied()) {
                let free = taken.insert((&assignment.container_instance, port));
                self.require(free, || {
                    format!("assignment {id} has host port {} that another task has", port.0)
                });
            }
        }
    }

    /// What was observed is of runs that the records know to run.
    fn observed(&mut self, runs: &BTreeMap<&RuntimeId, &Container>) {
        let observed = &self.world.observed;
        let all =
            observed.running.iter().chain(observed.signals.keys()).chain(observed.health.keys());
        for run in all {
            let runs = runs.get(run).is_some_and(|c| c.last_status == ContainerStatus::Running);
            self.require(runs, || format!("run {run} is observed but not recorded as running"));
        }
    }
}

#[cfg(test)]
mod tests;
