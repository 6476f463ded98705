//! What a container must not be able to do: the system calls it may not make, the files of the kernel it may not see,
//! and an image that points where it should not.

use super::inside::{PROGRAM, arguments, with_program};
use super::rootfs::{open, run_of, shell as definition};
use super::{Host, run, run_task, shell, with};
use coracle::model::task_definition::{Device, LinuxParameters, MountPoint, Tmpfs, Volume};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What the binary says of each call in a container of that definition.
fn calls(
    agent: &super::Agent<'_>,
    family: &str,
    members: serde_json::Value,
) -> BTreeMap<String, String> {
    let command = format!("exec {PROGRAM} {}", arguments("system_calls"));
    let container = with(with(shell(&command), json!({"memory": 64})), members);
    let ended = run_task(agent, family, with_program(container));
    let pairs =
        ended.lines().into_iter().filter_map(|line| line.strip_prefix("call ")?.split_once(' '));
    let calls: BTreeMap<_, _> =
        pairs.map(|(call, result)| (call.to_owned(), result.to_owned())).collect();
    assert!(calls.contains_key("end"), "{}", ended.text("main"));
    calls
}

#[test]
fn forbidden_system_calls_fail() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let found = calls(&agent, "calls", json!({}));
    let refused: Vec<_> = found.iter().filter(|(call, _)| call.starts_with("refused:")).collect();
    assert!(refused.len() >= 45, "{refused:?}");
    for (call, result) in &found {
        match call.split_once(':') {
            // The filter's number, whatever the arguments are.
            Some(("refused", _)) => assert_eq!(result, "EPERM", "{call}"),
            Some(("unknown", _)) => assert_eq!(result, "ENOSYS", "{call}"),
            // Whatever the kernel says to the arguments, it has been asked.
            Some(("allowed", _)) => {
                assert!(result != "EPERM" && result != "ENOSYS", "{call} {result}");
            }
            // By the other numbers for the same: not there at all, or not allowed.
            Some(("other", _)) => assert!(
                result == "EPERM" || result == "ENOSYS" || result == "SIGSEGV",
                "{call} {result}"
            ),
            _ => assert_eq!(call, "end"),
        }
    }
    #[cfg(target_arch = "x86_64")]
    for call in ["other:x32_keyctl", "other:x32_mount", "other:i386_keyctl", "other:i386_mount"] {
        assert!(found.contains_key(call), "{call} was not tried");
    }

    // A capability opens what goes with it, and nothing else.
    let add = json!({"linuxParameters": {"capabilities": {"add": ["SYS_ADMIN"]}}});
    let with_admin = calls(&agent, "calls-admin", add);
    for call in ["refused:mount", "refused:unshare_user", "refused:setns", "refused:clone_user"] {
        assert_ne!(with_admin[call], "EPERM", "{call}");
    }
    for call in [
        "refused:keyctl",
        "refused:add_key",
        "refused:kexec_load",
        "refused:init_module",
        "refused:iopl",
        "refused:personality",
        "refused:socket_alg",
    ] {
        assert_eq!(with_admin.get(call).map_or("EPERM", |r| r), "EPERM", "{call}");
    }

    // The filter does not depend on who the process is.
    let user = calls(
        &agent,
        "calls-user",
        json!({"user": "nobody", "linuxParameters": {"initProcessEnabled": true}}),
    );
    for (call, result) in user.iter().filter(|(call, _)| call.starts_with("refused:")) {
        assert_eq!(result, "EPERM", "{call}");
    }
}

#[test]
fn files_of_the_kernel_are_masked_or_read_only() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let script = "for f in acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats; do \
          p=/proc/$f; if [ -d $p ]; then [ -z \"$(ls -A $p)\" ] || echo SEEN $p; (: >$p/x) 2>/dev/null && echo WROTE $p; \
          elif [ -e $p ]; then [ -z \"$(head -c1 $p)\" ] || echo SEEN $p; fi; done; \
        for d in /sys/firmware /sys/devices/virtual/powercap /sys/devices/system/cpu/cpu*/thermal_throttle; do \
          [ ! -d $d ] || [ -z \"$(ls -A $d)\" ] || echo SEEN $d; done; \
        for d in bus fs irq sys; do [ ! -d /proc/$d ] || grep -q \" /proc/$d proc ro,\" /proc/mounts || echo WRITABLE $d; done; \
        for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hostname \
          /proc/sys/vm/overcommit_memory /proc/irq/default_smp_affinity /sys/kernel/uevent_helper /sys/kernel/mm/ksm/run \
          /sys/power/state /sys/class/net/lo/mtu /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max \
          /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/memory/release_agent /sys/fs/cgroup/devices/devices.allow; do \
          [ ! -e $f ] || { (: >>$f) 2>/dev/null && echo OPENED $f; }; done; \
        find /sys/fs/cgroup -name release_agent | sed 's/^/SEEN /'; \
        mkdir /sys/fs/cgroup/x 2>/dev/null && echo MADE; mkdir /sys/fs/cgroup/memory/x 2>/dev/null && echo MADE; \
        mount -o remount,rw /sys 2>/dev/null && echo REMOUNTED; umount /proc/keys 2>/dev/null && echo UNMOUNTED; \
        echo oom $(cat /proc/self/oom_score_adj); \
        (echo -500 >/proc/self/oom_score_adj) 2>/dev/null && echo LOWERED; \
        echo fds; ls /proc/1/fd; echo fds; \
        for f in /dev/*; do echo node $f; done; find /dev -type b | sed 's/^/BLOCK /'; \
        find /dev -type c | sort | tr '\\n' ' '; echo; echo end";
    let ended = run(&agent, "masked", shell(script));
    let text = ended.text("main");
    assert!(text.ends_with("end\n"), "{text}");
    for word in [
        "SEEN",
        "WROTE",
        "WRITABLE",
        "OPENED",
        "MADE",
        "REMOUNTED",
        "UNMOUNTED",
        "LOWERED",
        "BLOCK",
    ] {
        assert!(!text.contains(word), "{text}");
    }
    let lines = ended.lines();
    assert!(lines.contains(&"oom 0"), "{text}");
    assert!(text.contains("fds\n0\n1\n2\nfds\n"), "{text}");
    assert!(
        text.contains(
            "/dev/full /dev/null /dev/pts/ptmx /dev/random /dev/tty /dev/urandom /dev/zero \n"
        ),
        "{text}"
    );
    let nodes: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("node /dev/")).collect();
    let expected = [
        "core", "fd", "full", "kcore", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
        "stdin", "stdout", "tty", "urandom", "zero",
    ];
    assert!(nodes.iter().all(|node| expected.contains(node)), "{nodes:?}");
}

#[test]
fn a_working_directory_is_inside_of_the_container() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let mut inside = 0;
    for number in 3..16 {
        for form in ["/proc/self/fd", "/proc/self/fd/../fd", "/dev/fd", "/proc/thread-self/fd"] {
            let directory = format!("{form}/{number}");
            let members = json!({"workingDirectory": directory, "command": ["sh", "-c", "/bin/readlink /proc/self/cwd; /bin/ls ../../../../etc/shadow ../../.. 2>&1"]});
            let ended = run(&agent, "cwd", with(shell(""), members));
            let text = ended.text("main");
            // Refused, or a directory of the container.
            assert!(!text.contains("shadow\n") || text.contains("No such"), "{directory}: {text}");
            assert!(
                ended.reason().contains("Error") || text.starts_with('/'),
                "{directory}: {:#}",
                ended.task
            );
            inside += i32::from(text.starts_with('/'));
        }
        if number > 8 && inside == 0 {
            break;
        }
    }
}

/// A directory of the box that nothing may change.
struct Canary {
    dir: tempfile::TempDir,
}

impl Canary {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "untouched").unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn is_untouched(&self) {
        let mut names: Vec<_> =
            fs::read_dir(self.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file", "sub"]);
        assert_eq!(fs::read_to_string(self.path().join("file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(self.path().join("sub")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn an_image_that_points_outside_reaches_nothing() {
    let Some(mut host) = open() else { return };
    let canary = Canary::new();
    let up = |target: &Path| {
        Path::new("../../../../../../../..").join(target.strip_prefix("/").unwrap())
    };
    let mut tasks = Vec::new();
    let layer = host.layer();

    // Where the kernel's file systems go: refused.
    for name in ["dev", "proc", "sys"] {
        for target in
            [canary.path().to_owned(), up(canary.path()), canary.path().join("file"), "/".into()]
        {
            symlink(&target, layer.join(name)).unwrap();
            let task = format!("t{}", tasks.len());
            let run = run_of(&task, "main", &format!("{task}-1"));
            tasks.push(task);
            let error =
                host.runtime.start(host.launch(&run, definition("true"))).await.unwrap_err();
            assert!(error.to_string().contains(&format!("/{name} of the image")), "{error}");
            fs::remove_file(layer.join(name)).unwrap();
            canary.is_untouched();
        }
    }

    // Files that are generated: they are found inside, wherever the image says they are.
    for target in [
        canary.path().join("file"),
        up(&canary.path().join("file")),
        "/proc/self/exe".into(),
        "/dev/null".into(),
        "loop".into(),
    ] {
        for name in ["hosts", "resolv.conf", "hostname", "loop", "passwd", "group"] {
            let _ = fs::remove_file(layer.join("etc").join(name));
            symlink(&target, layer.join("etc").join(name)).unwrap();
        }
        let task = format!("t{}", tasks.len());
        let run = run_of(&task, "main", &format!("{task}-1"));
        tasks.push(task);
        // Some cannot be made, none reaches out.
        if host
            .runtime
            .start(host.launch(&run, definition("echo x >/etc/hosts; echo x >/etc/passwd; true")))
            .await
            .is_ok()
        {
            host.exit(&run).await;
        }
        canary.is_untouched();
    }
    for name in ["hosts", "resolv.conf", "hostname", "loop", "passwd", "group"] {
        fs::remove_file(layer.join("etc").join(name)).unwrap();
    }

    // All of `/etc`, and the targets of the definition's own mounts, and the working directory.
    fs::remove_dir(layer.join("etc")).unwrap();
    for name in ["etc", "data", "scratch", "work"] {
        symlink(canary.path(), layer.join(name)).unwrap();
    }
    let task = format!("t{}", tasks.len());
    let run = run_of(&task, "main", &format!("{task}-1"));
    tasks.push(task);
    let mut container = definition(
        "echo x >/data/made; echo x >/scratch/made; echo x >/etc/made; cat /data/made; echo done",
    );
    container.mount_points = Some(vec![MountPoint {
        source_volume: Some("scratch".into()),
        container_path: Some("/data/below".into()),
        read_only: None,
    }]);
    container.linux_parameters = Some(LinuxParameters {
        tmpfs: Some(vec![Tmpfs {
            container_path: Some("/scratch/sub".into()),
            size: Some(1),
            mount_options: None,
        }]),
        ..LinuxParameters::default()
    });
    container.working_directory = Some("/made/new".into());
    let mut launch = host.launch(&run, container);
    launch.start.volumes = vec![Volume { name: Some("scratch".into()), ..Volume::default() }];
    match host.runtime.start(launch).await {
        Ok(_) => drop(host.exit(&run).await),
        Err(error) => assert!(error.to_string().contains("CannotCreate"), "{error}"),
    }
    canary.is_untouched();
    let tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
    host.close(&tasks).await;
}

#[tokio::test]
async fn a_definition_cannot_cover_the_kernels_files() {
    let Some(mut host) = open() else { return };
    let canary = Canary::new();
    let own_ptmx = fs::symlink_metadata("/dev/ptmx").map(|m| m.file_type()).ok();
    for (target, reason) in
        [("/dev", None), ("/proc", Some("over /proc")), ("/proc/sys", Some("over /proc"))]
    {
        let run = run_of("t1", "main", &format!("t1{}", target.replace('/', "-")));
        let mut container = definition("true");
        container.mount_points = Some(vec![MountPoint {
            source_volume: Some("box".into()),
            container_path: Some(target.into()),
            read_only: None,
        }]);
        let mut launch = host.launch(&run, container);
        launch.start.volumes = vec![Volume {
            name: Some("box".into()),
            host: Some(coracle::model::task_definition::HostVolumeProperties {
                source_path: Some(canary.path().to_str().unwrap().into()),
            }),
            ..Volume::default()
        }];
        match (host.runtime.start(launch).await, reason) {
            // Mounted when all else of /dev is done, so nothing of it comes to the volume.
            (Ok(_), None) => drop(host.exit(&run).await),
            (Err(error), Some(reason)) => assert!(error.to_string().contains(reason), "{error}"),
            (started, _) => panic!("{target}: {started:?}"),
        }
        canary.is_untouched();
    }
    for path in ["/tmp/null", "/dev/../tmp/null", "/dev/shm/null", "/dev/pts/null"] {
        let run = run_of("t1", "main", "t1-1");
        let mut container = definition("true");
        container.linux_parameters = Some(LinuxParameters {
            devices: Some(vec![Device {
                host_path: Some("/dev/null".into()),
                container_path: Some(path.into()),
                permissions: None,
            }]),
            ..LinuxParameters::default()
        });
        let error = host.runtime.start(host.launch(&run, container)).await.unwrap_err().to_string();
        assert!(error.contains("linuxParameters.devices") && error.contains(path), "{error}");
    }
    assert_eq!(fs::symlink_metadata("/dev/ptmx").map(|m| m.file_type()).ok(), own_ptmx);
    host.close(&["t1"]).await;
}

/// The class of CVE-2025-31133 and its like: what is looked at is not what is mounted over a moment later.
#[tokio::test]
async fn a_link_that_comes_and_goes_leads_nowhere() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let Some(mut host) = open() else { return };
    let canary = Canary::new();
    let shared = tempfile::tempdir().unwrap();
    let (swapped, outside) = (shared.path().join("sub"), canary.path().join("sub"));
    fs::create_dir(&swapped).unwrap();
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // As fast as it can: a directory, a link to what must not be reached, a directory, …
    let racer = std::thread::spawn({
        let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
        move || {
            let aside = swapped.with_extension("aside");
            symlink(outside, &aside).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let here = rustix::fs::CWD;
                rustix::fs::renameat_with(here, &swapped, here, &aside, flags).unwrap();
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut tasks = Vec::new();
    for round in 0..40 {
        let task = format!("r{round}");
        let run = run_of(&task, "main", &format!("{task}-1"));
        let mut container = definition("echo x >/data/sub/made; mkdir -p /data/sub/deep/er; true");
        let mount = |volume: &str, path: &str| MountPoint {
            source_volume: Some(volume.into()),
            container_path: Some(path.into()),
            read_only: None,
        };
        container.mount_points =
            Some(vec![mount("shared", "/data"), mount("scratch", "/data/sub/below")]);
        container.working_directory = Some("/data/sub/work".into());
        let mut launch = host.launch(&run, container);
        launch.start.volumes = vec![
            Volume {
                name: Some("shared".into()),
                host: Some(coracle::model::task_definition::HostVolumeProperties {
                    source_path: Some(shared.path().to_str().unwrap().into()),
                }),
                ..Volume::default()
            },
            Volume { name: Some("scratch".into()), ..Volume::default() },
        ];
        // Whether it starts depends on the moment.
        if host.runtime.start(launch).await.is_ok() {
            host.exit(&run).await;
        }
        canary.is_untouched();
        tasks.push(task);
    }
    stop.store(true, Ordering::Relaxed);
    racer.join().unwrap();
    assert!(rounds.load(Ordering::Relaxed) > 1000);
    canary.is_untouched();
    let tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
    host.close(&tasks).await;
}
