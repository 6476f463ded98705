//! The trace in plain words: ids become `task 1`, `D1`, `R1`; what is new becomes sentences.

use coracle::model::service::ServiceStatus;
use coracle::model::{
    ContainerInstanceId, DesiredStatus, HealthStatus, ServiceKey, Task, TaskId, TaskStatus,
};
use coracle::plan::{Reply, World};
use std::collections::BTreeMap;

/// What things go by in a trace, and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Id → name, in the order of their first being named.
    names: BTreeMap<String, String>,
    tasks: usize,
    deployments: usize,
    roll_outs: usize,
    told_tasks: BTreeMap<TaskId, Told>,
    told_events: BTreeMap<ServiceKey, u64>,
    told_services: BTreeMap<ServiceKey, ServiceStatus>,
    told_states: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Told {
    status: TaskStatus,
    stops: bool,
    health: HealthStatus,
}

impl Names {
    /// `task N`.
    fn task(&mut self, id: &TaskId) -> String {
        if let Some(name) = self.names.get(id.as_str()) {
            return format!("task {name}");
        }
        self.tasks += 1;
        self.names.insert(id.to_string(), self.tasks.to_string());
        format!("task {}", self.tasks)
    }

    /// The id behind a task's number.
    pub(crate) fn id(&self, number: &str) -> Option<TaskId> {
        let found = self.names.iter().find(|(id, name)| id.len() == 32 && *name == number);
        found.and_then(|(id, _)| TaskId::new(id.as_str()).ok())
    }

    /// Names what a reply is about.
    pub(crate) fn note(&mut self, world: &World, reply: &Reply) {
        if let Reply::Tasks { tasks, .. } = reply {
            tasks.iter().for_each(|id| drop(self.task(id)));
        }
        self.services(world);
    }

    fn services(&mut self, world: &World) {
        for service in world.services.values() {
            for deployment in service.deployments.iter().rev() {
                if !self.names.contains_key(deployment.id.as_str()) {
                    self.deployments += 1;
                    self.names.insert(deployment.id.to_string(), format!("D{}", self.deployments));
                }
                let roll_out = deployment.service_deployment.as_str();
                if !self.names.contains_key(roll_out) {
                    self.roll_outs += 1;
                    self.names.insert(roll_out.to_owned(), format!("R{}", self.roll_outs));
                }
            }
        }
    }

    /// `text` with ids replaced by names.
    pub(crate) fn rename(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
    }

    /// What is new since the last time.
    pub(crate) fn news(&mut self, world: &World) -> Vec<String> {
        self.services(world);
        let mut lines = Vec::new();
        // In the order of their making: ids say nothing.
        let mut tasks: Vec<&Task> = world.tasks.values().collect();
        tasks.sort_by_key(|task| {
            (
                task.created_at,
                self.names.get(task.id.as_str()).map_or(usize::MAX, |n| n.parse().unwrap()),
                box_of(task).to_string(),
            )
        });
        for task in tasks {
            let name = self.task(&task.id);
            let told = Told {
                status: task.last_status,
                stops: task.desired_status == DesiredStatus::Stopped,
                health: task.health_status,
            };
            let before = self.told_tasks.insert(task.id.clone(), told.clone());
            if before.as_ref() != Some(&told) {
                lines.push(sentence(&name, before.as_ref(), &told, task));
            }
        }
        let gone: Vec<TaskId> =
            self.told_tasks.keys().filter(|id| !world.tasks.contains_key(*id)).cloned().collect();
        for id in gone {
            self.told_tasks.remove(&id);
            lines.push(format!("{} is forgotten", self.task(&id)));
        }
        for (key, events) in &world.service_events {
            let from = self.told_events.get(key).copied().unwrap_or(0);
            let mut new: Vec<_> = events.values().filter(|event| event.number >= from).collect();
            new.sort_by_key(|event| event.number);
            if let Some(last) = new.last() {
                self.told_events.insert(key.clone(), last.number + 1);
            }
            lines.extend(new.into_iter().map(|event| format!("« {}", event.message)));
        }
        self.states(world, &mut lines);
        lines.iter().map(|line| self.rename(line)).collect()
    }

    /// What became of services, their deployments and roll-outs.
    fn states(&mut self, world: &World, lines: &mut Vec<String>) {
        for service in world.services.values() {
            let name = &service.key.name;
            let before = self.told_services.insert(service.key.clone(), service.status);
            if before.is_some_and(|before| before != service.status) {
                lines.push(format!("service {name} is {}", service.status.as_str()));
            }
        }
        let gone: Vec<ServiceKey> = self
            .told_services
            .keys()
            .filter(|k| !world.services.contains_key(*k))
            .cloned()
            .collect();
        for key in gone {
            self.told_services.remove(&key);
            lines.push(format!("service {} is forgotten", key.name));
        }
        for record in world.service_deployments.values() {
            let status = record.status.as_str();
            let before = self.told_states.insert(record.id.to_string(), status.to_owned());
            if before.is_some_and(|before| before != status) {
                let why = record.status_reason.as_ref().filter(|_| record.status.is_over());
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                lines.push(format!("roll-out {} is {status}{why}", record.id));
            }
        }
    }
}

fn box_of(task: &Task) -> &ContainerInstanceId {
    &task.container_instance
}

fn sentence(name: &str, before: Option<&Told>, told: &Told, task: &Task) -> String {
    let what = format!("{name} of {} on {}", task.task_definition, box_of(task));
    let status = told.status.as_str();
    let health = match told.health {
        HealthStatus::Unknown => "",
        HealthStatus::Healthy => ", HEALTHY",
        HealthStatus::Unhealthy => ", UNHEALTHY",
    };
    let newly_stops = told.stops && before.is_none_or(|before| !before.stops);
    let why = task.stopped_reason.as_deref().unwrap_or_default();
    match (told.status, newly_stops) {
        (TaskStatus::Stopped, true) => format!("{what} is STOPPED: {why}{}", code(task)),
        (TaskStatus::Stopped, false) => format!("{what} is STOPPED{}", code(task)),
        (_, true) => format!("{what} is {status} and is to stop: {why}"),
        _ => format!("{what} is {status}{health}"),
    }
}

fn code(task: &Task) -> String {
    let code = task.containers.iter().find_map(|container| container.exit_code);
    code.map(|code| format!(" (exit code {code})")).unwrap_or_default()
}
