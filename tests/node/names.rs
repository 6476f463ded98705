//! The trace in plain words: ids become `task 1`, changes and actions become sentences.

use coracle::model::{ContainerStatus, DesiredStatus, HealthStatus, Task, TaskId};
use coracle::plan::Action;
use std::collections::BTreeMap;

/// The numbers that tasks go by in a trace.
#[derive(Debug, Default)]
pub(crate) struct Names {
    tasks: BTreeMap<TaskId, usize>,
}

impl Names {
    /// `task N`, in the order in which tasks are first named.
    pub(crate) fn task(&mut self, id: &TaskId) -> String {
        let next = self.tasks.len() + 1;
        format!("task {}", self.tasks.entry(id.clone()).or_insert(next))
    }

    /// The id behind a number.
    pub(crate) fn id(&self, number: usize) -> Option<TaskId> {
        self.tasks.iter().find(|(_, n)| **n == number).map(|(id, _)| id.clone())
    }

    /// `text` with ids replaced by numbers.
    pub(crate) fn rename(&self, text: &str) -> String {
        let text = self
            .tasks
            .iter()
            .fold(text.to_owned(), |text, (id, n)| text.replace(id.as_str(), &format!("#{n}")));
        text.replace(super::this_instance().as_str(), "this-box")
    }

    /// An action as a sentence.
    pub(crate) fn action(&mut self, action: &Action) -> String {
        match action {
            Action::Pull { image, credentials, fall_back_to_cached } => {
                let login = credentials.iter().map(|name| format!(" with {name}"));
                let local = if *fall_back_to_cached { ", or use the local one" } else { "" };
                format!("pull {image}{}{local}", login.collect::<String>())
            }
            Action::Start(start) => {
                format!("start {} of {}", start.run.container, self.task(&start.run.task))
            }
            Action::Stop(run) => format!("stop {} of {}", run.container, self.task(&run.task)),
            Action::Kill(run) => format!("kill {} of {}", run.container, self.task(&run.task)),
            Action::Probe { run, command, timeout } => format!(
                "ask {} of {} how it is: {} (at most {timeout:?})",
                run.container,
                self.task(&run.task),
                command.join(" ")
            ),
            Action::Release { task, .. } => format!("release {}", self.task(task)),
            Action::Forget { task } => format!("forget {}", self.task(task)),
        }
    }
}

/// What is different about a task, as sentences.
pub(crate) fn changes_of(name: &str, before: Option<&Task>, task: &Task, lines: &mut Vec<String>) {
    let Some(before) = before else {
        let containers: Vec<_> = task.containers.iter().map(|c| c.name.as_str()).collect();
        lines.push(format!(
            "{name} of {} ({}) is {}",
            task.task_definition,
            containers.join(", "),
            task.last_status.as_str()
        ));
        return;
    };
    if task.generation != before.generation {
        lines.push(format!("{name} starts over as generation {}", task.generation.0));
    }
    for (old, new) in before.containers.iter().zip(&task.containers) {
        let container = &new.name;
        if old.last_status != new.last_status {
            let code = new.exit_code.filter(|_| new.last_status == ContainerStatus::Stopped);
            let code = code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            let reason = new.reason.as_ref().filter(|_| old.reason != new.reason);
            let reason = reason.map(|reason| format!(", {reason:?}")).unwrap_or_default();
            let status = new.last_status.as_str();
            lines.push(format!("{name}: {container} is {status}{code}{reason}"));
        }
        if old.health_status != new.health_status && new.health_status != HealthStatus::Unknown {
            lines.push(
                format!("{name}: {container} is {:?}", new.health_status).to_uppercase_last(),
            );
        }
    }
    if task.desired_status != before.desired_status && task.desired_status == DesiredStatus::Stopped
    {
        let code = task.stop_code.map_or_else(String::new, |code| format!("{code:?}"));
        let reason = task.stopped_reason.as_deref().unwrap_or_default();
        lines.push(format!("{name} is to stop: {code}, {reason:?}"));
    }
    if task.last_status != before.last_status {
        lines.push(format!("{name} is {}", task.last_status.as_str()));
    }
    if task.health_status != before.health_status && task.health_status != HealthStatus::Unknown {
        lines.push(format!("{name} is {:?}", task.health_status).to_uppercase_last());
    }
}

trait UppercaseLast {
    fn to_uppercase_last(self) -> String;
}

impl UppercaseLast for String {
    /// The last word as ECS spells it.
    fn to_uppercase_last(self) -> String {
        match self.rsplit_once(' ') {
            Some((rest, last)) => format!("{rest} {}", last.to_uppercase()),
            None => self,
        }
    }
}
