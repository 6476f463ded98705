//! What a container can and cannot do, read from inside of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod rootfs;

use coracle::model::task_definition::{
    Device, HostVolumeProperties, KernelCapabilities, KeyValuePair, LinuxParameters, MountPoint,
    Tmpfs, Ulimit, Volume,
};
use rootfs::{open, run_of, shell};
use std::fs;

/// The value after `key:` in /proc/self/status.
fn status(text: &str, key: &str) -> String {
    let line = text.lines().find(|l| l.starts_with(&format!("{key}:"))).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

const DEFAULT_CAPABILITIES: &str = "00000000a80425fb";
const NO_CAPABILITIES: &str = "0000000000000000";

#[tokio::test]
async fn root_has_dockers_capabilities_and_a_filter() {
    let Some(mut host) = open() else { return };
    let script = "cat /proc/self/status; unshare -m true; echo unshare=$?; mkdir /m; mount -t tmpfs t /m; echo mount=$?";
    let outcome = host.run("t1", shell(script)).await;
    let text = outcome.stdout;
    assert_eq!(status(&text, "CapBnd"), DEFAULT_CAPABILITIES);
    assert_eq!(status(&text, "CapEff"), DEFAULT_CAPABILITIES);
    assert_eq!(status(&text, "CapPrm"), DEFAULT_CAPABILITIES);
    assert_eq!(status(&text, "CapInh"), NO_CAPABILITIES);
    assert_eq!(status(&text, "CapAmb"), NO_CAPABILITIES);
    assert_eq!(status(&text, "Seccomp"), "2");
    assert_eq!(status(&text, "NoNewPrivs"), "0");
    assert_eq!(status(&text, "SigBlk"), NO_CAPABILITIES);
    assert_eq!(status(&text, "SigIgn"), NO_CAPABILITIES);
    assert!(text.contains("unshare=1") && !text.contains("mount=0"), "{text}");
    assert!(outcome.stderr.contains("Operation not permitted"), "{}", outcome.stderr);
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn a_user_has_no_capabilities_and_the_same_filter() {
    let Some(mut host) = open() else { return };
    let mut definition =
        shell("id; echo $HOME; cat /proc/self/status; unshare -m true || echo refused");
    definition.user = Some("app".into());
    definition.docker_security_options = Some(vec!["no-new-privileges".into()]);
    let outcome = host.run("t1", definition).await;
    let text = outcome.stdout;
    assert!(text.starts_with("uid=1000(app) gid=1001(app) groups=29(audio),1001(app)"), "{text}");
    assert!(text.contains("/home/app\n"), "{text}");
    assert_eq!(status(&text, "CapBnd"), DEFAULT_CAPABILITIES);
    assert_eq!(status(&text, "CapEff"), NO_CAPABILITIES);
    assert_eq!(status(&text, "CapPrm"), NO_CAPABILITIES);
    assert_eq!(status(&text, "Seccomp"), "2");
    assert_eq!(status(&text, "NoNewPrivs"), "1");
    assert!(text.contains("refused"), "{text}");
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn capabilities_are_added_and_dropped() {
    let Some(mut host) = open() else { return };
    let mut definition = shell("grep Cap /proc/self/status; unshare -m true && echo unshared");
    definition.linux_parameters = Some(LinuxParameters {
        capabilities: Some(KernelCapabilities {
            add: Some(vec!["SYS_ADMIN".into()]),
            drop: Some(vec!["ALL".into()]),
        }),
        ..LinuxParameters::default()
    });
    let outcome = host.run("t1", definition).await;
    assert_eq!(status(&outcome.stdout, "CapBnd"), "0000000000200000");
    assert!(outcome.stdout.contains("unshared"), "{outcome:?}");
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn limits_stand_in_the_control_group() {
    let Some(mut host) = open() else { return };
    let mut definition = shell(
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes cpu/cpu.shares pids/pids.max \
         || cat memory.max memory.low cpu.weight pids.max; \
         for f in */memory.limit_in_bytes */pids.max memory.max pids.max; do [ -e $f ] && echo 99999999 >$f && echo raised; done; \
         cat /proc/self/cgroup; ulimit -n; ulimit -Hn",
    );
    definition.memory = Some(64);
    definition.memory_reservation = Some(32);
    definition.cpu = Some(512);
    definition.ulimits = Some(vec![Ulimit {
        name: Some("nofile".into()),
        soft_limit: Some(100),
        hard_limit: Some(200),
    }]);
    let run = run_of("t1", "main", "t1-1");
    let mut launch = host.launch(&run, definition);
    launch.start.task_cpu = Some(256);
    launch.start.task_memory = Some(128);
    launch.start.task_cpu_shares = 512;
    let outcome = host.run_launch(launch).await;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[..2], ["67108864", "33554432"], "{outcome:?}");
    assert!(lines[2] == "512" || lines[2] == "20", "{outcome:?}");
    assert_eq!(lines[3], "4096");
    assert!(!outcome.stdout.contains("raised"), "{outcome:?}");
    // A control group namespace: the container sees itself at the root.
    assert!(lines.iter().any(|l| l.ends_with(":memory:/") || *l == "0::/"), "{outcome:?}");
    assert_eq!(lines[lines.len() - 2..], ["100", "200"], "{outcome:?}");
    // The task's own limits, on the host.
    let read = |v1: &str, v2: &str| {
        let group = format!("{}/t1", host.cgroup_parent);
        let (controller, file) = v1.split_once('/').unwrap();
        fs::read_to_string(format!("/sys/fs/cgroup/{controller}/{group}/{file}"))
            .or_else(|_| fs::read_to_string(format!("/sys/fs/cgroup/{group}/{v2}")))
            .unwrap()
    };
    assert_eq!(read("memory/memory.limit_in_bytes", "memory.max").trim(), "134217728");
    let quota = read("cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(quota.starts_with("25000"), "{quota}");
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn running_out_of_memory_is_reported() {
    let Some(mut host) = open() else { return };
    let mut definition = shell("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    definition.memory = Some(16);
    definition.linux_parameters =
        Some(LinuxParameters { max_swap: Some(0), ..LinuxParameters::default() });
    let outcome = host.run("t1", definition).await;
    assert_eq!(outcome.exit_code, Some(137));
    assert!(outcome.out_of_memory);
    // A child only: its parent goes on, and both facts are told.
    let mut definition = shell("dd if=/dev/zero of=/dev/null bs=200M count=1; exit 5");
    definition.memory = Some(16);
    let outcome = host.run("t2", definition).await;
    assert_eq!((outcome.exit_code, outcome.out_of_memory), (Some(5), true));
    host.close(&["t1", "t2"]).await;
}

#[tokio::test]
async fn devices_are_fenced() {
    let Some(mut host) = open() else { return };
    let script = "mknod /tmp/mem c 1 1 && echo made; cat /tmp/mem >/dev/null || echo denied; \
                  mknod /tmp/disk b 254 0; head -c1 /tmp/disk || echo denied; \
                  head -c1 /dev/urandom >/dev/null && echo allowed; ls /dev | tr '\\n' ' '";
    let outcome = host.run("t1", shell(script)).await;
    assert!(outcome.stdout.starts_with("made\ndenied\ndenied\nallowed\n"), "{outcome:?}");
    assert!(!outcome.stdout.contains("kvm"), "{outcome:?}");
    let mut definition = shell("head -c1 /dev/zap | wc -c; echo x >/dev/zap || echo denied");
    definition.linux_parameters = Some(LinuxParameters {
        devices: Some(vec![Device {
            // Not among those that every container may use.
            host_path: Some("/dev/kmsg".into()),
            container_path: Some("/dev/zap".into()),
            permissions: Some(vec!["read".into()]),
        }]),
        ..LinuxParameters::default()
    });
    let outcome = host.run("t2", definition).await;
    assert!(outcome.stdout.ends_with("denied\n"), "{outcome:?}");
    host.close(&["t1", "t2"]).await;
}

#[tokio::test]
async fn the_root_is_read_only_when_asked() {
    let Some(mut host) = open() else { return };
    let mut definition =
        shell("echo x >/file || echo refused; echo y >/scratch/f && cat /scratch/f");
    definition.readonly_root_filesystem = Some(true);
    definition.linux_parameters = Some(LinuxParameters {
        tmpfs: Some(vec![Tmpfs {
            container_path: Some("/scratch".into()),
            size: Some(1),
            mount_options: None,
        }]),
        ..LinuxParameters::default()
    });
    let outcome = host.run("t1", definition).await;
    assert_eq!(outcome.stdout, "refused\ny\n", "{outcome:?}");
    // Without: changes stay in the container's own layer.
    let outcome = host.run("t2", shell("echo x >/file && cat /file")).await;
    assert_eq!(outcome.stdout, "x\n");
    assert!(!host.layer().join("file").exists());
    host.close(&["t1", "t2"]).await;
}

#[tokio::test]
async fn kernel_files_are_masked() {
    let Some(mut host) = open() else { return };
    let script = "for f in kcore keys timer_list interrupts; do [ ! -e /proc/$f ] || [ -z \"$(head -c1 /proc/$f)\" ] || echo $f; done; \
                  ls /sys/firmware | wc -l; \
                  echo 1 >/proc/sys/kernel/panic || echo refused; echo b >/proc/sysrq-trigger || echo refused; \
                  echo 1 >/sys/kernel/mm/ksm/run || echo refused";
    let outcome = host.run("t1", shell(script)).await;
    assert_eq!(outcome.stdout, "0\nrefused\nrefused\nrefused\n", "{outcome:?}");
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn no_descriptor_of_ours_leaks() {
    let Some(mut host) = open() else { return };
    let outcome = host.run("t1", shell("ls /proc/1/fd; ls -l /proc/self/fd")).await;
    // The shell itself; `ls` adds the directory it reads.
    assert!(outcome.stdout.starts_with("0\n1\n2\n"), "{outcome:?}");
    assert!(!outcome.stdout.starts_with("0\n1\n2\n3\n"), "{outcome:?}");
    assert!(!outcome.stdout.contains("shim.sock") && !outcome.stdout.contains("socket:"));
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn the_network_is_its_own_or_the_hosts() {
    let Some(mut host) = open() else { return };
    let outcome = host
        .run("t1", shell("ip -o link; ping -c1 -W1 127.0.0.1 >/dev/null && echo up; hostname"))
        .await;
    let links: Vec<&str> = outcome.stdout.lines().filter(|l| l.contains("mtu")).collect();
    assert!(links.iter().any(|l| l.contains("lo:") && l.contains("UP")), "{outcome:?}");
    assert!(!outcome.stdout.contains("eth0"), "{outcome:?}");
    assert!(outcome.stdout.contains("up\n"), "{outcome:?}");
    assert!(outcome.stdout.ends_with("t1-1\n"), "{outcome:?}");
    let run = run_of("t2", "main", "t2-1");
    let mut launch = host.launch(
        &run,
        shell("readlink /proc/self/ns/net; readlink /proc/self/ns/pid; cat /etc/hosts; hostname"),
    );
    launch.network = coracle::runtime::LaunchNetwork::Host;
    let outcome = host.run_launch(launch).await;
    let link =
        |ns: &str| fs::read_link(format!("/proc/self/ns/{ns}")).unwrap().display().to_string();
    assert!(outcome.stdout.contains(&link("net")), "{outcome:?}");
    assert!(!outcome.stdout.contains(&link("pid")), "{outcome:?}");
    host.close(&["t1", "t2"]).await;
}

#[tokio::test]
async fn volumes_environment_and_working_directory() {
    let Some(mut host) = open() else { return };
    let shared = host.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("in"), "from host\n").unwrap();
    let mut definition = shell(
        "pwd; echo $MODE; cat /data/in; echo x >/ro/in || echo refused; echo out >/data/out; echo s >/scratch/s; cat /scratch/s; env | sort",
    );
    definition.working_directory = Some("/srv/new".into());
    definition.environment =
        Some(vec![KeyValuePair { name: Some("MODE".into()), value: Some("fast".into()) }]);
    let mount = |volume: &str, path: &str, read_only| MountPoint {
        source_volume: Some(volume.into()),
        container_path: Some(path.into()),
        read_only: Some(read_only),
    };
    definition.mount_points = Some(vec![
        mount("shared", "/data", false),
        mount("shared", "/ro", true),
        mount("scratch", "/scratch", false),
    ]);
    let run = run_of("t1", "main", "t1-1");
    let mut launch = host.launch(&run, definition);
    launch.start.volumes = vec![
        Volume {
            name: Some("shared".into()),
            host: Some(HostVolumeProperties { source_path: Some(shared.to_str().unwrap().into()) }),
            ..Volume::default()
        },
        Volume { name: Some("scratch".into()), ..Volume::default() },
    ];
    launch.image.env = vec!["MODE=slow".into(), "FROM_IMAGE=yes".into()];
    let outcome = host.run_launch(launch).await;
    assert!(outcome.stdout.starts_with("/srv/new\nfast\nfrom host\nrefused\ns\n"), "{outcome:?}");
    for expected in ["FROM_IMAGE=yes\n", "HOME=/root\n", "HOSTNAME=t1-1\n", "PATH=/usr/local/sbin:"]
    {
        assert!(outcome.stdout.contains(expected), "{expected} in {outcome:?}");
    }
    assert_eq!(fs::read_to_string(shared.join("out")).unwrap(), "out\n");
    assert!(host.dir.path().join("state/tasks/t1/volumes.d/scratch/s").exists());
    host.runtime.release(&run.task).await.unwrap();
    assert!(shared.join("in").exists());
    assert!(!host.dir.path().join("state/tasks/t1/volumes.d").exists());
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let Some(mut host) = open() else { return };
    let start = |command: &[&str]| {
        let run = run_of("t1", "main", "t1-1");
        let mut definition = shell("");
        definition.entry_point = Some(command.iter().map(|c| (*c).to_owned()).collect());
        definition.command = None;
        host.launch(&run, definition)
    };
    let error = host.runtime.start(start(&["nothing"])).await.unwrap_err().to_string();
    let expected =
        "CannotStartContainerError: exec: \"nothing\": executable file not found in $PATH";
    assert_eq!(error, expected);
    fs::write(host.layer().join("bin/garbage"), "not a program").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(host.layer().join("bin/garbage"), mode).unwrap();
    let error = host.runtime.start(start(&["garbage"])).await.unwrap_err().to_string();
    assert!(
        error.contains("CannotStartContainerError") && error.contains("Exec format"),
        "{error}"
    );
    let mut launch = start(&["true"]);
    launch.start.definition.user = Some("nobody-here".into());
    let error = host.runtime.start(launch).await.unwrap_err().to_string();
    assert!(
        error.contains("CannotCreateContainerError: unable to find user nobody-here"),
        "{error}"
    );
    let mut launch = start(&["true"]);
    launch.start.definition.ulimits = Some(vec![Ulimit {
        name: Some("nofile".into()),
        soft_limit: Some(1),
        hard_limit: Some(1_000_000_000_000),
    }]);
    let error = host.runtime.start(launch).await.unwrap_err().to_string();
    assert!(error.contains("ulimit nofile") || error.contains("rlimit"), "{error}");
    // The shim lives on, and starts what can be started.
    let outcome = host.run_launch(start(&["true"])).await;
    assert_eq!(outcome.exit_code, Some(0));
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn a_privileged_container_has_what_we_have() {
    let Some(mut host) = open() else { return };
    let mut definition = shell(
        "cat /proc/self/status; unshare -m true && echo unshared; mount -t tmpfs t /tmp && echo mounted; \
         [ -c /dev/kmsg ] && head -c1 /dev/zero >/dev/null && echo device; readlink /proc/self/ns/pid",
    );
    definition.privileged = Some(true);
    let run = run_of("t1", "main", "t1-1");
    let mut launch = host.launch(&run, definition);
    launch.start.pid_mode = Some("host".into());
    launch.start.ipc_mode = Some("host".into());
    let outcome = host.run_launch(launch).await;
    let own = fs::read_to_string("/proc/self/status").unwrap();
    assert_eq!(status(&outcome.stdout, "CapEff"), status(&own, "CapBnd"));
    assert_eq!(status(&outcome.stdout, "Seccomp"), "0");
    let pid_namespace = fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    let expected = format!("unshared\nmounted\ndevice\n{pid_namespace}\n");
    assert!(outcome.stdout.ends_with(&expected), "{outcome:?}");
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let Some(host) = open() else { return };
    let run = run_of("t1", "main", "t1-1");
    let mut launch = host.launch(&run, shell("true"));
    launch.start.pid_mode = Some("container:x".into());
    let error = host.runtime.start(launch).await.unwrap_err().to_string();
    assert!(error.contains("pidMode container:x"), "{error}");
    host.close(&["t1"]).await;
}
