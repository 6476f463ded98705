//! Whether the agent or hub answers, and whether its engine moves.

use super::Check;
use super::service::is_enabled;
use crate::doctor::finding::Finding;
use crate::doctor::socket::{Answer, ecs};
use serde_json::json;

pub(super) const CHECK: Check = Check::new(
    "agent",
    "The agent or hub answers on its socket, and its engine carries out commands.",
    "`systemctl restart coracle` (or `coracle-hub`); why it stopped: `journalctl -u coracle -n 50`.",
    |subject| {
        let version = subject.version();
        // Nothing has this id: the engine looks, says no, and changes nothing.
        let engine = matches!(version, Answer::Said(200, _)).then(|| {
            let nothing = json!({ "task": "0".repeat(32), "reason": "coracle doctor" });
            subject.ask(&ecs("StopTask"), &nothing.to_string())
        });
        let used = subject.state_dir().join("store").exists() || is_enabled(subject, subject.unit());
        let socket = crate::config::socket(subject.run_dir()).display().to_string();
        judge(version, engine.as_ref(), used, &socket, subject.unit(), subject.who())
    },
)
.at_leisure();

fn judge(
    version: &Answer,
    engine: Option<&Answer>,
    used: bool,
    socket: &str,
    unit: &str,
    who: &str,
) -> Finding {
    let restart =
        format!("sudo systemctl restart {unit}; why it happened: sudo journalctl -u {unit} -n 50");
    match (version, engine) {
        (Answer::Nobody, _) if used => Finding::error(
            format!("no {who} answers on {socket}: tasks that run go on, nothing restarts them"),
            format!("sudo systemctl start {unit}; why it ended: sudo journalctl -u {unit} -n 50"),
        ),
        (Answer::Nobody, _) => Finding::warning(
            format!("no {who} answers on {socket}, and none ever ran here"),
            format!("sudo systemctl enable --now {unit}"),
        ),
        (Answer::Forbidden, _) => {
            Finding::skipped(format!("{socket} may not be used by this user"))
        }
        (Answer::Silent, _) => {
            Finding::error(format!("the {who} on {socket} does not answer in time"), restart)
        }
        (Answer::Broken(why), _) => {
            Finding::error(format!("the answer on {socket} breaks off: {why}"), restart)
        }
        (Answer::Said(status, _), None) => Finding::error(
            format!("something else answers on {socket}, with status {status}"),
            restart,
        ),
        (Answer::Said(_, content), Some(Answer::Said(..))) => {
            let version = content["version"].as_str().unwrap_or("of an unknown version");
            Finding::ok(format!("the {who} {version} answers, and its engine moves"))
        }
        (Answer::Said(..), Some(_)) => {
            Finding::error(format!("the {who} answers, but its engine is stuck"), restart)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn up_down_stuck_and_not_ours() {
        let look = |version: &Answer, engine: Option<&Answer>, used| {
            judge(version, engine, used, "/run/coracle/api.sock", "coracle", "agent")
        };
        let said = Answer::Said(200, json!({ "version": "1.2.3" }));
        let refused = Answer::Said(400, json!({}));
        assert!(look(&said, Some(&refused), true).found.contains("1.2.3 answers"));
        let stuck = look(&said, Some(&Answer::Silent), true);
        assert!(stuck.status == Status::Error && stuck.found.contains("stuck"));
        assert!(stuck.remedy.unwrap().contains("journalctl -u coracle"));
        assert_eq!(look(&Answer::Nobody, None, true).status, Status::Error);
        assert_eq!(look(&Answer::Nobody, None, false).status, Status::Warning);
        assert_eq!(look(&Answer::Silent, None, true).status, Status::Error);
        assert_eq!(look(&Answer::Forbidden, None, true).status, Status::Skipped);
        assert_eq!(look(&Answer::Said(404, json!(null)), None, true).status, Status::Error);
    }
}
