//! The box's certificate, by which its hub's broker knows it.

use super::Check;
use crate::auth::fleet::{FileError, PLAUSIBLE};
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::model::Timestamp;

pub(super) const CHECK: Check = Check::new(
    "certificates",
    "The files of the box's membership of a fleet are whole, and its certificate is valid. It is renewed by itself in the last third of its time.",
    "Let the agent reach its hub, which renews it; else `coracle leave` and `coracle join` with a new token.",
    |subject| {
        let identity = subject.identity().as_ref();
        let until = identity.map(|identity| {
            identity.as_ref().map(|identity| identity.enrolment().certificate.info().not_after)
        });
        judge(until, Subject::now())
    },
)
.of(super::Of::Box)
.as_root();

/// Seconds before the end when somebody should look.
const SOON: i64 = 14 * 86_400;

fn judge(until: Result<Option<Timestamp>, &FileError>, now: Timestamp) -> Finding {
    const RENEW: &str = "see the check broker: the agent renews it as soon as it reaches its hub; else sudo coracle leave, then sudo coracle join URL --token TOKEN";
    let until = match until {
        Ok(Some(until)) => until,
        Ok(None) => return Finding::ok("this box belongs to no fleet"),
        Err(error) => {
            let remedy = "sudo coracle leave, then sudo coracle join with a new token of the hub (coracle token create)";
            return Finding::error(error.to_string(), remedy);
        }
    };
    if now < PLAUSIBLE {
        return Finding::skipped("the clock cannot be right, so nothing tells whether it is valid");
    }
    let left = (until.millis() - now.millis()) / 1000;
    let days = left / 86_400;
    if left <= 0 {
        return Finding::error(format!("the certificate ended {} days ago", -days), RENEW);
    }
    if left < SOON {
        return Finding::warning(
            format!("the certificate ends in {days} days, and was not renewed"),
            RENEW,
        );
    }
    Finding::ok(format!("the certificate is valid for {days} days"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn ends_are_judged_by_a_clock_that_can_be_right() {
        let now = Timestamp::from_secs(1_800_000_000);
        let status = |days: i64, now: Timestamp| {
            judge(Ok(Some(Timestamp::from_secs(1_800_000_000 + days * 86_400))), now).status
        };
        assert_eq!(status(30, now), Status::Ok);
        assert_eq!(status(13, now), Status::Warning);
        assert_eq!(status(-1, now), Status::Error);
        assert_eq!(status(30, Timestamp(0)), Status::Skipped);
        assert_eq!(judge(Ok(None), now).status, Status::Ok);
    }

    #[test]
    fn files_that_are_no_membership_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = dir.path().join("var/lib/coracle/fleet");
        std::fs::create_dir_all(&fleet).unwrap();
        std::fs::write(fleet.join("enrolment.json"), "{}").unwrap();
        let found = (CHECK.run)(&Subject::at(dir.path()));
        assert_eq!(found.status, Status::Error);
        assert!(found.found.contains("enrolment.json"), "{found:?}");
        assert_eq!(std::fs::read_to_string(fleet.join("enrolment.json")).unwrap(), "{}");
    }
}
