//! Where settings come from, and which source wins.

mod cleanup;
mod instance;
mod names;
mod proxies;
mod sources;
mod tables;
mod variables;
mod written;

pub(super) use variables::variables;
pub(super) use written::{Written, read_file};

use super::value::{
    account_id, at_least, attribute_list, boolean, cgroup, kept_for, list, log, number, ports,
    pull_behavior, region_name, size, total,
};
use super::{Config, ConfigError, ContainerLog, NetworkSettings, Overrides};
use crate::model::{ClusterName, Scope};
use instance::{attributes, pools};
use proxies::proxies;
use sources::{Sources, checked, invalid};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tables::{registries, roles};

/// Joins the sources; the earlier named wins: flag, variable, file, default.
pub(super) fn merge(
    overrides: &Overrides,
    variables: &BTreeMap<String, String>,
    mut file: Written,
    path: &Path,
) -> Result<Config, ConfigError> {
    let from = Sources { variables, path };
    let default = Config::default();

    let listen = from.text("listen", None, file.listen.take()).map(|given| {
        given
            .value
            .parse()
            .map_err(|_| given.invalid("it must be ADDRESS:PORT, for example 127.0.0.1:51678"))
    });
    let listen: Option<SocketAddr> = match overrides.listen {
        Some(listen) => Some(listen),
        None => listen.transpose()?,
    };
    let region = from.text("region", overrides.region.as_deref(), file.region.take());
    let account = from.text("account", overrides.account.as_deref(), file.account.take());
    let stop_timeout =
        from.text("container_stop_timeout", None, file.container_stop_timeout.take());
    let retention = from.text("stopped_task_retention", None, file.stopped_task_retention.take());
    let max_size = from.text("container_log_max_size", None, file.container_log_max_size.take());
    let max_total = from.text("container_log_max_total", None, file.container_log_max_total.take());
    let max_age = from.text("container_log_max_age", None, file.container_log_max_age.take());
    let max_file = from.typed("container_log_max_file", file.container_log_max_file, number)?;
    if max_file == Some(0) {
        return Err(invalid(from.origin("container_log_max_file"), "0", "it must be at least 1"));
    }

    let instance_attributes = attributes(
        from.typed("instance_attributes", file.instance_attributes.take(), attribute_list)?
            .unwrap_or(default.instance_attributes),
        &from,
    )?;
    let capacity_provider =
        instance::capacity_provider(&from, file.capacity_provider.take(), &instance_attributes)?;
    let image_cleanup = cleanup::image_cleanup(&from, &mut file, default.image_cleanup)?;

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
        socket_group: from
            .text("socket_group", None, file.socket_group)
            .map(|given| given.value)
            .filter(|group| !group.is_empty()),
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
        image_cleanup,
        pull_bandwidth: checked(
            from.text("pull_bandwidth", None, file.pull_bandwidth),
            total,
            default.pull_bandwidth,
        )?,
        concurrent_layers: from
            .typed("concurrent_layers", file.concurrent_layers, number)?
            .unwrap_or(default.concurrent_layers),
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
        proxies: proxies(&from, file.http_proxy, file.https_proxy, file.no_proxy)?,
        docker_config: from.path(
            "docker_config",
            None,
            file.docker_config,
            variables::docker_config(variables),
        )?,
        roles: roles(file.roles.unwrap_or_default(), &from)?,
        names: names::names(&from, file.dns, file.dns_domain, file.dns_servers, default.names)?,
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
        images: from.path("images", None, file.images, default.images)?,
        fleet: file.fleet.unwrap_or_default().settings(|key| from.origin(key))?,
        unknown_variables: variables::unknown(variables),
    })
}
