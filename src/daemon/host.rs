//! What this box is: its capacity and attributes, as it registers them.

use crate::config::{Config, NameSettings, program_search_path};
use crate::engine::Names;
use crate::image;
use crate::model::capacity_provider;
use crate::model::container_instance::{Attribute, Capacity, PRIVILEGED};
use crate::net::NetworkConfig;
use crate::plan::Settings;
use crate::plan::command::RegisterThisInstance;
use anyhow::Context;

/// The registration of this box.
///
/// # Errors
/// When the kernel does not tell the memory or the number of processors.
pub(super) fn this_instance(
    config: &Config,
    settings: &Settings,
) -> anyhow::Result<RegisterThisInstance> {
    let id = settings.this_instance.clone().context("this box has no id")?;
    let processors = std::thread::available_parallelism().context("cannot count processors")?;
    let meminfo = std::fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let memory = total_mib(&meminfo).context("/proc/meminfo has no MemTotal")?;
    Ok(RegisterThisInstance {
        id,
        cluster: config.cluster.clone(),
        capacity: Capacity {
            cpu: u32::try_from(processors.get())?.saturating_mul(1024),
            memory: memory.saturating_sub(config.reserved_memory),
            reserved_ports: config.reserved_ports.clone(),
            reserved_ports_udp: config.reserved_ports_udp.clone(),
            gpus: Vec::new(),
        },
        attributes: attributes(config),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// What the settings say of registries, for the image store.
pub(super) fn image_options(config: &Config) -> image::Options {
    let registries = &config.registries;
    let insecure = registries.iter().filter(|(_, r)| r.insecure).map(|(host, _)| host.clone());
    let mirrors = registries.iter().map(|(host, r)| (host.clone(), r.mirrors.clone()));
    image::Options {
        insecure: insecure.collect(),
        mirrors: mirrors.filter(|(_, mirrors)| !mirrors.is_empty()).collect(),
        certificate_authorities: registries
            .iter()
            .filter_map(|(host, registry)| Some((host.clone(), registry.ca_file.clone()?)))
            .collect(),
        client_certificates: registries
            .iter()
            .filter_map(|(host, registry)| {
                let (certificate, key) =
                    (registry.client_cert.clone()?, registry.client_key.clone()?);
                Some((host.clone(), image::ClientCertificate { certificate, key }))
            })
            .collect(),
        proxies: config.proxies.clone(),
        docker_configs: vec![config.docker_config.clone()],
        bandwidth: config.pull_bandwidth,
        concurrent_layers: Some(config.concurrent_layers),
        search_path: program_search_path().unwrap_or_default(),
    }
}

/// What the settings say of the network of containers.
pub(super) fn network(config: &Config) -> NetworkConfig {
    NetworkConfig {
        state_dir: config.state_dir.clone(),
        bridge: config.network.bridge.clone(),
        subnet: config.network.subnet,
        subnet6: config.network.subnet6,
        dynamic_ports: config.network.dynamic_ports,
        reserved_ports: config.reserved_ports.clone(),
        reserved_ports_udp: config.reserved_ports_udp.clone(),
        allow_instance_metadata: config.allow_instance_metadata,
    }
}

/// How containers find names.
pub(super) fn names(config: &Config) -> Names {
    let NameSettings { dns, domain, servers } = config.names.clone();
    if dns { Names::Served { domain, servers } } else { Names::OfTheBox }
}

/// The memory of this machine, in bytes.
pub(super) fn memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    total_mib(&meminfo).map(|mib| u64::from(mib) << 20)
}

/// `MemTotal` in MiB.
fn total_mib(meminfo: &str) -> Option<u32> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    u32::try_from(kib / 1024).ok()
}

/// ECS's name for the architecture this program was built for.
fn cpu_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86_64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn attributes(config: &Config) -> Vec<Attribute> {
    let fixed = [
        ("ecs.os-type", "linux"),
        ("ecs.os-family", "LINUX"),
        ("ecs.cpu-architecture", cpu_architecture()),
    ];
    let with_value = |(name, value): (&str, &str)| Attribute {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    let own = config.instance_attributes.iter().map(|(name, value)| Attribute {
        name: name.clone(),
        value: Some(value.clone()).filter(|value| !value.is_empty()),
    });
    let pool =
        config.capacity_provider.iter().map(|name| (capacity_provider::ATTRIBUTE, name.as_str()));
    let privileged = config.allow_privileged.then(|| Attribute::flag(PRIVILEGED));
    fixed.into_iter().chain(pool).map(with_value).chain(privileged).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mib() {
        assert_eq!(total_mib("MemTotal:      524288 kB\nMemFree: 1 kB\n"), Some(512));
        assert_eq!(total_mib("MemFree: 1 kB\n"), None);
    }
}
