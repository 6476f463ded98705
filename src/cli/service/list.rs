//! `coracle service ls`.

use super::super::Connection;
use super::super::output::{self, Format};
use super::{definition_of, names_of, number, text};
use crate::model::Timestamp;
use crate::sys;
use anyhow::Result;
use serde_json::{Value, json};

/// List services
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Only the services of this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let services = self.connection.client().services(self.cluster.as_deref()).await?;
        if self.format.is_json() {
            return output::json(&json!({ "services": services }));
        }
        let header = ["CLUSTER", "SERVICE", "DEFINITION", "DESIRED", "RUNNING", "STATE", "AGE"];
        output::table(&header, services.iter().map(row).collect())
    }
}

fn row(service: &Value) -> Vec<String> {
    let (cluster, name) = names_of(service);
    let age = serde_json::from_value::<Timestamp>(service["createdAt"].clone());
    vec![
        cluster.to_owned(),
        name.to_owned(),
        definition_of(service).to_owned(),
        number(&service["desiredCount"]).to_string(),
        number(&service["runningCount"]).to_string(),
        state(service),
        age.map(|at| output::age(sys::now(), at)).unwrap_or_default(),
    ]
}

/// `steady`; `deploying`, `scaling`, `failed`; in capitals what the service itself is when not ACTIVE.
pub(super) fn state(service: &Value) -> String {
    let status = text(&service["status"]);
    if status != "ACTIVE" {
        return status.to_owned();
    }
    let deployments = service["deployments"].as_array().map_or(0, Vec::len);
    match text(&service["deployments"][0]["rolloutState"]) {
        "FAILED" => "failed",
        "IN_PROGRESS" => "deploying",
        _ if deployments > 1 => "deploying",
        _ if number(&service["runningCount"]) != number(&service["desiredCount"]) => "scaling",
        _ => "steady",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_in_one_word() {
        let service = |rollout: &str, running: i64, status: &str| {
            json!({
                "status": status, "desiredCount": 2, "runningCount": running,
                "deployments": [{ "rolloutState": rollout }]
            })
        };
        assert_eq!(state(&service("COMPLETED", 2, "ACTIVE")), "steady");
        assert_eq!(state(&service("COMPLETED", 1, "ACTIVE")), "scaling");
        assert_eq!(state(&service("IN_PROGRESS", 2, "ACTIVE")), "deploying");
        assert_eq!(state(&service("FAILED", 2, "ACTIVE")), "failed");
        assert_eq!(state(&service("COMPLETED", 2, "DRAINING")), "DRAINING");
    }
}
