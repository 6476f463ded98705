//! Declared objects against a real agent: apply, diff, export, the directory of manifests. Needs root.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::print_stdout, reason = "a test that skips says why")]

mod agent;

use agent::{Agent, Host, kill, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn host() -> Option<Host> {
    if rustix::process::geteuid().is_root() {
        return Some(Host::new());
    }
    println!("skipped: running an agent needs root");
    None
}

fn coracle(host: &Host, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command.args(arguments).arg("--run-dir").arg(host.run_dir()).stdin(Stdio::null());
    command.output().unwrap()
}

/// Standard output of a command that must succeed.
fn ok(host: &Host, arguments: &[&str]) -> String {
    let output = coracle(host, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Writes a file into the host's directory.
fn write(host: &Host, name: &str, content: &str) -> PathBuf {
    let path = host.dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

fn as_str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A definition of one container in YAML.
fn definition(family: &str, image: &str) -> String {
    format!(
        "family: {family}\nnetworkMode: none\ncontainerDefinitions:\n  - name: main\n    image: {image}\n    memory: 32\n    command: [sh, -c, \"sleep 1000\"]\n"
    )
}

/// ARNs of a list operation, by their last part.
fn listed(agent: &Agent<'_>, operation: &str, input: &Value, member: &str) -> Vec<String> {
    let answer = agent.ok(operation, input);
    let arns = answer[member].as_array().unwrap().iter();
    arns.map(|arn| arn.as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
}

fn revisions(agent: &Agent<'_>) -> Vec<String> {
    listed(agent, "ListTaskDefinitions", &json!({}), "taskDefinitionArns")
}

#[test]
fn task_definitions_are_registered_when_they_differ() {
    let Some(host) = host() else { return };
    let agent = host.start();
    let web = write(&host, "web.yaml", &definition("web", "busybox:1"));
    let web = as_str(&web);

    let diff = coracle(&host, &["diff", "-f", web]);
    assert_eq!(diff.status.code(), Some(1), "{diff:?}");
    let told = text(&diff.stdout);
    assert!(told.starts_with(&format!("+ task definition web  ({web})\n")), "{told}");
    assert!(told.contains("    + containerDefinitions[main].image: \"busybox:1\"\n"), "{told}");
    assert!(revisions(&agent).is_empty(), "a diff changes nothing");

    assert_eq!(ok(&host, &["apply", "-f", web]), "created   task definition web\n");
    assert_eq!(ok(&host, &["apply", "-f", web]), "unchanged task definition web\n");
    assert_eq!(ok(&host, &["diff", "-f", web]), "");
    assert_eq!(revisions(&agent), ["web:1"]);

    write(&host, "web.yaml", &definition("web", "busybox:2"));
    let diff = coracle(&host, &["diff", "-f", web]);
    assert_eq!(diff.status.code(), Some(1));
    let expected = format!(
        "~ task definition web  ({web})\n    ~ containerDefinitions[main].image: \"busybox:1\" → \"busybox:2\"\n"
    );
    assert_eq!(text(&diff.stdout), expected);
    assert_eq!(ok(&host, &["apply", "-f", web, "--dry-run"]), expected);
    assert_eq!(revisions(&agent), ["web:1"], "a dry run changes nothing");
    assert_eq!(ok(&host, &["apply", "-f", web]), "updated   task definition web\n");
    assert_eq!(revisions(&agent), ["web:1", "web:2"]);
}

#[test]
fn all_is_checked_before_anything_changes() {
    let Some(host) = host() else { return };
    let agent = host.start();
    let good = write(&host, "all/a.yaml", &definition("good", "busybox"));
    let bad = "family: bad\ncontainerDefinitions:\n  - name: 'not a name'\n    image: x\n    memory: 32\n---\nserviceName: web\ndesiredcount: 1\n";
    let bad = write(&host, "all/b.yaml", bad);
    let folder = as_str(good.parent().unwrap());

    let output = coracle(&host, &["apply", "-f", folder]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stderr);
    let place = format!("{}, document 2: desiredcount: there is no such member", as_str(&bad));
    assert!(told.contains(&place), "{told}");
    let diff = coracle(&host, &["diff", "-f", folder]);
    assert_eq!(diff.status.code(), Some(2), "{diff:?}");

    let bad = "family: bad\ncontainerDefinitions:\n  - name: 'not a name'\n    image: x\n    memory: 32\n";
    let bad = write(&host, "all/b.yaml", bad);
    let output = coracle(&host, &["apply", "-f", folder]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stderr);
    assert!(told.contains(&format!("{}: task definition bad: ", as_str(&bad))), "{told}");
    assert!(told.contains("Container.name"), "{told}");
    assert!(revisions(&agent).is_empty(), "nothing of it may be there");
}

#[test]
fn clusters_are_made_and_kept() {
    let Some(host) = host() else { return };
    let agent = host.start();
    let file =
        write(&host, "c.json", r#"{"clusterName": "edge", "tags": [{"key": "a", "value": "1"}]}"#);
    assert_eq!(ok(&host, &["apply", "-f", as_str(&file)]), "created   cluster edge\n");
    assert_eq!(ok(&host, &["apply", "-f", as_str(&file)]), "unchanged cluster edge\n");
    write(&host, "c.json", r#"{"clusterName": "edge", "tags": [{"key": "b", "value": "2"}]}"#);
    let diff = coracle(&host, &["diff", "-f", as_str(&file)]);
    let told = text(&diff.stdout);
    assert!(told.ends_with("    - tags[a]: \"1\"\n    + tags[b]: \"2\"\n"), "{told}");
    assert_eq!(ok(&host, &["apply", "-f", as_str(&file)]), "updated   cluster edge\n");
    let described =
        agent.ok("DescribeClusters", &json!({"clusters": ["edge"], "include": ["TAGS"]}));
    assert_eq!(described["clusters"][0]["tags"], json!([{"key": "b", "value": "2"}]));
}

/// Every definition of the examples, exported and applied again, in both formats: nothing is to differ.
#[test]
fn what_is_exported_changes_nothing_when_it_is_applied() {
    let Some(host) = host() else { return };
    let agent = host.start();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/examples");
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "json") {
            ok(&host, &["apply", "-f", as_str(&path)]);
        }
    }
    let tagged = definition("tagged", "busybox") + "tags: [{key: team, value: '1'}]\n";
    ok(&host, &["apply", "-f", as_str(&write(&host, "tagged.yml", &tagged))]);
    let before = revisions(&agent);
    assert!(before.len() > 3, "{before:?}");
    for format in ["yaml", "json"] {
        let exported = ok(&host, &["export", "-o", format]);
        let file = write(&host, &format!("exported.{format}"), &exported);
        let diff = coracle(&host, &["diff", "-f", as_str(&file)]);
        assert_eq!(diff.status.code(), Some(0), "{}\n{exported}", text(&diff.stdout));
        let applied = ok(&host, &["apply", "-f", as_str(&file)]);
        assert!(applied.lines().all(|line| line.starts_with("unchanged ")), "{applied}");
    }
    assert_eq!(revisions(&agent), before);
    // On another box it makes the same.
    let exported = ok(&host, &["export"]);
    let other = Host::new();
    let second = other.start();
    let file = write(&other, "all.yaml", &exported);
    ok(&other, &["apply", "-f", as_str(&file)]);
    assert_eq!(ok(&other, &["export"]), exported);
    drop(second);
}

/// An agent with a directory of manifests.
fn start_with_manifests<'h>(host: &'h Host) -> Agent<'h> {
    let manifests = host.dir.path().join("manifests.d");
    let config = format!("manifests = {:?}\n", as_str(&manifests));
    let config = write(host, "agent.toml", &config);
    host.start_with(&["--config", as_str(&config)])
}

#[test]
fn a_directory_of_manifests_is_applied_at_the_start_and_at_a_hangup() {
    let Some(host) = host() else { return };
    write(&host, "manifests.d/10-web.yaml", &definition("web", "busybox:1"));
    write(&host, "manifests.d/20-broken.yaml", "family: [\n");
    write(&host, "manifests.d/30-refused.json", r#"{"family": "no", "containerDefinitions": []}"#);
    write(
        &host,
        "manifests.d/40-last.json",
        r#"[{"clusterName": "edge"}, {"clusterName": "farm"}]"#,
    );
    write(
        &host,
        "manifests.d/50-half.json",
        r#"[{"clusterName": "half"}, {"clusterName": "a b"}]"#,
    );
    write(&host, "manifests.d/notes.txt", "not a manifest");
    let agent = start_with_manifests(&host);
    let clusters = || listed(&agent, "ListClusters", &json!({}), "clusterArns");
    wait_for("the manifests to be applied", || {
        revisions(&agent) == ["web:1"] && clusters() == ["default", "edge", "farm"]
    });
    let log = host.log();
    for wrong in
        ["20-broken.yaml: it is not YAML", "30-refused.json: task definition no", "50-half.json"]
    {
        assert!(log.contains(wrong), "{wrong} is not in the log:\n{log}");
    }

    write(&host, "manifests.d/10-web.yaml", &definition("web", "busybox:2"));
    std::fs::remove_file(host.dir.path().join("manifests.d/40-last.json")).unwrap();
    kill(agent.pid(), 1);
    wait_for("the hangup", || revisions(&agent) == ["web:1", "web:2"]);
    assert_eq!(clusters(), ["default", "edge", "farm"], "a file that is gone removes nothing");

    // Once more, from what is stored: nothing differs, so nothing is registered.
    agent.kill();
    write(&host, "manifests.d/60-after.yaml", "clusterName: after\n");
    let agent = start_with_manifests(&host);
    wait_for("the second start", || {
        listed(&agent, "ListClusters", &json!({}), "clusterArns").contains(&"after".to_owned())
    });
    assert_eq!(revisions(&agent), ["web:1", "web:2"]);
}
