//! The agent in trouble: a full disk, a damaged store, an upgrade, a missing privilege, an address that is taken. Each is
//! one clear line, and running containers never notice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "the functions that tests share are tests as well"
)]

mod agent;
mod port;

use agent::{Agent, Host, kill, wait_for};
use port::bound_soon;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A small file system at a path, gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success(), "mount {}: {status}", path.display());
        Self(path.to_owned())
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        use std::io::Write;
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(path).unwrap();
        for block in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn sleeper(agent: &Agent<'_>, family: &str) -> String {
    agent.register(
        family,
        json!({"name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 1,
               "command": ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"]}),
    )
}

/// Runs an agent that must refuse to start: exit code 1, and one line that is returned.
fn refusal(command: &Command) -> String {
    refused(command, 0, 1)
}

/// Runs a program as the user `uid`; it must end with `code` and one line that is returned.
fn refused(command: &Command, uid: u32, code: i32) -> String {
    // One that goes on instead must not hold up the tests.
    let mut bounded = Command::new("timeout");
    bounded.args(["-s", "KILL", "60"]).arg(command.get_program()).args(command.get_args());
    bounded.uid(uid).gid(uid).stdin(Stdio::null());
    let Output { status, stderr, .. } = bounded.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{text}");
    // Log lines begin with a time.
    let starts = |line: &&str| line.starts_with("error: ") || line.starts_with("coracle run: ");
    let lines: Vec<_> = text.lines().filter(starts).collect();
    assert_eq!(lines.len(), 1, "not one line: {text}");
    lines[0].to_owned()
}

/// The command line of the host's agent, with another value for one of its flags.
fn with(host: &Host, flag: &str, value: &str) -> Command {
    let original = host.agent_command();
    let mut command = Command::new(original.get_program());
    let mut replace = false;
    for argument in original.get_args() {
        command.arg(if replace { value.as_ref() } else { argument });
        replace = argument == flag;
    }
    command
}

#[test]
fn on_a_full_disk_nothing_runs_that_was_not_acknowledged_and_nothing_acknowledged_is_lost() {
    let host = Host::new();
    let disk = Disk::mount(&host.state_dir(), "24m");
    let agent = host.start();
    host.load_busybox(&agent);
    let sleeper = sleeper(&agent, "sleeper");
    let gate = host.dir.path().join("gate");
    std::fs::create_dir(&gate).unwrap();
    agent.ok(
        "RegisterTaskDefinition",
        &json!({"family": "waiter", "networkMode": "none",
                "volumes": [{"name": "gate", "host": {"sourcePath": gate.to_str().unwrap()}}],
                "containerDefinitions": [{
                    "name": "main", "image": "coracle/busybox", "memory": 32,
                    "mountPoints": [{"sourceVolume": "gate", "containerPath": "/gate"}],
                    "command": ["sh", "-c", "while [ ! -e /gate/open ]; do echo noise; sleep 0.02; done; exit 42"]}]}),
    );
    let stays = agent.run(&sleeper);
    let waiter = agent.run("waiter");
    agent.wait(&stays, "RUNNING");
    agent.wait(&waiter, "RUNNING");

    disk.fill();
    // A small change may still fit into pages that the file has; soon none does.
    let mut accepted = Vec::new();
    let refused = (0..500).find_map(|_| {
        let answer = agent.call("RunTask", &json!({"taskDefinition": sleeper, "count": 10}));
        match answer {
            Ok(answer) => {
                accepted.extend(answer["tasks"].as_array().unwrap().clone());
                None
            }
            Err(error) => Some(error),
        }
    });
    let refused = refused.expect("a full disk accepts every task");
    assert_eq!(refused.kind, "ServerException");
    assert!(refused.message.contains("no space is left"), "{refused:?}");

    // An exit that falls into it: seen by the shim and by the agent, writable by neither.
    let pids = host.pids_in_cgroups().len();
    std::fs::write(gate.join("open"), "").unwrap();
    wait_for("the container to end", || host.pids_in_cgroups().len() < pids);
    assert_eq!(agent.describe(&stays)["lastStatus"], "RUNNING");
    // Stopping is a change of the state as well.
    if let Err(error) = agent.call("StopTask", &json!({"task": stays})) {
        assert_eq!(error.kind, "ServerException", "{error:?}");
        assert_eq!(agent.describe(&stays)["desiredStatus"], "RUNNING");
    }

    disk.make_room();
    let ended = agent.wait(&waiter, "STOPPED");
    assert_eq!(ended["containers"][0]["exitCode"], 42, "{ended:#}");
    agent.ok("StopTask", &json!({"task": stays}));
    let stopped = agent.wait(&stays, "STOPPED");
    assert_eq!(stopped["containers"][0]["exitCode"], 7, "{stopped:#}");
    for task in &accepted {
        let found = agent.describe(task["taskArn"].as_str().unwrap());
        assert_eq!(found["taskArn"], task["taskArn"], "an acknowledged task is lost");
        agent.ok("StopTask", &json!({"task": task["taskArn"]}));
    }
    for task in &accepted {
        agent.wait(task["taskArn"].as_str().unwrap(), "STOPPED");
    }
    assert!(!host.log().contains("an invariant does not hold"), "{}", host.log());
    assert!(agent.terminate().success(), "the agent had ended by itself");
}

/// The memory in MiB that the box has told the agent of.
fn registered_memory(agent: &Agent<'_>) -> i64 {
    let arns = agent.ok("ListContainerInstances", &json!({}))["containerInstanceArns"].clone();
    let found = agent.ok("DescribeContainerInstances", &json!({"containerInstances": arns}));
    let resources = found["containerInstances"][0]["registeredResources"].as_array().unwrap();
    let memory = resources.iter().find(|resource| resource["name"] == "MEMORY").unwrap();
    memory["integerValue"].as_i64().unwrap()
}

#[test]
fn an_agent_starts_on_a_full_disk_and_takes_everything_up_once_there_is_room() {
    let host = Host::new();
    let disk = Disk::mount(&host.state_dir(), "24m");
    let agent = host.start();
    host.load_busybox(&agent);
    let chatty = agent.register(
        "chatty",
        json!({"name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 1,
               "command": ["sh", "-c", "while :; do echo noise; sleep 0.02; done"]}),
    );
    let task = agent.run(&chatty);
    agent.wait(&task, "RUNNING");
    let pids = host.container_pids();
    disk.fill();
    agent.kill();

    let agent = host.start();
    assert_eq!(agent.describe(&task)["lastStatus"], "RUNNING");
    assert_eq!(host.container_pids(), pids, "the task was touched");
    disk.make_room();
    let another = agent.run(&chatty);
    agent.wait(&another, "RUNNING");
    for task in [&task, &another] {
        agent.ok("StopTask", &json!({"task": task}));
        agent.wait(task, "STOPPED");
    }
    assert!(agent.terminate().success());
}

#[test]
fn an_exit_on_a_full_disk_outlives_the_agent_in_the_shim() {
    let host = Host::new();
    let disk = Disk::mount(&host.state_dir(), "24m");
    let agent = host.start();
    host.load_busybox(&agent);
    let task = agent.run(&sleeper(&agent, "ends"));
    agent.wait(&task, "RUNNING");
    let before = registered_memory(&agent);
    disk.fill();
    // The store has pages that it can use again; now it has none.
    let refused = (0..2000).any(|n| {
        let cluster = json!({"clusterName": format!("{}{n}", "x".repeat(200))});
        agent.call("CreateCluster", &cluster).is_err()
    });
    assert!(refused, "a full disk takes everything");
    agent.kill();
    kill(host.container_pids()[0], 9);
    wait_for("the container to end", || host.pids_in_cgroups().is_empty());
    // It starts all the same, though it has something new to say of the box.
    let config = host.dir.path().join("agent.toml");
    std::fs::write(&config, "reserved_memory = 100\n").unwrap();
    let agent = host.start_with(&["--config", config.to_str().unwrap()]);
    assert_eq!(registered_memory(&agent), before, "there was room after all");
    assert_eq!(agent.describe(&task)["taskArn"], task.as_str());
    disk.make_room();
    // The registration that found no room is made up for.
    wait_for("the registration", || registered_memory(&agent) == before - 100);
    let task = agent.wait(&task, "STOPPED");
    assert_eq!(task["containers"][0]["exitCode"], 137, "{task:#}");
}

#[test]
fn a_damaged_store_is_refused_with_its_remedy_and_the_remedy_works() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let task = agent.run(&sleeper(&agent, "sleeper"));
    agent.wait(&task, "RUNNING");
    // A clean stop keeps a copy.
    wait_for("the container to be alone", || host.pids_in_cgroups().len() == 1);
    assert!(agent.terminate().success());
    let pids = host.container_pids();
    let store = host.state_dir().join("store");
    assert!(store.join("copies/last-good.mdb").is_file());
    let data = store.join("data.mdb");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[..8192].fill(0xa5);
    std::fs::write(&data, &bytes).unwrap();

    let line = refusal(&host.agent_command());
    assert!(line.contains(data.to_str().unwrap()) && line.contains("is damaged"), "{line}");
    assert_eq!(host.container_pids().first(), pids.first(), "a container was touched");
    assert_eq!(std::fs::read(&data).unwrap(), bytes, "the damaged file was touched");

    // The remedy as the line words it.
    let remedy = &line[line.find("mv ").unwrap_or_else(|| panic!("no remedy: {line}"))..];
    assert!(Command::new("sh").args(["-c", remedy]).status().unwrap().success(), "{remedy}");
    let agent = host.start();
    agent.wait(&task, "RUNNING");
    assert_eq!(host.container_pids().first(), pids.first(), "the task was not adopted");
    agent.ok("StopTask", &json!({"task": task}));
    assert_eq!(agent.wait(&task, "STOPPED")["containers"][0]["exitCode"], 7);
}

#[test]
fn a_copy_of_the_store_is_kept_soon_after_the_start() {
    let host = Host::new();
    let agent = host.start();
    let copy = host.state_dir().join("store/copies/last-good.mdb");
    wait_for("the copy", || copy.is_file());
    agent.kill();
    // A copy made in the background must not be half a copy either.
    coracle::store::inspect::verify(&copy).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_its_tasks_go_on() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let task = agent.run(&sleeper(&agent, "sleeper"));
    agent.wait(&task, "RUNNING");
    assert!(agent.terminate().success());
    let pids = host.container_pids();
    let store = host.state_dir().join("store");
    set_schema(&store, 99);
    let line = refusal(&host.agent_command());
    assert!(line.contains("schema 99") && line.contains("newer version"), "{line}");
    assert_eq!(host.container_pids().first(), pids.first());
    set_schema(&store, coracle::store::schema::CURRENT);
    let agent = host.start();
    agent.wait(&task, "RUNNING");
    assert_eq!(host.container_pids().first(), pids.first());
}

#[expect(
    unsafe_code,
    reason = "the schema number is the store's own, so LMDB is opened without it"
)]
fn set_schema(store: &Path, number: u64) {
    use heed::types::{Bytes, Str};
    let mut options = heed::EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(64 << 20).max_dbs(16);
    // SAFETY: no agent runs, so nobody else has the file open.
    let env = unsafe { options.open(store) }.unwrap();
    let txn = env.write_txn().unwrap();
    env.create_databases_and_commit(txn, |opener, txn| {
        let key = coracle::store::schema::KEY;
        let meta = opener.create_database::<Str, Bytes>(txn, Some("meta"))?;
        meta.put(txn, key, number.to_string().as_bytes())?;
        Ok::<_, heed::Error>(heed::CommitOrAbort::<(), ()>::Commit(()))
    })
    .unwrap();
    env.prepare_for_closing().wait();
}

/// An agent that was not started by the harness, since its program is another file. It answers when this returns.
fn start_program(host: &Host, program: &Path) -> Child {
    let original = host.agent_command();
    let log = host.dir.path().join("agent.log");
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let child = Command::new(program)
        .args(original.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    wait_for("the agent to answer", || {
        Command::new(program)
            .args(["ps", "--run-dir"])
            .arg(host.run_dir())
            .output()
            .is_ok_and(|output| output.status.success())
    });
    child
}

#[test]
fn the_program_can_be_replaced_under_running_tasks() {
    let host = Host::new();
    let program = host.dir.path().join("coracle");
    let install = || {
        let new = host.dir.path().join("coracle.new");
        std::fs::copy(env!("CARGO_BIN_EXE_coracle"), &new).unwrap();
        std::fs::rename(&new, &program).unwrap();
    };
    install();
    let mut old = start_program(&host, &program);
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/busybox");
    host.cli(&["image", "build", recipe.to_str().unwrap()]);
    let definition = json!({"family": "stays", "networkMode": "none", "containerDefinitions": [{
        "name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 1,
        "command": ["sh", "-c", "trap 'exit 7' TERM; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.02; done"]}]});
    let file = host.dir.path().join("stays.json");
    std::fs::write(&file, definition.to_string()).unwrap();
    host.cli(&["run", "--detach", file.to_str().unwrap()]);
    wait_for("the task to run", || host.cli(&["ps"]).contains("RUNNING"));
    let pid = host.container_pids()[0];

    // Once in peace, once by force.
    for signal in [15, 9] {
        install();
        kill(i32::try_from(old.id()).unwrap(), signal);
        old.wait().unwrap();
        assert_eq!(host.container_pids().first(), Some(&pid));
        old = start_program(&host, &program);
    }
    kill(i32::try_from(old.id()).unwrap(), 9);
    old.wait().unwrap();
    let agent = host.start();
    let tasks = agent.ok("ListTasks", &json!({}))["taskArns"].clone();
    let task = tasks[0].as_str().unwrap().to_owned();
    agent.wait(&task, "RUNNING");
    assert_eq!(host.container_pids().first(), Some(&pid), "the task was not adopted");
    agent.ok("StopTask", &json!({"task": task}));
    let stopped = agent.wait(&task, "STOPPED");
    assert_eq!(stopped["containers"][0]["exitCode"], 7, "{stopped:#}");
    let ticks: Vec<_> = agent.output(&task).into_iter().map(|(_, _, text)| text).collect();
    let expected: Vec<_> = (0..ticks.len()).map(|i| format!("tick {i}\n")).collect();
    assert_eq!(ticks, expected, "output has holes");
}

#[test]
fn without_root_the_agent_and_run_say_so() {
    const NOBODY: u32 = 65534;
    // The checkout and the build directory may be closed to others; the program and the definition must not be.
    let open = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
    Command::new("chmod").arg("a+rx").arg(open.path()).status().unwrap();
    let program = open.path().join("coracle");
    std::fs::copy(env!("CARGO_BIN_EXE_coracle"), &program).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/examples/hello.json");
    let definition = open.path().join("hello.json");
    std::fs::copy(example, &definition).unwrap();

    let host = Host::new();
    let mut as_nobody = Command::new(&program);
    as_nobody.args(host.agent_command().get_args());
    let line = refused(&as_nobody, NOBODY, 1);
    assert!(line.contains("must run as root"), "{line}");
    // With directories that exist and are another's.
    let agent = host.start();
    let line = refused(&as_nobody, NOBODY, 1);
    assert!(line.contains("must run as root"), "{line}");
    drop(agent);

    let mut run = Command::new(&program);
    run.arg("run").arg(&definition).arg("--run-dir").arg(open.path().join("none"));
    // As docker's and podman's `run`, which leave 1 to the container.
    let line = refused(&run, NOBODY, 125);
    assert!(line.contains("must run as root"), "{line}");
}

#[test]
fn a_place_that_is_taken_is_named_and_nobody_is_disturbed() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let task = agent.run(&sleeper(&agent, "sleeper"));
    agent.wait(&task, "RUNNING");
    let pids = host.container_pids();
    let still = |what: &str| {
        assert_eq!(host.container_pids().first(), pids.first(), "{what} disturbed the task");
        assert_eq!(agent.describe(&task)["lastStatus"], "RUNNING", "{what} disturbed the agent");
    };

    let line = refusal(&host.agent_command());
    assert!(line.contains("in use by another agent"), "{line}");
    assert!(line.contains(&agent.pid().to_string()), "{line}");
    still("a second agent on the same state");

    let elsewhere = host.dir.path().join("elsewhere");
    let line = refusal(&with(&host, "--state-dir", elsewhere.to_str().unwrap()));
    assert!(line.contains("another agent answers on"), "{line}");
    still("a second agent on the same run directory");

    // The port is taken when the agent comes back: the tasks wait for a better day.
    let address = address(&host);
    agent.kill();
    let taken = bound_soon(|| std::net::TcpListener::bind(&address));
    let line = refusal(&host.agent_command());
    assert!(line.contains(&address) && line.contains("--listen"), "{line}");
    assert_eq!(host.container_pids().first(), pids.first(), "the task was disturbed");
    drop(taken);
    let agent = host.start();
    agent.wait(&task, "RUNNING");
    assert_eq!(host.container_pids().first(), pids.first(), "the task was disturbed");
}

fn address(host: &Host) -> String {
    let command = host.agent_command();
    let mut arguments = command.get_args().skip_while(|argument| *argument != "--listen");
    arguments.nth(1).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_run_directory_too_deep_for_a_socket_is_refused() {
    let host = Host::new();
    let deep = host.dir.path().join("x".repeat(100));
    let line = refusal(&with(&host, "--run-dir", deep.to_str().unwrap()));
    assert!(line.contains(deep.to_str().unwrap()), "{line}");
    assert!(line.contains("107 bytes") && line.contains("--run-dir"), "{line}");
}

/// How often the threads of a process have gone to sleep by themselves.
fn sleeps(pid: i32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .filter_map(|status| {
            let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<u64>().ok()
        })
        .sum()
}

/// The PSS of a process in KiB.
fn pss(pid: i32) -> u64 {
    let file = std::fs::File::open(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = BufReader::new(file).lines().map_while(Result::ok).find(|l| l.starts_with("Pss:"));
    line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The idle agent sleeps: what it has to do comes to it.
#[test]
fn an_idle_agent_does_not_wake_up() {
    const WATCHED: Duration = Duration::from_secs(5);
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let definition = agent.register(
        "sleeps",
        json!({"name": "main", "image": "coracle/busybox", "memory": 16, "command": ["sleep", "1000"]}),
    );
    let mut tasks: Vec<Value> = Vec::new();
    for count in [0, 20] {
        while tasks.len() < count {
            let answer = agent.ok("RunTask", &json!({"taskDefinition": definition, "count": 10}));
            tasks.extend(answer["tasks"].as_array().unwrap().clone());
        }
        for task in &tasks {
            agent.wait(task["taskArn"].as_str().unwrap(), "RUNNING");
        }
        // Threads that waited for more blocking work end within ten seconds; their end is no work of the writer.
        std::thread::sleep(Duration::from_secs(11));
        let before = sleeps(agent.pid());
        std::thread::sleep(WATCHED);
        let woken = sleeps(agent.pid()).saturating_sub(before);
        println!("{count} tasks: {woken} wake-ups in {WATCHED:?}, PSS {} KiB", pss(agent.pid()));
        assert!(woken <= 2 * WATCHED.as_secs(), "{count} tasks: {woken} wake-ups in {WATCHED:?}");
    }
}
