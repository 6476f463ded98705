//! Services of a hundred tasks each, from their creation to one change at a time.

use crate::fleet::{FAMILIES, Fleet, rule};
use crate::{tell, timed};
use coracle::model::service::{PropagateTags, SchedulingStrategy};
use coracle::model::{ClusterName, Family, ServiceKey, ServiceName, TaskId, TaskStatus};
use coracle::plan::action::ContainerRun;
use coracle::plan::command::service::{WantedDefinition, WantedDeploymentConfiguration};
use coracle::plan::command::{CreateService, UpdateService};
use coracle::plan::{Command, Observation, cluster, simulate};
use std::time::Duration;

/// Tasks of a service.
const EACH: usize = 100;
/// How often a single change is made.
const SINGLE: usize = 200;

/// What was spent where.
#[derive(Default)]
struct Spent {
    services: Duration,
    boxes: Duration,
}

/// Makes `tasks` tasks of services on `instances` boxes, then changes them one by one.
pub(crate) fn measure(instances: usize, tasks: usize) {
    let count = tasks / EACH;
    println!("{count} services of {EACH} tasks on {instances} instances");
    let mut fleet = Fleet::default();
    (0..instances).for_each(|number| fleet.register(number));
    for number in 0..count {
        fleet.submit(Command::CreateService(Box::new(create(number))));
    }
    let spent = settle(&mut fleet);
    tell("a task placed by the cluster planner, all services new", tasks, spent.services);
    tell("the same task made up until it is RUNNING", tasks, spent.boxes);
    wait(&mut fleet);
    let running = fleet.world.tasks.values().filter(|t| t.last_status == TaskStatus::Running);
    assert_eq!(running.count(), count * EACH);

    let keys: Vec<ServiceKey> = fleet.world.services.keys().cloned().collect();
    keys.iter().for_each(|key| fleet.world.agenda.touch(key));
    let spent = settle(&mut fleet);
    tell("a whole plan that finds nothing to do, each service", count, spent.services);

    let mut plans = Spent::default();
    for number in 0..SINGLE {
        let mut update = UpdateService::of(key(number % count));
        update.desired_count = Some((EACH + 1 + number / count) as i64);
        fleet.submit(Command::UpdateService(Box::new(update)));
        plans.add(settle(&mut fleet));
    }
    plans.tell("one service is scaled by one task");
    wait(&mut fleet);

    let mut plans = Spent::default();
    let ids: Vec<TaskId> = fleet.world.tasks.keys().step_by(tasks / SINGLE).cloned().collect();
    for id in ids.iter().take(SINGLE) {
        let task = &fleet.world.tasks[id];
        let container = &task.containers[0];
        let run = ContainerRun {
            task: id.clone(),
            generation: task.generation,
            container: container.name.clone(),
            runtime_id: container.runtime_id.clone().unwrap(),
        };
        let (exit_code, out_of_memory, at) = (Some(1), false, fleet.now);
        fleet.submit(Command::Observe(Observation::Exited { run, exit_code, out_of_memory, at }));
        plans.add(settle(&mut fleet));
    }
    plans.tell("one task dies and is replaced");
    wait(&mut fleet);

    let mut plans = Spent::default();
    let boxes: Vec<_> = fleet.world.container_instances.keys().take(SINGLE / 4).cloned().collect();
    for instance in &boxes {
        fleet.submit(Command::UpdateContainerInstancesState {
            cluster: ClusterName::default_cluster(),
            instances: vec![instance.clone()],
            draining: true,
        });
        plans.add(settle(&mut fleet));
    }
    let Spent { services, boxes: on_boxes } = plans;
    tell("one box of ten tasks drains: the cluster planner", boxes.len(), services);
    tell("  and the boxes", boxes.len(), on_boxes);
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.services += other.services;
        self.boxes += other.boxes;
    }

    fn tell(&self, what: &str) {
        tell(&format!("{what}: the cluster planner"), SINGLE, self.services);
        tell("  and the boxes", SINGLE, self.boxes);
    }
}

/// Plans until there is nothing left to decide.
fn settle(fleet: &mut Fleet) -> Spent {
    let mut spent = Spent::default();
    loop {
        let mut quiet = false;
        spent.services += timed(|| {
            let plan = cluster::plan(&fleet.world, fleet.now, &mut fleet.ids);
            fleet.world.apply_plan(&plan);
            quiet = plan.is_quiet();
        });
        spent.boxes += timed(|| {
            let plan = simulate::plan(&mut fleet.world, fleet.now, &mut fleet.ids);
            quiet &= plan.is_quiet();
        });
        if quiet {
            return spent;
        }
    }
}

/// Until all tasks serve.
fn wait(fleet: &mut Fleet) {
    for _ in 0..4 {
        fleet.now = fleet.now.plus(Duration::from_secs(5));
        settle(fleet);
    }
}

fn key(number: usize) -> ServiceKey {
    let name = ServiceName::new(format!("service-{number}")).unwrap();
    ServiceKey { cluster: ClusterName::default_cluster(), name }
}

fn create(number: usize) -> CreateService {
    CreateService {
        key: key(number),
        task_definition: WantedDefinition {
            family: Family::new(FAMILIES[number % FAMILIES.len()]).unwrap(),
            revision: None,
        },
        scheduling_strategy: SchedulingStrategy::Replica,
        desired_count: Some(EACH as i64),
        launch_type: None,
        capacity_provider_strategy: Vec::new(),
        platform_version: None,
        network: None,
        deployment_configuration: WantedDeploymentConfiguration::default(),
        placement_constraints: Vec::new(),
        placement_strategy: vec![rule("spread", "attribute:zone"), rule("spread", "instanceId")],
        health_check_grace_period_seconds: None,
        availability_zone_rebalancing: None,
        enable_ecs_managed_tags: false,
        propagate_tags: PropagateTags::None,
        enable_execute_command: false,
        role: None,
        service_registries: Vec::new(),
        service_connect_configuration: None,
        tags: Vec::new(),
        created_by: None,
        client_token: None,
    }
}
