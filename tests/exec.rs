//! Commands in running containers, terminals, and what containers use, on the real kernel and through the command line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod terminal;

use agent::{Agent, Host, kill, wait_for};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use terminal::Typist;

#[expect(clippy::print_stderr, reason = "whoever runs the tests must see what is skipped")]
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

fn sleeper() -> Value {
    json!({"name": "main", "image": "coracle/busybox", "memory": 128, "command": ["sleep", "100000"]})
}

fn run(agent: &Agent<'_>, container: Value) -> String {
    let arn = agent.run(&agent.register("exec", container));
    agent.wait(&arn, "RUNNING");
    arn
}

fn command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
    command.args(arguments).env("CORACLE_RUN_DIR", host.run_dir());
    command
}

fn exec(host: &Host, arguments: &[&str]) -> Output {
    let all = [&["exec"], arguments].concat();
    command(host, &all).stdin(Stdio::null()).output().unwrap()
}

/// Standard output of a shell script in the task's only container, which must succeed.
fn shell(host: &Host, task: &str, script: &str) -> String {
    let output = exec(host, &[task, "--", "sh", "-c", script]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn streams_codes_and_options_pass_through() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let task = run(&agent, sleeper());

    let output = exec(&host, &[&task, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".into(), "err\n".into()));
    for (script, code) in [("kill -9 $$", 137), ("kill -15 $$", 143), ("exit 255", 255)] {
        let output = exec(&host, &[&task, "--", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}");
    }
    for (program, code) in [("nosuch", 127), ("/no/such", 127), ("/etc/passwd", 126)] {
        let output = exec(&host, &[&task, "--", program]);
        assert_eq!(output.status.code(), Some(code), "{program}");
        assert!(text(&output.stderr).contains(program), "{}", text(&output.stderr));
    }

    // Every byte, to the end of standard input and back.
    let bytes: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    let mut child = command(&host, &["exec", "-i", &task, "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, sent) = (child.stdin.take().unwrap(), bytes.clone());
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
    // Without -i there is no input.
    assert_eq!(shell(&host, &task, "cat; echo end"), "end\n");

    let script = "id -u; id -g; pwd; echo $ONE $HOME; echo open > /dev/stdout";
    let arguments = ["-u", "4242:99", "-w", "/tmp", "-e", "ONE=1", &task, "--", "sh", "-c", script];
    let output = exec(&host, &arguments);
    assert_eq!(text(&output.stdout), "4242\n99\n/tmp\n1 /\nopen\n", "{}", text(&output.stderr));
    for (arguments, why) in [
        (vec!["-u", "eve", &task, "--", "true"], "unable to find user eve"),
        (vec!["-w", "/none", &task, "--", "true"], "/none"),
        (vec!["-w", "none", &task, "--", "true"], "not absolute"),
        (vec!["-e", "=", &task, "--", "true"], "NAME=VALUE"),
        (vec!["-c", "web", &task, "--", "true"], "it has main"),
        (vec!["-it", &task, "--", "true"], "no terminal"),
        (vec!["0123456789", "--", "true"], "there is no task"),
    ] {
        let output = exec(&host, &arguments);
        assert!(matches!(output.status.code(), Some(125 | 126)), "{arguments:?}");
        assert!(text(&output.stderr).contains(why), "{arguments:?}: {}", text(&output.stderr));
    }
    let error =
        agent.call("ExecuteCommand", &json!({"task": task, "command": "sh", "interactive": true}));
    assert!(error.unwrap_err().message.contains("coracle exec"));
}

#[test]
fn a_command_is_confined_as_its_container_is() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let look = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; \
                cat /proc/self/cgroup; ulimit -n; cat /proc/self/oom_score_adj; \
                for n in /proc/self/ns/*; do readlink $n; done; env | grep -v -E '^(SHLVL|PWD)=' | sort; pwd";
    let container = json!({
        "name": "main", "image": "coracle/busybox", "memory": 128, "user": "12:34", "workingDirectory": "/srv/app",
        "command": ["sh", "-c", format!("{look}; echo done; exec sleep 100000")],
        "environment": [{"name": "COLOUR", "value": "red"}],
        "ulimits": [{"name": "nofile", "softLimit": 77, "hardLimit": 99}],
        "dockerSecurityOptions": ["no-new-privileges"],
        "linuxParameters": {"capabilities": {"drop": ["NET_RAW"]}},
    });
    let task = run(&agent, container);
    let own = || agent.output(&task).into_iter().map(|(_, _, line)| line).collect::<String>();
    wait_for("the container to look", || own().ends_with("done\n"));
    let own = own();
    let entered = shell(&host, &task, look);
    assert_eq!(entered, own.trim_end_matches("done\n"));
    assert!(entered.contains("NoNewPrivs:\t1") && entered.contains("Seccomp:\t2"), "{entered}");
    assert!(entered.contains("COLOUR=red") && entered.ends_with("/srv/app\n"), "{entered}");

    // Nothing of the shim is open in it, nor can be reached as a working directory.
    let fds = "for f in /proc/self/fd/*; do [ -e $f ] && echo ${f##*/}; done | tr '\\n' ' '";
    assert_eq!(shell(&host, &task, fds), "0 1 2 ");
    for number in 3..12 {
        let directory = format!("/proc/self/fd/{number}");
        let output = exec(&host, &["-w", &directory, &task, "--", "pwd"]);
        assert_eq!(output.status.code(), Some(126), "{}", text(&output.stdout));
    }
}

#[test]
fn the_agents_program_cannot_be_written_to_while_commands_come_in() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let task = run(&agent, sleeper());
    let before = std::fs::metadata(env!("CARGO_BIN_EXE_coracle")).unwrap().modified().unwrap();
    // Whatever process shows up is tried; its own program and busybox are busy.
    let attack = "while ! [ -e /tmp/over ]; do for p in /proc/[0-9]*; do \
                  (: >> $p/exe) 2>/dev/null && echo $p >> /tmp/won; done; done; echo tried";
    let attacker = command(&host, &["exec", &task, "--", "sh", "-c", attack])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..20 {
        assert_eq!(exec(&host, &[&task, "--", "true"]).status.code(), Some(0));
        // The program that this executes is the shim's own, in the container.
        assert_ne!(
            exec(&host, &[&task, "--", "/proc/self/exe", "version"]).status.code(),
            Some(125)
        );
    }
    shell(&host, &task, "touch /tmp/over");
    assert_eq!(text(&attacker.wait_with_output().unwrap().stdout), "tried\n");
    assert_eq!(shell(&host, &task, "cat /tmp/won 2>/dev/null; true"), "");
    let after = std::fs::metadata(env!("CARGO_BIN_EXE_coracle")).unwrap().modified().unwrap();
    assert_eq!(before, after);
}

#[test]
fn a_terminal_is_a_terminal() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let task = run(&agent, sleeper());
    let mut typist =
        Typist::start(&host.run_dir(), &["exec", "-it", "-u", "1000", &task, "--", "sh"]);
    typist.types("stty size; tty; echo T=$TERM\n");
    typist.sees("31 97");
    typist.sees("/dev/pts/0");
    typist.sees("T=xterm");
    typist.types("ls -ln /dev/pts/0; echo open > /dev/tty; echo shut > /dev/stdout\n");
    typist.sees("1000");
    typist.sees("open");
    typist.sees("shut");
    typist.resizes(40, 120);
    // The size is passed on, and when is not known to the shell.
    typist.types("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo gro''wn\n");
    typist.sees("grown");
    // Ctrl-C ends the program, not the shell, nor this side.
    typist.types("go=yes; trap 'go=no; echo cau\"\"ght' INT; echo rea\"\"dy; while [ $go = yes ]; do sleep 0.1; done\n");
    typist.sees("ready");
    typist.types("\u{3}");
    typist.sees("caught");
    typist.types("exit 42\n");
    assert_eq!(typist.ends(), Some(42));

    // Ctrl-C without a shell: the signal's code.
    let mut typist = Typist::start(
        &host.run_dir(),
        &["exec", "-it", &task, "--", "sh", "-c", "echo begun; exec sleep 100000"],
    );
    typist.sees("begun");
    typist.types("\u{3}");
    assert_eq!(typist.ends(), Some(130));

    // Whoever ends this side leaves the terminal as it was, and nothing in the container.
    let mut typist = Typist::start(
        &host.run_dir(),
        &["exec", "-it", &task, "--", "sh", "-c", "trap '' HUP; echo begun; sleep 77777"],
    );
    typist.sees("begun");
    // setsid has become the program, since it leads no process group.
    kill(i32::try_from(typist.child.id()).unwrap(), 15);
    assert_eq!(typist.ends(), Some(143));
    // It ignores the hang-up, so it is killed.
    wait_for("the command to be killed", || !running(&host, "77777"));
    assert_eq!(agent.describe(&task)["lastStatus"], "RUNNING");
}

/// Whether a process of the host's containers has `word` among its arguments.
fn running(host: &Host, word: &str) -> bool {
    host.pids_in_cgroups().into_iter().any(|pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text(&arguments).split('\0').any(|argument| argument.contains(word))
    })
}

#[test]
fn a_session_ends_with_whichever_side_ends() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let task = run(&agent, sleeper());
    let begin = |script: &str| {
        let mut child = command(&host, &["exec", &task, "--", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut begun = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut begun).unwrap();
        assert_eq!(&begun, b"begun\n");
        child
    };

    // The client is killed.
    let mut client = begin("echo begun; sleep 11111");
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the client's command to end", || !running(&host, "11111"));

    // A signal is passed on.
    let client = begin("trap 'echo got it; exit 3' TERM; echo begun; while :; do sleep 0.05; done");
    kill(i32::try_from(client.id()).unwrap(), 15);
    let output = client.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), "got it\n".into()));

    // The agent is killed, and comes back.
    let client = begin("echo begun; sleep 22222");
    agent.kill();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("the agent ended"), "{}", text(&output.stderr));
    wait_for("the agent's command to end", || !running(&host, "22222"));
    let agent = host.start();
    agent.wait(&task, "RUNNING");
    wait_for("the container to be found again", || {
        exec(&host, &[&task, "--", "true"]).status.code() == Some(0)
    });

    // The container stops.
    let client = begin("echo begun; sleep 33333");
    agent.ok("StopTask", &json!({"task": task}));
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(137));
    assert!(text(&output.stderr).contains("the container has stopped"), "{}", text(&output.stderr));
    agent.wait(&task, "STOPPED");
    let output = exec(&host, &[&task, "--", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output.stderr).contains("does not run"), "{}", text(&output.stderr));
}

#[test]
fn much_output_and_many_sessions() {
    const SIZE: u64 = 100 << 20;
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let task = run(&agent, sleeper());

    let script = format!("yes 0123456789abcde | head -c {SIZE}");
    let mut child = command(&host, &["exec", &task, "--", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut buffer, mut count) = (vec![0; 1 << 16], 0_u64);
    let pattern = b"0123456789abcde\n";
    loop {
        let read = stdout.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        let from = usize::try_from(count % 16).unwrap();
        let expected = pattern.iter().cycle().skip(from).take(read);
        assert!(buffer[..read].iter().eq(expected), "broken after {count} bytes");
        count += read as u64;
    }
    assert_eq!((count, child.wait().unwrap().code()), (SIZE, Some(0)));

    let shim = host.shims()[0];
    let descriptors = || std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    let anonymous = || {
        let text = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let many = |count: usize| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..count {
                        assert_eq!(shell(&host, &task, "echo one"), "one\n");
                    }
                });
            }
        });
    };
    many(5);
    let before = (descriptors(), anonymous());
    many(25);
    wait_for("the shim to close what it had", || descriptors() <= before.0);
    assert!(anonymous() <= before.1 + 64, "{} KiB, {} KiB before", anonymous(), before.1);
}

#[test]
fn a_container_on_a_terminal() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    // An image that would have the terminal bound elsewhere, were its link followed.
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/busybox");
    let mut content: Value =
        serde_json::from_slice(&std::fs::read(recipe.join("recipe.json")).unwrap()).unwrap();
    content["name"] = json!("coracle/console");
    content["links"]["/dev/console"] = json!("/victim");
    content["links"]["/dev/pts"] = json!("/tmp");
    let evil = host.dir.path().join("console");
    std::fs::create_dir(&evil).unwrap();
    for file in ["passwd", "group"] {
        std::fs::copy(recipe.join(file), evil.join(file)).unwrap();
    }
    std::fs::write(evil.join("recipe.json"), content.to_string()).unwrap();
    host.cli(&["image", "build", evil.to_str().unwrap()]);

    let script = "tty; stty size; echo $TERM; stat -c '%F %u' /dev/console; echo to console > /dev/console; \
                  ls /victim 2>/dev/null; [ -t 0 ] && [ -t 2 ] && echo all; exec sleep 100000";
    let container = json!({
        "name": "main", "image": "coracle/console", "memory": 64, "user": "1000",
        "pseudoTerminal": true, "interactive": true, "command": ["sh", "-c", script],
    });
    let task = run(&agent, container);
    let lines = || agent.output(&task);
    wait_for("the script to be through", || lines().iter().any(|(.., line)| line == "all\r\n"));
    let seen: String = lines().iter().map(|(.., line)| line.as_str()).collect();
    let expected =
        "/dev/pts/0\r\n24 80\r\nxterm\r\ncharacter special file 1000\r\nto console\r\nall\r\n";
    assert_eq!(seen, expected);
    assert!(lines().iter().all(|(_, stream, _)| stream == "stdout"));
    // It outlives the agent, and its output still comes.
    agent.kill();
    let agent = host.start();
    agent.wait(&task, "RUNNING");
    wait_for("the container to be found again", || {
        exec(&host, &[&task, "--", "sh", "-c", "echo later > /dev/console"]).status.success()
    });
    wait_for("what comes later", || {
        agent.output(&task).last().is_some_and(|(.., line)| line == "later\r\n")
    });
    agent.ok("StopTask", &json!({"task": task}));
    agent.wait(&task, "STOPPED");
}

#[test]
fn standard_input_stays_open_when_it_is_asked_for() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let container = |interactive: bool| {
        json!({
            "name": "main", "image": "coracle/busybox", "memory": 64, "interactive": interactive,
            "command": ["sh", "-c", "readlink /proc/self/fd/0; cat; echo at the end"],
        })
    };
    let closed = agent.run(&agent.register("closed", container(false)));
    agent.wait(&closed, "STOPPED");
    let output: Vec<String> = agent.output(&closed).into_iter().map(|(.., line)| line).collect();
    assert_eq!(output, ["/dev/null\n", "at the end\n"]);
    let open = run(&agent, container(true));
    wait_for("the container to say what it has", || !agent.output(&open).is_empty());
    assert!(agent.output(&open)[0].2.starts_with("pipe:"), "{:?}", agent.output(&open));
    // It still waits: the program after `cat` has not been reached.
    wait_for("cat to run", || running(&host, "cat"));
    assert_eq!(agent.output(&open).len(), 1);
}

#[test]
fn a_task_in_the_foreground_on_a_terminal() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    // Neither of the two that are stopped here hears what it is told.
    let config = host.dir.path().join("agent.toml");
    std::fs::write(&config, "container_stop_timeout = \"2s\"\n").unwrap();
    let agent = host.start_with(&["--config", config.to_str().unwrap()]);
    host.load_busybox(&agent);
    let mut typist = Typist::start(&host.run_dir(), &["run", "-it", "coracle/busybox", "sh"]);
    // The prompt may have come before this side was there.
    typist.sees("# ");
    typist.types("tty; stty size\n");
    typist.sees("/dev/pts/0");
    typist.sees("31 97");
    typist.resizes(40, 120);
    typist.types("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo gro\"\"wn\n");
    typist.sees("grown");
    typist.types("exit 9\n");
    assert_eq!(typist.ends(), Some(9));

    // One that is over at once has written all the same.
    let mut typist =
        Typist::start(&host.run_dir(), &["run", "-t", "coracle/busybox", "echo", "brief"]);
    typist.sees("brief");
    assert_eq!(typist.ends(), Some(0));

    // Left alone, it goes on.
    let script = "echo be''gun; read line; echo got $line; exec sleep 66666";
    let mut typist =
        Typist::start(&host.run_dir(), &["run", "-it", "coracle/busybox", "sh", "-c", script]);
    typist.sees("begun");
    typist.types("\u{10}\u{11}");
    assert_eq!(typist.ends(), Some(0));
    let tasks = agent.ok("ListTasks", &json!({}));
    let task = tasks["taskArns"][0].as_str().unwrap().to_owned();
    assert_eq!(agent.describe(&task)["lastStatus"], "RUNNING");
    agent.ok("StopTask", &json!({"task": task}));
    agent.wait(&task, "STOPPED");

    // A signal stops the task, and the terminal is as it was.
    let mut typist = Typist::start(
        &host.run_dir(),
        &["run", "-it", "coracle/busybox", "sh", "-c", "echo be''gun; exec sleep 88888"],
    );
    typist.sees("begun");
    kill(i32::try_from(typist.child.id()).unwrap(), 15);
    assert_eq!(typist.ends(), Some(137));
}

#[test]
fn a_task_in_the_foreground_reads_standard_input_to_its_end() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let mut child = command(&host, &["run", "-i", "coracle/busybox", "sh", "-c", "cat; echo over"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "one\ntwo\nover\n", "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn stats_and_top_show_what_runs() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let containers = json!([
        {"name": "busy", "image": "coracle/busybox", "memory": 64, "command": ["sh", "-c", "while :; do :; done"]},
        {"name": "idle", "image": "coracle/busybox", "memory": 32, "user": "1000", "command": ["sleep", "55555"]},
    ]);
    let arn = agent.run(&agent.register_all("stats", containers));
    agent.wait(&arn, "RUNNING");
    let id = arn.rsplit('/').next().unwrap();

    let stats: Value =
        serde_json::from_str(&host.cli(&["stats", "--no-stream", "--output", "json", id])).unwrap();
    let of = |name: &str| {
        let mut all = stats["containers"].as_array().unwrap().iter();
        all.find(|c| c["name"] == name).unwrap_or_else(|| panic!("{stats}")).clone()
    };
    let (busy, idle) = (of("busy"), of("idle"));
    let used = |c: &Value| {
        let total = |stats: &str| c[stats]["cpu_usage"]["total_usage"].as_u64().unwrap();
        total("cpu_stats") - total("precpu_stats")
    };
    assert!(used(&busy) > used(&idle), "{stats}");
    assert_eq!(busy["memory_stats"]["limit"], 64 << 20);
    assert_eq!(idle["memory_stats"]["limit"], 32 << 20);
    assert!(idle["memory_stats"]["usage"].as_u64().unwrap() > 0);
    assert_eq!(idle["pids_stats"]["current"], 1);
    assert!(busy["cpu_stats"]["system_cpu_usage"].as_u64().unwrap() > 0);
    let table = host.cli(&["stats", "--no-stream"]);
    assert!(table.contains(&id[..12]) && table.contains("/ 64.0 MiB"), "{table}");

    let top: Value = serde_json::from_str(&host.cli(&["top", id, "--output", "json"])).unwrap();
    let idle = &top["containers"][1];
    assert_eq!(idle["name"], "idle");
    let process = &idle["processes"][0];
    assert_eq!(process["command"], json!(["sleep", "55555"]));
    assert_eq!((&process["containerPid"], &process["uid"]), (&json!(1), &json!(1000)));
    let pid = i32::try_from(process["pid"].as_i64().unwrap()).unwrap();
    assert!(host.pids_in_cgroups().contains(&pid));
    let table = host.cli(&["top", id, "--container", "busy"]);
    assert!(table.contains("root") && !table.contains("55555"), "{table}");
}
