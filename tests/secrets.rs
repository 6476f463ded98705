//! Secrets, environment files and registry logins through the real agent and its command line. Needs root.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;

use agent::{Agent, Host};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What must be found nowhere but in containers. In base64 and JSON it stays what it is.
const CANARY: &str = "canary7f3e91";

fn shell(script: &str, members: Value) -> Value {
    let mut container = json!({"name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 2, "command": ["sh", "-c", script]});
    container.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    container
}

/// Runs `coracle` with `input`.
fn coracle(host: &Host, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(arguments)
        .arg("--run-dir")
        .arg(host.run_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses at once does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn set(host: &Host, arguments: &[&str], value: &str) {
    let output = coracle(host, &[&["secret", "set"], arguments].concat(), value.as_bytes());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

fn refused(host: &Host, arguments: &[&str], value: &str) -> String {
    let output = coracle(host, arguments, value.as_bytes());
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// As [`Agent::register`], with the role that ECS asks for where there are secrets.
fn register(agent: &Agent<'_>, family: &str, container: Value) -> String {
    let role = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole";
    let definition = json!({"family": family, "networkMode": "none", "executionRoleArn": role, "containerDefinitions": [container]});
    let answer = agent.ok("RegisterTaskDefinition", &definition);
    format!("{family}:{}", answer["taskDefinition"]["revision"])
}

/// Runs the container to its end and returns its lines.
fn lines(agent: &Agent<'_>, container: Value) -> Vec<String> {
    let arn = agent.run(&register(agent, "secrets", container));
    let task = agent.wait(&arn, "STOPPED");
    assert_eq!(task["containers"][0]["exitCode"], 0, "{task:#} {:?}", agent.output(&arn));
    let mut lines: Vec<_> = agent.output(&arn).into_iter().map(|(_, _, text)| text).collect();
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

/// Runs the container, which must not start, and returns why.
fn why_not(agent: &Agent<'_>, container: Value) -> String {
    let arn = agent.run(&register(agent, "broken", container));
    let task = agent.wait(&arn, "STOPPED");
    assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
    task["containers"][0]["reason"].as_str().unwrap().to_owned()
}

/// Every file below `dir` that holds `text`.
fn holding(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(holding(&path, text));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn secrets_reach_their_container_and_nothing_else() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    set(
        &host,
        &["prod/db"],
        &format!(r#"{{"user":"admin","password":"{CANARY}-json","port":5432}}"#),
    );
    set(&host, &["/prod/url"], &format!("{CANARY}-url"));
    set(&host, &["file"], &format!("{CANARY}-file"));

    let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-AbCdEf";
    let secrets = json!([
        {"name": "PASSWORD", "valueFrom": format!("{arn}:password::")},
        {"name": "PORT", "valueFrom": format!("{arn}:port::")},
        {"name": "URL", "valueFrom": "/prod/url"},
        {"name": "FILE", "valueFrom": "file"},
        {"name": "OTHER", "valueFrom": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:file"},
    ]);
    let labels = json!({
        "coracle.secret-file.FILE": "/run/secrets/deep/file",
        "coracle.secret-file.OTHER": "/other:0440:0:65534",
    });
    // The health check proves that a process that enters has the variables, though the launch file has not.
    let script = r#"echo "$PASSWORD $PORT $URL ${FILE-unset} ${OTHER-unset}" >&2
        stat -c '%a %u:%g %n' /run/secrets/deep/file /other >&2
        sed s/canary/CANARY/ /run/secrets/deep/file >&2; grep -q canary /other && echo group >&2
        grep -c ' /run/secrets/deep/file .* tmpfs ' /proc/self/mountinfo >&2
        echo x 2>/dev/null >>/other || echo read-only >&2
        trap 'exit 0' TERM; while :; do sleep 0.1; done"#;
    let container = shell(
        script,
        json!({
            "secrets": secrets, "dockerLabels": labels, "user": "65534:65534",
            "healthCheck": {"command": ["CMD-SHELL", "test \"$PORT\" = 5432 && test -r /other"], "interval": 5},
        }),
    );
    let arn = agent.run(&register(&agent, "canary", container));
    agent.wait(&arn, "RUNNING");
    let id = arn.rsplit('/').next().unwrap();
    let healthy = |task: &Value| task["containers"][0]["healthStatus"] == "HEALTHY";
    assert!(agent.lines(&format!("/coracle/v1/tasks/{id}/watch")).any(|task| healthy(&task)));

    // While it runs: in the state directory, the log of the agent and the answers of the API nowhere; in the run
    // directory in one file for what may enter the container later, which root alone can read.
    let leaks = |dir: &Path| holding(dir, CANARY);
    let output = host.state_dir().join("logs");
    let state: Vec<_> =
        leaks(&host.state_dir()).into_iter().filter(|p| !p.starts_with(&output)).collect();
    assert_eq!(state, Vec::<PathBuf>::new());
    for path in leaks(&host.run_dir()) {
        assert_eq!(path.file_name().unwrap(), "config.json", "{path:?}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path:?}");
        assert!(!fs::read_to_string(&path).unwrap().contains(&format!("{CANARY}-file")));
    }
    assert!(!host.log().contains(CANARY));
    let definition = agent.ok("DescribeTaskDefinition", &json!({"taskDefinition": "canary"}));
    assert_eq!(definition["taskDefinition"]["containerDefinitions"][0]["secrets"], secrets);
    for answer in [definition, agent.describe(&arn)] {
        assert!(!answer.to_string().contains(CANARY));
    }
    assert!(!host.cli(&["secret", "ls", "--output", "json"]).contains(CANARY));

    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
    let lines: Vec<_> = agent.output(&arn).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(
        lines,
        [
            format!("{CANARY}-json 5432 {CANARY}-url unset unset\n"),
            "400 65534:65534 /run/secrets/deep/file\n".to_owned(),
            "440 0:65534 /other\n".to_owned(),
            // Without a newline, as it was set.
            format!("{}-filegroup\n", CANARY.replace("canary", "CANARY")),
            "1\n".to_owned(),
            "read-only\n".to_owned(),
        ]
    );
}
