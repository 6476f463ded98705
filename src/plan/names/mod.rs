//! Which names the world has, and what is behind them: names of services and tasks in the zone of their cluster, names
//! of Service Connect, names of service registries.
//!
//! | name | what is behind it |
//! | --- | --- |
//! | `SERVICE.CLUSTER.DOMAIN` | the healthy running tasks of the service |
//! | `TASK.CLUSTER.DOMAIN`, `CONTAINER.TASK.CLUSTER.DOMAIN` | the task by its id; one of its containers in bridge mode |
//! | `REGISTRY.CLUSTER.DOMAIN` | the tasks of services with this service registry |
//! | `DISCOVERYNAME.NAMESPACE`, `DISCOVERYNAME.CLUSTER.DOMAIN` | the tasks with that port of Service Connect |
//! | `DNSNAME`, `DNSNAME.NAMESPACE`, `DNSNAME.CLUSTER.DOMAIN` | the same by an alias |
//! | `FAMILY.CLUSTER.DOMAIN` | standalone tasks, unless one of those above has the name |
//! | `_PORTNAME._tcp.NAME` | of any of them the ports with that name |
//!
//! Letters of either case are the same. Nothing is kept: a name is looked for when it is asked for, by index where
//! there are many.

mod connect;
mod target;

pub use target::{Place, Port, Target};

use crate::model::network::private_dns_name;
use crate::model::service::ServiceStatus;
use crate::model::{
    Cluster, ClusterName, Family, Service, ServiceKey, ServiceName, Task, TaskId, TaskStatus,
};
use crate::plan::World;
use core::net::{IpAddr, Ipv4Addr};
use target::Wish;

/// What there is of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is in no zone of ours.
    Elsewhere,
    /// It is in this zone, and nobody has it.
    Nobody {
        /// The zone.
        zone: String,
    },
    /// Somebody has it.
    Known {
        /// The zone.
        zone: String,
        /// Where they are; nowhere at the moment if there are none.
        targets: Vec<Target>,
        /// Only ports were asked for.
        ports_only: bool,
    },
}

/// The zone of a cluster's names.
#[must_use]
pub fn zone(cluster: &ClusterName, domain: &str) -> String {
    format!("{cluster}.{domain}")
}

/// What the world has of `name`; `domain` is what the zones of clusters end with.
#[must_use]
pub fn find(world: &World, domain: &str, name: &str) -> Found {
    let (port, name) = split_port(name);
    let found = find_host(world, domain, name, port.as_ref());
    match found {
        Some((zone, Some(targets))) => Found::Known { zone, targets, ports_only: port.is_some() },
        Some((zone, None)) => Found::Nobody { zone },
        None => Found::Elsewhere,
    }
}

/// The name of whoever of the world has `address`: none if nobody has.
#[must_use]
pub fn of_address(world: &World, domain: &str, address: IpAddr) -> Option<String> {
    let (task, container) = at_address(world, address)?;
    let definition = world.task_definitions.get(&task.task_definition)?;
    Some(target::host(task, definition, container, &zone(&task.cluster, domain)))
}

/// A name of a port: `_http._tcp.` and the host.
struct PortName<'a> {
    name: &'a str,
    udp: bool,
}

fn split_port(name: &str) -> (Option<PortName<'_>>, &str) {
    let split = || {
        let (port, rest) = name.strip_prefix('_')?.split_once('.')?;
        let (carrier, host) = rest.split_once('.')?;
        let udp = match carrier.to_ascii_lowercase().as_str() {
            "_tcp" => false,
            "_udp" => true,
            _ => return None,
        };
        Some((PortName { name: port, udp }, host))
    };
    split().map_or((None, name), |(port, host)| (Some(port), host))
}

/// The zone that a host's name is in, and where the host is if there is one.
fn find_host(
    world: &World,
    domain: &str,
    name: &str,
    port: Option<&PortName<'_>>,
) -> Option<(String, Option<Vec<Target>>)> {
    let within = strip_suffix(name, domain);
    let in_cluster = within.and_then(|within| {
        let (host, cluster) = within.rsplit_once('.').map_or(("", within), |parts| parts);
        Some((host, cluster_called(world, cluster)?))
    });
    let (zone, mut targets) = if let Some((host, cluster)) = in_cluster {
        let zone = zone(&cluster.name, domain);
        let targets =
            if host.is_empty() { Some(Vec::new()) } else { in_zone(world, cluster, host, &zone) };
        (zone, targets)
    } else {
        let targets = of_connect(world, domain, name)
            .or_else(|| of_private_name(world, domain, within.is_some().then_some(name)?))?;
        let zone = name.split_once('.').map_or(name, |(_, zone)| zone);
        (zone.to_owned(), Some(targets))
    };
    if let (Some(port), Some(targets)) = (port, &mut targets) {
        for target in targets {
            target.ports.retain(|served| {
                let name = served.name.as_deref().unwrap_or_default();
                served.udp == port.udp && name.eq_ignore_ascii_case(port.name)
            });
        }
    }
    Some((zone, targets))
}

/// `name` without `.suffix`.
fn strip_suffix<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (at, dot) = (name.len().checked_sub(suffix.len())?, suffix.len().checked_add(1)?);
    let end = name.get(at..)?;
    let rest = name.get(..name.len().checked_sub(dot)?)?;
    (end.eq_ignore_ascii_case(suffix) && name.as_bytes().get(at - 1) == Some(&b'.')).then_some(rest)
}

fn cluster_called<'a>(world: &'a World, name: &str) -> Option<&'a Cluster> {
    let called = |cluster: &&Cluster| cluster.name.as_str().eq_ignore_ascii_case(name);
    let exact = ClusterName::new(name).ok().and_then(|name| world.clusters.get(&name));
    exact.or_else(|| world.clusters.values().find(called)).filter(|cluster| cluster.active)
}

/// Where the host with this name in the zone of `cluster` is.
fn in_zone(world: &World, cluster: &Cluster, host: &str, zone: &str) -> Option<Vec<Target>> {
    if let Some((container, task)) = host.rsplit_once('.') {
        let task = task_called(world, cluster, task)?;
        let all = target::of_task(world, task, &Wish::Container(container), zone);
        return Some(all).filter(|targets| !targets.is_empty());
    }
    if let Some(service) = service_called(world, cluster, host) {
        return Some(of_members(world, service, &Wish::Any, zone));
    }
    if let Some(task) = task_called(world, cluster, host) {
        return Some(target::of_task(world, task, &Wish::Any, zone));
    }
    let mut known = false;
    let mut targets = Vec::new();
    for (service, revision) in services(world, Some(&cluster.name)) {
        let mut wishes = Vec::new();
        for registry in &revision.service_registries {
            let named = connect::registry_name(registry);
            if named.is_some_and(|name| name.eq_ignore_ascii_case(host)) {
                wishes.push(Wish::of_registry(registry));
            }
        }
        let entries = connect::entries(revision.service_connect_configuration.as_ref());
        let named = entries.filter(|entry| entry.is_called(host));
        wishes.extend(named.map(|entry| Wish::PortName(entry.port_name)));
        for wish in wishes {
            known = true;
            add(&mut targets, of_members(world, service, &wish, zone));
        }
    }
    if known {
        return Some(targets);
    }
    let family = Family::new(host).ok()?;
    let of_family = world.live_tasks().filter(|task| {
        task.service.is_none()
            && task.cluster == cluster.name
            && task.task_definition.family.as_str().eq_ignore_ascii_case(family.as_str())
    });
    for task in of_family {
        known = true;
        if target::is_serving(world, task) {
            targets.extend(target::of_task(world, task, &Wish::Any, zone));
        }
    }
    known.then_some(targets)
}

/// Services that are not deleted, with what their primary deployment runs.
fn services<'a>(
    world: &'a World,
    cluster: Option<&'a ClusterName>,
) -> impl Iterator<Item = (&'a Service, &'a crate::model::ServiceRevision)> {
    let of = world.services.values().filter(move |service| {
        service.status != ServiceStatus::Inactive
            && cluster.is_none_or(|cluster| *cluster == service.key.cluster)
    });
    of.filter_map(|service| {
        let revision = &service.primary()?.service_revision;
        Some((service, world.service_revisions.get(revision)?))
    })
}

fn service_called<'a>(world: &'a World, cluster: &Cluster, name: &str) -> Option<&'a Service> {
    let exact = ServiceName::new(name)
        .ok()
        .and_then(|name| world.services.get(&ServiceKey { cluster: cluster.name.clone(), name }));
    let called = |service: &&Service| {
        service.key.cluster == cluster.name && service.key.name.as_str().eq_ignore_ascii_case(name)
    };
    let is_there = |service: &&Service| service.status != ServiceStatus::Inactive;
    exact.filter(is_there).or_else(|| world.services.values().filter(called).find(is_there))
}

fn task_called<'a>(world: &'a World, cluster: &Cluster, id: &str) -> Option<&'a Task> {
    let id = TaskId::new(id.to_ascii_lowercase()).ok()?;
    let task = world.tasks.get(&id)?;
    (task.cluster == cluster.name && task.last_status != TaskStatus::Stopped).then_some(task)
}

/// Where the members of a service are that serve what is wished for.
fn of_members(world: &World, service: &Service, wish: &Wish<'_>, zone: &str) -> Vec<Target> {
    let members = world.index.tasks_of_service.get(&service.key).into_iter().flatten();
    let members = members.filter_map(|id| world.tasks.get(id));
    let serving = members.filter(|task| target::is_serving(world, task));
    serving.flat_map(|task| target::of_task(world, task, wish, zone)).collect()
}

/// Adds what is not there yet: two names of one service may lead to the same place.
fn add(targets: &mut Vec<Target>, more: Vec<Target>) {
    for target in more {
        match targets.iter_mut().find(|there| there.host == target.host) {
            Some(there) => {
                for port in target.ports {
                    if !there.ports.contains(&port) {
                        there.ports.push(port);
                    }
                }
            }
            None => targets.push(target),
        }
    }
}

/// Where those are that Service Connect knows by this whole name.
fn of_connect(world: &World, domain: &str, name: &str) -> Option<Vec<Target>> {
    let mut targets = None;
    for (service, revision) in services(world, None) {
        let Some(configuration) = &revision.service_connect_configuration else { continue };
        let cluster = world.clusters.get(&service.key.cluster);
        let namespace = connect::namespace(configuration, cluster);
        let entries = connect::entries(Some(configuration));
        let named = entries.filter(|entry| entry.is_called_whole(name, namespace));
        for entry in named {
            let zone = zone(&service.key.cluster, domain);
            let wish = Wish::PortName(entry.port_name);
            let members = of_members(world, service, &wish, &zone);
            add(targets.get_or_insert_default(), members);
        }
    }
    targets
}

/// Who has a name that is made of an address: `ip-10-0-0-5.internal`.
fn of_private_name(world: &World, domain: &str, name: &str) -> Option<Vec<Target>> {
    let label = name.split_once('.').map_or(name, |(label, _)| label);
    let mut numbers =
        label.get(..3)?.eq_ignore_ascii_case("ip-").then(|| label.get(3..))??.split('-');
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = numbers.next()?.parse().ok()?;
    }
    let address = Ipv4Addr::from(octets);
    if !private_dns_name(address).eq_ignore_ascii_case(name) {
        return None;
    }
    let (task, _) = at_address(world, address.into())?;
    let zone = zone(&task.cluster, domain);
    Some(target::of_task(world, task, &Wish::Any, &zone))
}

/// The task and the container with this address.
fn at_address(world: &World, address: IpAddr) -> Option<(&Task, &crate::model::Container)> {
    world.live_tasks().find_map(|task| {
        let has = |container: &&crate::model::Container| {
            container.network_interfaces.iter().any(|interface| {
                interface.private_ipv4_address.map(IpAddr::V4) == Some(address)
                    || interface.ipv6_address.map(IpAddr::V6) == Some(address)
            })
        };
        Some((task, task.containers.iter().find(has)?))
    })
}

#[cfg(test)]
mod tests;
