//! Waiting for a service to be steady: one deployment, and as many tasks as desired. Progress and events go to stderr.

use super::super::client::Client;
use super::super::manifest::Applied;
use super::super::output;
use super::events::news;
use super::{definition_of, names_of, number, text};
use anyhow::{Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;

/// A service as an operation answered it.
pub(super) fn of(service: &Value) -> Applied {
    let (cluster, name) = names_of(service);
    Applied {
        cluster: cluster.to_owned(),
        name: name.to_owned(),
        task_definition: service["taskDefinition"].as_str().map(str::to_owned),
    }
}

/// Waits until the service is steady on its task definition.
///
/// # Errors
/// When its deployment fails, another takes its place, or the service is deleted.
pub(in crate::cli) async fn until_steady(client: &Client, service: &Applied) -> Result<()> {
    let name = format!("{}/{}", service.cluster, service.name);
    let mut changes = client.watch_service(&service.cluster, &service.name).await?;
    let mut progress = Progress::default();
    while let Some(now) = changes.next::<Value>().await? {
        progress.tell(&name, &now);
        match verdict(service, &now) {
            Verdict::Steady => return Ok(()),
            Verdict::Wait => {}
            Verdict::Failed(why) => bail!("{name}: {why}"),
        }
    }
    bail!("the agent ended before {name} was steady")
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Steady,
    Wait,
    Failed(String),
}

fn verdict(wanted: &Applied, now: &Value) -> Verdict {
    if text(&now["status"]) != "ACTIVE" {
        return Verdict::Failed("the service was deleted".to_owned());
    }
    let primary = &now["deployments"][0];
    let reason = |deployment: &Value| text(&deployment["rolloutStateReason"]).to_owned();
    if primary["rolloutState"] == "FAILED" {
        return Verdict::Failed(format!("the deployment failed: {}", reason(primary)));
    }
    if let Some(definition) = &wanted.task_definition
        && output::id_of(definition) != definition_of(now)
    {
        let failed = now["deployments"].as_array().into_iter().flatten();
        let ours =
            |d: &&Value| output::id_of(text(&d["taskDefinition"])) == output::id_of(definition);
        let told = failed
            .rev()
            .find(ours)
            .map(reason)
            .filter(|r| !r.is_empty())
            .unwrap_or_else(|| reason(primary));
        return Verdict::Failed(format!(
            "{} was not rolled out, the service is on {}: {told}",
            output::id_of(definition),
            definition_of(now),
        ));
    }
    let one = now["deployments"].as_array().is_some_and(|all| all.len() == 1);
    let all_run = number(&now["runningCount"]) == number(&now["desiredCount"]);
    // A deployment without a state is of a controller that has none.
    let done = matches!(text(&primary["rolloutState"]), "COMPLETED" | "");
    if one && all_run && done { Verdict::Steady } else { Verdict::Wait }
}

/// What was told already.
#[derive(Debug, Default)]
struct Progress {
    line: String,
    /// None before the first look: what happened earlier is no news.
    events: Option<BTreeSet<String>>,
}

impl Progress {
    fn tell(&mut self, name: &str, now: &Value) {
        if let Some(seen) = &mut self.events {
            for event in news(now, seen) {
                output::complain(name, text(&event["message"]));
            }
        } else {
            let mut seen = BTreeSet::new();
            let _ = news(now, &mut seen);
            self.events = Some(seen);
        }
        let primary = &now["deployments"][0];
        let line = format!(
            "{} of {} running on {}, {} pending{}",
            number(&primary["runningCount"]),
            number(&now["desiredCount"]),
            definition_of(now),
            number(&primary["pendingCount"]),
            match number(&now["runningCount"]) - number(&primary["runningCount"]) {
                0 => String::new(),
                old => format!(", {old} of before"),
            }
        );
        if line != self.line {
            output::complain(name, &line);
            self.line = line;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steady_failed_or_neither() {
        let wanted = Applied {
            cluster: "c".into(),
            name: "web".into(),
            task_definition: Some("arn:x:task-definition/web:2".into()),
        };
        let service = |definition: &str, rollout: &str, running: i64, more: bool| {
            let definition = format!("arn:x:task-definition/{definition}");
            let mut deployments = vec![json!({
                "rolloutState": rollout, "rolloutStateReason": "because", "taskDefinition": definition
            })];
            if more {
                deployments.push(json!({
                    "rolloutState": "FAILED", "rolloutStateReason": "tasks failed to start.",
                    "taskDefinition": "arn:x:task-definition/web:2"
                }));
            }
            json!({
                "status": "ACTIVE", "taskDefinition": definition, "desiredCount": 2, "runningCount": running,
                "deployments": deployments
            })
        };
        let of = |now: Value| verdict(&wanted, &now);
        assert_eq!(of(service("web:2", "COMPLETED", 2, false)), Verdict::Steady);
        assert_eq!(of(service("web:2", "COMPLETED", 1, false)), Verdict::Wait);
        assert_eq!(of(service("web:2", "IN_PROGRESS", 2, false)), Verdict::Wait);
        assert_eq!(of(service("web:2", "COMPLETED", 2, true)), Verdict::Wait);
        assert_eq!(
            of(service("web:2", "FAILED", 1, false)),
            Verdict::Failed("the deployment failed: because".into())
        );
        assert_eq!(
            of(service("web:1", "IN_PROGRESS", 2, true)),
            Verdict::Failed(
                "web:2 was not rolled out, the service is on web:1: tasks failed to start.".into()
            )
        );
        let gone = json!({ "status": "DRAINING" });
        assert_eq!(of(gone), Verdict::Failed("the service was deleted".into()));
    }
}
