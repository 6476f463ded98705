//! The way to the hub's broker.

use super::Check;
use crate::auth::fleet::DeviceIdentity;
use crate::config::{Config, MqttVersion};
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use crate::fleet::device::login;
use crate::fleet::link::{BrokerUrlError, LinkError, Settings, Tls, Version, probe};
use serde_json::Value;
use std::time::Duration;
use zeroize::Zeroizing;

pub(super) const CHECK: Check = Check::new(
    "broker",
    "The box reaches its hub's broker, by name, TCP, TLS and MQTT. While the agent runs it is asked, for a second connection would end its own. Without the broker a box goes on with what it ran.",
    "By what is found: DNS or `/etc/hosts`, route and firewall, clock and certificates, `coracle node show` on the hub.",
    look,
)
.of(super::Of::Box)
.as_root()
.at_leisure();

/// For the whole attempt.
const PATIENCE: Duration = Duration::from_secs(20);

fn look(subject: &Subject) -> Finding {
    let Some(config) = subject.config() else { return Finding::skipped("this is a hub") };
    let identity = match subject.identity() {
        Ok(Some(identity)) => identity,
        Ok(None) => return Finding::ok("this box belongs to no fleet"),
        Err(_) => {
            return Finding::skipped(
                "the files of the membership cannot be read: see the check certificates",
            );
        }
    };
    let broker = identity.enrolment().broker.as_str();
    if !subject.is_down() {
        let answer = subject.ask("GET /coracle/v1/nodes/this", "");
        return match answer.content() {
            Some(node) => told(&node["membership"]["link"], broker),
            None => Finding::skipped("the agent does not say: see the check agent"),
        };
    }
    let settings = match settings(config, identity) {
        Ok(settings) => settings,
        Err(what) => return Finding::error(what, "correct [fleet] in /etc/coracle/agent.toml"),
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Finding::skipped("no asynchronous runtime could be started");
    };
    let tried = runtime.block_on(async { tokio::time::timeout(PATIENCE, probe(&settings)).await });
    match tried {
        Ok(Ok(())) => Finding::ok(format!("{broker} takes this box")),
        Ok(Err(error)) => failed(&error, broker),
        Err(_) => silent(broker),
    }
}

fn settings(config: &Config, identity: &DeviceIdentity) -> Result<Settings, String> {
    let enrolment = identity.enrolment();
    let url =
        |error: BrokerUrlError| format!("the hub named a broker that cannot be used: {error}");
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let mut settings =
        Settings::new(enrolment.broker.parse().map_err(url)?, enrolment.device.as_str());
    for other in &enrolment.more_brokers {
        settings.others.push(other.parse().map_err(url)?);
    }
    if let Some(path) = &config.fleet.broker_credentials {
        let credentials = login(&read(path)?);
        let rule = || format!("{} does not hold one line USER:PASSWORD", path.display());
        settings.credentials = Some(credentials.ok_or_else(rule)?);
    }
    let named = enrolment.broker_authorities.as_ref().map(|pem| pem.as_bytes().to_vec());
    let own = config.fleet.broker_ca.as_ref().map(read).transpose()?;
    let key = Zeroizing::new(identity.key().pem().as_bytes().to_vec());
    settings.tls = Tls {
        authorities: own.or(named),
        identity: Some((enrolment.certificate.pem().into_bytes(), key)),
    };
    settings.version = match config.fleet.mqtt_version {
        MqttVersion::Auto => Version::Auto,
        MqttVersion::V5 => Version::V5,
        MqttVersion::V311 => Version::V311,
    };
    Ok(settings)
}

/// What the agent says of its link.
fn told(link: &Value, broker: &str) -> Finding {
    if link["connected"] == true {
        return Finding::ok(format!("the agent is connected to {broker}"));
    }
    let Some(why) = link["why"].as_str() else {
        return Finding::warning(
            format!("the agent is not connected to {broker} yet"),
            "wait a minute and look again; then: sudo journalctl -u coracle -n 50",
        );
    };
    Finding::warning(
        format!("the agent is not connected to {broker}: {why}"),
        remedy_of_text(why, broker),
    )
}

fn silent(broker: &str) -> Finding {
    Finding::warning(
        format!("{broker} does not answer within {} s", PATIENCE.as_secs()),
        format!("look at the way there, and at the firewall on it: nc -vz {}", host(broker)),
    )
}

/// `HOST PORT` of a broker's URL.
fn host(broker: &str) -> String {
    let rest = broker.split_once("://").map_or(broker, |(_, rest)| rest);
    rest.replacen(':', " ", 1)
}

fn failed(error: &LinkError, broker: &str) -> Finding {
    let found = format!("{broker} cannot be used: {error}");
    match error {
        // This will not go away by itself.
        LinkError::NotAuthorised { .. }
        | LinkError::TlsRefused { .. }
        | LinkError::TlsUntrusted { .. }
        | LinkError::TlsName { .. }
        | LinkError::TlsSettings(_) => Finding::error(found, remedy_of(error, broker)),
        _ => Finding::warning(found, remedy_of(error, broker)),
    }
}

const NAME: &str = "put its name into DNS or /etc/hosts, and see /etc/resolv.conf";
const TRUST: &str = "set the clock right (see the check clock); a broker with a certificate of another authority: set broker_ca in [fleet] of /etc/coracle/agent.toml; a hub that was made anew: sudo coracle leave, then join again";
const REFUSED: &str = "on the hub: coracle node show ID tells whether this box was deregistered; then here: sudo coracle leave, and join with a new token; a broker elsewhere: see its rules in docs/broker.md";

fn remedy_of(error: &LinkError, broker: &str) -> String {
    match error {
        LinkError::Resolve { .. } => NAME.to_owned(),
        LinkError::TlsName { .. } | LinkError::TlsUntrusted { .. } | LinkError::TlsSettings(_) => {
            TRUST.to_owned()
        }
        LinkError::NotAuthorised { .. } | LinkError::TlsRefused { .. } => REFUSED.to_owned(),
        _ => format!(
            "is the hub up? look at the way there, and at the firewall on it: nc -vz {}",
            host(broker)
        ),
    }
}

/// The same of an error that another process told, by its words.
fn remedy_of_text(why: &str, broker: &str) -> String {
    if why.contains("cannot be resolved") {
        NAME.to_owned()
    } else if why.contains("refuses this client") {
        REFUSED.to_owned()
    } else if why.contains("certificate") || why.contains("TLS cannot be used") {
        TRUST.to_owned()
    } else {
        format!(
            "is the hub up? look at the way there, and at the firewall on it: nc -vz {}",
            host(broker)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use serde_json::json;

    const BROKER: &str = "mqtts://hub.example:8883";

    #[test]
    fn what_the_agent_says_of_its_link() {
        assert_eq!(told(&json!({ "connected": true }), BROKER).status, Status::Ok);
        let why = "the broker's name hub.example cannot be resolved: no such host";
        let found = told(&json!({ "connected": false, "why": why }), BROKER);
        assert!(found.status == Status::Warning && found.remedy.unwrap().contains("/etc/hosts"));
        assert_eq!(told(&Value::Null, BROKER).status, Status::Warning);
    }

    #[test]
    fn each_kind_of_failure_has_its_remedy() {
        let io = || std::io::Error::other("x");
        let resolve = LinkError::Resolve { host: "hub.example".into(), source: io() };
        assert!(failed(&resolve, BROKER).remedy.unwrap().contains("DNS"));
        let away = LinkError::Connect { address: "192.0.2.1:8883".into(), source: io() };
        let away = failed(&away, BROKER);
        assert!(
            away.status == Status::Warning
                && away.remedy.unwrap().contains("nc -vz hub.example 8883")
        );
        let name = failed(&LinkError::TlsName { host: "hub.example".into() }, BROKER);
        assert!(name.status == Status::Error && name.remedy.unwrap().contains("clock"));
        // The words that are looked for are those of the error.
        for error in [resolve, LinkError::TlsName { host: "x".into() }] {
            assert_eq!(remedy_of_text(&error.to_string(), BROKER), remedy_of(&error, BROKER));
        }
        assert!(silent(BROKER).found.contains("20 s"));
    }

    #[test]
    fn a_box_of_no_fleet_needs_no_broker() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(&Subject::at(dir.path())).status, Status::Ok);
    }
}
