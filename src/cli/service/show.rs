//! `coracle service show`.

use super::super::output;
use super::{Target, definition_of, list, names_of, number, text};
use crate::model::Timestamp;
use crate::sys;
use anyhow::Result;
use serde_json::{Value, json};

/// So many of the newest events are shown.
const EVENTS: usize = 5;

/// Show a service: its deployments and its last events
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    target: Target,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let (cluster, name) = self.target.names();
        let service = self.target.connection.client().service(&cluster, &name).await?;
        if self.target.format.is_json() {
            return output::json(&json!({ "services": [service] }));
        }
        for (name, value) in facts(&service) {
            output::line(&format!("{name:<14}{value}"))?;
        }
        output::line("")?;
        let deployments = service["deployments"].as_array().cloned().unwrap_or_default();
        let header =
            ["DEPLOYMENT", "DEFINITION", "DESIRED", "PENDING", "RUNNING", "FAILED", "STATE", "AGE"];
        output::table(&header, deployments.iter().map(deployment).collect())?;
        let events = service["events"].as_array().cloned().unwrap_or_default();
        if !events.is_empty() {
            output::line("")?;
        }
        for event in events.iter().take(EVENTS).rev() {
            output::line(&format!(
                "{:>5} ago  {}",
                age(&event["createdAt"]),
                text(&event["message"])
            ))?;
        }
        Ok(())
    }
}

fn facts(service: &Value) -> Vec<(&'static str, String)> {
    let (cluster, name) = names_of(service);
    let counts = format!(
        "{} desired, {} running, {} pending",
        number(&service["desiredCount"]),
        number(&service["runningCount"]),
        number(&service["pendingCount"])
    );
    let mut facts = vec![
        ("service", format!("{cluster}/{name}")),
        ("state", list::state(service)),
        ("strategy", text(&service["schedulingStrategy"]).to_owned()),
        ("tasks", counts),
        ("definition", definition_of(service).to_owned()),
        ("created", format!("{} ago", age(&service["createdAt"]))),
    ];
    let reason = text(&service["deployments"][0]["rolloutStateReason"]);
    if !reason.is_empty() {
        facts.push(("rollout", reason.to_owned()));
    }
    facts
}

fn deployment(deployment: &Value) -> Vec<String> {
    let count = |member: &str| number(&deployment[member]).to_string();
    vec![
        format!("{} {}", text(&deployment["status"]), text(&deployment["id"])),
        output::id_of(text(&deployment["taskDefinition"])).to_owned(),
        count("desiredCount"),
        count("pendingCount"),
        count("runningCount"),
        count("failedTasks"),
        text(&deployment["rolloutState"]).to_owned(),
        age(&deployment["createdAt"]),
    ]
}

fn age(at: &Value) -> String {
    let at = serde_json::from_value::<Timestamp>(at.clone());
    at.map(|at| output::age(sys::now(), at)).unwrap_or_default()
}
