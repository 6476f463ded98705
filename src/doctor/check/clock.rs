//! The clock: can it be right, does anything set it, does anything keep it while the box is off.

use super::Check;
use crate::auth::fleet::PLAUSIBLE;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::model::Timestamp;
use crate::sys;

pub(super) const CHECK: Check = Check::new(
    "clock",
    "The clock shows a year that can be right, and something on the network sets it. Tasks run with any clock; certificates of registries, and what logs say, need a right one.",
    "`timedatectl set-ntp true`, or install systemd-timesyncd or chrony; on a box without a network set it: `date -s`, and fit a clock with a battery.",
    |subject| {
        let has_rtc = !subject.names("/sys/class/rtc").is_empty();
        judge(Subject::now(), sys::clock_is_synchronised(), has_rtc)
    },
);

/// 2100, after which no clock is that of this version.
const LATEST: Timestamp = Timestamp::from_secs(4_102_444_800);

fn judge(now: Timestamp, synchronised: Option<bool>, has_rtc: bool) -> Finding {
    const SET: &str = "sudo timedatectl set-ntp true (systemd-timesyncd or chrony must be installed); without a network: sudo date -s 'YYYY-MM-DD HH:MM'";
    let shown = jiff::Timestamp::from_millisecond(now.millis())
        .map_or_else(|_| "no date".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
    if now < PLAUSIBLE || now > LATEST {
        let battery = if has_rtc { "" } else { "; there is no clock with a battery" };
        let what = format!(
            "the clock shows {shown}, which cannot be right{battery}: registries are not trusted, and logs have wrong times"
        );
        return Finding::error(what, SET);
    }
    if synchronised == Some(false) {
        let after = if has_rtc {
            ""
        } else {
            ", and without a clock with a battery it is wrong after each start"
        };
        let what = format!("the clock shows {shown}, and nothing sets it{after}");
        return Finding::warning(what, SET);
    }
    Finding::ok(format!("the clock shows {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn clocks_that_cannot_be_right_and_those_that_nobody_sets() {
        let right = Timestamp::from_secs(1_800_000_000);
        assert_eq!(
            judge(right, Some(true), false),
            Finding::ok("the clock shows 2027-01-15 08:00 UTC")
        );
        assert_eq!(judge(right, None, true).status, Status::Ok);
        let adrift = judge(right, Some(false), false);
        assert!(adrift.status == Status::Warning && adrift.found.contains("battery"), "{adrift:?}");
        for wrong in [0, 1_767_225_599, 4_102_444_801] {
            let finding = judge(Timestamp::from_secs(wrong), Some(true), false);
            assert_eq!(finding.status, Status::Error);
            assert!(finding.remedy.unwrap().contains("timedatectl"));
        }
        assert!(judge(Timestamp(0), None, false).found.contains("1970-01-01"));
    }
}
