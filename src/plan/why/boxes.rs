//! Why a task finds no box: what each lacks, the same lacks told once.

use super::{Finding, box_name, number};
use crate::model::service::SchedulingStrategy;
use crate::model::task::TaskOverride;
use crate::model::{ContainerInstance, Service, ServiceRevision};
use crate::plan::World;
use crate::plan::placement::{Claims, Constraints, Needs, Search, Wish, ranks};
use std::collections::BTreeMap;

/// So many boxes are named for one lack; the others are counted.
const NAMED: usize = 3;

/// What there is to say of the boxes for one more task of a service's revision.
pub(super) enum Boxes {
    /// A box would take it.
    Fit(String),
    /// None does.
    Lack(Vec<Finding>),
}

/// Looks at every box of the cluster.
pub(super) fn look(world: &World, service: &Service, revision: &ServiceRevision) -> Boxes {
    let Some(definition) = world.task_definitions.get(&revision.task_definition) else {
        let text = format!("the task definition {} is not there", revision.task_definition);
        return Boxes::Lack(vec![Finding::new(text)]);
    };
    let of_definition = definition.content.placement_constraints.as_deref().unwrap_or_default();
    let constraints = match Constraints::read(of_definition, &service.placement_constraints) {
        Ok(constraints) => constraints,
        Err(why) => return Boxes::Lack(vec![Finding::new(why)]),
    };
    let strategy = ranks(&service.placement_strategy).unwrap_or_default();
    let network = revision.network.as_ref();
    let needs = Needs::of(&definition.content, &TaskOverride::default(), network);
    let group = service.group();
    let mut claims = Claims::default();
    let wish = Wish {
        at_once: service.scheduling_strategy != SchedulingStrategy::Daemon,
        cluster: &service.key.cluster,
        group: &group,
        definition,
        needs: &needs,
        constraints: &constraints,
        strategy: &strategy,
        pool: None,
    };
    let search = Search::new(world, &mut claims, wish);
    let pools = &revision.capacity_provider_strategy;
    let of_pool = |instance: &ContainerInstance| {
        let pool = instance.capacity_provider();
        pools.is_empty() || pools.iter().any(|item| Some(item.capacity_provider.as_str()) == pool)
    };
    let mut lacks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let boxes = world.container_instances.values();
    for instance in boxes.filter(|b| b.cluster == service.key.cluster && b.is_registered()) {
        let name = || box_name(world, &instance.id);
        if !of_pool(instance) {
            let names: Vec<&str> = pools.iter().map(|p| p.capacity_provider.as_str()).collect();
            let text = format!("it is not of the capacity provider {}", names.join(" or "));
            lacks.entry(text).or_default().push(name());
            continue;
        }
        match search.fits(&instance.id) {
            Ok(()) => return Boxes::Fit(name()),
            Err(lack) => lacks.entry(lack.missing.to_string()).or_default().push(name()),
        }
    }
    if lacks.is_empty() {
        let text = format!("the cluster {} has no container instance", service.key.cluster);
        return Boxes::Lack(vec![Finding::new(text)]);
    }
    // What most of them lack is told first.
    let mut lacks: Vec<_> = lacks.into_iter().collect();
    lacks.sort_by_key(|(_, boxes)| std::cmp::Reverse(boxes.len()));
    Boxes::Lack(lacks.into_iter().map(|(why, boxes)| told(&why, &boxes)).collect())
}

fn told(why: &str, boxes: &[String]) -> Finding {
    let named = boxes.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match boxes.len().saturating_sub(NAMED) {
        0 => Finding::new(format!("{named}: {why}")),
        more => Finding::new(format!("{named} and {} more: {why}", number(more))),
    }
}
