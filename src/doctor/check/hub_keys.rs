//! The keys of a hub: what its boxes trust it by.

use super::Check;
use crate::auth::fleet::{Certificate, PLAUSIBLE};
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::model::Timestamp;
use std::io::ErrorKind;

pub(super) const CHECK: Check = Check::new(
    "hub-keys",
    "The hub's keys are there, and the certificate of its authority is valid. Without them no box trusts this hub any more.",
    "`coracle hub restore BACKUP`; make backups: `coracle hub backup FILE`.",
    |subject| {
        let path = subject.state_dir().join("keys/ca.der");
        match std::fs::read(&path) {
            Ok(bytes) => judge(Certificate::read(&bytes).map(|(_, info)| info.not_after), Subject::now()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Finding::skipped("the keys may not be read by this user")
            }
            Err(_) if subject.state_dir().join("store").exists() => judge(None, Subject::now()),
            Err(_) => Finding::ok("there are no keys yet; they are made at the first start"),
        }
    },
)
.of(super::Of::Hub)
.as_root();

/// Seconds before the end when somebody should look: the boxes have to join anew.
const SOON: i64 = 365 * 86_400;

fn judge(until: Option<Timestamp>, now: Timestamp) -> Finding {
    const RESTORE: &str = "stop the hub, then: sudo coracle hub restore BACKUP";
    let Some(until) = until else {
        return Finding::error("keys/ca.der is missing or damaged: no box can connect", RESTORE);
    };
    if now < PLAUSIBLE {
        return Finding::skipped("the clock cannot be right, so nothing tells whether it is valid");
    }
    let left = (until.millis() - now.millis()) / 1000;
    if left < SOON {
        return Finding::warning(
            format!("the certificate of the authority ends in {} days", left / 86_400),
            "make a new hub in an empty state directory, and have the boxes leave and join it, before that",
        );
    }
    Finding::ok(format!("the authority is valid for {} years", left / 86_400 / 365))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn an_authority_that_ends_is_told() {
        let now = Timestamp::from_secs(1_800_000_000);
        let status = |days: i64| {
            judge(Some(Timestamp::from_secs(1_800_000_000 + days * 86_400)), now).status
        };
        assert_eq!(status(7000), Status::Ok);
        assert_eq!(status(100), Status::Warning);
        assert_eq!(judge(None, now).status, Status::Error);
        assert_eq!(judge(Some(now), Timestamp(0)).status, Status::Skipped);
    }
}
