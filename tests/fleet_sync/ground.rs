//! The containers of a box: started and stopped by what the planner says, in their own time.

use super::chance::Chance;
use coracle::model::{ContainerName, Generation, ImageDigest, RuntimeId, TaskId, Timestamp};
use coracle::plan::action::ContainerRun;
use coracle::plan::{Action, Observation};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Ground {
    /// What was asked for and not done yet.
    pub(crate) asked: Vec<Action>,
    /// Runs whose process is alive.
    pub(crate) alive: BTreeMap<(TaskId, ContainerName), ContainerRun>,
    /// How runs of tasks that are not released ended.
    ended: BTreeMap<(TaskId, ContainerName), (ContainerRun, i32, Timestamp)>,
    /// Every run there ever was, by its task and generation.
    pub(crate) runs: BTreeMap<(TaskId, Generation), BTreeSet<RuntimeId>>,
    /// Starts, and stops that were asked for.
    pub(crate) moves: u64,
    /// How often the power was cut.
    pub(crate) cuts: u32,
}

impl Ground {
    /// Does what was asked for, all of it or some, and answers what was seen.
    pub(crate) fn work(
        &mut self,
        all: bool,
        now: Timestamp,
        chance: &mut Chance,
    ) -> Result<Vec<Observation>, String> {
        let mut seen = Vec::new();
        for action in std::mem::take(&mut self.asked) {
            if all || chance.percent(70) {
                self.act(action, now, &mut seen)?;
            } else {
                self.asked.push(action);
            }
        }
        Ok(seen)
    }

    fn act(
        &mut self,
        action: Action,
        now: Timestamp,
        seen: &mut Vec<Observation>,
    ) -> Result<(), String> {
        match action {
            Action::Pull { image, credentials, .. } => {
                seen.push(if image == "lost" {
                    let reason = "CannotPullContainerError: not found".to_owned();
                    Observation::ImageFailed { image, credentials, reason }
                } else {
                    Observation::ImageReady { image, credentials, digest: digest(), source: None }
                });
            }
            Action::Start(start) => {
                self.moves += 1;
                let run = start.run;
                let key = (run.task.clone(), run.container.clone());
                if let Some(other) = self.alive.get(&key) {
                    if *other != run {
                        return Err(format!("{run:?} is started beside {other:?}"));
                    }
                } else {
                    let runs = self.runs.entry((run.task.clone(), run.generation)).or_default();
                    if !runs.insert(run.runtime_id.clone()) {
                        return Err(format!("{run:?} is started again"));
                    }
                    if runs.len() > 1 {
                        return Err(format!("task {} runs twice: {runs:?}", run.task));
                    }
                    self.ended.remove(&key);
                    self.alive.insert(key, run.clone());
                }
                seen.push(Observation::Started { run, at: now, network: None });
            }
            Action::Stop(run) => {
                self.moves += 1;
                seen.push(Observation::Signalled { run: run.clone(), killed: false });
                seen.extend(self.exit(&run, 143, now));
            }
            Action::Kill(run) => {
                self.moves += 1;
                seen.push(Observation::Signalled { run: run.clone(), killed: true });
                seen.extend(self.exit(&run, 137, now));
            }
            Action::Probe { run, .. } => {
                seen.push(Observation::Probed { run, exit_code: Some(0), at: now });
            }
            Action::Release { task, generation } => {
                self.alive.retain(|(of, _), _| *of != task);
                self.ended.retain(|(of, _), _| *of != task);
                seen.push(Observation::Released { task, generation });
            }
            Action::Forget { task } => seen.push(Observation::Forgotten { task }),
        }
        Ok(())
    }

    /// The process of the run ends, if it is alive.
    pub(crate) fn exit(
        &mut self,
        run: &ContainerRun,
        code: i32,
        at: Timestamp,
    ) -> Option<Observation> {
        let key = (run.task.clone(), run.container.clone());
        if self.alive.get(&key) != Some(run) {
            return None;
        }
        self.alive.remove(&key);
        self.ended.insert(key, (run.clone(), code, at));
        let (run, exit_code) = (run.clone(), Some(code));
        Some(Observation::Exited { run, exit_code, out_of_memory: false, at })
    }

    /// The agent is gone: of what it asked for some had begun.
    pub(crate) fn abandoned(&mut self, now: Timestamp, chance: &mut Chance) -> Result<(), String> {
        let asked = std::mem::take(&mut self.asked);
        for action in asked.into_iter().filter(|_| chance.percent(50)) {
            self.act(action, now, &mut Vec::new())?;
        }
        Ok(())
    }

    pub(crate) fn power_cut(&mut self) {
        self.cuts += 1;
        self.asked.clear();
        self.alive.clear();
    }

    /// What an agent that starts finds.
    pub(crate) fn scan(&self, rebooted: bool, now: Timestamp) -> Vec<Observation> {
        let mut seen: Vec<Observation> = self
            .alive
            .values()
            .map(|run| Observation::Started { run: run.clone(), at: now, network: None })
            .collect();
        seen.extend(self.ended.values().map(|(run, code, at)| Observation::Exited {
            run: run.clone(),
            exit_code: Some(*code),
            out_of_memory: false,
            at: *at,
        }));
        seen.push(Observation::Scanned { rebooted });
        seen
    }
}

fn digest() -> ImageDigest {
    ImageDigest::new(format!("sha256:{:0<64}", "ab")).unwrap()
}
