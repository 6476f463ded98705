//! What a container is started from: handed from the agent to the shim's creator as a file.

use super::layout::Layout;
use super::logs::LogDefaults;
use super::network::LaunchNetwork;
use crate::model::task_definition::{ContainerDefinition, MountPoint, Volume};
use crate::model::{ContainerName, Generation, RuntimeId, TaskId};
use crate::plan::StartContainer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What an image says about how to run it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSettings {
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Command, or arguments of the entry point.
    pub cmd: Vec<String>,
    /// User.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Signal that asks the process to end; `SIGTERM` when unset.
    pub stop_signal: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A file in the container's memory that holds a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    /// Where the container sees it; absolute.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// User and group; the container's own when unset.
    pub owner: Option<(u32, u32)>,
    /// What is in it.
    pub content: String,
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// All that is needed to start a container. Printed without what may be secret.
#[derive(Clone)]
pub struct Launch {
    /// What the planner wants.
    pub start: StartContainer,
    /// What the image says.
    pub image: ImageSettings,
    /// The image's layers as directories, the top one first.
    pub layers: Vec<PathBuf>,
    /// How it is connected.
    pub network: LaunchNetwork,
    /// All variables but the image's, which they win over; of two with one name the later wins. The definition's own
    /// `environment` is among them and is not looked at again.
    pub environment: Vec<(String, String)>,
    /// Secrets as files.
    pub files: Vec<SecretFile>,
    /// The resolved `secretOptions` of the log driver.
    pub log_options_secret: BTreeMap<String, String>,
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("run", &self.start.run).finish_non_exhaustive()
    }
}

/// [`Launch`] as it is written for the creator.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct LaunchFile {
    pub(crate) task: TaskId,
    pub(crate) generation: Generation,
    pub(crate) container: ContainerName,
    pub(crate) runtime_id: RuntimeId,
    pub(crate) definition: ContainerDefinition,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) inherited_mounts: Vec<MountPoint>,
    pub(crate) network: LaunchNetwork,
    pub(crate) pid_mode: Option<String>,
    pub(crate) ipc_mode: Option<String>,
    pub(crate) task_cpu: Option<u32>,
    pub(crate) task_memory: Option<u32>,
    pub(crate) task_cpu_shares: u32,
    pub(crate) restart: bool,
    pub(crate) image: ImageSettings,
    /// `sha256:…`
    #[serde(default)]
    pub(crate) image_digest: String,
    /// What the container is called where a name must be unique on the box.
    #[serde(default)]
    pub(crate) long_name: String,
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) files: Vec<SecretFile>,
    pub(crate) log_options_secret: BTreeMap<String, String>,
    pub(crate) layout: Layout,
    /// The shared volumes.
    pub(crate) volumes_dir: PathBuf,
    pub(crate) cgroup_parent: String,
    pub(crate) log: LogDefaults,
}

impl fmt::Debug for LaunchFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchFile").field("runtime_id", &self.runtime_id).finish_non_exhaustive()
    }
}

impl LaunchFile {
    /// Without what only the container's making needed. Whoever enters the container later finds its environment in
    /// `config.json`.
    pub(crate) fn without_secrets(&self) -> Self {
        Self {
            environment: Vec::new(),
            files: Vec::new(),
            log_options_secret: BTreeMap::new(),
            ..self.clone()
        }
    }

    pub(crate) fn new(
        launch: Launch,
        layout: Layout,
        volumes_dir: PathBuf,
        cgroup_parent: String,
        log: LogDefaults,
    ) -> Self {
        let Launch { start, image, layers, network, environment, files, log_options_secret } =
            launch;
        Self {
            task: start.run.task,
            generation: start.run.generation,
            container: start.run.container,
            runtime_id: start.run.runtime_id,
            definition: start.definition,
            volumes: start.volumes,
            inherited_mounts: start.inherited_mounts,
            network,
            pid_mode: start.pid_mode,
            ipc_mode: start.ipc_mode,
            task_cpu: start.task_cpu,
            task_memory: start.task_memory,
            task_cpu_shares: start.task_cpu_shares,
            restart: start.restart,
            image,
            image_digest: start.image_digest.to_string(),
            long_name: start.long_name,
            layers,
            environment,
            files,
            log_options_secret,
            layout,
            volumes_dir,
            cgroup_parent,
            log,
        }
    }
}

impl LaunchFile {
    /// The name of the host as the container sees it.
    pub(crate) fn hostname(&self) -> String {
        let shares_box = self.network == LaunchNetwork::Host;
        hostname(&self.definition, &self.runtime_id, shares_box)
    }
}

/// The name of the host that a container sees: what its definition says, the box's, or as Docker's the first
/// characters of its id.
#[must_use]
pub fn hostname(definition: &ContainerDefinition, run: &RuntimeId, shares_box: bool) -> String {
    if let Some(name) = definition.hostname.as_deref().filter(|h| !h.is_empty()) {
        return name.to_owned();
    }
    if shares_box {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    run.as_str().chars().take(12).collect()
}
