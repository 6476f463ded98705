//! The broker of a hub: the program it starts, or the one that runs elsewhere.

use super::Check;
use super::service::is_enabled;
use crate::doctor::connect::tcp;
use crate::doctor::finding::Finding;
use crate::doctor::program;
use crate::doctor::subject::Subject;
use std::time::Duration;

pub(super) const CHECK: Check = Check::new(
    "hub-broker",
    "mosquitto 2.0 or newer is installed, which the hub starts itself, and not as a service of its own; or the broker that runs elsewhere can be reached.",
    "`apt-get install mosquitto && systemctl disable --now mosquitto`, or set `broker` in `/etc/coracle/hub.toml`.",
    look,
)
.of(super::Of::Hub)
.at_leisure();

const PATIENCE: Duration = Duration::from_secs(5);
const OLDEST: u32 = 2;

fn look(subject: &Subject) -> Finding {
    let Some(hub) = subject.hub() else { return Finding::skipped("this is no hub") };
    if let Some(broker) = &hub.broker {
        let (scheme, rest) = broker.url.split_once("://").unwrap_or(("mqtts", &broker.url));
        let usual = if scheme == "mqtt" { 1883 } else { 8883 };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().unwrap_or(usual)),
            _ => (rest, usual),
        };
        return match tcp(host, port, PATIENCE) {
            Ok(_) => Finding::ok(format!("the broker {} can be reached", broker.url)),
            Err(why) => Finding::error(
                format!("the broker {} cannot be reached: {why}", broker.url),
                "start it, or correct broker in /etc/coracle/hub.toml",
            ),
        };
    }
    let help = program::find("mosquitto")
        .map(|path| program::output(&path, &["-h"], PATIENCE).unwrap_or_default());
    judge(help.as_deref(), is_enabled(subject, "mosquitto"))
}

/// `2.0.11` of the line `mosquitto version 2.0.11`.
fn version(help: &str) -> Option<&str> {
    let line = help.lines().find_map(|line| line.strip_prefix("mosquitto version "))?;
    line.split_whitespace().next()
}

fn judge(help: Option<&str>, as_service: bool) -> Finding {
    const INSTALL: &str = "sudo apt-get install mosquitto && sudo systemctl disable --now mosquitto; or set broker in /etc/coracle/hub.toml";
    let Some(help) = help else { return Finding::error("mosquitto is not installed", INSTALL) };
    let found = version(help).unwrap_or("of unknown version");
    let major = found.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST) {
        return Finding::error(format!("mosquitto is {found}; 2.0 or newer is needed"), INSTALL);
    }
    if as_service {
        return Finding::warning(
            format!(
                "mosquitto {found} also starts as a service of its own, which the hub does not use"
            ),
            "sudo systemctl disable --now mosquitto",
        );
    }
    Finding::ok(format!("mosquitto {found} is installed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn missing_old_and_double_brokers() {
        assert_eq!(judge(None, false).status, Status::Error);
        assert_eq!(judge(Some("mosquitto version 2.0.11\n"), false).status, Status::Ok);
        assert_eq!(judge(Some("mosquitto version 2.0.11\n"), true).status, Status::Warning);
        let old = judge(Some("mosquitto version 1.6.9\n"), false);
        assert!(old.status == Status::Error && old.found.contains("1.6.9"));
        assert_eq!(judge(Some(""), false).status, Status::Error);
    }
}
