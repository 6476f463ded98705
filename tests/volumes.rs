//! Volumes and mounts, as containers see them, and what is left of them.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;

use agent::{Agent, Host};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

/// A file system in memory that a test mounts on the host, and unmounts.
struct Mounted(PathBuf);

impl Mounted {
    fn at(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        rustix::mount::mount("tmpfs", directory, "tmpfs", MountFlags::empty(), c"size=64k")
            .unwrap();
        mount_change(directory, MountPropagationFlags::SHARED).unwrap();
        Self(directory.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn read_only_holds_for_what_is_mounted_below_and_later_mounts_do_not_show() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let outer = Mounted::at(&host.dir.path().join("outer"));
    let inner = Mounted::at(&outer.0.join("inner"));
    fs::create_dir(outer.0.join("later")).unwrap();
    let volumes = json!([host_volume("data", &outer.0)]);
    let script = "touch /ro/inner/x 2>/dev/null && echo written; touch /rw/inner/y; touch /rw/later/under; \
        echo ready; while [ ! -e /rw/go ]; do sleep 0.02; done; ls /rw/later /ro/later";
    let container = with(
        shell("main", script),
        json!({"mountPoints": [read_only("data", "/ro"), mount("data", "/rw")]}),
    );
    let arn = agent.run(&register(&agent, "below", volumes, json!([container])));
    await_line(&agent, &arn, "ready");
    assert!(inner.0.join("y").exists());
    let later = Mounted::at(&outer.0.join("later"));
    fs::write(later.0.join("over"), "").unwrap();
    fs::write(outer.0.join("go"), "").unwrap();
    agent.wait(&arn, "STOPPED");
    assert_eq!(output(&agent, &arn), ["ready", "/ro/later:", "under", "", "/rw/later:", "under"]);
}

#[test]
fn mounts_in_memory_have_their_size_and_options() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let tmpfs = |path: &str, options: &[&str]| json!({"containerPath": path, "size": 2, "mountOptions": options});
    let script = "for m in plain ro times data sync; do grep \" /m/$m \" /proc/mounts | cut -d' ' -f3,4; done; \
        stat -c '%a' /m/plain /root /m/data; df -m /m/plain /dev/shm | awk 'NR>1 {print $2}'; \
        grep -E ' /m/(shared|slave) ' /proc/self/mountinfo | grep -c shared:; \
        grep ' /m/alone ' /proc/self/mountinfo | grep -o unbindable; \
        cp /bin/busybox /m/times/true; /m/times/true && echo executed; \
        dd if=/dev/zero of=/m/plain/big bs=1M count=3 2>/dev/null || echo full; \
        i=0; while touch /m/data/$i 2>/dev/null; do i=$((i+1)); done; echo $i";
    let container = with(
        shell("main", script),
        json!({"linuxParameters": {"sharedMemorySize": 7, "tmpfs": [
            tmpfs("/m/plain", &["defaults"]), tmpfs("/m/ro", &["ro", "suid", "dev"]),
            tmpfs("/m/times", &["exec", "noatime", "nodiratime"]),
            tmpfs("/m/data", &["mode=710", "uid=5", "gid=6", "nr_inodes=11", "mpol=local"]),
            tmpfs("/m/sync", &["sync", "dirsync", "strictatime"]),
            tmpfs("/m/shared", &["rshared"]), tmpfs("/m/slave", &["slave"]),
            tmpfs("/m/alone", &["unbindable"]), tmpfs("/root", &[])]}}),
    );
    let told = tell(&agent, "memory", json!([]), container);
    let (mounts, rest) = told.split_at(5);
    for (line, wanted, unwanted) in [
        (&mounts[0], "rw,nosuid,nodev,noexec,relatime,size=2048k", "uid="),
        (&mounts[1], "ro,noexec,relatime", "nosuid"),
        (&mounts[2], "rw,nosuid,nodev,noatime,nodiratime", "noexec"),
        (&mounts[3], "nr_inodes=11,mode=710,uid=5,gid=6,mpol=local", "exec,ro"),
        (&mounts[4], "rw,sync,dirsync,nosuid,nodev,noexec", "relatime"),
    ] {
        assert!(line.starts_with("tmpfs ") && line.contains(wanted), "{line}: {wanted}");
        assert!(!line.contains(unwanted), "{line}: {unwanted}");
    }
    assert_eq!(rest, ["1777", "700", "710", "2", "7", "1", "unbindable", "executed", "full", "10"]);

    let bad = with(
        shell("main", "true"),
        json!({"linuxParameters": {"tmpfs": [tmpfs("/m", &["rw", "remount"])]}}),
    );
    let input = json!({"family": "bad", "networkMode": "none", "containerDefinitions": [bad]});
    let refused = refusal(&agent, "bad", &input);
    assert!(refused.contains("linuxParameters.tmpfs[0].mountOptions"), "{refused}");
}

/// The host's devices over the container's: nothing of ours is written into them.
#[test]
fn a_volume_may_cover_the_devices() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let devices = host.dir.path().join("devices");
    fs::create_dir_all(devices.join("inner")).unwrap();
    fs::write(devices.join("mine"), "mine\n").unwrap();
    let _inner = Mounted::at(&devices.join("inner"));
    let volumes = json!([host_volume("devices", &devices), {"name": "scratch"}, host_volume("real", Path::new("/dev"))]);
    for read in [false, true] {
        let over = if read { read_only("devices", "/dev") } else { mount("devices", "/dev") };
        let script = "cat /dev/mine; echo s >/dev/inner/deep/s && cat /dev/inner/deep/s; \
            (echo x >/dev/inner/x) 2>/run-out || echo refused; (echo x >/dev/x) 2>/run-out || echo refused; ls /dev | wc -l";
        fs::create_dir_all(devices.join("inner/deep")).unwrap();
        let container = with(
            shell("main", script),
            json!({"mountPoints": [over, mount("scratch", "/dev/inner/deep")]}),
        );
        let told = tell(&agent, "devices", volumes.clone(), container);
        let _ = fs::remove_file(devices.join("x"));
        let expected: &[&str] =
            if read { &["mine", "s", "refused", "refused", "2"] } else { &["mine", "s", "3"] };
        assert_eq!(told, expected);
    }
    let before = fs::symlink_metadata("/dev/ptmx").unwrap();
    let container = with(
        shell(
            "main",
            "[ -c /dev/null ] && echo a >/dev/null && ls /dev/fd/ >/dev/null && echo there",
        ),
        json!({"mountPoints": [mount("real", "/dev")]}),
    );
    assert_eq!(tell(&agent, "real", volumes, container), ["there"]);
    let after = fs::symlink_metadata("/dev/ptmx").unwrap();
    assert_eq!((before.ino(), before.ctime()), (after.ino(), after.ctime()));
}

/// How a definition is refused, at registration or by RunTask.
fn refusal(agent: &Agent<'_>, family: &str, input: &Value) -> String {
    match agent.call("RegisterTaskDefinition", input) {
        Err(error) => error.message,
        Ok(_) => agent.call("RunTask", &json!({"taskDefinition": family})).unwrap_err().message,
    }
}

#[test]
fn what_a_volume_cannot_be_is_refused_by_name() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let docker = |members: Value| json!({"name": "v", "dockerVolumeConfiguration": members});
    for (volume, expected) in [
        (
            docker(json!({"scope": "task", "driver": "rexray/ebs"})),
            "dockerVolumeConfiguration.driver",
        ),
        (
            docker(json!({"scope": "task", "driver": "local", "driverOpts": {"size": "1g"}})),
            "dockerVolumeConfiguration.driverOpts.size",
        ),
        (
            docker(json!({"scope": "task", "driver": "local",
                "driverOpts": {"type": "tmpfs", "o": "colour=red"}})),
            "colour",
        ),
        (
            json!({"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}),
            "efsVolumeConfiguration",
        ),
        (json!({"name": "v", "configuredAtLaunch": true}), "configuredAtLaunch"),
    ] {
        let container = with(shell("main", "true"), json!({"mountPoints": [mount("v", "/v")]}));
        let input = json!({"family": "bad", "networkMode": "none", "volumes": [volume],
            "containerDefinitions": [container]});
        let refused = refusal(&agent, "bad", &input);
        assert!(refused.contains(expected), "{refused}");
    }

    // Known to us, but not to every kernel.
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    for (kind, device, options) in
        [("nfs", ":/srv", "addr=127.0.0.1,nfsvers=4"), ("cifs", "//127.0.0.1/share", "guest")]
    {
        let volume = docker(json!({"scope": "task", "driver": "local",
            "driverOpts": {"type": kind, "device": device, "o": options}}));
        let container = with(shell("main", "true"), json!({"mountPoints": [mount("v", "/v")]}));
        let (_, task) = run(&agent, kind, json!([volume]), json!([container]));
        let reason = why(&task);
        assert!(reason.contains("ResourceInitializationError: volume v: "), "{reason}");
        if !known.lines().any(|line| line.ends_with(&format!("\t{kind}"))) {
            assert!(reason.contains(&format!("this kernel has no file system {kind}")), "{reason}");
        }
    }
    assert!(mounts_of(&host).is_empty());
}

#[test]
fn a_directory_can_be_bound_by_the_driver() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let here = host.dir.path().join("here");
    let volumes = |options: &str| {
        json!([{"name": "v", "dockerVolumeConfiguration": {"scope": "task", "driver": "local", "driverOpts":
            {"type": "none", "device": here.to_str().unwrap(), "o": options}}}])
    };
    let container = with(
        shell("main", "cat /v/f; touch /v/made 2>/dev/null || echo refused"),
        json!({"mountPoints": [mount("v", "/v")]}),
    );
    // A disk that is not there must not be written beside.
    let (_, task) = run(&agent, "none", volumes("bind"), json!([container]));
    assert!(why(&task).contains(here.to_str().unwrap()) && !here.exists(), "{task:#}");
    fs::create_dir(&here).unwrap();
    fs::write(here.join("f"), "f\n").unwrap();
    assert_eq!(tell(&agent, "ro", volumes("bind,ro"), container.clone()), ["f", "refused"]);
    assert_eq!(tell(&agent, "rw", volumes("bind"), container), ["f"]);
    assert!(here.join("made").exists());
}

#[test]
fn volumes_are_taken_from_other_containers() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let here = host.dir.path().join("here");
    let volumes = json!([host_volume("host", &here), {"name": "scratch"},
        {"name": "docker", "dockerVolumeConfiguration": {"scope": "task", "driver": "local",
            "driverOpts": {"type": "tmpfs", "o": "size=1m"}}}]);
    let source = with(
        shell("source", "echo s >/scratch/s; echo d >/docker/d; echo h >/host/h; sleep 1000"),
        json!({"essential": false, "mountPoints": [mount("scratch", "/scratch"), mount("docker", "/docker"),
            mount("host", "/host")]}),
    );
    let wait = "while [ ! -e /host/h ]; do sleep 0.02; done";
    let script = "cat /scratch/s /docker/d /host/h; \
        for v in scratch docker host; do touch /$v/x 2>/dev/null || echo refused; done";
    let reader = with(
        shell("reader", &format!("{wait}; {script}; touch /done/r")),
        json!({"essential": false, "volumesFrom": [{"sourceContainer": "source", "readOnly": true}],
            "mountPoints": [mount("host", "/done")]}),
    );
    // What it has from the reader is read-only, its own is not.
    let writer = with(
        shell(
            "writer",
            &format!(
                "{wait}; while [ ! -e /host/r ]; do sleep 0.02; done; touch /docker/x || echo refused; touch /host/y && echo own"
            ),
        ),
        json!({"volumesFrom": [{"sourceContainer": "reader"}], "mountPoints": [mount("host", "/host")]}),
    );
    let (arn, task) = run(&agent, "from", volumes, json!([source, reader, writer]));
    let of = |name: &str| {
        let lines =
            agent.output(&arn).into_iter().filter(|(c, stream, _)| c == name && stream == "stdout");
        lines.map(|(_, _, text)| text.trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("reader"), ["s", "d", "h", "refused", "refused", "refused"], "{task:#}");
    assert_eq!(of("writer"), ["refused", "own"], "{task:#}");
}

fn coracle(host: &Host, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(arguments)
        .arg("--run-dir")
        .arg(host.run_dir())
        .output()
        .unwrap()
}

fn complaint(host: &Host, arguments: &[&str]) -> String {
    let output = coracle(host, arguments);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_command_line_makes_lists_and_removes_shared_volumes() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    assert_eq!(host.cli(&["volume", "create", "data", "--label", "a=b"]), "data\n");
    // Again is fine, another by its name is not.
    host.cli(&["volume", "create", "data", "--label", "a=b"]);
    let error = complaint(&host, &["volume", "create", "data"]);
    assert!(error.contains("volume data: it exists with other labels"), "{error}");
    let error = complaint(&host, &["volume", "create", "../x"]);
    assert!(error.contains("is not a name for a volume"), "{error}");
    let error = complaint(&host, &["volume", "create", "x", "-o", "size=1"]);
    assert!(error.contains("driverOpts size"), "{error}");
    host.cli(&["volume", "create", "mem", "-o", "type=tmpfs", "-o", "o=size=1m"]);
    host.cli(&[
        "volume",
        "create",
        "share",
        "-o",
        "type=cifs",
        "-o",
        "device=//nas/s",
        "-o",
        "o=user=u,password=secret",
    ]);

    let definition = json!([{"name": "data", "dockerVolumeConfiguration": {"scope": "shared", "driver": "local"}}]);
    let container = with(
        shell("main", "echo x >/data/f; echo ready; sleep 1000"),
        json!({"mountPoints": [mount("data", "/data")]}),
    );
    let arn = agent.run(&register(&agent, "uses", definition, json!([container])));
    await_line(&agent, &arn, "ready");
    let id = arn.rsplit('/').next().unwrap();
    let listed = host.cli(&["volume", "ls"]);
    let line = |name: &str| listed.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
    assert!(line("data").contains("directory") && line("data").contains(&id[..12]), "{listed}");
    assert!(line("mem").contains("tmpfs"), "{listed}");
    let listed: Value =
        serde_json::from_str(&host.cli(&["volume", "ls", "--size", "--output", "json"])).unwrap();
    assert_eq!(listed["volumes"][0]["tasks"], json!([id]));
    assert_eq!(listed["volumes"][0]["size"], 4096, "{listed}");
    let shown = host.cli(&["volume", "inspect", "data", "share", "--output", "json"]);
    assert!(shown.contains("password=***") && !shown.contains("secret"), "{shown}");
    assert!(host.cli(&["volume", "inspect", "data"]).contains("a=b"));

    for arguments in [&["volume", "rm", "data"][..], &["volume", "rm", "nothing"]] {
        let error = complaint(&host, arguments);
        let in_use = format!("volume data is in use by task {id}");
        assert!(error.contains(&in_use) || error.contains("there is no volume nothing"), "{error}");
    }
    assert_eq!(host.cli(&["volume", "prune"]), "mem\nshare\n");
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
    assert_eq!(host.cli(&["volume", "rm", "data"]), "data\n");
    assert_eq!(host.cli(&["volume", "ls"]).lines().count(), 1);
    let left: Vec<_> = fs::read_dir(host.state_dir().join("volumes"))
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| fs::read_dir(e.path()).unwrap().count() > 0)
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// kill -9 of shim, agent or both: no mount, no directory, no claim stays.
#[test]
fn nothing_of_a_task_stays_after_a_crash() {
    let host = Host::new();
    let mut agent = host.start();
    host.load_busybox(&agent);
    let volumes = json!([{"name": "scratch"},
        {"name": "mem", "dockerVolumeConfiguration": {"scope": "task", "driver": "local",
            "driverOpts": {"type": "tmpfs", "o": "size=1m"}}},
        {"name": "kept", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true, "driver": "local",
            "driverOpts": {"type": "tmpfs", "o": "size=1m"}}}]);
    let container = with(
        shell("main", "touch /kept/x /mem/x /scratch/x; echo ready; sleep 1000"),
        json!({"mountPoints": [mount("scratch", "/scratch"), mount("mem", "/mem"), mount("kept", "/kept")]}),
    );
    let definition = register(&agent, "crash", volumes, json!([container]));
    for agent_too in [false, true] {
        let arn = agent.run(&definition);
        await_line(&agent, &arn, "ready");
        // Before that is noted, a start of which nothing is left is made again.
        agent.wait(&arn, "RUNNING");
        assert!(mounts_of(&host).is_empty());
        let shims = host.shims();
        assert_eq!(shims.len(), 1);
        if agent_too {
            agent.kill();
            agent::kill(shims[0], 9);
            agent = host.start();
        } else {
            agent::kill(shims[0], 9);
        }
        agent.wait(&arn, "STOPPED");
        let id = arn.rsplit('/').next().unwrap();
        let state = host.state_dir().join("tasks").join(id);
        let directories = fs::read_dir(&state).into_iter().flatten().filter_map(Result::ok);
        assert_eq!(directories.filter(|e| e.path().is_dir()).count(), 0, "{state:?}");
        assert!(!host.run_dir().join("tasks").join(id).exists());
        assert!(mounts_of(&host).is_empty());
        let listed: Value =
            serde_json::from_str(&host.cli(&["volume", "ls", "--output", "json"])).unwrap();
        assert_eq!(listed["volumes"][0]["tasks"], json!([]), "{listed}");
    }
    assert_eq!(host.cli(&["volume", "rm", "kept"]), "kept\n");
}
