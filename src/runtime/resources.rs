//! What tasks have on the box besides their shim: directories, records, control groups.
//!
//! All of this blocks; [`super::handle`] calls it off the asynchronous threads.

use super::admission::Admission;
use super::cgroup::Hierarchy;
use super::error::RuntimeError;
use super::event::FoundContainer;
use super::launch::{Launch, LaunchFile};
use super::layout::{self, Layout};
use super::logs::LogDefaults;
use super::protocol::RunState;
use super::record::{self, Exit, TaskRecord};
use super::socket;
use super::volume::Volumes;
use crate::model::{ContainerName, Generation, TaskId};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where they are.
#[derive(Debug)]
pub(super) struct Resources {
    pub(super) layout: Layout,
    /// The shared volumes.
    pub(super) volumes_dir: PathBuf,
    pub(super) cgroup_parent: String,
    pub(super) log: LogDefaults,
    pub(super) hierarchy: Hierarchy,
    pub(super) admission: Admission,
}

impl Resources {
    pub(super) fn group(&self, task: &TaskId) -> PathBuf {
        PathBuf::from(&self.cgroup_parent).join(task.as_str())
    }

    /// Tasks that left something in the run or the state directory.
    pub(super) fn known_tasks(&self) -> Result<BTreeSet<TaskId>, RuntimeError> {
        let mut tasks = BTreeSet::new();
        for directory in [self.layout.run_tasks(), self.layout.state_tasks()] {
            let entries = fs::read_dir(&directory)
                .map_err(|source| RuntimeError::File { path: directory, source })?;
            tasks.extend(
                entries
                    .filter_map(Result::ok)
                    .filter_map(|e| e.file_name().into_string().ok())
                    .filter_map(|name| TaskId::new(name).ok()),
            );
        }
        Ok(tasks)
    }

    /// The generation that a task's directory is of.
    pub(super) fn generation(&self, task: &TaskId) -> Option<Generation> {
        let record: Option<TaskRecord> =
            record::read(&self.layout.task_file(task)).unwrap_or_default();
        record.map(|r| r.generation)
    }

    /// What the records say of a task without a shim, and whether file systems of it are here; kills what is left of it.
    pub(super) fn recorded(
        &self,
        task: &TaskId,
    ) -> Result<(Generation, Vec<FoundContainer>, bool), RuntimeError> {
        self.remove_group(task)?;
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| RuntimeError::File { path, source }
        };
        let path = self.layout.task_file(task);
        // A record that a power cut left half written is none.
        let record: TaskRecord = record::read(&path).unwrap_or_default().unwrap_or_default();
        let (mut containers, mut has_files) = (Vec::new(), false);
        let directory = self.layout.task_state(task);
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let entry = entry.map_err(file(&directory))?;
            has_files |= entry.file_type().is_ok_and(|found| found.is_dir());
            let path = entry.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let Some(container) =
                name.strip_suffix(".exit").and_then(|n| ContainerName::new(n).ok())
            else {
                continue;
            };
            if let Ok(Some(exit)) = record::read::<Exit>(&path) {
                containers.push(FoundContainer {
                    container,
                    runtime_id: exit.runtime_id.clone(),
                    state: RunState::Exited(exit),
                });
            }
        }
        Ok((record.generation, containers, has_files))
    }

    /// Kills and removes control groups of tasks that nothing else is known of.
    pub(super) fn remove_orphans(&self, known: &BTreeSet<TaskId>) {
        let parent = PathBuf::from(&self.cgroup_parent);
        for name in self.hierarchy.children(&parent) {
            if let Ok(task) = TaskId::new(name)
                && !known.contains(&task)
                && let Err(error) = self.remove_group(&task)
            {
                tracing::warn!(%task, %error, "a control group that belongs to no task stays");
            }
        }
    }

    pub(super) fn remove_group(&self, task: &TaskId) -> Result<(), RuntimeError> {
        let group = self.group(task);
        self.hierarchy.kill(&group)?;
        Ok(self.hierarchy.remove(&group)?)
    }

    /// Makes a task's directories and listens where its shim will.
    pub(super) fn prepare(
        &self,
        task: &TaskId,
        generation: Generation,
    ) -> Result<OwnedFd, RuntimeError> {
        // What an earlier generation wrote into its containers' file systems is not this one's.
        self.clean(task)?;
        let (state, run) = (self.layout.task_state(task), self.layout.task_run(task));
        create_private(&state)?;
        create_private(&run)?;
        let path = self.layout.task_file(task);
        // Not worth waiting for the disk: after a power cut there is no shim that it could tell of.
        record::write_volatile(&path, &TaskRecord { generation })
            .map_err(|source| RuntimeError::File { path, source })?;
        socket::listen(&run, layout::SOCKET)
            .map(OwnedFd::from)
            .map_err(|source| RuntimeError::File { path: run.join(layout::SOCKET), source })
    }

    pub(super) fn write_launch(&self, launch: Launch) -> Result<(), RuntimeError> {
        let parent = Path::new(&self.cgroup_parent);
        self.admission.tell(&launch.start.definition, &self.hierarchy, parent);
        let (layout, volumes) = (self.layout.clone(), self.volumes_dir.clone());
        let file = LaunchFile::new(launch, layout, volumes, self.cgroup_parent.clone(), self.log);
        let path = self.layout.launch_file(&file.task, &file.container);
        create_private(path.parent().unwrap_or(Path::new("/")))?;
        record::write_volatile(&path, &file).map_err(|source| RuntimeError::File { path, source })
    }

    /// Removes what a task without a shim has, but for logs and exit records.
    pub(super) fn clean(&self, task: &TaskId) -> Result<(), RuntimeError> {
        self.remove_group(task)?;
        let remove = |path: PathBuf| {
            layout::remove_tree(&path).map_err(|source| RuntimeError::File { path, source })
        };
        Volumes::new(self.volumes_dir.clone())
            .release(task)
            .map_err(|source| RuntimeError::File { path: self.volumes_dir.clone(), source })?;
        remove(self.layout.task_run(task))?;
        let state = self.layout.task_state(task);
        for entry in fs::read_dir(&state).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                remove(entry.path())?;
            }
        }
        Ok(())
    }
}

pub(super) fn create_private(path: &Path) -> Result<(), RuntimeError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| RuntimeError::File { path: path.to_owned(), source })
}
