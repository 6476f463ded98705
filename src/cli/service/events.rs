//! `coracle service events`.

use super::super::output;
use super::{Target, text};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Show what happened to a service, oldest first
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Go on with what happens, until the service is deleted
    #[arg(short, long)]
    follow: bool,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let (cluster, name) = self.target.names();
        let client = self.target.connection.client();
        let service = client.service(&cluster, &name).await?;
        if self.target.format.is_json() && !self.follow {
            return output::json(&json!({ "events": service["events"] }));
        }
        let mut seen = BTreeSet::new();
        self.print(&service, &mut seen)?;
        if !self.follow {
            return Ok(());
        }
        let mut changes = client.watch_service(&cluster, &name).await?;
        while let Some(service) = changes.next::<Value>().await? {
            self.print(&service, &mut seen)?;
        }
        Ok(())
    }

    /// Prints what has not been printed yet.
    fn print(&self, service: &Value, seen: &mut BTreeSet<String>) -> Result<()> {
        for event in news(service, seen) {
            if self.target.format.is_json() {
                output::line(&event.to_string())?;
            } else {
                output::line(&format!(
                    "{}  {}",
                    time(&event["createdAt"]),
                    text(&event["message"])
                ))?;
            }
        }
        Ok(())
    }
}

/// The events of `service` that are not in `seen`, oldest first; they are then.
pub(super) fn news<'s>(service: &'s Value, seen: &mut BTreeSet<String>) -> Vec<&'s Value> {
    let events = service["events"].as_array();
    let events: Vec<&Value> = events.into_iter().flatten().rev().collect();
    let mut news = events.clone();
    news.retain(|event| !seen.contains(text(&event["id"])));
    // Only what is still shown can be shown again.
    *seen = events.iter().map(|event| text(&event["id"]).to_owned()).collect();
    news
}

/// `2026-01-31T12:00:00Z`.
fn time(at: &Value) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "seconds of this era fit")]
    let seconds = at.as_f64().unwrap_or_default() as i64;
    jiff::Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_once_oldest_first() {
        let service = |ids: &[&str]| json!({ "events": ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>() });
        let mut seen = BTreeSet::new();
        let told = |service: &Value, seen: &mut BTreeSet<String>| {
            news(service, seen).iter().map(|e| text(&e["id"]).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(&service(&["b", "a"]), &mut seen), ["a", "b"]);
        assert_eq!(told(&service(&["d", "c", "b"]), &mut seen), ["c", "d"]);
        assert!(told(&service(&["d", "c"]), &mut seen).is_empty());
        assert_eq!(time(&json!(1.5)), "1970-01-01T00:00:01Z");
    }
}
