//! `PutClusterCapacityProviders`, and the rules of capacity provider strategies.

use super::{CommandError, Outcome, Reply};
use crate::model::{
    CapacityProviderStrategyItem, Cluster, ClusterName, ServiceRevision, capacity_provider,
};
use crate::plan::{Change, World};
use std::collections::BTreeSet;

/// How many items a strategy may have.
const ITEMS_AT_MOST: usize = 20;
/// The largest weight of an item.
const WEIGHT_AT_MOST: u32 = 1000;
/// The largest base of an item.
const BASE_AT_MOST: u32 = 100_000;

/// The pools there are: those that boxes belong to, and those that the configuration lists.
#[must_use]
pub fn known(world: &World) -> BTreeSet<&str> {
    let registered = world.container_instances.values().filter(|i| i.is_registered());
    let named = registered.filter_map(|instance| instance.capacity_provider());
    let listed = world.settings.capacity_providers.iter().map(String::as_str);
    named.filter(|name| capacity_provider::is_name(name)).chain(listed).collect()
}

/// Refuses names of pools that there are not.
pub(super) fn check_known(world: &World, names: &[String]) -> Result<(), CommandError> {
    if names.is_empty() {
        return Ok(());
    }
    let known = known(world);
    for (at, name) in names.iter().enumerate() {
        if matches!(name.as_str(), "FARGATE" | "FARGATE_SPOT") {
            return invalid(format!(
                "The capacity provider {name} is Amazon's own and is not here: a capacity provider is a pool of boxes, \
                 named by their attribute {}.",
                capacity_provider::ATTRIBUTE
            ));
        }
        if !known.contains(name.as_str()) {
            let name: String = name.chars().take(256).collect();
            return invalid(format!(
                "The specified capacity provider '{name}' was not found. Specify a valid name or ARN and try again."
            ));
        }
        if names[..at].contains(name) {
            return invalid(format!("The capacity provider '{name}' is given more than once."));
        }
    }
    Ok(())
}

/// Refuses strategies that ECS refuses for a cluster that has `associated`.
pub(super) fn check_strategy(
    associated: &[String],
    strategy: &[CapacityProviderStrategyItem],
) -> Result<(), CommandError> {
    if strategy.len() > ITEMS_AT_MOST {
        return invalid(format!(
            "A capacity provider strategy cannot contain more than {ITEMS_AT_MOST} capacity providers."
        ));
    }
    for (at, item) in strategy.iter().enumerate() {
        let name = &item.capacity_provider;
        if !associated.contains(name) {
            return invalid(
                "The specified capacity provider strategy cannot contain a capacity provider that is not associated \
                 with the cluster. Associate the capacity provider with the cluster and try again."
                    .to_owned(),
            );
        }
        if strategy[..at].iter().any(|earlier| &earlier.capacity_provider == name) {
            return invalid(format!(
                "The capacity provider strategy contains the capacity provider '{name}' more than once."
            ));
        }
        if item.weight > WEIGHT_AT_MOST {
            return invalid(format!(
                "The weight of the capacity provider '{name}' must be between 0 and {WEIGHT_AT_MOST}."
            ));
        }
        if item.base > BASE_AT_MOST {
            return invalid(format!(
                "The base of the capacity provider '{name}' must be between 0 and {BASE_AT_MOST}."
            ));
        }
    }
    if strategy.iter().filter(|item| item.base > 0).count() > 1 {
        return invalid(
            "Only one capacity provider in a capacity provider strategy can have a base defined."
                .to_owned(),
        );
    }
    Ok(())
}

/// Refuses strategies that cannot place tasks in `cluster`: besides the rules of all, one of several items must have a
/// weight.
///
/// # Errors
/// [`CommandError::InvalidParameter`].
pub fn check_usable(
    cluster: &Cluster,
    strategy: &[CapacityProviderStrategyItem],
) -> Result<(), CommandError> {
    check_strategy(&cluster.capacity_providers, strategy)?;
    if strategy.len() > 1 && strategy.iter().all(|item| item.weight == 0) {
        return invalid(
            "The capacity provider strategy must contain at least one capacity provider with a weight value greater \
             than 0."
                .to_owned(),
        );
    }
    Ok(())
}

/// Associates exactly these pools with the cluster.
pub(super) fn put(
    world: &World,
    name: &ClusterName,
    providers: Vec<String>,
    strategy: Vec<CapacityProviderStrategyItem>,
) -> Result<Outcome, CommandError> {
    let cluster = super::cluster::active(world, name)?;
    // One that the cluster has stays good when its last box goes.
    let new: Vec<String> =
        providers.iter().filter(|p| !cluster.capacity_providers.contains(p)).cloned().collect();
    check_known(world, &new)?;
    if let Some((_, twice)) =
        providers.iter().enumerate().find(|(at, provider)| providers[..*at].contains(provider))
    {
        return invalid(format!("The capacity provider '{twice}' is given more than once."));
    }
    check_strategy(&providers, &strategy)?;
    let removed = |p: &&String| !providers.contains(p);
    if cluster.capacity_providers.iter().filter(removed).any(|p| in_use(world, name, p)) {
        return Err(CommandError::ResourceInUse(
            "The specified capacity provider is in use and cannot be removed.".to_owned(),
        ));
    }
    let reply = Reply::Cluster(name.clone());
    if cluster.capacity_providers == providers
        && cluster.default_capacity_provider_strategy == strategy
    {
        return Ok(Outcome::with(Vec::new(), reply));
    }
    let cluster = Cluster {
        capacity_providers: providers,
        default_capacity_provider_strategy: strategy,
        ..cluster.clone()
    };
    Ok(Outcome::with(vec![Change::PutCluster(cluster)], reply))
}

/// Whether a service or a task of the cluster goes to this pool.
fn in_use(world: &World, cluster: &ClusterName, provider: &str) -> bool {
    let names = |revision: &ServiceRevision| {
        revision.capacity_provider_strategy.iter().any(|i| i.capacity_provider == provider)
    };
    let services = world.services.values().filter(|s| &s.key.cluster == cluster);
    let mut revisions = services
        .flat_map(|service| &service.deployments)
        .filter_map(|deployment| world.service_revisions.get(&deployment.service_revision));
    revisions.any(names)
        || world.assignments.values().any(|assignment| {
            &assignment.cluster == cluster
                && assignment.capacity_provider_name.as_deref() == Some(provider)
        })
}

fn invalid<T>(text: String) -> Result<T, CommandError> {
    Err(CommandError::InvalidParameter(text))
}
