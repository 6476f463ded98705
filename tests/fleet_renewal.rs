//! Certificates of a minute: renewed over MQTT with nobody noticing, also when the network is gone for a while; over HTTP by a
//! box that was off when its own ended; and not for a box that was thrown out. Needs root and mosquitto.
//!
//! What a clock that is wrong makes of it is decided by pure code and tested there (`fleet::device::renewal`, `fleet::link`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod boxes;

use boxes::{Fleet, Member};
use coracle::model::Timestamp;
use serde_json::{Value, json};

fn certificate(member: &Member) -> String {
    member.enrolment()["certificate"].to_string()
}

fn node(fleet: &Fleet, id: &str) -> Value {
    boxes::get(&fleet.run_dir(), &format!("/coracle/v1/nodes/{id}"))
}

fn ends(fleet: &Fleet, id: &str) -> Timestamp {
    serde_json::from_value(node(fleet, id)["device"]["certificate"]["notAfter"].clone()).unwrap()
}

#[test]
fn certificates_are_renewed_whatever_the_network_is() {
    if !boxes::possible() {
        return;
    }
    let attributes = ["site=a", "site=b"];
    let mut fleet = Fleet::with(&attributes, "certificate_lifetime = '1m'\n", |_, _| Vec::new());
    let ids: Vec<String> = fleet.boxes.iter().map(Member::id).collect();
    let main = json!({
        "name": "main", "image": "coracle/busybox", "memory": 16, "command": ["sleep", "1000000"],
    });
    let definition =
        json!({ "family": "web", "networkMode": "none", "containerDefinitions": [main] });
    fleet.ecs("RegisterTaskDefinition", &definition);
    fleet.ecs(
        "CreateService",
        &json!({
            "serviceName": "web", "taskDefinition": "web", "schedulingStrategy": "DAEMON",
        }),
    );
    fleet.stable("web");
    let running = fleet.running("web");

    // While connected: over MQTT, and the connection stays the same one.
    let since = |fleet: &Fleet| node(fleet, &ids[0])["device"]["connectedChangedAt"].clone();
    let (before, connected) = (certificate(&fleet.boxes[0]), since(&fleet));
    fleet.until("the certificate is renewed", || certificate(&fleet.boxes[0]) != before);
    assert_eq!(since(&fleet), connected, "nobody noticed");
    let log = fleet.boxes[0].host.log();
    assert!(log.contains("asking the hub for a new certificate"), "{log}");
    assert!(!log.contains("over HTTP"), "{log}");

    // One is cut off, the other is switched off, until the broker takes neither's certificate.
    let last: Vec<String> = fleet.boxes.iter().map(certificate).collect();
    fleet.boxes[0].cable.cut();
    fleet.boxes[1].kill();
    fleet.until("both certificates have ended", || {
        let now = coracle::sys::now();
        ids.iter().all(|id| ends(&fleet, id) < now)
    });
    fleet.boxes[0].cable.mend();
    fleet.boxes[1].start();
    fleet.until("both are back with new certificates", || {
        fleet.connected() == ids.len()
            && fleet.boxes.iter().zip(&last).all(|(member, last)| certificate(member) != *last)
    });
    let log = fleet.boxes[1].host.log();
    assert!(log.contains("CertificateExpired") && log.contains("over HTTP"), "{log}");
    fleet.stable("web");
    assert_eq!(fleet.running("web"), running, "nothing was restarted");

    // A box that was thrown out gets none, and cannot come back with the one that it has.
    let gone = &fleet.boxes[0];
    fleet.cli(&["node", "rm", "--force", &ids[0]], "");
    fleet.until("the box is refused, and gets no certificate", || {
        let log = gone.host.log();
        log.contains("refuses this box") && log.contains("there is no new certificate")
    });
    let kept = certificate(gone);
    fleet.until("its certificate has ended", || {
        let info = gone.enrolment()["certificate"].clone();
        let certificate: coracle::auth::fleet::Certificate = serde_json::from_value(info).unwrap();
        certificate.info().not_after < coracle::sys::now()
    });
    assert_eq!(certificate(gone), kept);
    fleet.until("the others are there", || fleet.connected() == ids.len() - 1);
}
