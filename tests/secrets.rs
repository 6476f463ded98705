//! Secrets, environment files and registry logins through the real agent and its command line. Needs root.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;
#[path = "image_registry/images.rs"]
#[allow(dead_code, reason = "another test binary uses the rest")]
mod images;
#[path = "image_registry/registry.rs"]
#[allow(dead_code, clippy::print_stdout, reason = "another test binary uses the rest")]
mod registry;

use agent::{Agent, Host};
use registry::Registry;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
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
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
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

#[test]
fn variables_come_in_the_order_of_ecs() {
    let host = Host::new();
    let objects = host.dir.path().join("objects/bucket/app");
    fs::create_dir_all(&objects).unwrap();
    fs::write(objects.join("1.env"), "# first\nA=file1\nB=file1\nC=file1\nD=\"file 1\"\n").unwrap();
    fs::write(objects.join("2.env"), "A=file2\n\nE=old\nE=file2").unwrap();
    fs::write(objects.join("3.env"), "E=file3\nF=file3\n").unwrap();
    let config = host.dir.path().join("agent.toml");
    let directory = host.dir.path().join("objects");
    fs::write(&config, format!("environment_files = '{}'", directory.display())).unwrap();
    let agent = host.start_with(&["--config", config.to_str().unwrap()]);
    host.load_busybox(&agent);
    set(&host, &["s"], "secret");

    let file =
        |name: &str| json!({"type": "s3", "value": format!("arn:aws:s3:::bucket/app/{name}.env")});
    let container = shell(
        "echo $A-$B-$C-$D-$E-$F-$S",
        json!({
            "environmentFiles": [file("1"), file("2")], "secrets": [{"name": "S", "valueFrom": "s"}],
            "environment": [{"name": "B", "value": "definition"}, {"name": "C", "value": "definition"}],
        }),
    );
    let definition = register(&agent, "order", container);
    let run = |overrides: Value| {
        agent.call(
            "RunTask",
            &json!({"taskDefinition": definition, "overrides": {"containerOverrides": [overrides]}}),
        )
    };
    let answer = run(json!({
        "name": "main", "environmentFiles": [file("3")],
        "environment": [{"name": "C", "value": "override"}],
    }));
    let arn = answer.unwrap()["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    agent.wait(&arn, "STOPPED");
    assert_eq!(
        agent.output(&arn)[0].2,
        "file2-definition-override-\"file 1\"-file3-file3-secret\n"
    );
    let clash = run(json!({"name": "main", "environment": [{"name": "S", "value": "x"}]}));
    assert!(clash.unwrap_err().message.contains("secret name must be unique"));
    let wrong = json!({"type": "s3", "value": "bucket/app.env"});
    let wrong = run(json!({"name": "main", "environmentFiles": [wrong]}));
    assert!(wrong.unwrap_err().message.contains("Invalid environment file"));

    fs::write(objects.join("1.env"), "A=1\nhunter2\n").unwrap();
    let broken = why_not(&agent, shell("true", json!({"environmentFiles": [file("1")]})));
    assert!(broken.starts_with("ResourceInitializationError: "), "{broken}");
    assert!(broken.contains("line 2 of") && broken.contains("bucket/app/1.env"), "{broken}");
    assert!(!broken.contains("hunter2"), "{broken}");
}

#[test]
fn what_cannot_be_had_is_told_and_other_tasks_run() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let needs =
        |from: &str| shell("echo $S", json!({"secrets": [{"name": "S", "valueFrom": from}]}));

    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-AbCdEf";
    let missing = why_not(&agent, needs(arn));
    assert_eq!(
        missing,
        format!(
            "ResourceInitializationError: unable to pull secrets or registry auth: cannot retrieve S from {arn}: \
             secret prod/db is not in this box's store; set it with `coracle secret set prod/db`"
        )
    );
    set(&host, &["prod/db"], &format!(r#"{{"user":"{CANARY}"}}"#));
    let member = why_not(&agent, needs(&format!("{arn}:password::")));
    assert!(member.contains("did not contain json key password"), "{member}");
    let files = json!({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::b/k.env"}]});
    let files = why_not(&agent, shell("true", files));
    assert!(files.contains("set environment_files in the agent's configuration"), "{files}");
    let log = json!({"logConfiguration": {"logDriver": "gelf", "secretOptions": [{"name": "gelf-address", "valueFrom": "prod/db"}]}});
    let log = why_not(&agent, shell("true", log));
    assert!(!log.contains(CANARY), "{log}");

    assert_eq!(lines(&agent, needs(&format!("{arn}:user::"))), [CANARY]);
    let key = host.state_dir().join("secret.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let lost = why_not(&agent, needs("prod/db"));
    assert!(lost.contains("secret.key is missing") && lost.contains("backup"), "{lost}");
    let told = refused(&host, &["secret", "set", "more"], "value");
    assert!(told.contains("secret.key is missing"), "{told}");
    fs::write(&key, [7; 32]).unwrap();
    let wrong = why_not(&agent, needs("prod/db"));
    assert!(wrong.contains("not the one that this secret was sealed with"), "{wrong}");
    assert_eq!(lines(&agent, shell("echo runs", json!({}))), ["runs"]);
    fs::write(&key, kept).unwrap();
    assert_eq!(lines(&agent, needs(&format!("{arn}:user::"))), [CANARY]);
    assert!(!host.log().contains(CANARY));
}

#[test]
fn what_was_set_outlives_the_agent_and_is_seen_by_the_next_run() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let reads = || shell("echo $S", json!({"secrets": [{"name": "S", "valueFrom": "counter"}]}));
    set(&host, &["counter"], "0");
    assert_eq!(lines(&agent, reads()), ["0"]);

    // Killed while one is being set; all that was told to be set is there, or something later.
    let (told, heard) = std::sync::mpsc::channel();
    let last = std::thread::scope(|scope| {
        let host = &host;
        scope.spawn(move || {
            for number in 1_u32.. {
                let done =
                    coracle(host, &["secret", "set", "counter"], number.to_string().as_bytes());
                if !done.status.success() || told.send(number).is_err() {
                    return;
                }
            }
        });
        while heard.recv().unwrap() < 3 {}
        agent.kill();
        heard.iter().last().unwrap_or(3)
    });
    let agent = host.start();
    let seen: u32 = lines(&agent, reads())[0].parse().unwrap();
    assert!(seen == last || seen == last + 1, "{seen} after {last}");
    assert_eq!(host.cli(&["secret", "rotate-key"]), "2 values are sealed with a new key\n");
    assert_eq!(lines(&agent, reads()), [seen.to_string()]);
    set(&host, &["counter"], "new");
    assert_eq!(lines(&agent, reads()), ["new"]);
}

#[test]
fn the_command_line_takes_values_and_never_shows_them() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    assert_eq!(host.cli(&["secret", "ls"]).lines().count(), 1);
    // One newline at the end of standard input is left out, that of a file is not.
    set(&host, &["piped"], "value\n");
    let file = host.dir.path().join("value");
    fs::write(&file, "value\n").unwrap();
    set(&host, &["filed", "--file", file.to_str().unwrap()], "");
    set(&host, &["exact", "--file", "-"], "value\n");
    set(&host, &["--ssm", "plain"], "parameter");
    set(&host, &["staged"], "1");
    set(&host, &["staged"], "2");
    set(&host, &["staged", "--version-stage", "blue"], "3");
    let id = "01234567-89ab-cdef-0123-456789abcdef";
    set(&host, &["staged", "--version-id", id], "4");

    let secret = |name: &str, from: &str| json!({"name": name, "valueFrom": from});
    let script = r#"printf '%s|' "$A" "$B" "$C" "$D" "$E" "$F" "$G""#;
    let secrets = json!([
        secret("A", "piped"),
        secret("B", "filed"),
        secret("C", "exact"),
        secret("D", "plain"),
        secret("E", "staged::AWSPREVIOUS:"),
        secret("F", "staged::blue:"),
        secret("G", &format!("staged:::{id}")),
    ]);
    let seen = lines(&agent, shell(script, json!({"secrets": secrets}))).join("\n");
    assert_eq!(seen, "value|value\n|value\n|parameter|2|3|4|");

    let listed: Value =
        serde_json::from_str(&host.cli(&["secret", "ls", "--output", "json"])).unwrap();
    let all = listed["secrets"].as_array().unwrap();
    let arns: Vec<_> = all.iter().map(|s| s["arn"].as_str().unwrap()).collect();
    assert!(arns.contains(&"arn:aws:secretsmanager:local:000000000000:secret:piped"), "{arns:?}");
    assert!(arns.contains(&"arn:aws:ssm:local:000000000000:parameter/plain"), "{arns:?}");
    let table = host.cli(&["secret", "ls"]);
    let row = table.lines().find(|line| line.starts_with("staged")).unwrap();
    assert!(row.contains("AWSCURRENT, blue, AWSPREVIOUS"), "{table}");

    for (arguments, value, said) in [
        (&["set", "a b"][..], "v", "not the name or ARN"),
        (&["set", "x"], "", "is empty"),
        (&["set", "x"], &"x".repeat(65_537), "larger than 65536 bytes"),
        (&["set", "x", "--file", "/nonexistent"], "", "/nonexistent"),
        (&["set", "/x", "--version-stage", "blue"], "v", "no stages"),
        (&["set", "staged", "--version-id", id], "v", "already"),
        (&["rm", "nothing"], "", "there is no secret nothing"),
    ] {
        let told = refused(&host, &[&["secret"], arguments].concat(), value);
        assert!(told.contains(said), "{arguments:?}: {told}");
    }
    assert_eq!(host.cli(&["secret", "rm", "piped", "filed"]), "piped\nfiled\n");
    assert_eq!(host.cli(&["secret", "rm", "--ssm", "plain"]), "plain\n");
    assert!(!host.cli(&["secret", "ls"]).contains("piped"));
}

#[test]
fn a_terminal_does_not_show_what_is_typed() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let command = format!(
        "{} secret set typed --run-dir {}",
        env!("CARGO_BIN_EXE_coracle"),
        host.run_dir().display()
    );
    let Ok(mut script) = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    else {
        println!("skipped: script is not installed (Debian package bsdutils)");
        return;
    };
    let (mut keyboard, mut screen) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut piece = [0; 256];
    while !shown.ends_with(b": ") {
        let count = screen.read(&mut piece).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&piece[..count]);
    }
    // A slip is taken back with the backspace key.
    write!(keyboard, "{CANARY}x\x7f\r").unwrap();
    screen.read_to_end(&mut shown).unwrap();
    drop(keyboard);
    assert!(script.wait().unwrap().success());
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("Value of typed: ") && !shown.contains(CANARY), "{shown}");
    let container = shell("echo $S", json!({"secrets": [{"name": "S", "valueFrom": "typed"}]}));
    assert_eq!(lines(&agent, container), [CANARY]);
}

#[test]
fn each_task_pulls_with_its_own_login() {
    let Some(registry) = Registry::start_with_user("ada", "s3cret") else { return };
    images::push_simple(&registry, "private", b"x");
    let host = Host::new();
    let config = host.dir.path().join("agent.toml");
    fs::write(&config, "image_pull_behavior = 'always'").unwrap();
    let agent = host.start_with(&["--config", config.to_str().unwrap()]);
    set(&host, &["good"], r#"{"username":"ada","password":"s3cret"}"#);
    set(&host, &["bad"], &format!(r#"{{"username":"ada","password":"{CANARY}"}}"#));
    set(&host, &["odd"], CANARY);
    let with = |credentials: &str| {
        let mut container = json!({"name": "main", "memory": 32, "command": ["/content"],
            "image": format!("{}/private", registry.address)});
        if !credentials.is_empty() {
            container["repositoryCredentials"] = json!({"credentialsParameter": credentials});
        }
        agent.run(&register(&agent, "private", container))
    };
    // All at once: none of them gets the image with the login of another.
    let good_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:good-AbCdEf";
    let names = ["bad", good_arn, "", "odd", "missing", "good"];
    let tasks: Vec<String> = names.iter().map(|name| with(name)).collect();
    let reason = |arn: &String| {
        let task = agent.wait(arn, "STOPPED");
        task["containers"][0]["reason"].as_str().unwrap().to_owned()
    };
    let reasons: Vec<String> = tasks.iter().map(reason).collect();
    for (name, reason) in names.iter().zip(&reasons) {
        let expected = match *name {
            "bad" | "" => "CannotPullContainerError: pull access denied for ",
            "odd" | "missing" => {
                "ResourceInitializationError: unable to pull secrets or registry auth: credentialsParameter "
            }
            // It is there, though its one file is no program.
            _ => "CannotStartContainerError: ",
        };
        assert!(reason.starts_with(expected), "{name}: {reason}");
        assert!(!reason.contains(CANARY) && !reason.contains("s3cret"), "{name}: {reason}");
    }
    assert!(reasons[4].contains("`coracle secret set missing`"), "{}", reasons[4]);
    assert!(!host.log().contains(CANARY) && !host.log().contains("s3cret"));
}
