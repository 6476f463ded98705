//! The hub's key is followed by another, twice, while one box is there and one is away, and the hub is killed in between: no
//! message is refused, nothing restarts, and the old keys go when nobody needs them. Needs root and mosquitto.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod boxes;

use boxes::{Fleet, Member};
use serde_json::{Value, json};

const SLEEP: [&str; 2] = ["sleep", "1000000"];

fn register(fleet: &Fleet, family: &str, value: &str) -> String {
    let main = json!({
        "name": "main", "image": "coracle/busybox", "memory": 16, "command": SLEEP,
        "environment": [{ "name": "VALUE", "value": value }],
    });
    let definition =
        json!({ "family": family, "networkMode": "none", "containerDefinitions": [main] });
    let answer = fleet.ecs("RegisterTaskDefinition", &definition);
    answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap().to_owned()
}

/// A verb of `coracle hub`; what it says.
fn hub(fleet: &Fleet, verb: &[&str]) -> Value {
    let run_dir = fleet.run_dir().display().to_string();
    let place = ["--output", "json", "--run-dir", &run_dir];
    let said = fleet.cli(&[&["hub"], verb, &place[..]].concat(), "");
    serde_json::from_str(&said).unwrap()
}

fn rotate(fleet: &Fleet) -> Value {
    hub(fleet, &["rotate-key"])
}

/// What the hub says of its keys.
fn keys(fleet: &Fleet) -> Value {
    boxes::get(&fleet.run_dir(), "/coracle/v1/hub-key")
}

fn files(fleet: &Fleet) -> Vec<String> {
    let entries = std::fs::read_dir(fleet.state_dir().join("keys")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("hub")).collect();
    names.sort();
    names
}

fn pinned(member: &Member) -> String {
    member.enrolment()["hubKey"].as_str().unwrap().to_owned()
}

/// The line of a box in `coracle node ls`.
fn line(fleet: &Fleet, id: &str) -> String {
    let text = fleet.cli(&["node", "ls"], "");
    text.lines().find(|line| line.contains(&id[..8])).unwrap_or(&text).to_owned()
}

#[test]
fn boxes_follow_the_hubs_key_be_they_away_for_two_of_them() {
    if !boxes::possible() {
        return;
    }
    // Boxes are told of a broker that is not there, and of one that each of them reaches by another address.
    let mut fleet = Fleet::with(&["site=a", "site=b"], "", |port, addresses| {
        let own = addresses.iter().map(|address| format!("{address}:{port}"));
        let all = std::iter::once("127.0.0.1:1".to_owned()).chain(own);
        all.flat_map(|host| ["--mqtt-advertise".to_owned(), host]).collect()
    });
    let ids = [fleet.boxes[0].id(), fleet.boxes[1].id()];
    let constant = register(&fleet, "constant", "1");
    let web = register(&fleet, "web", "1");
    let daemon = |name: &str, definition: &str| json!({ "serviceName": name, "taskDefinition": definition, "schedulingStrategy": "DAEMON" });
    fleet.ecs("CreateService", &daemon("constant", &constant));
    fleet.ecs("CreateService", &daemon("web", &web));
    fleet.stable("constant");
    fleet.stable("web");
    let untouched = fleet.running("constant");
    assert_eq!(untouched.len(), 2);
    let first = pinned(&fleet.boxes[0]);
    assert_eq!(files(&fleet), ["hub.pk8"]);
    let old_token = fleet.cli(&["token", "create"], "");

    // The second box is away. The hub is killed as soon as it has the key, which a box may know already, or not.
    fleet.boxes[1].cable.cut();
    fleet.until("one box is away", || fleet.connected() == 1);
    let said = rotate(&fleet);
    assert_eq!(said["before"].as_array().unwrap().len(), 1, "{said}");
    assert!(said["waiting"].as_u64().unwrap() >= 1, "{said}");
    fleet.kill_hub();
    assert_eq!(files(&fleet).len(), 2);
    fleet.start_hub();
    fleet.until("the box that is there has followed", || keys(&fleet)["nodes"] == json!([ids[1]]));
    let second = pinned(&fleet.boxes[0]);
    assert!(second != first && pinned(&fleet.boxes[1]) == first);
    assert!(line(&fleet, &ids[0]).contains(" new"), "{}", line(&fleet, &ids[0]));
    assert!(line(&fleet, &ids[1]).contains(" old"), "{}", line(&fleet, &ids[1]));
    let shown = fleet.cli(&["node", "show", &ids[1]], "");
    assert!(shown.contains("(the hub has a newer one)"), "{shown}");

    // Once more, with another document for both.
    rotate(&fleet);
    let changed = register(&fleet, "web", "2");
    fleet.ecs("UpdateService", &json!({ "service": "web", "taskDefinition": changed }));
    fleet.until("the box that is there has followed again", || {
        keys(&fleet)["nodes"] == json!([ids[1]]) && pinned(&fleet.boxes[0]) != second
    });
    let third = pinned(&fleet.boxes[0]);
    assert_eq!(files(&fleet).len(), 3);
    let backup = fleet.state_dir().with_file_name("backup.tar");
    let said = hub(&fleet, &["backup", backup.to_str().unwrap()]).to_string();
    assert!(files(&fleet).iter().all(|file| said.contains(&format!("keys/{file}"))), "{said}");

    // The box that was away trusts the first key, and gets to the third at once.
    fleet.boxes[1].cable.mend();
    fleet.until("the other box has followed", || pinned(&fleet.boxes[1]) == third);
    fleet.stable("web");
    fleet.until("both have said so", || keys(&fleet)["waiting"] == 0);
    assert_eq!(fleet.running("constant"), untouched, "nothing was restarted");

    // What joins with a token of the first key trusts the third at once; then nobody needs the others.
    fleet.until("only what the token names is left", || files(&fleet).len() == 2);
    let member = &fleet.boxes[0];
    member.host.cli(&["leave"]);
    fleet.until("its tasks have ended", || {
        member.tasks("default").iter().all(|(_, status)| status == "STOPPED")
    });
    fleet.join(member, old_token.trim());
    assert_eq!(pinned(member), third);
    fleet.until("it is back", || fleet.connected() == 2 && keys(&fleet)["waiting"] == 0);
    let id = old_token.split('.').nth(1).unwrap().to_owned();
    fleet.cli(&["token", "rm", &id], "");
    fleet.until("one key is left", || files(&fleet) == ["hub.pk8"]);
    fleet.stable("web");
    for member in &fleet.boxes {
        let shown = member.host.cli(&["node", "show"]);
        let refused = shown.lines().find(|line| line.trim_start().starts_with("refused"));
        assert_eq!(refused, None, "no message was refused");
    }
}
