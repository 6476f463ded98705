//! `dependsOn`: the order of start and stop.

use super::super::ContainerDefinition;
use super::{Check, client, one_of};
use std::collections::BTreeMap;

pub(super) fn all(containers: &[ContainerDefinition]) -> Check {
    let mut edges = BTreeMap::new();
    for container in containers {
        let name = container.name.as_deref().unwrap_or_default();
        let mut targets = Vec::new();
        for dependency in container.depends_on.iter().flatten() {
            let Some(target) = dependency.container_name.as_deref() else {
                return client("ContainerDependency.containerName should not be null or empty.");
            };
            if dependency.condition.is_none() {
                return client("ContainerDependency.condition should not be null or empty.");
            }
            let condition = dependency.condition.as_deref();
            one_of("ContainerCondition", condition, &["START", "COMPLETE", "SUCCESS", "HEALTHY"])?;
            let Some(dependency) = containers.iter().find(|c| c.name.as_deref() == Some(target))
            else {
                return client(format!(
                    "Cannot depend on container + '{target}' because it does not exist"
                ));
            };
            if matches!(condition, Some("COMPLETE" | "SUCCESS")) && dependency.is_essential() {
                return client(
                    "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
                );
            }
            if condition == Some("HEALTHY") && !has_health_check(dependency) {
                return client(format!(
                    "A dependency container with HEALTHY condition must have a health check: '{target}' has none."
                ));
            }
            targets.push(target);
        }
        edges.insert(name, targets);
    }
    if cycle(&edges).is_some() {
        return client("Container dependencies should not have a cycle");
    }
    // A link is a START as well, so the two together must leave an order.
    for container in containers {
        let links = container.links.iter().flatten();
        let names = links.map(|link| link.split_once(':').map_or(link.as_str(), |(name, _)| name));
        edges.entry(container.name.as_deref().unwrap_or_default()).or_default().extend(names);
    }
    match cycle(&edges) {
        Some(_) => client("Container links and dependencies should not have a cycle"),
        None => Ok(()),
    }
}

/// A check that says something; `NONE` only turns the image's off.
fn has_health_check(container: &ContainerDefinition) -> bool {
    let command = container.health_check.as_ref().and_then(|check| check.command.as_ref());
    command.is_some_and(|command| command.first().is_some_and(|kind| kind != "NONE"))
}

/// A node of a cycle of `edges`, if there is one. Nodes without outgoing edges are taken away until none is left.
pub(super) fn cycle<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<&'a str> {
    let mut left = edges.clone();
    loop {
        let done: Vec<&str> = left
            .iter()
            .filter(|(_, targets)| !targets.iter().any(|target| left.contains_key(target)))
            .map(|(name, _)| *name)
            .collect();
        if done.is_empty() {
            return left.keys().next().copied();
        }
        for name in done {
            left.remove(name);
        }
    }
}
