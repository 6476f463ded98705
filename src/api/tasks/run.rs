//! RunTask and StartTask.

use crate::api::error::{ApiError, Exception};
use crate::api::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::Tag;
use crate::model::network::AwsvpcConfiguration;
use crate::model::placement::{CapacityProviderStrategyItem, PlacementStrategy};
use crate::model::task::TaskOverride;
use crate::model::task_definition::PlacementConstraint;
use crate::plan::command::RunTask as Run;
use crate::plan::{Command, Reply};
use serde::Deserialize;
use serde_json::{Value, json};

/// As many tasks one RunTask starts.
const COUNT_LIMIT: u32 = 10;
/// As many boxes one StartTask names.
const INSTANCE_LIMIT: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkConfiguration {
    awsvpc_configuration: Option<AwsvpcConfiguration>,
}

/// What the two operations have in common.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Common {
    cluster: Option<String>,
    task_definition: String,
    #[serde(default)]
    overrides: TaskOverride,
    group: Option<String>,
    started_by: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    propagate_tags: Option<String>,
    #[serde(default)]
    enable_execute_command: bool,
    #[serde(default, rename = "enableECSManagedTags")]
    enable_ecs_managed_tags: bool,
    network_configuration: Option<NetworkConfiguration>,
    #[serde(default)]
    volume_configurations: Vec<Value>,
    reference_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunTask {
    #[serde(flatten)]
    common: Common,
    count: Option<i64>,
    launch_type: Option<String>,
    platform_version: Option<String>,
    #[serde(default)]
    capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    #[serde(default)]
    placement_constraints: Vec<PlacementConstraint>,
    #[serde(default)]
    placement_strategy: Vec<PlacementStrategy>,
    client_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartTask {
    #[serde(flatten)]
    common: Common,
    container_instances: Vec<String>,
}

/// `RunTask`.
pub(crate) async fn run(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: RunTask = input::read(input)?;
    let count = u32::try_from(input.count.unwrap_or(1))
        .ok()
        .filter(|count| (1..=COUNT_LIMIT).contains(count))
        .ok_or_else(|| ApiError::invalid(format!("Count must be between 1 and {COUNT_LIMIT}.")))?;
    if input.platform_version.is_some_and(|v| !v.is_empty())
        && input.launch_type.as_deref() != Some("FARGATE")
    {
        return Err(ApiError::invalid(
            "The platform version must be null when specifying an EC2 launch type.",
        ));
    }
    if let Some(token) = &input.client_token
        && !(token.len() <= 64 && token.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(ApiError::invalid(
            "The clientToken must have at most 64 characters in the range of 33 to 126.",
        ));
    }
    let mut command = command(engine, input.common)?;
    command.count = count;
    command.launch_type = input.launch_type;
    command.placement_constraints = input.placement_constraints;
    command.placement_strategy = input.placement_strategy;
    command.capacity_provider_strategy = input.capacity_provider_strategy;
    command.client_token = input.client_token.filter(|token| !token.is_empty());
    submit(engine, command).await
}

/// `StartTask`.
pub(crate) async fn start(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: StartTask = input::read(input)?;
    if input.container_instances.len() > INSTANCE_LIMIT {
        return Err(ApiError::invalid(format!(
            "Container instances cannot have more than {INSTANCE_LIMIT} elements."
        )));
    }
    let ids: Result<Vec<String>, ApiError> = input
        .container_instances
        .iter()
        .map(|text| Ok(identifiers::container_instance(text)?.1.to_string()))
        .collect();
    let ids = ids?;
    let mut command = command(engine, input.common)?;
    command.container_instances = Some(ids);
    submit(engine, command).await
}

fn command(engine: &Handle, input: Common) -> Result<Run, ApiError> {
    let cluster = engine.read(|w| identifiers::active_cluster(w, input.cluster.as_deref()))?;
    let (family, revision) = identifiers::task_definition(&input.task_definition)
        .ok_or_else(|| ApiError::client("TaskDefinition not found."))?;
    if !input.volume_configurations.is_empty() {
        return Err(not_there("volumeConfigurations", "name a host volume in the task definition"));
    }
    text_limit("referenceId", input.reference_id.as_deref(), 1024)?;
    text_limit("startedBy", input.started_by.as_deref(), 128)?;
    text_limit("group", input.group.as_deref(), 255)?;
    let propagate = match input.propagate_tags.as_deref() {
        None | Some("NONE") => false,
        Some("TASK_DEFINITION") => true,
        Some(other) => {
            return Err(ApiError::invalid(format!(
                "Invalid value {other} for propagateTags: a task that no service runs takes TASK_DEFINITION or NONE."
            )));
        }
    };
    Ok(Run {
        cluster,
        family,
        revision,
        count: 1,
        container_instances: None,
        overrides: input.overrides,
        placement_constraints: Vec::new(),
        placement_strategy: Vec::new(),
        capacity_provider_strategy: Vec::new(),
        group: input.group.filter(|g| !g.is_empty()),
        started_by: input.started_by.filter(|s| !s.is_empty()),
        launch_type: None,
        network: input.network_configuration.and_then(|n| n.awsvpc_configuration),
        enable_execute_command: input.enable_execute_command,
        enable_ecs_managed_tags: input.enable_ecs_managed_tags,
        propagate_tags_from_task_definition: propagate,
        tags: input.tags,
        client_token: None,
    })
}

fn text_limit(what: &str, text: Option<&str>, limit: usize) -> Result<(), ApiError> {
    if text.is_some_and(|t| t.chars().count() > limit) {
        return Err(ApiError::invalid(format!("{what} cannot have more than {limit} characters.")));
    }
    Ok(())
}

fn not_there(member: &str, remedy: &str) -> ApiError {
    ApiError::new(
        Exception::UnsupportedFeature,
        format!("{member} is not there yet in this version of Coracle: {remedy}."),
    )
}

async fn submit(engine: &Handle, command: Run) -> Result<Value, ApiError> {
    let reply = engine.submit(Command::RunTask(Box::new(command))).await?;
    let Reply::Tasks { tasks, failures } = reply else { return Err(render::unexpected_reply()) };
    engine.read(|world| {
        let shown: Vec<Value> = tasks
            .iter()
            .filter_map(|id| world.tasks.get(id))
            .map(|task| render::task::task(world, task, true))
            .collect();
        Ok(json!({ "tasks": shown, "failures": failures }))
    })
}
