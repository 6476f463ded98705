//! What a shell would do and see, for boxes that are made up.

use super::faults::{Fault, Subject};
use super::network::Networks;
use super::queue::Event;
use super::{Fate, Round, Simulation};
use crate::model::{ContainerStatus, HealthStatus, TaskId, Timestamp};
use crate::plan::action::{ActionKey, ContainerRun};
use crate::plan::instance::health;
use crate::plan::{Action, Command, Observation, StartContainer, World, command};
use std::time::Duration;

/// The code of a process that SIGTERM ended.
const TERMINATED: i32 = 143;
/// The code of a process that SIGKILL ended.
const KILLED: i32 = 137;

impl Round<'_> {
    /// Carries out `action`, or has it take its time.
    pub(super) fn answer(&mut self, action: Action) {
        match action {
            Action::Start(start) => self.start(start),
            Action::Stop(run) => {
                let requested = self.world.tasks.get(&run.task).and_then(|task| {
                    task.container(&run.container).and_then(|c| c.stop_requested_at)
                });
                let ignored = self.fault(&run).and_then(|fault| fault.ignores_stop_for);
                self.observe(Observation::Signalled { run: run.clone(), killed: false });
                let at = match ignored {
                    None => Some(self.now),
                    Some(span) => span.after(requested.unwrap_or(self.now)),
                };
                if let Some(at) = at {
                    self.later(at, Event::Ends(run, TERMINATED));
                }
            }
            Action::Kill(run) => {
                self.observe(Observation::Signalled { run: run.clone(), killed: true });
                self.happens(Event::Ends(run, KILLED), self.now);
            }
            Action::Release { task, generation } => {
                if let Some(record) = self.world.tasks.get(&task) {
                    let runs = record.containers.iter().filter_map(|c| c.runtime_id.as_ref());
                    runs.for_each(|run| self.simulation.forget(run));
                    self.simulation.networks.release(record);
                    self.roomier.insert(record.container_instance.clone());
                }
                self.observe(Observation::Released { task, generation });
            }
            Action::Forget { task } => self.observe(Observation::Forgotten { task }),
            // A health check passes with the start until it is said to fail, and every image is there.
            Action::Probe { run, .. } => {
                self.observe(Observation::Probed { run, exit_code: Some(0), at: self.now });
            }
            Action::Pull { image, credentials, .. } => {
                let key = ActionKey::Pull(image, credentials);
                self.world.observed.in_flight.remove(&key);
            }
        }
    }

    fn start(&mut self, start: Box<StartContainer>) {
        let run = &start.run;
        let world = &*self.world;
        let Some(task) = world.tasks.get(&run.task) else { return };
        let Some(container) = task.container(&run.container) else { return };
        let definition = world.task_definitions.get(&task.task_definition);
        let subject = Subject {
            task,
            container,
            definition: definition.and_then(|d| d.container(run.container.as_str())),
            instance: world.container_instances.get(&task.container_instance),
        };
        let Simulation { faults, used, runs, .. } = &mut self.simulation;
        let fault = faults.of(&subject, used);
        let at = match fault.start_after {
            None => Some(self.now),
            Some(span) => span.after(self.now),
        };
        let failure = fault.fails_to_start.clone();
        let slot = (run.task.clone(), run.container.clone());
        if fault != Fault::default() && failure.is_none() {
            runs.insert(run.runtime_id.clone(), Fate { fault, events: Vec::new() });
        }
        let event = match failure {
            Some(reason) => Event::FailsToStart(run.clone(), reason),
            None => Event::Starts(start),
        };
        match at {
            Some(at) if at <= self.now => self.happens(event, at),
            Some(at) => {
                let key = self.simulation.queue.push(at, event);
                self.simulation.starting.insert(slot, Some(key));
            }
            None => {
                self.simulation.starting.insert(slot, None);
            }
        }
    }

    /// `event` happens at `at`, which is now or was just before.
    pub(super) fn happens(&mut self, event: Event, at: Timestamp) {
        match event {
            Event::Starts(start) => {
                let slot = (start.run.task.clone(), start.run.container.clone());
                self.simulation.starting.remove(&slot);
                self.started(&start, at);
            }
            Event::FailsToStart(run, reason) => {
                let slot = (run.task.clone(), run.container.clone());
                self.simulation.starting.remove(&slot);
                self.observe(Observation::StartFailed { run, reason });
            }
            Event::Ends(run, code) => {
                self.simulation.forget(&run.runtime_id);
                let (exit_code, out_of_memory) = (Some(code), false);
                self.observe(Observation::Exited { run, exit_code, out_of_memory, at });
            }
            Event::Sickens(run) => self.sickens(&run, at),
        }
    }

    fn started(&mut self, start: &StartContainer, at: Timestamp) {
        let run = start.run.clone();
        let network = self.world.tasks.get(&run.task).and_then(|task| {
            let index = task.containers.iter().position(|c| c.name == run.container)?;
            self.simulation.networks.connect(&start.connection, task, index)
        });
        self.observe(Observation::Started { run: run.clone(), at, network });
        if health::check(&start.definition).is_some() {
            self.observe(Observation::Probed { run: run.clone(), exit_code: Some(0), at });
        }
        let Some(fault) = self.fault(&run) else { return };
        for (at, event) in fate(fault, &run, at) {
            self.later(at, event);
        }
    }

    /// The health check fails as often as it takes.
    fn sickens(&mut self, run: &ContainerRun, at: Timestamp) {
        /// ECS takes ten retries at most.
        const RETRIES: u64 = 10;
        for check in 0..RETRIES {
            let at = at.plus(Duration::from_millis(check));
            self.observe(Observation::Probed { run: run.clone(), exit_code: Some(1), at });
        }
    }

    fn fault(&self, run: &ContainerRun) -> Option<&Fault> {
        self.simulation.runs.get(&run.runtime_id).map(|fate| &fate.fault)
    }

    /// `event` happens at `at`: at once, unless that is still to come.
    fn later(&mut self, at: Timestamp, event: Event) {
        if at <= self.now {
            return self.happens(event, at);
        }
        let run = match &event {
            Event::Ends(run, _) | Event::Sickens(run) | Event::FailsToStart(run, _) => run,
            Event::Starts(start) => &start.run,
        };
        let run = run.runtime_id.clone();
        let key = self.simulation.queue.push(at, event);
        self.simulation.runs.entry(run).or_default().events.push(key);
    }

    fn observe(&mut self, observation: Observation) {
        // An observation is never refused.
        let Ok(outcome) =
            command::apply(self.world, Command::Observe(observation), self.now, self.ids)
        else {
            return;
        };
        outcome.changes.iter().for_each(|change| self.world.apply(change));
        self.plan.changes.extend(outcome.changes);
        self.plan.reasons.extend(outcome.reasons);
    }
}

/// What is to happen to a run that started at `at`.
fn fate(fault: &Fault, run: &ContainerRun, at: Timestamp) -> Vec<(Timestamp, Event)> {
    let sick = fault.unhealthy_after.and_then(|span| span.after(at));
    let end = fault.exits_after.and_then(|span| span.after(at));
    let sick = sick.map(|at| (at, Event::Sickens(run.clone())));
    let end = end.map(|at| (at, Event::Ends(run.clone(), fault.exit_code.unwrap_or(0))));
    sick.into_iter().chain(end).collect()
}

/// Finds what is to happen to the containers that the records say run.
pub(super) fn find_again(world: &mut World, simulation: &mut Simulation) {
    // Rules for the first so many starts have had theirs.
    let mut lasting = simulation.faults.clone();
    lasting.rules.retain(|rule| rule.first.is_none());
    simulation.networks = Networks::default();
    let live: Vec<TaskId> = world.live_tasks().map(|task| task.id.clone()).collect();
    for task in live.iter().filter_map(|id| world.tasks.get(id)) {
        simulation.networks.note(task);
        let definition = world.task_definitions.get(&task.task_definition);
        for container in &task.containers {
            let (Some(started), Some(runtime_id)) = (container.started_at, &container.runtime_id)
            else {
                continue;
            };
            if container.last_status != ContainerStatus::Running {
                continue;
            }
            world.observed.running.insert(runtime_id.clone());
            let subject = Subject {
                task,
                container,
                definition: definition.and_then(|d| d.container(container.name.as_str())),
                instance: world.container_instances.get(&task.container_instance),
            };
            let fault = lasting.of(&subject, &mut Vec::new());
            if fault == Fault::default() {
                continue;
            }
            let run = ContainerRun {
                task: task.id.clone(),
                generation: task.generation,
                container: container.name.clone(),
                runtime_id: runtime_id.clone(),
            };
            let sick = container.health_status == HealthStatus::Unhealthy;
            let events = fate(&fault, &run, started)
                .into_iter()
                .filter(|(_, event)| !(sick && matches!(event, Event::Sickens(_))))
                .map(|(at, event)| simulation.queue.push(at, event))
                .collect();
            simulation.runs.insert(runtime_id.clone(), Fate { fault, events });
        }
    }
}
