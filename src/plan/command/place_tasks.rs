//! Boxes for the tasks of RunTask and StartTask, and `failures[]` for those that found none.

use super::capacity_provider::check_usable;
use super::{CommandError, RunTask};
use crate::model::{CapacityProviderStrategyItem, ContainerInstanceId, Failure, TaskDefinition};
use crate::plan::placement::{self, Claims, Constraints, Lack, Needs, Search, Wish, next_pool};
use crate::plan::{Ids, World};
use std::collections::BTreeMap;

/// How many boxes are told in `failures[]`; more say nothing that these do not.
const FAILURES_AT_MOST: usize = 1000;

/// A box for one task.
pub(super) struct Placed {
    pub(super) instance: ContainerInstanceId,
    /// The capacity provider that it was chosen from.
    pub(super) pool: Option<String>,
}

/// What was placed, and why the rest was not.
type Answer = Result<(Vec<Placed>, Vec<Failure>), CommandError>;

/// Chooses a box for each task.
pub(super) fn place(
    world: &World,
    run: &RunTask,
    definition: &TaskDefinition,
    ids: &mut Ids,
) -> Answer {
    let of_definition = definition.content.placement_constraints.as_deref().unwrap_or_default();
    let constraints = Constraints::read(of_definition, &run.placement_constraints)
        .map_err(CommandError::InvalidParameter)?;
    let strategy =
        placement::ranks(&run.placement_strategy).map_err(CommandError::InvalidParameter)?;
    let needs = Needs::of(&definition.content, &run.overrides, run.network.as_ref());
    let group = run.group_or_family();
    let wish = Wish {
        at_once: true,
        cluster: &run.cluster,
        group: &group,
        definition,
        needs: &needs,
        constraints: &constraints,
        strategy: &strategy,
        pool: None,
    };
    if let Some(named) = &run.container_instances {
        return Ok(on_named(world, wish, named));
    }
    let pools = pools(world, run)?;
    if pools.is_empty() {
        anywhere(world, wish, run.count, ids)
    } else {
        in_pools(world, wish, run.count, &pools, ids)
    }
}

/// StartTask: exactly these boxes.
fn on_named(world: &World, wish: Wish, named: &[String]) -> (Vec<Placed>, Vec<Failure>) {
    let mut claims = Claims::default();
    let mut search = Search::new(world, &mut claims, wish);
    let arn = |id: &ContainerInstanceId| world.settings.scope.container_instance(wish.cluster, id);
    let (mut placed, mut failures) = (Vec::new(), Vec::new());
    for name in named {
        let id = ContainerInstanceId::new(name.as_str()).ok();
        let known = id.as_ref().and_then(|id| world.container_instances.get(id));
        let Some(instance) = known.filter(|instance| &instance.cluster == wish.cluster) else {
            failures.push(Failure::missing(id.map_or(name.clone(), |id| arn(&id))));
            continue;
        };
        match search.fits(&instance.id) {
            Ok(()) => {
                search.take(&instance.id);
                placed.push(Placed { instance: instance.id.clone(), pool: None });
            }
            Err(lack) => failures.push(lack.failure(arn(&instance.id))),
        }
    }
    (placed, failures)
}

/// RunTask over all boxes of the cluster.
fn anywhere(world: &World, wish: Wish, count: u32, ids: &mut Ids) -> Answer {
    let mut claims = Claims::default();
    let mut search = Search::new(world, &mut claims, wish);
    if search.is_empty() {
        return Err(CommandError::InvalidParameter(
            "No Container Instances were found in your cluster.".to_owned(),
        ));
    }
    let mut placed = Vec::new();
    for _ in 0..count {
        match search.next(ids) {
            Ok(instance) => placed.push(Placed { instance, pool: None }),
            Err(lacks) => return Ok((placed, failures(world, &wish, &lacks))),
        }
    }
    Ok((placed, Vec::new()))
}

/// RunTask with a strategy: each task in the pool that it is for.
fn in_pools(
    world: &World,
    wish: Wish,
    count: u32,
    strategy: &[CapacityProviderStrategyItem],
    ids: &mut Ids,
) -> Answer {
    let mut claims = Claims::default();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..count {
        let pool = next_pool(strategy, |pool| counts.get(pool).copied().unwrap_or(0));
        *counts.entry(pool.unwrap_or_default()).or_default() += 1;
    }
    if counts.keys().all(|pool| !world.index.rooms.has_pool(wish.cluster, pool)) {
        return Err(CommandError::InvalidParameter(EMPTY_POOL.to_owned()));
    }
    let (mut placed, mut missed) = (Vec::new(), Vec::new());
    for (pool, count) in counts {
        let mut search = Search::new(world, &mut claims, Wish { pool: Some(pool), ..wish });
        if search.is_empty() {
            let reason = Some(EMPTY_POOL.to_owned());
            missed.push(Failure { arn: None, reason, detail: Some(pool.to_owned()) });
            continue;
        }
        for _ in 0..count {
            match search.next(ids) {
                Ok(instance) => placed.push(Placed { instance, pool: Some(pool.to_owned()) }),
                Err(lacks) => {
                    missed.extend(failures(world, &wish, &lacks));
                    break;
                }
            }
        }
    }
    Ok((placed, missed))
}

const EMPTY_POOL: &str = "No Container Instances were found in your capacity provider.";

fn failures(world: &World, wish: &Wish, lacks: &[Lack]) -> Vec<Failure> {
    let arn = |lack: &Lack| world.settings.scope.container_instance(wish.cluster, &lack.instance);
    lacks.iter().take(FAILURES_AT_MOST).map(|lack| lack.failure(arn(lack))).collect()
}

/// The strategy of the request, or without a launch type that of the cluster.
fn pools(world: &World, run: &RunTask) -> Result<Vec<CapacityProviderStrategyItem>, CommandError> {
    let cluster = super::cluster::active(world, &run.cluster)?;
    if run.launch_type.is_some() {
        return Ok(Vec::new());
    }
    if !run.capacity_provider_strategy.is_empty() {
        check_usable(cluster, &run.capacity_provider_strategy)?;
        return Ok(run.capacity_provider_strategy.clone());
    }
    Ok(cluster.default_capacity_provider_strategy.clone())
}

impl RunTask {
    /// The group that the tasks will be in.
    pub(super) fn group_or_family(&self) -> String {
        self.group.clone().unwrap_or_else(|| format!("family:{}", self.family))
    }
}
