//! The systemd unit: is it there, does it start at boot, is it watched over.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;

pub(super) const CHECK: Check = Check::new(
    "service",
    "systemd starts the agent or hub at boot, and starts the agent anew when its engine is stuck (`WatchdogSec`).",
    "`systemctl enable --now coracle` (or `coracle-hub`); install the package, or `configs/coracle.service`.",
    |subject| judge(&Reading::of(subject)),
);

const DIRECTORIES: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

struct Reading {
    unit: &'static str,
    systemd: bool,
    /// The unit and what was added to it.
    text: Option<String>,
    masked: bool,
    enabled: bool,
    /// Whether a watchdog is expected.
    of_agent: bool,
}

/// Whether a unit starts at boot.
pub(super) fn is_enabled(subject: &Subject, unit: &str) -> bool {
    let wants = |name: &String| {
        name.strip_suffix(".wants").is_some()
            && std::fs::symlink_metadata(
                subject.path(&format!("/etc/systemd/system/{name}/{unit}.service")),
            )
            .is_ok()
    };
    subject.names("/etc/systemd/system").iter().any(wants)
}

impl Reading {
    fn of(subject: &Subject) -> Self {
        let unit = subject.unit();
        let files = DIRECTORIES.map(|directory| format!("{directory}/{unit}.service"));
        let text = files.iter().find_map(|file| subject.text(file));
        let added = DIRECTORIES.iter().flat_map(|directory| {
            let directory = format!("{directory}/{unit}.service.d");
            let names = subject.names(&directory).into_iter();
            names.filter_map(move |name| subject.text(&format!("{directory}/{name}")))
        });
        let added: Vec<_> = added.collect();
        let masked = std::fs::read_link(subject.path(&files[0]));
        Self {
            unit,
            systemd: subject.path("/run/systemd/system").exists(),
            masked: masked.is_ok_and(|target| target.as_os_str() == "/dev/null"),
            text: text.map(|text| text + "\n" + &added.join("\n")),
            enabled: is_enabled(subject, unit),
            of_agent: subject.config().is_some(),
        }
    }
}

fn judge(reading: &Reading) -> Finding {
    let unit = reading.unit;
    if !reading.systemd {
        return Finding::skipped("this box has no systemd: something else has to start it at boot");
    }
    if reading.masked {
        let what = format!("the unit {unit} is masked: nothing starts it");
        return Finding::error(
            what,
            format!("sudo systemctl unmask {unit} && sudo systemctl enable --now {unit}"),
        );
    }
    let Some(text) = &reading.text else {
        return Finding::warning(
            format!("there is no unit {unit}.service: nothing starts it at boot"),
            format!(
                "install the package, or: sudo cp configs/{unit}.service /etc/systemd/system/ && sudo systemctl enable --now {unit}"
            ),
        );
    };
    let mut wrong = Vec::new();
    if !reading.enabled {
        let what = format!("the unit {unit} is not enabled: it does not start at boot");
        wrong.push(Finding::warning(what, format!("sudo systemctl enable --now {unit}")));
    }
    let is_set = |line: &str| {
        line.trim()
            .strip_prefix("WatchdogSec=")
            .is_some_and(|value| !matches!(value.trim(), "" | "0"))
    };
    if reading.of_agent && !text.lines().any(is_set) {
        let what = format!("the unit {unit} has no WatchdogSec: an engine that is stuck stays so");
        let remedy = format!(
            "sudo systemctl edit {unit}: [Service] WatchdogSec=60; then sudo systemctl restart {unit}"
        );
        wrong.push(Finding::warning(what, remedy));
    }
    Finding::all(wrong, || Finding::ok(format!("the unit {unit} starts at boot")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn units_are_judged() {
        let systemd = ("/run/systemd/system/x", "");
        let unit = ("/usr/lib/systemd/system/coracle.service", "[Service]\nWatchdogSec=30\n");
        let bare = ("/usr/lib/systemd/system/coracle.service", "[Service]\nWatchdogSec=0\n");
        let added = ("/etc/systemd/system/coracle.service.d/a.conf", "WatchdogSec=5\n");
        let wanted = ("/etc/systemd/system/multi-user.target.wants/coracle.service", "");
        let look = |files: &[(&str, &str)]| (CHECK.run)(&a_box(files).1);
        assert_eq!(look(&[systemd, unit, wanted]).status, Status::Ok);
        assert_eq!(look(&[systemd, bare, added, wanted]).status, Status::Ok);
        assert!(look(&[systemd, bare, wanted]).found.contains("WatchdogSec"));
        let disabled = look(&[systemd, unit]);
        assert_eq!(disabled.remedy.as_deref(), Some("sudo systemctl enable --now coracle"));
        assert!(look(&[systemd]).found.contains("no unit coracle.service"));
        assert_eq!(look(&[unit, wanted]).status, Status::Skipped);
        let (dir, subject) = a_box(&[systemd, wanted]);
        std::os::unix::fs::symlink(
            "/dev/null",
            dir.path().join("etc/systemd/system/coracle.service"),
        )
        .unwrap();
        assert_eq!((CHECK.run)(&subject).status, Status::Error);
    }
}
