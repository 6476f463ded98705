//! The command line as users meet it, on a machine without an agent: help, errors, exit codes, completions.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const VERBS: [&str; 10] =
    ["agent", "run", "ps", "logs", "stop", "task-def", "image", "env", "version", "completions"];

fn coracle(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command.args(arguments).stdin(Stdio::null()).env_remove("CORACLE_RUN_DIR");
    command
}

fn run(arguments: &[&str]) -> Output {
    coracle(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// What went wrong, which is one line.
fn complaint(output: &Output) -> &str {
    let text = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end()
}

#[test]
fn help_tells_every_verb() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    for verb in VERBS {
        let told = stdout(&help).lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(verb) && words.next().is_some()
        });
        assert!(told, "{verb}: {}", stdout(&help));
        assert!(run(&[verb, "--help"]).status.success(), "{verb} --help");
    }
    assert!(stdout(&help).contains("coracle run configs/examples/hello.json"));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for wrong in [
        &["no-such-verb"] as &[&str],
        &["run"],
        &["run", "x.json", "--detatch"],
        &["logs"],
        &["stop"],
        &["ps", "--output", "xml"],
        &["logs", "abcdef", "--tail", "many"],
        &["agent", "--listen", "somewhere"],
    ] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty(), "{wrong:?}");
    }
    // Without a verb it tells what there is.
    assert!(String::from_utf8(run(&[]).stderr).unwrap().contains("task-def"));
}

#[test]
fn without_an_agent_every_client_verb_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().to_str().unwrap();
    let definition = dir.path().join("web.json");
    let containers =
        r#"{"family": "web", "containerDefinitions": [{"name": "a", "image": "b", "memory": 8}]}"#;
    std::fs::write(&definition, containers).unwrap();
    let definition = definition.to_str().unwrap();
    for verb in [
        &["ps"] as &[&str],
        &["logs", "0123456789"],
        &["stop", "0123456789"],
        &["task-def", "ls"],
        &["td", "show", "web"],
        &["task-def", "register", definition],
        &["image", "ls"],
        &["image", "load", definition],
        &["image", "pull", "busybox"],
        &["env"],
        &["run", "--detach", definition],
        &["token", "ls"],
    ] {
        let arguments = [verb, &["--run-dir", run_dir]].concat();
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let complaint = complaint(&output);
        assert!(complaint.starts_with("error: "), "{complaint}");
        assert!(
            complaint.contains(&format!("no agent answers on {run_dir}/api.sock")),
            "{complaint}"
        );
        assert!(
            complaint.contains("coracle agent") && complaint.contains("--run-dir"),
            "{complaint}"
        );
        // The variable does the same as the flag.
        let output = coracle(verb).env("CORACLE_RUN_DIR", run_dir).output().unwrap();
        assert_eq!(self::complaint(&output), complaint);
    }
}

#[test]
fn a_file_that_is_no_definition_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["run", "no-such-file.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("no-such-file.json cannot be read: No such file"));

    let broken = dir.path().join("broken.json");
    std::fs::write(&broken, "{ \"family\": ").unwrap();
    let output = run(&["run", broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("broken.json is not a task definition: "));

    let endless = coracle(&["run", "-"]).stdin(std::fs::File::open("/dev/zero").unwrap()).output();
    assert!(complaint(&endless.unwrap()).contains("larger than 1 MiB"));
}

#[test]
fn version_needs_no_agent() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().to_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let output = run(&["version", "--run-dir", run_dir]);
    assert!(output.status.success());
    assert_eq!(stdout(&output), format!("coracle {version}\nagent   none answers\n"));
    let output = run(&["version", "--run-dir", run_dir, "--output", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told, serde_json::json!({ "client": version, "agent": null }));
    assert_eq!(stdout(&run(&["--version"])), format!("coracle {version}\n"));
}

#[test]
fn completions_are_scripts_of_their_shells() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        for verb in VERBS {
            assert!(stdout(&output).contains(verb), "{shell}: {verb}");
        }
    }
    let script = run(&["completions", "bash"]).stdout;
    // bash itself completes `coracle im` with what it was told.
    let mut bash = Command::new("bash")
        .args(["--norc", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = bash.stdin.take().unwrap();
    input.write_all(&script).unwrap();
    input
        .write_all(b"\nCOMP_WORDS=(coracle im) COMP_CWORD=1; _coracle coracle im coracle; echo \"<${COMPREPLY[*]}>\"\n")
        .unwrap();
    drop(input);
    let output = bash.wait_with_output().unwrap();
    assert_eq!(stdout(&output), "<image>\n");
}

/// `coracle … | head -1` is no error.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = coracle(&["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// An agent that dies with a request half read has done nothing, and that is no success.
#[test]
fn an_agent_that_dies_before_it_has_read_the_request_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("api.sock")).unwrap();
    // Before it has written, or after: it is the one or the other.
    let dies = std::thread::spawn(move || (0..40).for_each(|_| drop(listener.accept().unwrap())));
    for _ in 0..40 {
        let output = coracle(&["stop", "0123456789", "--run-dir", dir.path().to_str().unwrap()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(complaint(&output).contains("the connection to the agent broke"), "{output:?}");
    }
    dies.join().unwrap();
}

#[test]
fn a_socket_of_somebody_else_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: becoming another user needs root");
        return;
    }
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("api.sock")).unwrap();
    let all = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    all(dir.path(), 0o755);
    all(&dir.path().join("api.sock"), 0o600);
    // The binary may stand where nobody else may look: a copy of it does not. Not copied by this process, whose other
    // threads fork: a child with the copy still open for writing would keep it from being run.
    let binary = dir.path().join("coracle");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_coracle")).arg(&binary).status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(&binary);
    command.args(["ps", "--run-dir", dir.path().to_str().unwrap()]);
    let output = std::os::unix::process::CommandExt::uid(&mut command, 65_534).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("run the command as root"), "{output:?}");
}
