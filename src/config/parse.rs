//! Where settings come from, and which source wins.

use super::fleet::WrittenFleet;
use super::role::{RoleSource, WrittenRole};
use super::value::{
    Given, account_id, at_least, attribute_list, boolean, cgroup, domain, is_host, is_role,
    kept_for, list, log, name_server, number, pool, ports, pull_behavior, region_name, size, total,
};
use super::{
    Config, ConfigError, ContainerLog, LARGEST_FILE, NameSettings, NetworkSettings, Overrides,
    Registry,
};
use crate::model::{ClusterName, Scope, capacity_provider};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Written {
    pub(super) state_dir: Option<PathBuf>,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) listen: Option<String>,
    pub(super) cgroup_parent: Option<String>,
    pub(super) region: Option<String>,
    pub(super) account: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) image_pull_behavior: Option<String>,
    pub(super) container_stop_timeout: Option<String>,
    pub(super) stopped_task_retention: Option<String>,
    pub(super) restart_early_exits: Option<bool>,
    pub(super) stopped_tasks_kept: Option<usize>,
    pub(super) reserved_ports: Option<Vec<u16>>,
    pub(super) reserved_ports_udp: Option<Vec<u16>>,
    pub(super) reserved_memory: Option<u32>,
    pub(super) allow_privileged: Option<bool>,
    pub(super) log: Option<String>,
    pub(super) container_log_max_size: Option<String>,
    pub(super) container_log_max_file: Option<u32>,
    pub(super) container_log_max_age: Option<String>,
    pub(super) container_log_max_total: Option<String>,
    pub(super) docker_config: Option<PathBuf>,
    pub(super) environment_files: Option<PathBuf>,
    pub(super) manifests: Option<PathBuf>,
    pub(super) instance_attributes: Option<BTreeMap<String, String>>,
    pub(super) capacity_provider: Option<String>,
    pub(super) capacity_providers: Option<BTreeSet<String>>,
    pub(super) registries: Option<BTreeMap<String, Registry>>,
    pub(super) bridge: Option<String>,
    pub(super) subnet: Option<String>,
    pub(super) subnet6: Option<String>,
    pub(super) dynamic_ports: Option<String>,
    pub(super) allow_instance_metadata: Option<bool>,
    pub(super) dns: Option<bool>,
    pub(super) dns_domain: Option<String>,
    pub(super) dns_servers: Option<Vec<String>>,
    pub(super) roles: Option<BTreeMap<String, WrittenRole>>,
    pub(super) fleet: Option<WrittenFleet>,
}

/// The variables that are settings, and `CORACLE_CONFIG`.
const VARIABLES: &[&str] = &[
    "CORACLE_CONFIG",
    "CORACLE_STATE_DIR",
    "CORACLE_RUN_DIR",
    "CORACLE_LISTEN",
    "CORACLE_CGROUP_PARENT",
    "CORACLE_REGION",
    "CORACLE_ACCOUNT",
    "CORACLE_CLUSTER",
    "CORACLE_IMAGE_PULL_BEHAVIOR",
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
    "CORACLE_ENVIRONMENT_FILES",
    "CORACLE_MANIFESTS",
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

/// The variables that matter here, by name.
pub(super) fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut variables = BTreeMap::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        if !name.starts_with("CORACLE_") && !DOCKER.contains(&name.as_str()) {
            continue;
        }
        let value = value.into_string().map_err(|_| ConfigError::NotUnicode(name.clone()))?;
        variables.insert(name, value);
    }
    Ok(variables)
}

/// Reads and parses the file at `path`.
pub(super) fn read_file<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
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

struct Sources<'a> {
    variables: &'a BTreeMap<String, String>,
    path: &'a Path,
}

impl Sources<'_> {
    fn variable(&self, key: &str) -> Option<Given> {
        let name = format!("CORACLE_{}", key.to_ascii_uppercase());
        self.variables.get(&name).map(|value| Given { value: value.clone(), origin: name })
    }

    fn origin(&self, key: &str) -> String {
        format!("`{key}` in {}", self.path.display())
    }

    /// The winner among flag, variable and file, for settings that the file has as text.
    fn text(&self, key: &str, flag: Option<&str>, file: Option<String>) -> Option<Given> {
        flag.map(|value| Given {
            value: value.to_owned(),
            origin: format!("--{}", key.replace('_', "-")),
        })
        .or_else(|| self.variable(key))
        .or_else(|| file.map(|value| Given { value, origin: self.origin(key) }))
    }

    /// The winner between variable and file, for settings that the file has with their own type.
    fn typed<T>(
        &self,
        key: &str,
        file: Option<T>,
        parse: impl FnOnce(&Given) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        match self.variable(key) {
            Some(given) => parse(&given).map(Some),
            None => Ok(file),
        }
    }

    /// As [`Self::text`], of a type that tells itself what is wrong with a text.
    fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        key: &str,
        file: Option<String>,
    ) -> Result<Option<T>, ConfigError> {
        let given = self.text(key, None, file);
        given
            .map(|given| {
                given.value.trim().parse().map_err(|e: T::Err| given.invalid(e.to_string()))
            })
            .transpose()
    }

    fn path(
        &self,
        key: &str,
        flag: Option<&Path>,
        file: Option<PathBuf>,
        default: PathBuf,
    ) -> Result<PathBuf, ConfigError> {
        Ok(self.optional_path(key, flag, file)?.unwrap_or(default))
    }

    fn optional_path(
        &self,
        key: &str,
        flag: Option<&Path>,
        file: Option<PathBuf>,
    ) -> Result<Option<PathBuf>, ConfigError> {
        let given = flag
            .map(Path::to_owned)
            .or_else(|| self.variable(key).map(|given| given.value.into()))
            .or(file);
        let Some(given) = given else { return Ok(None) };
        std::path::absolute(&given).map(Some).map_err(|_| ConfigError::Invalid {
            origin: self.origin(key),
            value: given.display().to_string(),
            rule: "it must be a path".to_owned(),
        })
    }
}

/// Joins the sources; the earlier named wins: flag, variable, file, default.
pub(super) fn merge(
    overrides: &Overrides,
    variables: &BTreeMap<String, String>,
    file: Written,
    path: &Path,
) -> Result<Config, ConfigError> {
    let from = Sources { variables, path };
    let default = Config::default();

    let listen = from.text("listen", None, file.listen).map(|given| {
        given
            .value
            .parse()
            .map_err(|_| given.invalid("it must be ADDRESS:PORT, for example 127.0.0.1:51678"))
    });
    let listen: Option<SocketAddr> = match overrides.listen {
        Some(listen) => Some(listen),
        None => listen.transpose()?,
    };
    let region = from.text("region", overrides.region.as_deref(), file.region);
    let account = from.text("account", overrides.account.as_deref(), file.account);
    let stop_timeout = from.text("container_stop_timeout", None, file.container_stop_timeout);
    let retention = from.text("stopped_task_retention", None, file.stopped_task_retention);
    let max_size = from.text("container_log_max_size", None, file.container_log_max_size);
    let max_total = from.text("container_log_max_total", None, file.container_log_max_total);
    let max_age = from.text("container_log_max_age", None, file.container_log_max_age);
    let max_file = from.typed("container_log_max_file", file.container_log_max_file, number)?;
    if max_file == Some(0) {
        return Err(invalid(from.origin("container_log_max_file"), "0", "it must be at least 1"));
    }

    let instance_attributes = attributes(
        from.typed("instance_attributes", file.instance_attributes, attribute_list)?
            .unwrap_or(default.instance_attributes),
        &from,
    )?;
    // Empty is none, as the default file has it.
    let capacity_provider = from
        .text("capacity_provider", None, file.capacity_provider)
        .filter(|g| !g.value.is_empty());
    if let Some(given) = &capacity_provider
        && instance_attributes.contains_key(capacity_provider::ATTRIBUTE)
    {
        return Err(given.invalid(format!(
            "instance_attributes has {} too; set one of them",
            capacity_provider::ATTRIBUTE
        )));
    }
    let capacity_provider = capacity_provider.as_ref().map(pool).transpose()?;

    Ok(Config {
        state_dir: from.path(
            "state_dir",
            overrides.state_dir.as_deref(),
            file.state_dir,
            default.state_dir,
        )?,
        run_dir: from.path(
            "run_dir",
            overrides.run_dir.as_deref(),
            file.run_dir,
            default.run_dir,
        )?,
        listen: listen.unwrap_or(default.listen),
        cgroup_parent: checked(
            from.text("cgroup_parent", overrides.cgroup_parent.as_deref(), file.cgroup_parent),
            cgroup,
            default.cgroup_parent,
        )?,
        scope: Scope {
            region: checked(region, region_name, default.scope.region)?,
            account: checked(account, account_id, default.scope.account)?,
        },
        cluster: checked(
            from.text("cluster", overrides.cluster.as_deref(), file.cluster),
            |given| {
                ClusterName::new(given.value.as_str()).map_err(|error| given.invalid(error.rule))
            },
            default.cluster,
        )?,
        image_pull_behavior: checked(
            from.text("image_pull_behavior", None, file.image_pull_behavior),
            pull_behavior,
            default.image_pull_behavior,
        )?,
        container_stop_timeout: checked(
            stop_timeout,
            |given| at_least(given, Duration::from_secs(1), "1s"),
            default.container_stop_timeout,
        )?,
        stopped_task_retention: checked(
            retention,
            |given| at_least(given, Duration::from_hours(1), "1h"),
            default.stopped_task_retention,
        )?,
        restart_early_exits: from
            .typed("restart_early_exits", file.restart_early_exits, boolean)?
            .unwrap_or(default.restart_early_exits),
        stopped_tasks_kept: from
            .typed("stopped_tasks_kept", file.stopped_tasks_kept, number)?
            .unwrap_or(default.stopped_tasks_kept),
        reserved_ports: from
            .typed("reserved_ports", file.reserved_ports, ports)?
            .unwrap_or(default.reserved_ports),
        reserved_ports_udp: from
            .typed("reserved_ports_udp", file.reserved_ports_udp, ports)?
            .unwrap_or(default.reserved_ports_udp),
        reserved_memory: from
            .typed("reserved_memory", file.reserved_memory, number)?
            .unwrap_or(default.reserved_memory),
        allow_privileged: from
            .typed("allow_privileged", file.allow_privileged, boolean)?
            .unwrap_or(default.allow_privileged),
        instance_attributes,
        capacity_provider,
        capacity_providers: pools(
            from.typed("capacity_providers", file.capacity_providers, |given| Ok(list(given)))?
                .unwrap_or(default.capacity_providers),
            &from,
        )?,
        log: checked(from.text("log", overrides.log.as_deref(), file.log), log, default.log)?,
        container_log: ContainerLog {
            max_size: checked(max_size, size, default.container_log.max_size)?,
            max_file: max_file.unwrap_or(default.container_log.max_file),
            max_age: checked(max_age, kept_for, default.container_log.max_age)?,
            max_total: checked(max_total, total, default.container_log.max_total)?,
        },
        stop_tasks_on_exit: overrides.stop_tasks_on_exit,
        registries: registries(file.registries.unwrap_or_default(), &from)?,
        docker_config: from.path(
            "docker_config",
            None,
            file.docker_config,
            docker_config(variables),
        )?,
        roles: roles(file.roles.unwrap_or_default(), &from)?,
        names: NameSettings {
            dns: from.typed("dns", file.dns, boolean)?.unwrap_or(default.names.dns),
            domain: checked(
                from.text("dns_domain", None, file.dns_domain),
                domain,
                default.names.domain,
            )?,
            servers: name_servers(&from, file.dns_servers)?,
        },
        network: NetworkSettings {
            bridge: from.text("bridge", None, file.bridge).map(|given| given.value),
            subnet: from.parsed("subnet", file.subnet)?,
            subnet6: from.parsed("subnet6", file.subnet6)?,
            dynamic_ports: from.parsed("dynamic_ports", file.dynamic_ports)?,
        },
        allow_instance_metadata: from
            .typed("allow_instance_metadata", file.allow_instance_metadata, boolean)?
            .unwrap_or(default.allow_instance_metadata),
        environment_files: from.optional_path("environment_files", None, file.environment_files)?,
        manifests: from.path("manifests", None, file.manifests, default.manifests)?,
        fleet: file.fleet.unwrap_or_default().settings(|key| from.origin(key))?,
        unknown_variables: variables
            .keys()
            .filter(|name| name.starts_with("CORACLE_") && !VARIABLES.contains(&name.as_str()))
            .cloned()
            .collect(),
    })
}

/// Servers for names, each `ADDRESS` or `ADDRESS:PORT`.
fn name_servers(
    from: &Sources<'_>,
    file: Option<Vec<String>>,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let given = from.typed("dns_servers", file, |given| Ok(list(given)))?.unwrap_or_default();
    let server = |text: String| {
        let origin = from
            .variable("dns_servers")
            .map_or_else(|| from.origin("dns_servers"), |given| given.origin);
        name_server(&Given { value: text, origin })
    };
    given.into_iter().map(server).collect()
}

fn invalid(origin: String, value: impl Into<String>, rule: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { origin, value: value.into(), rule: rule.into() }
}

fn checked<T>(
    given: Option<Given>,
    parse: impl FnOnce(&Given) -> Result<T, ConfigError>,
    default: T,
) -> Result<T, ConfigError> {
    match given {
        Some(given) => parse(&given),
        None => Ok(default),
    }
}

fn docker_config(variables: &BTreeMap<String, String>) -> PathBuf {
    let set = |name| variables.get(name).filter(|value| !value.is_empty());
    match (set("DOCKER_CONFIG"), set("HOME")) {
        (Some(dir), _) => Path::new(dir).join("config.json"),
        (None, Some(home)) => Path::new(home).join(".docker/config.json"),
        (None, None) => Config::default().docker_config,
    }
}

fn attributes(
    attributes: BTreeMap<String, String>,
    from: &Sources<'_>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let name_ok = |c: char| c.is_ascii_alphanumeric() || "-_./\\".contains(c);
    let value_ok = |c: char| c.is_ascii_alphanumeric() || "-_.@/\\: ".contains(c);
    let origin = || {
        from.variable("instance_attributes")
            .map_or_else(|| from.origin("instance_attributes"), |given| given.origin)
    };
    for (name, value) in &attributes {
        if !(1..=128).contains(&name.len()) || !name.chars().all(name_ok) {
            let rule = "an attribute's name has 1 to 128 letters, digits and - _ . / \\";
            return Err(invalid(origin(), name, rule));
        }
        if value.len() > 128 || !value.chars().all(value_ok) {
            let rule =
                "an attribute's value has up to 128 letters, digits, spaces and - _ . @ / \\ :";
            return Err(invalid(origin(), value, rule));
        }
    }
    Ok(attributes)
}

fn pools(names: BTreeSet<String>, from: &Sources<'_>) -> Result<BTreeSet<String>, ConfigError> {
    let origin = || {
        from.variable("capacity_providers")
            .map_or_else(|| from.origin("capacity_providers"), |given| given.origin)
    };
    for name in &names {
        pool(&Given { value: name.clone(), origin: origin() })?;
    }
    Ok(names)
}

fn registries(
    registries: BTreeMap<String, Registry>,
    from: &Sources<'_>,
) -> Result<BTreeMap<String, Registry>, ConfigError> {
    for (host, registry) in &registries {
        let key = from.origin(&format!("registries.\"{host}\""));
        if !is_host(host) {
            return Err(invalid(
                key,
                host,
                "a registry is named HOST or HOST:PORT, as in image names",
            ));
        }
        for mirror in &registry.mirrors {
            let bare = mirror
                .strip_prefix("https://")
                .or_else(|| mirror.strip_prefix("http://"))
                .unwrap_or(mirror);
            if !is_host(bare.trim_end_matches('/')) {
                return Err(invalid(
                    key,
                    mirror,
                    "a mirror is HOST[:PORT], or http:// or https:// and that",
                ));
            }
        }
        if registry.ca_file.as_ref().is_some_and(|file| !file.is_absolute()) {
            return Err(invalid(key, "ca_file", "it must be an absolute path"));
        }
    }
    Ok(registries)
}

fn roles(
    written: BTreeMap<String, WrittenRole>,
    from: &Sources<'_>,
) -> Result<BTreeMap<String, RoleSource>, ConfigError> {
    let checked = written.into_iter().map(|(arn, role)| {
        let key = from.origin(&format!("roles.\"{arn}\""));
        if !is_role(&arn) {
            let rule =
                "a role is named by its ARN, arn:aws:iam::ACCOUNT:role/NAME, or by its name alone";
            return Err(invalid(key, arn, rule));
        }
        match role.source() {
            Ok(source) => Ok((arn, source)),
            Err(rule) => Err(invalid(key, arn, rule)),
        }
    });
    checked.collect()
}
