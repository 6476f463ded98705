//! The search against one that looks at everything, in random small fleets.

use super::*;
use crate::model::capacity_provider::ATTRIBUTE as POOL;
use crate::model::container_instance::{Attribute, Capacity};
use crate::model::task::TaskOverride;
use crate::model::task_definition::PlacementConstraint;
use crate::model::{Assignment, AssignmentId, Task};
use crate::plan::Change;
use crate::plan::index::Index;
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const GROUP: &str = "service:web";

/// One box of a random fleet.
#[derive(Debug, Clone)]
struct Box_ {
    cpu: u32,
    memory: u32,
    zone: Option<&'static str>,
    pool: Option<&'static str>,
    draining: bool,
    /// Tasks that are there: of the group or another, and how many MiB each takes.
    tasks: Vec<(bool, u32)>,
}

fn boxes() -> impl Strategy<Value = Vec<Box_>> {
    let one = (
        prop::sample::select(vec![512_u32, 1024, 1024, 2048]),
        prop::sample::select(vec![256_u32, 512, 512, 1024]),
        prop::sample::select(vec![Some("a"), Some("b"), Some("c"), None]),
        prop::sample::select(vec![Some("east"), Some("west"), None]),
        prop::bool::weighted(0.1),
        prop::collection::vec((any::<bool>(), 32_u32..128), 0..4),
    );
    let one = one.prop_map(|(cpu, memory, zone, pool, draining, tasks)| Box_ {
        cpu,
        memory,
        zone,
        pool,
        draining,
        tasks,
    });
    prop::collection::vec(one, 0..9)
}

fn strategies() -> impl Strategy<Value = Vec<Rank>> {
    let rank = prop_oneof![
        Just(Rank::SpreadInstance),
        Just(Rank::SpreadAttribute("zone".to_owned())),
        Just(Rank::SpreadAttribute("unknown".to_owned())),
        Just(Rank::BinpackMemory),
        Just(Rank::BinpackCpu),
        Just(Rank::Random),
    ];
    prop::collection::vec(rank, 1..4)
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Asked {
    cpu: u32,
    memory: u32,
    port: bool,
    distinct: bool,
    member_of: Option<&'static str>,
    pool: Option<&'static str>,
    strategy: Vec<Rank>,
    count: usize,
    /// Whether the shortlist is used from the beginning.
    far: bool,
    seed: u64,
}

fn asked() -> impl Strategy<Value = Asked> {
    let expressions = vec![
        None,
        None,
        Some("attribute:zone == a"),
        Some("attribute:zone exists"),
        Some("not (task:group == other)"),
    ];
    let what = (
        prop::sample::select(vec![0_u32, 128, 600]),
        prop::sample::select(vec![64_u32, 128, 600]),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::sample::select(expressions),
        prop::sample::select(vec![None, None, Some("east"), Some("nowhere")]),
    );
    let how = (strategies(), 1_usize..12, any::<bool>(), any::<u64>());
    (what, how).prop_map(|((cpu, memory, port, distinct, member_of, pool), how)| {
        let (strategy, count, far, seed) = how;
        Asked { cpu, memory, port, distinct, member_of, pool, strategy, count, far, seed }
    })
}

fn definition(cpu: u32, memory: u32, port: bool) -> TaskDefinition {
    let ports = if port { json!([{"containerPort": 80, "hostPort": 8080}]) } else { json!([]) };
    serde_json::from_value(json!({
        "family": "f", "revision": u64::from(memory) + u64::from(cpu) * 10_000, "status": "ACTIVE", "registeredAt": 1,
        "compatibilities": ["EC2"], "requiresAttributes": [],
        "containerDefinitions": [{"name": "c", "image": "i", "cpu": cpu, "memory": memory, "portMappings": ports}],
    }))
    .unwrap()
}

fn assignment(id: &str, on: &str, definition: &TaskDefinition, group: &str) -> Assignment {
    serde_json::from_value(json!({
        "id": id, "cluster": "default", "containerInstance": on, "taskDefinition": definition.reference(),
        "generation": 1, "desiredStatus": "RUNNING", "createdAt": 1, "group": group, "launchType": "EC2",
    }))
    .unwrap()
}

fn put(world: &mut World, change: &Change) {
    world.apply(change);
    assert!(Index::of(world) == world.index, "the index is not what the records say");
}

fn fleet(boxes: &[Box_]) -> World {
    let mut world = World::default();
    for (number, one) in boxes.iter().enumerate() {
        let name = format!("box-{number}");
        let attribute = |name: &str, value: Option<&str>| {
            let value = value?.to_owned();
            Some(Attribute { name: name.to_owned(), value: Some(value) })
        };
        let attributes: Vec<_> = [attribute("zone", one.zone), attribute(POOL, one.pool)]
            .into_iter()
            .flatten()
            .collect();
        let capacity = Capacity { cpu: one.cpu, memory: one.memory, ..Capacity::default() };
        let instance = serde_json::from_value(json!({
            "id": name, "cluster": "default", "draining": one.draining, "capacity": capacity,
            "attributes": attributes, "simulated": true, "registeredAt": 1, "version": 1, "agentVersion": "1.0.0",
        }))
        .unwrap();
        put(&mut world, &Change::PutContainerInstance(instance));
        for (task, (ours, memory)) in one.tasks.iter().enumerate() {
            let definition = definition(64, *memory, false);
            put(&mut world, &Change::PutTaskDefinition(Box::new(definition.clone())));
            let group = if *ours { GROUP } else { "other" };
            let there = assignment(&format!("there-{number}-{task}"), &name, &definition, group);
            put(&mut world, &Change::PutAssignment(Box::new(there)));
        }
    }
    world
}

/// What a box has, added up from the records.
#[derive(Default)]
struct Sum {
    cpu: u64,
    memory: u64,
    ports: BTreeSet<(u16, bool)>,
    ours: u64,
    others: u64,
}

fn sums(world: &World) -> BTreeMap<&ContainerInstanceId, Sum> {
    let mut sums: BTreeMap<_, Sum> =
        world.container_instances.keys().map(|id| (id, Sum::default())).collect();
    for assignment in world.assignments.values() {
        let sum = sums.get_mut(&assignment.container_instance).unwrap();
        let needs =
            Needs::of_assignment(&world.task_definitions[&assignment.task_definition], assignment);
        sum.cpu += needs.cpu;
        sum.memory += needs.memory;
        for port in needs.ports {
            assert!(sum.ports.insert(port), "two tasks have the port {port:?}");
        }
        if assignment.group.as_deref() == Some(GROUP) { sum.ours += 1 } else { sum.others += 1 }
    }
    for (id, sum) in &sums {
        let capacity = &world.container_instances[*id].capacity;
        assert!(
            sum.cpu <= capacity.cpu.into() || sum.others + sum.ours <= 3,
            "too much CPU of {id}"
        );
    }
    sums
}

/// The boxes that may have the task with what they are by each rule, best first; random rules leave them equal.
fn reference(world: &World, asked: &Asked, needs: &Needs) -> Vec<(Vec<u64>, ContainerInstanceId)> {
    let sums = sums(world);
    let zone = |id: &ContainerInstanceId| {
        let instance = &world.container_instances[id];
        instance.attributes.iter().find(|a| a.name == "zone").map(|a| a.value.clone())
    };
    let mut fitting = Vec::new();
    for (id, instance) in &world.container_instances {
        let sum = &sums[id];
        let free_cpu = u64::from(instance.capacity.cpu).saturating_sub(sum.cpu);
        let free_memory = u64::from(instance.capacity.memory).saturating_sub(sum.memory);
        let member = match asked.member_of {
            None => true,
            Some("attribute:zone == a") => zone(id) == Some(Some("a".to_owned())),
            Some("attribute:zone exists") => zone(id).is_some(),
            Some(_) => sum.others == 0,
        };
        let in_pool = asked.pool.is_none_or(|pool| {
            instance.attributes.iter().any(|a| a.name == POOL && a.value.as_deref() == Some(pool))
        });
        let fits = !instance.draining
            && member
            && in_pool
            && (!asked.distinct || sum.ours == 0)
            && needs.cpu <= free_cpu
            && needs.memory <= free_memory
            && needs.ports.is_disjoint(&sum.ports);
        if !fits {
            continue;
        }
        let active = |id: &ContainerInstanceId| !world.container_instances[id].draining;
        let in_zone: u64 = sums
            .iter()
            .filter(|(o, _)| zone(o) == zone(id) && active(o))
            .map(|(_, s)| s.ours)
            .sum();
        let mut ranking: Vec<u64> = asked
            .strategy
            .iter()
            .map(|rank| match rank {
                Rank::SpreadInstance => sum.ours,
                Rank::SpreadAttribute(name) if name == "zone" => in_zone,
                Rank::SpreadAttribute(_) | Rank::Random => 0,
                Rank::BinpackMemory => free_memory,
                Rank::BinpackCpu => free_cpu,
            })
            .collect();
        let pack = |rank: &&Rank| matches!(rank, Rank::BinpackMemory | Rank::BinpackCpu);
        match asked.strategy.iter().find(pack) {
            None => ranking.extend([u64::MAX - free_memory, u64::MAX - free_cpu]),
            Some(Rank::BinpackMemory) => ranking.extend([free_memory, free_cpu]),
            Some(_) => ranking.extend([free_cpu, free_memory]),
        }
        fitting.push((ranking, id.clone()));
    }
    let packs = asked.strategy.iter().any(|r| matches!(r, Rank::BinpackMemory | Rank::BinpackCpu));
    fitting.sort_by(|a, b| {
        let tie = if packs { b.1.cmp(&a.1) } else { a.1.cmp(&b.1) };
        a.0.cmp(&b.0).then(tie)
    });
    fitting
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_best_box_is_found(boxes in boxes(), asked in asked()) {
        let before = fleet(&boxes);
        let definition = definition(asked.cpu, asked.memory, asked.port);
        let needs = Needs::of(&definition.content, &TaskOverride::default(), None);
        let constraint = |kind: &str, expression: Option<&str>| PlacementConstraint {
            r#type: Some(kind.to_owned()),
            expression: expression.map(str::to_owned),
        };
        let mut constraints = Vec::new();
        constraints.extend(asked.distinct.then(|| constraint("distinctInstance", None)));
        constraints.extend(asked.member_of.map(|text| constraint("memberOf", Some(text))));
        let constraints = Constraints::read(&[], &constraints).unwrap();
        let cluster = ClusterName::default_cluster();
        let wish = Wish {
            at_once: true,
            cluster: &cluster,
            group: GROUP,
            definition: &definition,
            needs: &needs,
            constraints: &constraints,
            strategy: &asked.strategy,
            pool: asked.pool,
        };
        let mut world = before.clone();
        put(&mut world, &Change::PutTaskDefinition(Box::new(definition.clone())));
        let mut claims = Claims::default();
        let mut search = Search::new(&before, &mut claims, wish);
        let mut ids = Ids::from_seed(asked.seed.into());
        search.far = asked.far;
        for number in 0..asked.count {
            let expected = reference(&world, &asked, &needs);
            if number == asked.count / 2 {
                // The rest of the plan is another search that knows what the first has claimed.
                search = Search::new(&before, search.claims, wish);
            }
            let fitting: BTreeSet<_> = expected.iter().map(|(_, id)| id.clone()).collect();
            for id in world.container_instances.keys() {
                let may = asked.pool.is_none() && search.fits(id).is_ok();
                prop_assert!(asked.pool.is_some() || may == fitting.contains(id), "{}", id);
            }
            match (search.next(&mut ids), expected.first()) {
                (Ok(id), Some((best, first))) => {
                    let random = asked.strategy.iter().position(|r| *r == Rank::Random);
                    let order = Order::of(&asked.strategy);
                    match random.filter(|place| *place == order.place) {
                        None => prop_assert_eq!(&id, first, "{:?}", expected),
                        Some(place) => {
                            let chosen = expected.iter().find(|(_, other)| *other == id);
                            let chosen = &chosen.unwrap().0;
                            prop_assert_eq!(&chosen[..place], &best[..place]);
                        }
                    }
                    let new = assignment(&format!("new-{number}"), id.as_str(), &definition, GROUP);
                    put(&mut world, &Change::PutAssignment(Box::new(new)));
                }
                (Err(lacks), None) => {
                    let covered = world.container_instances.values().filter(|i| wish.covers(i));
                    prop_assert_eq!(lacks.len(), covered.count());
                    break;
                }
                (found, expected) => prop_assert!(false, "{found:?} instead of {expected:?}"),
            }
        }
    }
}

/// A box of 1024 CPU units and 512 MiB with a port reserved.
fn one_box() -> World {
    let mut world = World::default();
    let instance = serde_json::from_value(json!({
        "id": "box", "cluster": "default", "draining": false, "registeredAt": 1, "version": 1, "agentVersion": "1",
        "capacity": {"cpu": 1024, "memory": 512, "reservedPorts": [22]},
    }))
    .unwrap();
    put(&mut world, &Change::PutContainerInstance(instance));
    world
}

fn free(world: &World) -> (u64, u64) {
    let room = world.index.rooms.get(&ContainerInstanceId::new("box").unwrap()).unwrap();
    (room.free().cpu, room.free().memory)
}

fn task(id: &str, status: &str, assignment: &str, definition: &TaskDefinition) -> Box<Task> {
    serde_json::from_value(json!({
        "id": id, "cluster": "default", "containerInstance": "box", "taskDefinition": definition.reference(),
        "generation": 1, "desiredStatus": "RUNNING", "lastStatus": status, "containers": [], "version": 1,
        "launchType": "EC2", "createdAt": 1, "group": GROUP,
        "service": {"assignment": assignment, "name": "web", "deployment": "1"},
    }))
    .unwrap()
}

#[test]
fn tasks_hold_their_room_until_they_have_stopped() {
    let mut world = one_box();
    let definition = definition(100, 64, true);
    put(&mut world, &Change::PutTaskDefinition(Box::new(definition.clone())));
    let count = |count: u32| {
        Change::PutAssignment(
            serde_json::from_value(json!({
                "id": "1-box", "cluster": "default", "containerInstance": "box", "generation": 1, "createdAt": 1,
                "taskDefinition": definition.reference(), "group": GROUP, "launchType": "EC2",
                "service": "web", "deployment": "1", "count": count,
            }))
            .unwrap(),
        )
    };
    let id = ContainerInstanceId::new("box").unwrap();
    put(&mut world, &count(3));
    assert_eq!(free(&world), (724, 320), "what is to come has its room");
    for number in 0..3 {
        let task = task(&format!("t{number}"), "RUNNING", "1-box", &definition);
        put(&mut world, &Change::PutTask(task));
    }
    put(&mut world, &count(1));
    assert_eq!(free(&world), (724, 320), "what is to stop keeps its room");
    let room = world.index.rooms.get(&id).unwrap();
    assert_eq!((room.count(GROUP), room.running(), room.pending()), (1, 3, 0));
    put(&mut world, &Change::PutTask(task("t0", "STOPPED", "1-box", &definition)));
    assert_eq!(free(&world), (824, 384));
    put(&mut world, &Change::PutTask(task("t1", "STOPPED", "1-box", &definition)));
    assert_eq!(free(&world), (924, 448));
    put(&mut world, &Change::DeleteTask(crate::model::TaskId::new("t1").unwrap()));
    put(&mut world, &Change::DeleteAssignment(AssignmentId::new("1-box").unwrap()));
    assert_eq!(free(&world), (924, 448), "it is told to go and has not gone");
    put(&mut world, &Change::PutTask(task("t2", "STOPPED", "1-box", &definition)));
    assert_eq!(free(&world), (1024, 512));
    put(&mut world, &Change::DeleteContainerInstance(id));
    assert_eq!(world.index.rooms, crate::plan::placement::Rooms::default());
}
