//! Whether the box runs what its hub last said.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use serde_json::Value;

pub(super) const CHECK: Check = Check::new(
    "sync",
    "The box has applied the newest document that it saw of its hub, and loses no events on the way there.",
    "What hinders it is in the reason: `coracle why SERVICE` on the hub, `coracle ps --all` here.",
    |subject| {
        let answer = subject.ask("GET /coracle/v1/nodes/this", "");
        match answer.content() {
            Some(node) => judge(&node["membership"]),
            None => stored(subject),
        }
    },
)
.of(super::Of::Box);

/// As the store has it, without an agent.
fn stored(subject: &Subject) -> Finding {
    if !subject.is_root() {
        return Finding::skipped("no agent answers, and the store needs root");
    }
    let Some(world) = subject.world() else {
        return Finding::skipped("no agent answers, and there is no store to look into");
    };
    match &world.membership {
        None => Finding::ok("this box belongs to no fleet"),
        Some(membership) => {
            let applied = membership.progress.applied.as_ref().map(|applied| applied.position);
            let seen = membership.progress.position;
            judge(&serde_json::json!({
                "seen": seen.to_string(),
                "applied": applied.map(|position| position.to_string()),
                "reason": membership.progress.reason,
                "eventsDropped": membership.dropped,
            }))
        }
    }
}

fn judge(membership: &Value) -> Finding {
    if membership.is_null() {
        return Finding::ok("this box belongs to no fleet");
    }
    let text = |key: &str| membership[key].as_str();
    let mut wrong = Vec::new();
    if let Some(dropped) = membership["eventsDropped"].as_u64().filter(|dropped| *dropped > 0) {
        wrong.push(Finding::warning(
            format!("{dropped} events were dropped before the hub had them"),
            "let the box reach its hub more often, or longer: see the check broker",
        ));
    }
    let kept = membership["eventsKept"].as_u64().unwrap_or(0);
    match (text("seen"), text("applied")) {
        (None, _) => {
            return Finding::warning(
                "no document of the hub has come yet",
                "see the check broker; on the hub: coracle node show ID",
            );
        }
        (Some(seen), applied) if applied != Some(seen) => {
            let reason = text("reason").map(|reason| format!(": {reason}")).unwrap_or_default();
            let applied = applied.unwrap_or("none");
            wrong.push(Finding::warning(
                format!("document {seen} is not applied yet, {applied} is{reason}"),
                "coracle ps --all here, coracle why SERVICE on the hub",
            ));
        }
        _ => {}
    }
    let seen = text("seen").unwrap_or_default().to_owned();
    Finding::all(wrong, || {
        Finding::ok(format!("document {seen} is applied, {kept} events wait for the hub"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use serde_json::json;

    #[test]
    fn documents_and_events_are_judged() {
        let good =
            judge(&json!({ "seen": "0.4", "applied": "0.4", "eventsKept": 2, "eventsDropped": 0 }));
        assert_eq!(good, Finding::ok("document 0.4 is applied, 2 events wait for the hub"));
        let behind = judge(&json!({ "seen": "0.5", "applied": "0.4", "reason": "no image" }));
        assert!(behind.status == Status::Warning && behind.found.contains("no image"));
        assert!(judge(&json!({ "eventsKept": 0 })).found.contains("no document"));
        assert!(
            judge(&json!({ "seen": "1.1", "applied": "1.1", "eventsDropped": 3 }))
                .found
                .contains("3 events")
        );
        assert_eq!(judge(&Value::Null).status, Status::Ok);
        assert_eq!((CHECK.run)(&Subject::at("/nonexistent")).status, Status::Skipped);
    }
}
