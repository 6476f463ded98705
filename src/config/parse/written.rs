//! The file as it is written, and its reading.

use crate::config::fleet::WrittenFleet;
use crate::config::role::WrittenRole;
use crate::config::{ConfigError, LARGEST_FILE, Registry};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Written {
    pub(in crate::config) state_dir: Option<PathBuf>,
    pub(in crate::config) run_dir: Option<PathBuf>,
    pub(in crate::config) listen: Option<String>,
    pub(in crate::config) socket_group: Option<String>,
    pub(in crate::config) cgroup_parent: Option<String>,
    pub(in crate::config) region: Option<String>,
    pub(in crate::config) account: Option<String>,
    pub(in crate::config) cluster: Option<String>,
    pub(in crate::config) image_pull_behavior: Option<String>,
    pub(in crate::config) image_cleanup: Option<bool>,
    pub(in crate::config) image_cleanup_interval: Option<String>,
    pub(in crate::config) image_minimum_age: Option<String>,
    pub(in crate::config) images_per_cleanup: Option<usize>,
    pub(in crate::config) image_cleanup_untracked: Option<bool>,
    pub(in crate::config) image_disk_high: Option<String>,
    pub(in crate::config) image_disk_low: Option<String>,
    pub(in crate::config) pull_bandwidth: Option<String>,
    pub(in crate::config) concurrent_layers: Option<NonZeroUsize>,
    pub(in crate::config) container_stop_timeout: Option<String>,
    pub(in crate::config) stopped_task_retention: Option<String>,
    pub(in crate::config) restart_early_exits: Option<bool>,
    pub(in crate::config) stopped_tasks_kept: Option<usize>,
    pub(in crate::config) reserved_ports: Option<Vec<u16>>,
    pub(in crate::config) reserved_ports_udp: Option<Vec<u16>>,
    pub(in crate::config) reserved_memory: Option<u32>,
    pub(in crate::config) allow_privileged: Option<bool>,
    pub(in crate::config) log: Option<String>,
    pub(in crate::config) container_log_max_size: Option<String>,
    pub(in crate::config) container_log_max_file: Option<u32>,
    pub(in crate::config) container_log_max_age: Option<String>,
    pub(in crate::config) container_log_max_total: Option<String>,
    pub(in crate::config) docker_config: Option<PathBuf>,
    pub(in crate::config) http_proxy: Option<String>,
    pub(in crate::config) https_proxy: Option<String>,
    pub(in crate::config) no_proxy: Option<String>,
    pub(in crate::config) environment_files: Option<PathBuf>,
    pub(in crate::config) manifests: Option<PathBuf>,
    pub(in crate::config) images: Option<PathBuf>,
    pub(in crate::config) instance_attributes: Option<BTreeMap<String, String>>,
    pub(in crate::config) capacity_provider: Option<String>,
    pub(in crate::config) capacity_providers: Option<BTreeSet<String>>,
    pub(in crate::config) registries: Option<BTreeMap<String, Registry>>,
    pub(in crate::config) bridge: Option<String>,
    pub(in crate::config) subnet: Option<String>,
    pub(in crate::config) subnet6: Option<String>,
    pub(in crate::config) dynamic_ports: Option<String>,
    pub(in crate::config) allow_instance_metadata: Option<bool>,
    pub(in crate::config) dns: Option<bool>,
    pub(in crate::config) dns_domain: Option<String>,
    pub(in crate::config) dns_servers: Option<Vec<String>>,
    pub(in crate::config) roles: Option<BTreeMap<String, WrittenRole>>,
    pub(in crate::config) fleet: Option<WrittenFleet>,
}

/// Reads and parses the file at `path`.
pub(in crate::config) fn read_file<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<T, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    toml::from_str(&text)
        .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })
}
