//! Declared objects against a real agent: apply, diff, export, the directory of manifests; services from the command
//! line; `coracle why`. Needs root.

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
fn start_with_manifests(host: &Host) -> Agent<'_> {
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

/// A definition whose container runs `script`, and a service of it.
fn service(family: &str, script: &str, more: &str) -> String {
    format!(
        "family: {family}\nnetworkMode: none\ncontainerDefinitions:\n  - name: main\n    image: coracle/busybox\n    memory: 32\n    stopTimeout: 2\n    command: [sh, -c, {script:?}]\n---\nserviceName: {family}\ntaskDefinition: {family}\n{more}"
    )
}

const STAYS: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn described(agent: &Agent<'_>, name: &str) -> Value {
    agent.ok("DescribeServices", &json!({"services": [name], "include": ["TAGS"]}))["services"][0]
        .clone()
}

#[test]
fn a_service_is_made_changed_and_left_alone() {
    let Some(host) = host() else { return };
    let agent = host.start();
    host.load_busybox(&agent);
    let file = write(&host, "web.yaml", &service("web", STAYS, "desiredCount: 2\n"));
    let file = as_str(&file);

    let applied = ok(&host, &["apply", "-f", file, "--wait"]);
    assert_eq!(applied, "created   task definition web\ncreated   service default/web\n");
    let steady = described(&agent, "web");
    assert_eq!((&steady["runningCount"], &steady["desiredCount"]), (&json!(2), &json!(2)));
    assert_eq!(steady["deployments"][0]["rolloutState"], "COMPLETED");
    assert_eq!(ok(&host, &["diff", "-f", file]), "");
    let applied = ok(&host, &["apply", "-f", file, "--wait"]);
    assert_eq!(applied, "unchanged task definition web\nunchanged service default/web\n");
    assert_eq!(described(&agent, "web")["deployments"][0]["id"], steady["deployments"][0]["id"]);

    // Another program, another number, another rule.
    let more = "desiredCount: 1\ndeploymentConfiguration: {maximumPercent: 300, minimumHealthyPercent: 50}\ntags: [{key: team, value: a}]\n";
    write(&host, "web.yaml", &service("web", &format!("true; {STAYS}"), more));
    let diff = coracle(&host, &["diff", "-f", file]);
    assert_eq!(diff.status.code(), Some(1), "{diff:?}");
    let told = text(&diff.stdout);
    for line in [
        "~ service default/web",
        "    ~ desiredCount: 2 → 1",
        "    ~ deploymentConfiguration.maximumPercent: 200 → 300",
        "    ~ deploymentConfiguration.minimumHealthyPercent: 100 → 50",
        "    ~ taskDefinition: \"web:1\" → \"web:2\"",
        "    + tags[team]: \"a\"",
    ] {
        assert!(told.lines().any(|l| l.starts_with(line)), "{line}: {told}");
    }
    let applied = ok(&host, &["apply", "-f", file, "--wait"]);
    assert_eq!(applied, "updated   task definition web\nupdated   service default/web\n");
    let now = described(&agent, "web");
    assert!(now["taskDefinition"].as_str().unwrap().ends_with("/web:2"), "{now:#}");
    assert_eq!(now["runningCount"], 1);
    assert_eq!(now["tags"], json!([{"key": "team", "value": "a"}]));
    assert_eq!(ok(&host, &["diff", "-f", file]), "");

    // What the file does not say is as by default, but for the number of tasks.
    write(&host, "web.yaml", &service("web", &format!("true; {STAYS}"), ""));
    ok(&host, &["apply", "-f", file, "--wait"]);
    let now = described(&agent, "web");
    assert_eq!(now["deploymentConfiguration"]["maximumPercent"], 200, "{now:#}");
    assert_eq!(now["desiredCount"], 1);
    assert_eq!(now["tags"], json!([{"key": "team", "value": "a"}]), "tags are left alone");

    let exported = ok(&host, &["export"]);
    assert!(exported.contains("serviceName: web\ntaskDefinition: web\n"), "{exported}");
    assert!(!exported.contains("deploymentConfiguration"), "a default is not written: {exported}");
    for format in ["yaml", "json"] {
        let exported = ok(&host, &["export", "-o", format]);
        let exported = write(&host, &format!("exported.{format}"), &exported);
        let diff = coracle(&host, &["diff", "-f", as_str(&exported)]);
        assert_eq!(diff.status.code(), Some(0), "{}", text(&diff.stdout));
    }

    let daemon = service("web", &format!("true; {STAYS}"), "schedulingStrategy: DAEMON\n");
    write(&host, "web.yaml", &daemon);
    let output = coracle(&host, &["apply", "-f", file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stderr);
    assert!(told.contains("service default/web: schedulingStrategy cannot be changed"), "{told}");
    assert_eq!(ok(&host, &["service", "rm", "web", "--force", "--wait"]), "default/web\n");
    assert_eq!(described(&agent, "web")["status"], "INACTIVE");
    let applied = ok(&host, &["apply", "-f", file, "--wait"]);
    assert!(applied.ends_with("created   service default/web\n"), "{applied}");
}

#[test]
fn services_from_the_command_line() {
    let Some(host) = host() else { return };
    let agent = host.start();
    host.load_busybox(&agent);
    let file = write(&host, "web.yaml", &service("web", STAYS, "desiredCount: 1\n"));
    ok(&host, &["apply", "-f", as_str(&file), "--wait"]);

    let listed = ok(&host, &["service", "ls"]);
    let row: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().take(6).collect();
    assert_eq!(row, ["default", "web", "web:1", "1", "1", "steady"], "{listed}");
    ok(&host, &["service", "scale", "web", "2", "--wait"]);
    assert_eq!(described(&agent, "web")["runningCount"], 2);

    let output = coracle(&host, &["service", "deploy", "web"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("web is on web:1 already"), "{output:?}");
    let before = described(&agent, "web")["deployments"][0]["id"].clone();
    ok(&host, &["service", "deploy", "web", "--force", "--wait"]);
    assert_ne!(described(&agent, "web")["deployments"][0]["id"], before);

    let second = definition("web", "coracle/busybox").replace("sleep 1000", STAYS);
    let second = write(&host, "second.yaml", &second);
    ok(&host, &["apply", "-f", as_str(&second)]);
    assert_eq!(ok(&host, &["service", "deploy", "default/web", "--wait"]), "default/web web:2\n");
    let shown = ok(&host, &["service", "show", "web"]);
    assert!(
        shown.contains("definition    web:2\n") && shown.contains("2 desired, 2 running"),
        "{shown}"
    );
    assert_eq!(ok(&host, &["service", "rollback", "web", "--wait"]), "default/web web:1\n");
    let events = ok(&host, &["service", "events", "web"]);
    assert!(
        events.lines().count() > 2 && events.contains("(service web) has reached a steady state."),
        "{events}"
    );
    assert!(
        events.lines().all(|line| line.starts_with("20") && line.contains("Z  (service web)")),
        "{events}"
    );

    let refused = coracle(&host, &["service", "rm", "web"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    ok(&host, &["service", "scale", "web", "0", "--wait"]);
    ok(&host, &["service", "rm", "web", "--wait"]);
    let missing = coracle(&host, &["service", "show", "nobody"]);
    assert!(text(&missing.stderr).contains("there is no service nobody"), "{missing:?}");
}

#[test]
fn what_is_declared_no_more_is_pruned_by_name_only() {
    let Some(host) = host() else { return };
    let agent = host.start();
    let none = "desiredCount: 0\n";
    let first = write(&host, "set/a.yaml", &service("first", STAYS, none));
    let second = write(&host, "set/b.yaml", &service("second", STAYS, none));
    let set = as_str(first.parent().unwrap());
    let other = write(&host, "other.yaml", &service("third", STAYS, none));
    ok(&host, &["apply", "-f", as_str(&other)]);
    ok(&host, &["apply", "-f", set, "--name", "site"]);
    assert_eq!(
        described(&agent, "first")["tags"],
        json!([{"key": "coracle:applied", "value": "site"}])
    );
    assert_eq!(ok(&host, &["diff", "-f", set, "--name", "site", "--prune"]), "");

    std::fs::remove_file(second).unwrap();
    let unnamed = coracle(&host, &["apply", "-f", set, "--prune"]);
    assert_eq!(unnamed.status.code(), Some(2), "{unnamed:?}");
    assert_eq!(ok(&host, &["diff", "-f", set, "--name", "site"]), "");
    let diff = coracle(&host, &["diff", "-f", set, "--name", "site", "--prune"]);
    assert_eq!(text(&diff.stdout), "- service default/second\n");
    assert_eq!(described(&agent, "second")["status"], "ACTIVE");
    let applied = ok(&host, &["apply", "-f", set, "--name", "site", "--prune"]);
    assert!(applied.ends_with("deleted   service default/second\n"), "{applied}");
    assert_ne!(described(&agent, "second")["status"], "ACTIVE");
    for kept in ["first", "third"] {
        assert_eq!(described(&agent, kept)["status"], "ACTIVE");
    }
}

#[test]
fn a_deployment_that_fails_is_told_and_explained_agent_up_or_down() {
    let Some(host) = host() else { return };
    let agent = host.start();
    host.load_busybox(&agent);
    let breaker = "desiredCount: 1\ndeploymentConfiguration: {deploymentCircuitBreaker: {enable: true, rollback: true}}\n";
    let file = write(&host, "web.yaml", &service("web", STAYS, breaker));
    ok(&host, &["apply", "-f", as_str(&file), "--wait"]);
    let why = ok(&host, &["why", "web"]);
    assert!(
        why.starts_with(
            "service default/web is as it is to be: 1 of 1 run\n├─ its desiredCount is 1\n"
        ),
        "{why}"
    );

    write(&host, "web.yaml", &service("web", "exit 7", breaker));
    let output = coracle(&host, &["apply", "-f", as_str(&file), "--wait"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stderr);
    assert!(told.contains("web:2"), "{told}");
    assert!(told.contains("service default/web did not become what is declared"), "{told}");

    // Too large for any box.
    let huge =
        service("huge", STAYS, "desiredCount: 1\n").replace("memory: 32", "memory: 100000000");
    let huge = write(&host, "huge.yaml", &huge);
    ok(&host, &["apply", "-f", as_str(&huge)]);
    let up = ok(&host, &["why", "huge"]);
    assert!(
        up.starts_with("service default/huge is not as it is to be yet: 0 of 1 task run\n"),
        "{up}"
    );
    assert!(
        up.contains("1 task has no box yet")
            && up.contains("this box: needs 100000000 MiB of memory"),
        "{up}"
    );
    let task = listed(&agent, "ListTasks", &json!({"serviceName": "web"}), "taskArns").remove(0);
    let of_task = ok(&host, &["why", &task[..12]]);
    assert!(of_task.contains("it is of service default/web (deployment ecs-svc/"), "{of_task}");
    assert!(of_task.contains("container main runs"), "{of_task}");

    assert!(agent.terminate().success());
    let state = host.state_dir();
    let down = ["why", "huge", "--state-dir", as_str(&state)];
    let output = coracle(&host, &down);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("this box: needs 100000000 MiB of memory"), "{output:?}");
    assert!(text(&output.stderr).contains("no agent is up"), "{output:?}");
    let output = coracle(&host, &["why", "nobody", "--state-dir", as_str(&state)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // It left nothing that keeps the next agent from its state.
    let agent = host.start();
    assert_eq!(described(&agent, "huge")["status"], "ACTIVE");
}
