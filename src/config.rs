//! The settings of an agent: flags, then `CORACLE_*` variables, then the configuration file, then defaults.
//!
//! `configs/agent.toml` is the commented file that equals the defaults. Unknown keys and values that make no sense are
//! errors that name the key, the value, and where it came from. `CORACLE_*` variables that are no setting may belong to
//! somebody else; [`Config::unknown_variables`] has them, for a warning.
//!
//! A list in a variable is separated by commas; instance attributes are `name=value,name`; registries and roles
//! are set in the file only.

use crate::model::{ClusterName, ContainerInstanceId, Scope};
use crate::net::{PortRange, Subnet, Subnet6};
use crate::plan::Settings;
use crate::plan::world::PullBehavior;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};

mod faults;
mod fleet;
mod hub;
mod image;
mod parse;
mod proxy;
mod remote_broker;
mod role;
mod value;

pub use faults::{FaultsError, parse_faults, read_faults};
pub use fleet::{FleetSettings, ForwardLogs, MqttVersion};
pub use hub::{HubConfig, HubOverrides};
pub use image::ImageCleanup;
pub use proxy::{Exception, Proxies, Proxy};
pub use remote_broker::{BrokerHost, RemoteBroker};
pub use role::{RoleSource, role_source};

/// The settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where everything is kept that must survive a reboot.
    pub state_dir: PathBuf,
    /// Sockets and what is made anew at every boot.
    pub run_dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The group that may use the socket besides root, by name or number.
    pub socket_group: Option<String>,
    /// The cgroup that all tasks are under, relative to the root of the hierarchy.
    pub cgroup_parent: String,
    /// Region and account of ARNs.
    pub scope: Scope,
    /// The cluster that this box registers with.
    pub cluster: ClusterName,
    /// When images are pulled.
    pub image_pull_behavior: PullBehavior,
    /// When images nobody uses are removed.
    pub image_cleanup: ImageCleanup,
    /// Bytes per second that all downloads of layers take together; 0 is no limit.
    pub pull_bandwidth: u64,
    /// How many layers are downloaded at a time.
    pub concurrent_layers: NonZeroUsize,
    /// `stopTimeout` of containers that set none.
    pub container_stop_timeout: Duration,
    /// How long stopped tasks stay describable; at least an hour.
    pub stopped_task_retention: Duration,
    /// How many stopped tasks are kept at most.
    pub stopped_tasks_kept: usize,
    /// Whether `restartPolicy` brings back containers that end before `restartAttemptPeriod` as well, backed off.
    pub restart_early_exits: bool,
    /// TCP ports that tasks must not use.
    pub reserved_ports: Vec<u16>,
    /// UDP ports that tasks must not use.
    pub reserved_ports_udp: Vec<u16>,
    /// MiB of memory that tasks must not use.
    pub reserved_memory: u32,
    /// Whether containers may be privileged.
    pub allow_privileged: bool,
    /// Attributes of this container instance; an empty value is none.
    pub instance_attributes: BTreeMap<String, String>,
    /// The capacity provider, a named pool of boxes, that this box belongs to.
    pub capacity_provider: Option<String>,
    /// Capacity providers that are there even when no box belongs to them.
    pub capacity_providers: BTreeSet<String>,
    /// What is logged: a level, and `TARGET=LEVEL`, separated by commas.
    pub log: Targets,
    /// Rotation of container logs.
    pub container_log: ContainerLog,
    /// Stop all tasks when the agent ends; a flag only, for tests.
    pub stop_tasks_on_exit: bool,
    /// Registries that need something special, by `HOST` or `HOST:PORT` as named in images.
    pub registries: BTreeMap<String, Registry>,
    /// The HTTP proxies that registries are reached through.
    pub proxies: Proxies,
    /// The docker `config.json` with registry credentials; read if it is there. By default where docker's own client
    /// looks: in `$DOCKER_CONFIG`, else in `$HOME/.docker`.
    pub docker_config: PathBuf,
    /// Where the credentials of tasks come from, by the ARN of their role.
    pub roles: BTreeMap<String, RoleSource>,
    /// How containers find names.
    pub names: NameSettings,
    /// The network of containers, as far as it is not left to the agent.
    pub network: NetworkSettings,
    /// Whether containers may reach the metadata of the machine that this box is, at 169.254.169.254.
    pub allow_instance_metadata: bool,
    /// The directory that stands for S3: `arn:aws:s3:::BUCKET/KEY` of `environmentFiles` is `BUCKET/KEY` in it.
    pub environment_files: Option<PathBuf>,
    /// The directory of manifests that are applied when the agent starts and at SIGHUP; it need not be there.
    pub manifests: PathBuf,
    /// The directory of image archives that are loaded when the agent starts and at SIGHUP; it need not be there.
    pub images: PathBuf,
    /// The connection to the hub of a fleet.
    pub fleet: FleetSettings,
    /// `CORACLE_*` variables that are no setting.
    pub unknown_variables: Vec<String>,
}

/// Rotation of a container's log file, where its task definition sets none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLog {
    /// Bytes after which a file is rotated.
    pub max_size: u64,
    /// Files kept, the current one included.
    pub max_file: u32,
    /// How long lines are kept; zero is for ever.
    pub max_age: Duration,
    /// Bytes of the logs of stopped tasks together; zero is any number.
    pub max_total: u64,
}

/// What is set of the network of containers; what is none the agent chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSettings {
    /// The name of the bridge.
    pub bridge: Option<String>,
    /// Its IPv4 subnet.
    pub subnet: Option<Subnet>,
    /// Its IPv6 subnet.
    pub subnet6: Option<Subnet6>,
    /// The ports of the box for mappings that name none.
    pub dynamic_ports: Option<PortRange>,
}

/// How containers find names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameSettings {
    /// Whether the agent serves names.
    pub dns: bool,
    /// What the names of clusters end with.
    pub domain: String,
    /// Who is asked for other names, in place of the box's own servers.
    pub servers: Vec<SocketAddr>,
}

/// Settings of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// Plain HTTP, and certificates that cannot be verified, are accepted.
    pub insecure: bool,
    /// Hosts that are asked first, in this order: `HOST[:PORT]`, or a URL with `http://` or `https://`.
    pub mirrors: Vec<String>,
    /// A file of PEM certificates to trust for it, besides the usual ones.
    pub ca_file: Option<PathBuf>,
    /// A file with the PEM certificate that it is shown, and its chain.
    pub client_cert: Option<PathBuf>,
    /// A file with that certificate's key.
    pub client_key: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/coracle".into(),
            run_dir: "/run/coracle".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 51678)),
            socket_group: None,
            cgroup_parent: "coracle".to_owned(),
            scope: Scope::default(),
            cluster: ClusterName::default_cluster(),
            image_pull_behavior: PullBehavior::PreferCached,
            image_cleanup: ImageCleanup::default(),
            pull_bandwidth: 0,
            concurrent_layers: NonZeroUsize::MIN.saturating_add(2),
            container_stop_timeout: Duration::from_secs(30),
            stopped_task_retention: Duration::from_hours(3),
            restart_early_exits: true,
            stopped_tasks_kept: 1000,
            reserved_ports: vec![22, 2375, 2376, 51678, 51679, 51680],
            reserved_ports_udp: Vec::new(),
            reserved_memory: 0,
            allow_privileged: false,
            instance_attributes: BTreeMap::new(),
            capacity_provider: None,
            capacity_providers: BTreeSet::new(),
            log: Targets::new().with_default(LevelFilter::INFO),
            container_log: ContainerLog {
                max_size: 10 * 1024 * 1024,
                max_file: 3,
                max_age: Duration::from_hours(30 * 24),
                max_total: 1024 * 1024 * 1024,
            },
            stop_tasks_on_exit: false,
            registries: BTreeMap::new(),
            proxies: Proxies::default(),
            docker_config: "/root/.docker/config.json".into(),
            roles: BTreeMap::new(),
            names: NameSettings { dns: true, domain: "internal".to_owned(), servers: Vec::new() },
            network: NetworkSettings::default(),
            allow_instance_metadata: false,
            environment_files: None,
            manifests: "/etc/coracle/manifests.d".into(),
            images: "/etc/coracle/images.d".into(),
            fleet: FleetSettings::default(),
            unknown_variables: Vec::new(),
        }
    }
}

/// What the command line sets; each wins over variables and the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--run-dir`.
    pub run_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--region`.
    pub region: Option<String>,
    /// `--account`.
    pub account: Option<String>,
    /// `--cluster`.
    pub cluster: Option<String>,
    /// `--log`.
    pub log: Option<String>,
    /// `--stop-tasks-on-exit`.
    pub stop_tasks_on_exit: bool,
}

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "/etc/coracle/agent.toml";

/// The largest configuration file that is read.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Why the settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than a configuration can be.
    #[error("the configuration {path} is larger than {LARGEST_FILE} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML, or has a key that there is not.
    #[error("in the configuration {path}: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A variable is not UTF-8.
    #[error("the variable {0} is not UTF-8")]
    NotUnicode(String),
    /// A value that makes no sense.
    #[error("{origin}: {value:?} is not valid: {rule}")]
    Invalid {
        /// The key of the file, the variable or the flag.
        origin: String,
        /// What was given.
        value: String,
        /// What would be.
        rule: String,
    },
}

impl Config {
    /// Reads the file and the environment of this process.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::from_parts(overrides, std::env::vars_os())
    }

    /// The same with a given environment.
    pub fn from_parts(
        overrides: &Overrides,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, ConfigError> {
        let variables = parse::variables(environment)?;
        let named =
            overrides.config.clone().or_else(|| variables.get("CORACLE_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let written = match parse::read_file(&path) {
            Err(ConfigError::Unreadable { source, .. })
                if named.is_none() && source.kind() == std::io::ErrorKind::NotFound =>
            {
                parse::Written::default()
            }
            read => read?,
        };
        parse::merge(overrides, &variables, written, &path)
    }

    /// The file that [`Config::load`] reads, whether or not it is there.
    #[must_use]
    pub fn file(overrides: &Overrides) -> PathBuf {
        let variable = || std::env::var_os("CORACLE_CONFIG").map(PathBuf::from);
        overrides.config.clone().or_else(variable).unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
    }

    /// What the planners need of it.
    #[must_use]
    pub fn settings(&self, this_instance: Option<ContainerInstanceId>) -> Settings {
        Settings {
            scope: self.scope.clone(),
            this_instance,
            simulated: false,
            epoch: 0,
            pull_behavior: self.image_pull_behavior,
            stop_timeout: self.container_stop_timeout,
            restart_early_exits: self.restart_early_exits,
            steady_after: Settings::default().steady_after,
            stopped_task_retention: self.stopped_task_retention,
            stopped_tasks_kept: self.stopped_tasks_kept,
            capacity_providers: self.capacity_providers.clone(),
        }
    }

    /// The API's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(&self.run_dir)
    }

    /// The directory of the volumes that tasks share.
    #[must_use]
    pub fn volumes_dir(&self) -> PathBuf {
        self.state_dir.join("volumes")
    }

    /// The store's directory.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.state_dir.join("store")
    }
}

/// The API's socket in a run directory.
#[must_use]
pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join("api.sock")
}

/// Where programs are looked for: `$PATH`.
#[must_use]
pub fn program_search_path() -> Option<OsString> {
    std::env::var_os("PATH")
}

#[cfg(test)]
mod tests;
