//! The operations that nothing here answers: each says so by name, with an exception of the model, and tells why.
//!
//! Where nothing of a kind can exist, an empty list is the truth and is answered instead.

use super::error::{ApiError, Exception};
use super::identifiers;
use super::shapes::Operation;
use crate::engine::Handle;
use serde_json::{Value, json};

/// What becomes of an operation that no other module answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// An empty list under this member.
    Empty(&'static str),
    /// There is none to do it with.
    NotFound(Exception, &'static str),
    /// Refused, and why.
    Refused(&'static str),
}

const CAPACITY: &str = "Auto Scaling groups and managed instances are Amazon EC2's. A capacity provider here is a pool of \
    boxes: it is there once a box names it, with capacity_provider in the configuration of its agent or with the attribute \
    coracle.capacity-provider.";
const DAEMON: &str =
    "Use a service with the schedulingStrategy DAEMON: it runs a task on every box.";
const EXPRESS: &str =
    "Express gateway services need load balancers, certificates and scaling of AWS.";
const GATEWAY: &str = "Gateways are part of AWS.";
const TASK_SET: &str = "Task sets need a deployment controller of type EXTERNAL; services here are deployed by type ECS.";

/// What becomes of the operation called `name`.
pub(super) fn of(name: &str) -> Answer {
    use Answer::{Empty, NotFound, Refused};
    match name {
        "ListGateways" => Empty("gateways"),
        "ListGatewayRoutes" => Empty("gatewayRoutes"),
        "ListGatewayClusterAssociations" => Empty("gatewayClusterAssociations"),
        "ListDaemons" => Empty("daemonSummariesList"),
        "ListDaemonTaskDefinitions" => Empty("daemonTaskDefinitions"),

        "AssociateGatewayWithCluster"
        | "DisassociateGatewayFromCluster"
        | "DescribeGateway"
        | "DescribeGatewayResources"
        | "DeleteGateway"
        | "UpdateGateway" => NotFound(Exception::GatewayNotFound, "Gateway not found."),
        "CreateGateway" | "DescribeGatewayRoute" => Refused(GATEWAY),

        "CreateCapacityProvider" | "DeleteCapacityProvider" | "UpdateCapacityProvider" => {
            Refused(CAPACITY)
        }
        "ContinueServiceDeployment" => {
            Refused("No deployment waits: lifecycle hooks that pause one are not there yet.")
        }
        "ExecuteCommand" => NotFound(
            Exception::TargetNotConnected,
            "The execute command failed because no SSM agent runs in the containers; on the box itself use `coracle exec`.",
        ),
        name if name.contains("ExpressGateway") => Refused(EXPRESS),
        name if name.contains("TaskSet") => Refused(TASK_SET),
        name if name.contains("Daemon") => Refused(DAEMON),
        _ => Refused("It is not there yet in this version."),
    }
}

/// Answers an operation that no other module does.
pub(super) fn answer(
    engine: &Handle,
    operation: &Operation,
    input: &Value,
) -> Result<Value, ApiError> {
    let cluster = input["cluster"].as_str();
    if let Some(cluster) = cluster {
        engine.read(|w| identifiers::active_cluster(w, Some(cluster)))?;
    }
    match of(operation.name) {
        Answer::Empty(list) => {
            if input["nextToken"].as_str().is_some_and(|t| !t.is_empty()) {
                return Err(ApiError::invalid("Invalid token"));
            }
            Ok(json!({ list: [] }))
        }
        Answer::NotFound(exception, text) => {
            Err(ApiError::new(exception, format!("{text} ({})", operation.name)))
        }
        Answer::Refused(why) => Err(ApiError::new(
            refusal(operation),
            format!("{} is not supported by Coracle. {why}", operation.name),
        )),
    }
}

/// The exception that refuses an operation as a whole.
pub(super) fn refusal(operation: &Operation) -> Exception {
    if operation.may_answer(Exception::UnsupportedFeature.name()) {
        Exception::UnsupportedFeature
    } else {
        Exception::Client
    }
}
