//! Clusters, with counters taken from the world at that moment.

use super::{put, tags};
use crate::model::service::ServiceStatus;
use crate::model::{Cluster, ClusterName, TaskStatus};
use crate::plan::World;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is shown beyond the basics.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Include {
    pub(crate) attachments: bool,
    pub(crate) configurations: bool,
    pub(crate) settings: bool,
    pub(crate) statistics: bool,
    pub(crate) tags: bool,
}

impl Include {
    /// From the texts of a request.
    pub(crate) fn of(texts: &[String]) -> Self {
        let asked = |what: &str| texts.iter().any(|t| t == what);
        Self {
            attachments: asked("ATTACHMENTS"),
            configurations: asked("CONFIGURATIONS"),
            settings: asked("SETTINGS"),
            statistics: asked("STATISTICS"),
            tags: asked("TAGS"),
        }
    }
}

/// What is in each of some clusters, counted in one pass over the world.
#[derive(Debug, Default)]
pub(crate) struct Counters<'a>(BTreeMap<&'a ClusterName, Counts>);

#[derive(Debug, Default, Clone)]
struct Counts {
    instances: usize,
    /// Active and draining, by launch type.
    services: BTreeMap<&'static str, [usize; 2]>,
    /// Running and pending, by launch type.
    tasks: BTreeMap<&'static str, [usize; 2]>,
}

/// The launch types, and how the names of statistics spell them.
const LAUNCH_TYPES: [(&str, &str); 3] =
    [("EC2", "EC2"), ("Fargate", "FARGATE"), ("External", "EXTERNAL")];

impl<'a> Counters<'a> {
    /// Of these clusters.
    pub(crate) fn of(world: &World, clusters: &[&'a ClusterName]) -> Self {
        let mut counts: BTreeMap<&ClusterName, Counts> =
            clusters.iter().map(|name| (*name, Counts::default())).collect();
        for instance in world.container_instances.values().filter(|i| i.is_registered()) {
            if let Some(count) = counts.get_mut(&instance.cluster) {
                count.instances += 1;
            }
        }
        for service in world.services.values() {
            let at = match service.status {
                ServiceStatus::Active => 0,
                ServiceStatus::Draining => 1,
                ServiceStatus::Inactive => continue,
            };
            let revision = service.primary().map(|primary| &primary.service_revision);
            let revision = revision.and_then(|id| world.service_revisions.get(id));
            let launch_type = revision.and_then(|r| r.launch_type.as_deref()).unwrap_or("EC2");
            let known = LAUNCH_TYPES.iter().find(|(_, name)| *name == launch_type);
            if let Some((_, name)) = known
                && let Some(count) = counts.get_mut(&service.key.cluster)
            {
                count.services.entry(name).or_default()[at] += 1;
            }
        }
        for task in world.live_tasks() {
            let at = match task.last_status {
                TaskStatus::Running => 0,
                TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => 1,
                TaskStatus::Deactivating
                | TaskStatus::Stopping
                | TaskStatus::Deprovisioning
                | TaskStatus::Stopped => continue,
            };
            let known = LAUNCH_TYPES.iter().find(|(_, name)| *name == task.launch_type);
            if let Some((_, name)) = known
                && let Some(count) = counts.get_mut(&task.cluster)
            {
                count.tasks.entry(name).or_default()[at] += 1;
            }
        }
        Self(counts)
    }
}

/// A cluster as DescribeClusters shows it.
pub(crate) fn cluster(
    world: &World,
    cluster: &Cluster,
    counters: &Counters<'_>,
    include: Include,
) -> Value {
    let counts = counters.0.get(&cluster.name).cloned().unwrap_or_default();
    let sum = |at: usize| counts.tasks.values().map(|of| of[at]).sum::<usize>();
    let services: usize = counts.services.values().map(|of| of[0]).sum();
    let none: &[Value] = &[];
    let mut object = Map::new();
    object.insert("clusterArn".into(), json!(world.settings.scope.cluster(&cluster.name)));
    object.insert("clusterName".into(), json!(cluster.name));
    object.insert("status".into(), json!(if cluster.active { "ACTIVE" } else { "INACTIVE" }));
    object.insert("registeredContainerInstancesCount".into(), json!(counts.instances));
    object.insert("runningTasksCount".into(), json!(sum(0)));
    object.insert("pendingTasksCount".into(), json!(sum(1)));
    object.insert("activeServicesCount".into(), json!(services));
    object.insert("capacityProviders".into(), json!(cluster.capacity_providers));
    object.insert(
        "defaultCapacityProviderStrategy".into(),
        json!(cluster.default_capacity_provider_strategy),
    );
    object.insert("tags".into(), if include.tags { tags(&cluster.tags) } else { json!(none) });
    let settings = match (include.settings, cluster.settings.is_empty()) {
        (false, _) => json!(none),
        (true, true) => json!([{ "name": "containerInsights", "value": "disabled" }]),
        (true, false) => json!(cluster.settings),
    };
    object.insert("settings".into(), settings);
    if include.configurations {
        put(&mut object, "configuration", cluster.configuration.as_ref());
    }
    if include.attachments {
        // What ECS attaches are the scaling plans of Auto Scaling groups, which there are none of.
        object.insert("attachments".into(), json!(none));
    }
    put(&mut object, "serviceConnectDefaults", cluster.service_connect_defaults.as_ref());
    let mut statistics: Vec<Value> = Vec::new();
    if include.statistics {
        for (word, launch_type) in LAUNCH_TYPES {
            let [running, pending] = counts.tasks.get(launch_type).copied().unwrap_or_default();
            let mut add = |name: String, value: usize| {
                statistics.push(json!({ "name": name, "value": value.to_string() }));
            };
            add(format!("running{word}TasksCount"), running);
            add(format!("pending{word}TasksCount"), pending);
            let [active, draining] = counts.services.get(launch_type).copied().unwrap_or_default();
            add(format!("active{word}ServiceCount"), active);
            add(format!("draining{word}ServiceCount"), draining);
        }
    }
    object.insert("statistics".into(), json!(statistics));
    Value::Object(object)
}
