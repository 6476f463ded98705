//! The make-believe box: shims, processes and exit records, and the faults that the test asks for.

use super::digest_of;
use coracle::model::{ContainerName, Generation, ImageDigest, RuntimeId, TaskId, Timestamp};
use coracle::plan::action::ContainerRun;
use coracle::plan::{Action, Observation};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How the box behaves; by container or image name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    /// Images that are there.
    pub(crate) local_images: BTreeMap<String, ImageDigest>,
    /// Images that cannot be pulled, and why.
    pub(crate) pull_fails: BTreeMap<String, String>,
    /// Containers that cannot be started, and why.
    pub(crate) start_fails: BTreeMap<String, String>,
    /// Processes that end by themselves: after so long, with this code, for want of memory.
    pub(crate) exits: BTreeMap<String, (Duration, i32, bool)>,
    /// How long processes take to obey the stop signal; 10 ms unless said.
    pub(crate) stop_takes: BTreeMap<String, Duration>,
    /// Processes that take no notice of the stop signal.
    pub(crate) ignores_stop: BTreeSet<String>,
    /// What health checks end with; 0 unless said, None when they take too long.
    pub(crate) probes: BTreeMap<String, Option<i32>>,
    /// How much later than it happened a start is answered.
    pub(crate) answers_late: BTreeMap<String, Duration>,
    /// How long a pull takes; 1 s unless said.
    pub(crate) pull_takes: Option<Duration>,
}

impl Faults {
    /// How long after an action its answer comes.
    pub(crate) fn lateness_of(&self, action: &Action) -> Duration {
        match action {
            Action::Start(start) => {
                self.answers_late.get(start.run.container.as_str()).copied().unwrap_or_default()
            }
            _ => Duration::ZERO,
        }
    }

    /// How long an action takes.
    pub(crate) fn delay_of(&self, action: &Action) -> Duration {
        match action {
            Action::Pull { .. } => self.pull_takes.unwrap_or(Duration::from_secs(1)),
            Action::Start(_) => Duration::from_millis(8),
            Action::Probe { .. } => Duration::from_millis(20),
            _ => Duration::from_millis(2),
        }
    }
}

/// What follows from an action.
pub(crate) struct Follows {
    pub(crate) answer: Observation,
    /// Processes that will end: after, which, code, for want of memory.
    pub(crate) exits: Vec<(Duration, ContainerRun, i32, bool)>,
}

#[derive(Debug, Clone)]
struct Process {
    run: ContainerRun,
    since: Timestamp,
    /// How it ended.
    exit: Option<(i32, bool, Timestamp)>,
}

/// What is on the box.
#[derive(Debug, Default)]
pub(crate) struct Ground {
    /// Shims by task.
    shims: BTreeMap<TaskId, Generation>,
    /// The last run of each container of tasks that are not released; those that ended are the exit records.
    processes: BTreeMap<(TaskId, ContainerName), Process>,
    /// Tasks whose logs are there.
    logs: BTreeSet<TaskId>,
    /// Every run that was ever started.
    started: BTreeSet<RuntimeId>,
}

impl Ground {
    /// Carries out an action.
    pub(crate) fn act(&mut self, action: &Action, faults: &Faults, now: Timestamp) -> Follows {
        let mut exits = Vec::new();
        let answer = match action {
            Action::Pull { image, credentials, fall_back_to_cached } => {
                pull(image, credentials.clone(), *fall_back_to_cached, faults)
            }
            Action::Start(start) => {
                let name = start.run.container.as_str();
                assert_eq!(start.image_digest, digest_of(start.definition.image.as_ref().unwrap()));
                if let Some(reason) = faults.start_fails.get(name).cloned() {
                    Observation::StartFailed { run: start.run.clone(), reason }
                } else {
                    if let Some((after, code, oom)) = faults.exits.get(name) {
                        exits.push((*after, start.run.clone(), *code, *oom));
                    }
                    self.start(&start.run, now)
                }
            }
            Action::Stop(run) => {
                let name = run.container.as_str();
                if !faults.ignores_stop.contains(name) {
                    let after = faults.stop_takes.get(name).copied();
                    exits.push((
                        after.unwrap_or(Duration::from_millis(10)),
                        run.clone(),
                        143,
                        false,
                    ));
                }
                Observation::Signalled { run: run.clone(), killed: false }
            }
            Action::Kill(run) => {
                exits.push((Duration::from_millis(1), run.clone(), 137, false));
                Observation::Signalled { run: run.clone(), killed: true }
            }
            Action::Probe { run, .. } => {
                let told = faults.probes.get(run.container.as_str()).copied().unwrap_or(Some(0));
                let exit_code = told.filter(|_| self.runs(run));
                Observation::Probed { run: run.clone(), exit_code, at: now }
            }
            Action::Release { task, generation } => {
                self.shims.remove(task);
                self.processes.retain(|(of, _), _| of != task);
                Observation::Released { task: task.clone(), generation: *generation }
            }
            Action::Forget { task } => {
                assert!(!self.shims.contains_key(task), "a task is forgotten before its release");
                self.logs.remove(task);
                Observation::Forgotten { task: task.clone() }
            }
        };
        Follows { answer, exits }
    }

    fn start(&mut self, run: &ContainerRun, now: Timestamp) -> Observation {
        let key = (run.task.clone(), run.container.clone());
        if let Some(process) = self.processes.get(&key) {
            if process.run == *run {
                return Observation::Started { run: run.clone(), at: process.since, network: None };
            }
            assert!(process.exit.is_some(), "{run:?} is started beside {process:?}");
        }
        let shim = self.shims.entry(run.task.clone()).or_insert(run.generation);
        assert!(*shim <= run.generation, "a run of an older generation is started");
        // A newer generation gets a shim of its own; nothing may be left in the old one.
        if *shim < run.generation {
            *shim = run.generation;
            assert!(!self.alive().any(|alive| alive.task == run.task), "{run:?} is started beside");
        }
        assert!(self.started.insert(run.runtime_id.clone()), "{run:?} is started twice");
        self.logs.insert(run.task.clone());
        self.processes.insert(key, Process { run: run.clone(), since: now, exit: None });
        Observation::Started { run: run.clone(), at: now, network: None }
    }

    fn runs(&self, run: &ContainerRun) -> bool {
        self.processes
            .get(&(run.task.clone(), run.container.clone()))
            .is_some_and(|process| process.run == *run && process.exit.is_none())
    }

    /// A process ends; false when it had ended already.
    pub(crate) fn exit(
        &mut self,
        run: &ContainerRun,
        code: i32,
        out_of_memory: bool,
        at: Timestamp,
    ) -> bool {
        if !self.runs(run) {
            return false;
        }
        let key = (run.task.clone(), run.container.clone());
        self.processes.get_mut(&key).unwrap().exit = Some((code, out_of_memory, at));
        true
    }

    /// Runs whose process is alive.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &ContainerRun> {
        self.processes.values().filter(|p| p.exit.is_none()).map(|p| &p.run)
    }

    /// The shim and all containers of a task are killed; nobody writes exit records.
    pub(crate) fn lose_shim(&mut self, task: &TaskId) -> Option<Generation> {
        let generation = self.shims.remove(task)?;
        self.processes.retain(|(of, _), process| of != task || process.exit.is_some());
        Some(generation)
    }

    /// Everything that ran is gone; exit records and logs are on disk.
    pub(crate) fn power_cut(&mut self) {
        self.shims.clear();
        self.processes.retain(|_, process| process.exit.is_some());
    }

    /// What an agent that starts finds.
    pub(crate) fn scan(&self) -> Vec<Observation> {
        let found = |process: &Process| {
            let run = process.run.clone();
            match process.exit {
                None => Observation::Started { run, at: process.since, network: None },
                Some((code, out_of_memory, at)) => {
                    Observation::Exited { run, exit_code: Some(code), out_of_memory, at }
                }
            }
        };
        self.processes.values().map(found).collect()
    }

    /// True when nothing of any task is left but logs.
    pub(crate) fn is_bare(&self) -> bool {
        self.shims.is_empty() && self.processes.is_empty()
    }

    /// Tasks whose logs are there.
    pub(crate) fn logs(&self) -> &BTreeSet<TaskId> {
        &self.logs
    }
}

fn pull(
    image: &str,
    credentials: Option<String>,
    fall_back_to_cached: bool,
    faults: &Faults,
) -> Observation {
    let image = image.to_owned();
    let digest = digest_of(&image);
    match faults.pull_fails.get(&image) {
        Some(_) if fall_back_to_cached && faults.local_images.contains_key(&image) => {
            Observation::ImageReady { image, credentials, digest, source: None }
        }
        Some(reason) => Observation::ImageFailed { image, credentials, reason: reason.clone() },
        None => Observation::ImageReady { image, credentials, digest, source: None },
    }
}
