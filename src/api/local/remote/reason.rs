//! What boxes say of the reasons that a hub knows.

use super::{Passed, name, one};
use crate::api::Boxes;
use crate::api::local::query::Query;
use crate::engine::Handle;
use crate::model::{ContainerInstanceId, DesiredStatus, Task, TaskId, TaskStatus};
use crate::plan::World;
use crate::plan::why::{Finding, Subject};
use serde_json::Value;
use std::sync::Arc;

/// Of a service, as many tasks are asked about.
const TASKS: usize = 3;
/// A box's reasons may be nested so deep.
const DEPTH: usize = 16;

/// The tasks that a box may know more of, and their boxes.
fn subjects(world: &World, subject: &Subject) -> Vec<(TaskId, ContainerInstanceId)> {
    let of = |task: &Task| (task.id.clone(), task.container_instance.clone());
    // Of a box that is not connected the hub's own records tell that.
    let connected = |task: &&Task| {
        world.devices.get(&task.container_instance).is_some_and(|device| device.connected)
    };
    match subject {
        Subject::Task(id) => world.tasks.get(id).filter(connected).map(of).into_iter().collect(),
        Subject::Instance(_) => Vec::new(),
        Subject::Service(key) => world
            .tasks
            .values()
            .filter(|task| {
                task.cluster == key.cluster
                    && task.service.as_ref().is_some_and(|s| s.name == key.name)
                    && task.desired_status == DesiredStatus::Running
                    && task.last_status != TaskStatus::Running
            })
            .filter(connected)
            .take(TASKS)
            .map(of)
            .collect(),
    }
}

/// Adds to `finding` what the connected boxes say of it, or why they cannot be asked.
pub(in crate::api::local) async fn ask(
    boxes: &Arc<dyn Boxes>,
    engine: &Handle,
    subject: &Subject,
    finding: &mut Finding,
) {
    for (task, to) in engine.read(|world| subjects(world, subject)) {
        let query = Query::default().with("of", task.as_str());
        let said = match one::get(boxes, Passed::get(to.clone(), "why", &query)).await {
            Ok(said) => {
                let text = format!("{} says of it:", name(&to));
                Finding { text, because: told(&said, DEPTH).into_iter().collect() }
            }
            Err(error) => Finding { text: error.message, because: Vec::new() },
        };
        finding.because.push(said);
    }
}

/// A finding as it came over the wire.
fn told(said: &Value, depth: usize) -> Option<Finding> {
    // Whoever looks at it has a terminal, which a box must not speak to.
    let text = said["text"].as_str()?.chars().filter(|c| !c.is_control()).take(1024).collect();
    let reasons = said["because"].as_array().filter(|_| depth > 0);
    let because = reasons.into_iter().flatten().filter_map(|reason| told(reason, depth - 1));
    Some(Finding { text, because: because.collect() })
}
