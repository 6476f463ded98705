//! Clusters, with counters taken from the world at that moment.

use super::{put, tags};
use crate::model::{Cluster, TaskStatus};
use crate::plan::World;
use serde_json::{Map, Value, json};

/// What is shown beyond the basics.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Include {
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
            configurations: asked("CONFIGURATIONS"),
            settings: asked("SETTINGS"),
            statistics: asked("STATISTICS"),
            tags: asked("TAGS"),
        }
    }
}

/// A cluster as DescribeClusters shows it.
pub(crate) fn cluster(world: &World, cluster: &Cluster, include: Include) -> Value {
    let count = |status: TaskStatus, launch_type: Option<&str>| {
        let matches = |t: &&crate::model::Task| {
            t.cluster == cluster.name
                && t.last_status == status
                && launch_type.is_none_or(|l| t.launch_type == l)
        };
        world.tasks.values().filter(matches).count()
    };
    let instances =
        world.container_instances.values().filter(|i| i.cluster == cluster.name).count();
    let none: &[Value] = &[];
    let mut object = Map::new();
    object.insert("clusterArn".into(), json!(world.settings.scope.cluster(&cluster.name)));
    object.insert("clusterName".into(), json!(cluster.name));
    object.insert("status".into(), json!(if cluster.active { "ACTIVE" } else { "INACTIVE" }));
    object.insert("registeredContainerInstancesCount".into(), json!(instances));
    object.insert("runningTasksCount".into(), json!(count(TaskStatus::Running, None)));
    object.insert("pendingTasksCount".into(), json!(count(TaskStatus::Pending, None)));
    object.insert("activeServicesCount".into(), json!(0));
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
    put(&mut object, "serviceConnectDefaults", cluster.service_connect_defaults.as_ref());
    let statistics: Vec<Value> = if include.statistics {
        [("EC2", "EC2"), ("Fargate", "FARGATE"), ("External", "EXTERNAL")]
            .iter()
            .flat_map(|(word, launch_type)| {
                let running = count(TaskStatus::Running, Some(launch_type)).to_string();
                let pending = count(TaskStatus::Pending, Some(launch_type)).to_string();
                [
                    json!({ "name": format!("running{word}TasksCount"), "value": running }),
                    json!({ "name": format!("pending{word}TasksCount"), "value": pending }),
                    json!({ "name": format!("active{word}ServiceCount"), "value": "0" }),
                    json!({ "name": format!("draining{word}ServiceCount"), "value": "0" }),
                ]
            })
            .collect()
    } else {
        Vec::new()
    };
    object.insert("statistics".into(), json!(statistics));
    Value::Object(object)
}
