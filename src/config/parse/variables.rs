//! The environment, as far as it is of settings.

use crate::config::{Config, ConfigError};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variables that are settings, and `CORACLE_CONFIG`.
const VARIABLES: &[&str] = &[
    "CORACLE_CONFIG",
    "CORACLE_STATE_DIR",
    "CORACLE_RUN_DIR",
    "CORACLE_LISTEN",
    "CORACLE_SOCKET_GROUP",
    "CORACLE_CGROUP_PARENT",
    "CORACLE_REGION",
    "CORACLE_ACCOUNT",
    "CORACLE_CLUSTER",
    "CORACLE_IMAGE_PULL_BEHAVIOR",
    "CORACLE_IMAGE_CLEANUP",
    "CORACLE_IMAGE_CLEANUP_INTERVAL",
    "CORACLE_IMAGE_MINIMUM_AGE",
    "CORACLE_IMAGES_PER_CLEANUP",
    "CORACLE_IMAGE_CLEANUP_UNTRACKED",
    "CORACLE_IMAGE_DISK_HIGH",
    "CORACLE_IMAGE_DISK_LOW",
    "CORACLE_PULL_BANDWIDTH",
    "CORACLE_CONCURRENT_LAYERS",
    "CORACLE_CONTAINER_STOP_TIMEOUT",
    "CORACLE_RESTART_EARLY_EXITS",
    "CORACLE_STOPPED_TASK_RETENTION",
    "CORACLE_STOPPED_TASKS_KEPT",
    "CORACLE_RESERVED_PORTS",
    "CORACLE_RESERVED_PORTS_UDP",
    "CORACLE_RESERVED_MEMORY",
    "CORACLE_ALLOW_PRIVILEGED",
    "CORACLE_LOG",
    "CORACLE_CONTAINER_LOG_MAX_SIZE",
    "CORACLE_CONTAINER_LOG_MAX_FILE",
    "CORACLE_CONTAINER_LOG_MAX_AGE",
    "CORACLE_CONTAINER_LOG_MAX_TOTAL",
    "CORACLE_DOCKER_CONFIG",
    "CORACLE_HTTP_PROXY",
    "CORACLE_HTTPS_PROXY",
    "CORACLE_NO_PROXY",
    "CORACLE_ENVIRONMENT_FILES",
    "CORACLE_MANIFESTS",
    "CORACLE_IMAGES",
    "CORACLE_INSTANCE_ATTRIBUTES",
    "CORACLE_CAPACITY_PROVIDER",
    "CORACLE_CAPACITY_PROVIDERS",
    "CORACLE_BRIDGE",
    "CORACLE_SUBNET",
    "CORACLE_SUBNET6",
    "CORACLE_DYNAMIC_PORTS",
    "CORACLE_ALLOW_INSTANCE_METADATA",
    "CORACLE_DNS",
    "CORACLE_DNS_DOMAIN",
    "CORACLE_DNS_SERVERS",
];

/// Variables of others that say where docker's client keeps its credentials.
const DOCKER: [&str; 2] = ["DOCKER_CONFIG", "HOME"];

/// Variables of others that name proxies.
const PROXIES: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"];

/// The variables that matter here, by name.
pub(in crate::config) fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut variables = BTreeMap::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        let of_others = [&DOCKER[..], &PROXIES].concat();
        if !name.starts_with("CORACLE_") && !of_others.contains(&name.as_str()) {
            continue;
        }
        let value = value.into_string().map_err(|_| ConfigError::NotUnicode(name.clone()))?;
        variables.insert(name, value);
    }
    Ok(variables)
}

/// Those that look like ours and are no setting.
pub(super) fn unknown(variables: &BTreeMap<String, String>) -> Vec<String> {
    variables
        .keys()
        .filter(|name| name.starts_with("CORACLE_") && !VARIABLES.contains(&name.as_str()))
        .cloned()
        .collect()
}

/// Where docker's client keeps its credentials.
pub(super) fn docker_config(variables: &BTreeMap<String, String>) -> PathBuf {
    let set = |name| variables.get(name).filter(|value| !value.is_empty());
    match (set("DOCKER_CONFIG"), set("HOME")) {
        (Some(dir), _) => Path::new(dir).join("config.json"),
        (None, Some(home)) => Path::new(home).join(".docker/config.json"),
        (None, None) => Config::default().docker_config,
    }
}
