//! Ports, links and names, which depend on the network mode.

use super::super::{ContainerDefinition, PortMapping};
use super::{Check, client, one_of};
use core::net::IpAddr;
use std::collections::BTreeMap;

const PORTS: std::ops::RangeInclusive<i64> = 1..=65_535;

/// Rules of one container; `mode` absent is bridge.
pub(super) fn container(container: &ContainerDefinition, mode: Option<&str>) -> Check {
    let name = container.name.as_deref().unwrap_or_default();
    let ports = container.port_mappings.as_deref().unwrap_or_default();
    for port in ports {
        mapping(name, port, mode)?;
    }
    overlaps(ports)?;
    let filled = |list: Option<usize>| list.is_some_and(|len| len > 0);
    let links = container.links.as_ref().map(Vec::len);
    match mode {
        Some(mode @ ("awsvpc" | "host" | "none")) if filled(links) => {
            return client(format!("Links are not supported when networkMode={mode}."));
        }
        Some("awsvpc") => {
            if container.hostname.is_some() {
                return client("hostname is not supported on container when networkMode=awsvpc.");
            }
            if filled(container.extra_hosts.as_ref().map(Vec::len)) {
                return client("extraHosts is not supported on container when networkMode=awsvpc.");
            }
            if filled(container.dns_servers.as_ref().map(Vec::len)) {
                return client("dnsServers is not supported on container when networkMode=awsvpc.");
            }
            if filled(container.dns_search_domains.as_ref().map(Vec::len)) {
                return client(
                    "dnsSearchDomains is not supported on container when networkMode=awsvpc.",
                );
            }
        }
        _ => {}
    }
    for entry in container.extra_hosts.iter().flatten() {
        let address = entry.ip_address.as_deref().unwrap_or_default();
        if entry.hostname.as_deref().is_none_or(str::is_empty) || address.is_empty() {
            return client(
                "HostEntry.hostname and HostEntry.ipAddress should not be null or empty.",
            );
        }
        // Docker's word for the box itself, which without a network cannot be reached.
        let of_box = address == "host-gateway" && mode != Some("none");
        if address.parse::<IpAddr>().is_err() && !of_box {
            return client(format!(
                "Invalid 'extraHosts' setting for container '{name}': {address} is not an IP address."
            ));
        }
    }
    for server in container.dns_servers.iter().flatten() {
        if server.parse::<IpAddr>().is_err() {
            return client(format!(
                "Invalid 'dnsServers' setting for container '{name}': {server} is not an IP address."
            ));
        }
    }
    Ok(())
}

fn mapping(container: &str, port: &PortMapping, mode: Option<&str>) -> Check {
    if mode == Some("none") {
        return client("Port mappings are not supported when networkMode=none.");
    }
    one_of("Protocol", port.protocol.as_deref(), &["tcp", "udp"])?;
    one_of("AppProtocol", port.app_protocol.as_deref(), &["http", "http2", "grpc"])?;
    if let Some(name) = port.name.as_deref() {
        let valid = name.len() <= 64
            && !name.starts_with('-')
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !valid {
            return client(format!(
                "Invalid port mapping name '{name}'. It can have up to 64 lower-case letters, numbers, underscores and hyphens, and must not start with a hyphen."
            ));
        }
    }
    if let Some(range) = port.container_port_range.as_deref() {
        if port.container_port.is_some() || port.host_port.is_some_and(|host| host != 0) {
            return client(
                "containerPortRange cannot be used together with containerPort or hostPort.",
            );
        }
        if !matches!(mode, None | Some("bridge" | "awsvpc")) {
            return client(
                "containerPortRange is only supported when networkMode is bridge or awsvpc.",
            );
        }
        return match parse_range(range) {
            Some(_) => Ok(()),
            None => client(format!("Invalid containerPortRange '{range}'.")),
        };
    }
    let invalid =
        |what: &str| client(format!("Invalid '{what}' setting for container '{container}'."));
    let Some(container_port) = port.container_port.filter(|port| PORTS.contains(port)) else {
        return invalid("containerPort");
    };
    if port.host_port.is_some_and(|port| port != 0 && !PORTS.contains(&port)) {
        return invalid("hostPort");
    }
    match (mode, port.host_port) {
        (Some(mode @ ("awsvpc" | "host")), Some(host)) if host != 0 && host != container_port => {
            client(format!(
                "When networkMode={mode}, the host ports and container ports in port mappings must match."
            ))
        }
        _ => Ok(()),
    }
}

/// `a-b` with 1 ≤ a < b ≤ 65535.
fn parse_range(text: &str) -> Option<(i64, i64)> {
    let (first, last) = text.split_once('-')?;
    let port = |text: &str| {
        let digits =
            !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|port| digits && PORTS.contains(port))
    };
    let (first, last) = (port(first)?, port(last)?);
    (first < last).then_some((first, last))
}

/// A port belongs to one range of a container, and there are at most 100 of them.
fn overlaps(ports: &[PortMapping]) -> Check {
    let mut ranges = Vec::new();
    for port in ports {
        if let Some(range) = port.container_port_range.as_deref().and_then(parse_range) {
            ranges.push((port.protocol.as_deref().unwrap_or("tcp"), range));
        }
    }
    if ranges.len() > 100 {
        return client("A container can have at most 100 containerPortRange port mappings.");
    }
    for (index, (protocol, (first, last))) in ranges.iter().enumerate() {
        let crosses = ranges[index + 1..]
            .iter()
            .any(|(other, (a, b))| other == protocol && a <= last && first <= b);
        let holds_single = ports.iter().any(|p| {
            p.protocol.as_deref().unwrap_or("tcp") == *protocol
                && p.container_port.is_some_and(|port| (*first..=*last).contains(&port))
        });
        if crosses || holds_single {
            return client("Port mappings of a container must not overlap.");
        }
    }
    Ok(())
}

/// Links name containers of the task and form no cycle.
pub(super) fn links(containers: &[ContainerDefinition]) -> Check {
    let mut edges = BTreeMap::new();
    for container in containers {
        let name = container.name.as_deref().unwrap_or_default();
        let mut targets = Vec::new();
        for link in container.links.iter().flatten() {
            let target = link.split_once(':').map_or(link.as_str(), |(target, _)| target);
            if !containers.iter().any(|c| c.name.as_deref() == Some(target)) {
                return client(format!("Invalid 'links' setting. Unknown container: '{target}'."));
            }
            targets.push(target);
        }
        edges.insert(name, targets);
    }
    match super::dependencies::cycle(&edges) {
        Some(_) => client("Container links should not have a cycle"),
        None => Ok(()),
    }
}
