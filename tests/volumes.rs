//! Volumes and mounts, as containers see them, and what is left of them.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;

use agent::{Agent, Host};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "coracle/busybox", "memory": 32, "stopTimeout": 2, "command": ["sh", "-c", script]})
}

fn with(mut container: Value, members: Value) -> Value {
    let members = members.as_object().unwrap().clone();
    container.as_object_mut().unwrap().extend(members);
    container
}

fn mount(volume: &str, path: &str) -> Value {
    json!({"sourceVolume": volume, "containerPath": path})
}

fn read_only(volume: &str, path: &str) -> Value {
    json!({"sourceVolume": volume, "containerPath": path, "readOnly": true})
}

fn host_volume(name: &str, path: &Path) -> Value {
    json!({"name": name, "host": {"sourcePath": path.to_str().unwrap()}})
}

fn register(agent: &Agent<'_>, family: &str, volumes: Value, containers: Value) -> String {
    let input = json!({"family": family, "networkMode": "none", "volumes": volumes,
        "containerDefinitions": containers});
    let answer = agent.ok("RegisterTaskDefinition", &input);
    format!("{family}:{}", answer["taskDefinition"]["revision"])
}

/// Runs a task to its end; its ARN, and the task.
fn run(agent: &Agent<'_>, family: &str, volumes: Value, containers: Value) -> (String, Value) {
    let arn = agent.run(&register(agent, family, volumes, containers));
    let task = agent.wait(&arn, "STOPPED");
    (arn, task)
}

/// All that a task has written, a line each.
fn output(agent: &Agent<'_>, arn: &str) -> Vec<String> {
    agent.output(arn).into_iter().map(|(_, _, text)| text.trim_end().to_owned()).collect()
}

/// Runs one container to its end and returns what it has written.
fn tell(agent: &Agent<'_>, family: &str, volumes: Value, container: Value) -> Vec<String> {
    let (arn, task) = run(agent, family, volumes, json!([container]));
    assert_eq!(task["containers"][0]["exitCode"], 0, "{task:#}\n{:?}", output(agent, &arn));
    output(agent, &arn)
}

/// Why a task did not start.
fn why(task: &Value) -> String {
    assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
    task["containers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c["reason"].as_str())
        .collect::<Vec<_>>()
        .join("; ")
}

/// Waits until a running task has written a line.
fn await_line(agent: &Agent<'_>, arn: &str, line: &str) {
    let id = arn.rsplit('/').next().unwrap();
    let mut lines = agent.lines(&format!("/coracle/v1/logs?task={id}&follow=true"));
    assert!(lines.any(|l| l["log"].as_str().unwrap().trim_end() == line), "{line} of {arn}");
}

/// What is mounted in this namespace below the directories of a host.
fn mounts_of(host: &Host) -> Vec<String> {
    let own = host.dir.path().to_str().unwrap().to_owned();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(&own)).map(str::to_owned).collect()
}

#[test]
fn host_volumes_are_bound_as_they_are() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let here = host.dir.path().join("data");
    fs::create_dir(&here).unwrap();
    fs::write(here.join("file"), "from the host\n").unwrap();
    let missing = host.dir.path().join("made/on/demand");
    let volumes = json!([host_volume("here", &here), host_volume("missing", &missing),
        host_volume("one", &here.join("file")), {"name": "scratch"}]);

    let script = "cat /here/file; echo new >/here/new; echo x >/ro/new && echo written; \
        echo y >/missing/y; cat /one; echo changed >/one; echo s >/scratch/s; cat /second/s; \
        ls /home; echo over >/home/over; ls -d /etc/passwd";
    let container = with(
        shell("main", script),
        json!({"mountPoints": [mount("here", "/here"), read_only("here", "/ro"),
            mount("missing", "/missing"), mount("one", "/one"), mount("scratch", "/scratch"),
            mount("scratch", "/second"), mount("missing", "/home")]}),
    );
    let told = tell(&agent, "host", volumes, container);
    let told: Vec<&str> =
        told.iter().filter(|l| !l.contains("Read-only")).map(String::as_str).collect();
    assert_eq!(told, ["from the host", "from the host", "s", "y", "/etc/passwd"]);
    assert_eq!(fs::read_to_string(here.join("new")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(here.join("file")).unwrap(), "changed\n");
    assert_eq!(fs::read_to_string(missing.join("over")).unwrap(), "over\n");
    assert_eq!(fs::metadata(&missing).unwrap().mode() & 0o7777, 0o755);
    assert!(mounts_of(&host).is_empty());
}

#[test]
fn nested_mount_points_are_mounted_from_the_outside_in() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let (outer, inner) = (host.dir.path().join("outer"), host.dir.path().join("inner"));
    for (directory, text) in [(&outer, "outer\n"), (&inner, "inner\n")] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("name"), text).unwrap();
    }
    let volumes = json!([host_volume("outer", &outer), host_volume("inner", &inner)]);
    let container = with(
        shell("main", "cat /a/name /a/b/name /a/c/name; df /a/b/mem | tail -1 | awk '{print $1}'"),
        json!({
            "mountPoints": [mount("inner", "/a/b"), mount("outer", "/a"), read_only("inner", "/a/c")],
            "linuxParameters": {"tmpfs": [{"containerPath": "/a/b/mem", "size": 1}]}
        }),
    );
    let told = tell(&agent, "nested", volumes.clone(), container);
    assert_eq!(told, ["outer", "inner", "inner", "tmpfs"]);

    let twice = with(
        shell("main", "true"),
        json!({"mountPoints": [mount("inner", "/a/"), mount("outer", "/a")]}),
    );
    let (_, task) = run(&agent, "twice", volumes, json!([twice]));
    assert!(why(&task).contains("containerPath /a is used by two mounts"), "{task:#}");
}

/// A volume holds links that lead out of it; they lead nowhere but into the container.
#[test]
fn links_do_not_lead_out_of_a_container() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let (evil, canary) = (host.dir.path().join("evil"), host.dir.path().join("canary"));
    fs::create_dir(&evil).unwrap();
    fs::create_dir(&canary).unwrap();
    let up = "../".repeat(30);
    symlink("/tmp", evil.join("absolute")).unwrap();
    symlink(format!("{up}tmp"), evil.join("relative")).unwrap();
    symlink(&canary, evil.join("outside")).unwrap();
    symlink("/proc", evil.join("proc")).unwrap();
    let made = format!("made-{}", host.cgroup_parent);
    let volumes = json!([host_volume("evil", &evil), {"name": "scratch"},
        {"name": "named", "dockerVolumeConfiguration": {"scope": "task", "driver": "local"}}]);
    let container = |path: &str| {
        with(
            shell("main", &format!("echo x >/evil/{path}/{made}; ls /tmp")),
            json!({"mountPoints": [mount("evil", "/evil"), mount("scratch", &format!("/evil/{path}")),
                mount("named", &format!("/evil/{path}/deep"))]}),
        )
    };
    for path in ["absolute", "relative"] {
        let told = tell(&agent, path, volumes.clone(), container(path));
        assert_eq!(told, ["deep", &made], "{path}");
    }
    for path in ["outside", "proc"] {
        let (_, task) = run(&agent, path, volumes.clone(), json!([container(path)]));
        assert_eq!(task["stopCode"], "TaskFailedToStart", "{task:#}");
    }
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0);
    assert!(!Path::new("/tmp").join(&made).exists() && !Path::new("/tmp/deep").exists());
}

#[test]
fn named_volumes_begin_with_the_images_content() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let empty = host.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let volumes = json!([host_volume("host", &empty), {"name": "scratch"},
        {"name": "task", "dockerVolumeConfiguration": {"scope": "task", "driver": "local"}},
        {"name": "kept", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true, "driver": "local"}}]);
    let container = |script: &str| {
        with(
            shell("main", script),
            json!({"mountPoints": [mount("scratch", "/root"), mount("task", "/tmp"),
                mount("kept", "/etc")]}),
        )
    };
    let script = "stat -c '%a %u %n' /root /tmp /etc/passwd; echo kept >/etc/mine; rm /etc/group";
    let told = tell(&agent, "first", volumes.clone(), container(script));
    assert_eq!(told, ["700 0 /root", "1777 0 /tmp", "644 0 /etc/passwd"]);
    // Not again: what was removed stays so.
    let script = "cat /etc/mine; ls /etc/group || echo removed";
    let told = tell(&agent, "second", volumes.clone(), container(script));
    assert!(told.contains(&"kept".to_owned()) && told.contains(&"removed".to_owned()), "{told:?}");

    let bound = with(shell("main", "ls -A /etc"), json!({"mountPoints": [mount("host", "/etc")]}));
    let told = tell(&agent, "bound", volumes.clone(), bound);
    assert!(!told.contains(&"passwd".to_owned()), "{told:?}");

    // A copy that was cut off goes on with the next start, and what is there stays.
    let kept = host.state_dir().join("volumes/kept");
    fs::write(kept.join("copying"), "").unwrap();
    fs::write(kept.join("_data/.coracle-unfinished"), "half").unwrap();
    fs::write(kept.join("_data/passwd"), "changed\n").unwrap();
    let script = "cat /etc/mine /etc/passwd; wc -l </etc/group; ls -A /etc | grep unfinished";
    let (arn, _) = run(&agent, "third", volumes, json!([container(script)]));
    let told = output(&agent, &arn);
    assert_eq!(told[..2], ["kept", "changed"], "{told:?}");
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(!kept.join("copying").exists());
}

#[test]
fn shared_volumes_outlive_tasks_and_power_cuts() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let shared = |auto: bool| {
        json!([{"name": "data", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": auto,
            "driver": "local", "labels": {"owner": "tests"}}}])
    };
    let container = |script: &str| {
        with(shell("main", script), json!({"mountPoints": [mount("data", "/data")]}))
    };
    let (_, task) = run(&agent, "none", shared(false), json!([container("true")]));
    let reason = why(&task);
    assert!(
        reason.contains("volume data: there is no such shared volume")
            && reason.contains("coracle volume create data"),
        "{reason}"
    );
    tell(&agent, "made", shared(true), container("echo one >>/data/f"));
    tell(&agent, "used", shared(false), container("echo two >>/data/f"));
    agent.kill();
    host.cut_the_power();
    let agent = host.start();
    let told = tell(&agent, "again", shared(true), container("cat /data/f"));
    assert_eq!(told, ["one", "two"]);

    let mut other = shared(true);
    other[0]["dockerVolumeConfiguration"]["labels"] = json!({});
    let (_, task) = run(&agent, "other", other, json!([container("true")]));
    assert!(why(&task).contains("volume data: it exists with other labels"), "{task:#}");
    let mut other = shared(false);
    other[0]["dockerVolumeConfiguration"]["driverOpts"] = json!({"type": "tmpfs"});
    let (_, task) = run(&agent, "options", other, json!([container("true")]));
    assert!(why(&task).contains("volume data: it exists with other driverOpts"), "{task:#}");
}

/// A tmpfs is one file system for all who use it at the same time, and gone with the last of them.
#[test]
fn a_shared_tmpfs_is_one_among_all_tasks() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let volumes = json!([{"name": "mem", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true,
        "driver": "local", "driverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=3m,mode=751,noexec"}}}]);
    let container =
        |script: &str| with(shell("main", script), json!({"mountPoints": [mount("mem", "/mem")]}));
    let wait = "while [ ! -e /mem/go ]; do sleep 0.02; done";
    let (first, second) =
        (format!("echo ready; {wait}; echo gone"), format!("echo b >/mem/b; echo ready; {wait}"));
    let a = agent.run(&register(&agent, "a", volumes.clone(), json!([container(&first)])));
    await_line(&agent, &a, "ready");
    let b = agent.run(&register(&agent, "b", volumes.clone(), json!([container(&second)])));
    await_line(&agent, &b, "ready");
    // The agent has no part in it.
    agent.kill();
    let agent = host.start();
    let script = "cat /mem/b; stat -c %a /mem; df -m /mem | tail -1 | awk '{print $1, $2}'; \
        grep ' /mem ' /proc/mounts | grep -o noexec; touch /mem/go";
    let told = tell(&agent, "c", volumes.clone(), container(script));
    assert_eq!(told, ["b", "751", "tmpfs 3", "noexec"]);
    for arn in [&a, &b] {
        let task = agent.wait(arn, "STOPPED");
        assert_eq!(task["containers"][0]["exitCode"], 0, "{task:#}");
    }
    // Nobody used it, so it begins anew.
    let told = tell(&agent, "d", volumes, container("ls -A /mem | wc -l"));
    assert_eq!(told, ["0"]);
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    assert!(mounts_of(&host).is_empty(), "{before} mounts before, {after} after");
    let data = host.state_dir().join("volumes/mem/_data");
    assert_eq!(fs::read_dir(data).unwrap().count(), 0);
}
