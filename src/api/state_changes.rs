//! What an agent reports: acknowledged as ECS does.
//!
//! A report about a task on an instance without a box changes the task. One about a task of a box does not: the box
//! observes its tasks itself, and that is what is shown. Nothing is attached to boxes by reports.

use super::error::ApiError;
use super::{identifiers, input};
use crate::engine::Handle;
use crate::model::{ClusterName, ContainerName, NetworkBinding, TaskId, Timestamp};
use crate::plan::Command;
use crate::plan::command::{ContainerStateChange, ReportedStatus, StateChange};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a report is answered with.
const ACKNOWLEDGED: &str = "ACK";

/// The states of tasks and containers on their way to RUNNING.
const BEFORE_RUNNING: [&str; 9] = [
    "NONE",
    "MANIFEST_PULLED",
    "PULLED",
    "CREATED",
    "RESOURCES_PROVISIONED",
    "PROVISIONING",
    "PENDING",
    "ACTIVATING",
    "STARTING",
];

/// The states of attachments.
const ATTACHMENT: [&str; 9] = [
    "PRECREATED",
    "CREATED",
    "ATTACHING",
    "ATTACHED",
    "DETACHING",
    "DETACHED",
    "DELETED",
    "FAILED",
    "NONE",
];

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SubmitTask {
    cluster: Option<String>,
    task: Option<String>,
    status: Option<String>,
    reason: Option<String>,
    containers: Vec<SubmitContainer>,
    attachments: Vec<Attachment>,
    pull_started_at: Option<Timestamp>,
    pull_stopped_at: Option<Timestamp>,
    execution_stopped_at: Option<Timestamp>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct SubmitContainer {
    cluster: Option<String>,
    task: Option<String>,
    container_name: Option<String>,
    status: Option<String>,
    exit_code: Option<i32>,
    reason: Option<String>,
    network_bindings: Vec<Binding>,
}

/// A network binding of which any member may be absent.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Binding {
    #[serde(rename = "bindIP")]
    bind_ip: Option<String>,
    container_port: Option<u16>,
    host_port: Option<u16>,
    container_port_range: Option<String>,
    host_port_range: Option<String>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    attachment_arn: String,
    status: String,
}

/// `SubmitTaskStateChange`.
pub(super) async fn task(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: SubmitTask = input::read(input)?;
    let (cluster, task) = subject(input.cluster.as_deref(), input.task.as_deref())?;
    input.attachments.iter().try_for_each(check_attachment)?;
    let status = input.status.as_deref().filter(|status| !status.is_empty());
    let containers = input.containers.into_iter().map(container).collect::<Result<_, _>>()?;
    let report = StateChange {
        cluster,
        task,
        status: status.map(reported).transpose()?,
        reason: input.reason,
        containers,
        pull_started_at: input.pull_started_at,
        pull_stopped_at: input.pull_stopped_at,
        execution_stopped_at: input.execution_stopped_at,
    };
    acknowledge(engine, report).await
}

/// `SubmitContainerStateChange`.
pub(super) async fn container_of_task(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: SubmitContainer = input::read(input)?;
    let (cluster, task) = subject(input.cluster.as_deref(), input.task.as_deref())?;
    let report = StateChange {
        cluster,
        task,
        status: None,
        reason: None,
        containers: vec![container(input)?],
        pull_started_at: None,
        pull_stopped_at: None,
        execution_stopped_at: None,
    };
    acknowledge(engine, report).await
}

#[derive(Deserialize)]
struct SubmitAttachments {
    cluster: Option<String>,
    attachments: Vec<Attachment>,
}

/// `SubmitAttachmentStateChanges`.
pub(super) fn attachments(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: SubmitAttachments = input::read(input)?;
    engine.read(|world| identifiers::active_cluster(world, input.cluster.as_deref()))?;
    input.attachments.iter().try_for_each(check_attachment)?;
    Ok(json!({ "acknowledgment": ACKNOWLEDGED }))
}

async fn acknowledge(engine: &Handle, report: StateChange) -> Result<Value, ApiError> {
    engine.submit(Command::SubmitStateChange(Box::new(report))).await?;
    Ok(json!({ "acknowledgment": ACKNOWLEDGED }))
}

/// The task that a report is about.
fn subject(cluster: Option<&str>, task: Option<&str>) -> Result<(ClusterName, TaskId), ApiError> {
    let cluster = identifiers::cluster(cluster)?;
    let Some(task) = task.filter(|task| !task.is_empty()) else {
        return Err(ApiError::invalid("Task cannot be empty."));
    };
    let (named, id) = identifiers::task(task)?;
    if named.is_some_and(|named| named != cluster) {
        return Err(ApiError::invalid("The referenced task was not found."));
    }
    Ok((cluster, id))
}

fn container(input: SubmitContainer) -> Result<ContainerStateChange, ApiError> {
    let Some(name) = input.container_name.filter(|name| !name.is_empty()) else {
        return Err(ApiError::invalid("Container name cannot be empty."));
    };
    let status = input.status.as_deref().filter(|status| !status.is_empty());
    Ok(ContainerStateChange {
        name: ContainerName::new(name).map_err(|e| ApiError::invalid(e.to_string()))?,
        status: status.map(reported).transpose()?,
        exit_code: input.exit_code,
        reason: input.reason,
        network_bindings: input.network_bindings.into_iter().map(binding).collect(),
    })
}

fn binding(binding: Binding) -> NetworkBinding {
    NetworkBinding {
        bind_ip: binding.bind_ip.unwrap_or_else(|| "0.0.0.0".to_owned()),
        container_port: binding.container_port,
        host_port: binding.host_port,
        container_port_range: binding.container_port_range,
        host_port_range: binding.host_port_range,
        protocol: binding.protocol.unwrap_or_else(|| "tcp".to_owned()),
    }
}

fn reported(status: &str) -> Result<ReportedStatus, ApiError> {
    match status {
        "RUNNING" => Ok(ReportedStatus::Running),
        "STOPPED" => Ok(ReportedStatus::Stopped),
        status if BEFORE_RUNNING.contains(&status) => Ok(ReportedStatus::Pending),
        other => Err(ApiError::invalid(format!(
            "Invalid status {:?}: an agent reports PENDING, RUNNING or STOPPED, or a step on the way to them.",
            identifiers::shorten(other)
        ))),
    }
}

fn check_attachment(attachment: &Attachment) -> Result<(), ApiError> {
    if attachment.attachment_arn.is_empty() {
        return Err(ApiError::invalid("Attachment ARN cannot be empty."));
    }
    if !ATTACHMENT.contains(&attachment.status.as_str()) {
        return Err(ApiError::invalid(format!(
            "Invalid status {:?} of an attachment: it is one of {}.",
            identifiers::shorten(&attachment.status),
            ATTACHMENT.join(", ")
        )));
    }
    Ok(())
}
