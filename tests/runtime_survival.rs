//! What happens when the agent or the shim dies, and when a container attacks its runtime.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod mapped;
mod rootfs;

use coracle::model::{Generation, TaskId};
use coracle::runtime::logs::{Beginning, Stream};
use coracle::runtime::{Event, Launch, LogDefaults, RunState, Signal, StartError};
use mapped::text_of;
use rootfs::{connect, open, open_with, run_of, shell};
use std::fs;
use std::time::Duration;

/// The process that parents the task's containers.
fn shim_of(task: &str, directory: &std::path::Path) -> i32 {
    let found = fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let args: Vec<&[u8]> = line.split(|b| *b == 0).collect();
        let mine = args.get(1) == Some(&&b"shim"[..])
            && args.get(2) == Some(&task.as_bytes())
            && args.get(3).is_some_and(|d| d.starts_with(directory.to_str().unwrap().as_bytes()));
        mine.then_some(pid)
    });
    found.expect("the task has a shim")
}

#[tokio::test]
async fn a_shim_whose_container_runs_gives_back_what_the_start_took() {
    let Some(host) = open() else { return };
    let run = run_of("t1", "main", "t1-1");
    host.runtime.start(host.launch(&run, shell("echo ready; sleep 1000"))).await.unwrap();
    host.wait_for(&run, "ready").await;
    let shim = shim_of("t1", host.dir.path());
    // While it starts a container, more than half of the program counts as the shim's; afterwards a fifth, or a third if
    // the container's first line came late and was handled after that.
    let is_small = || {
        let (all, mapped) = text_of(shim);
        assert!(all > 0 && mapped > 0);
        mapped < all * 9 / 20
    };
    let unmapped = tokio::time::timeout(Duration::from_mins(1), async {
        while !is_small() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let unmapped = unmapped.await.is_ok();
    assert!(unmapped, "the text, and what is mapped of it, in kB: {:?}", text_of(shim));
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn containers_outlive_the_agent_and_their_exits_are_found() {
    let Some(mut host) = open() else { return };
    let go = host.dir.path().join("go");
    let mut definition = shell(
        "echo ready; while [ ! -e /host/go ]; do sleep 0.02; done; seq 1 20000; echo done; exit 9",
    );
    definition.mount_points = Some(vec![coracle::model::task_definition::MountPoint {
        source_volume: Some("host".into()),
        container_path: Some("/host".into()),
        read_only: Some(true),
    }]);
    let run = run_of("t1", "main", "t1-1");
    let mut launch = host.launch(&run, definition);
    launch.start.volumes = vec![coracle::model::task_definition::Volume {
        name: Some("host".into()),
        host: Some(coracle::model::task_definition::HostVolumeProperties {
            source_path: Some(host.dir.path().to_str().unwrap().into()),
        }),
        ..Default::default()
    }];
    let started = host.runtime.start(launch.clone()).await.unwrap();
    host.wait_for(&run, "ready").await;

    // Another agent finds it running, and starting it again starts nothing.
    let (second, mut events) =
        connect(host.dir.path(), &host.cgroup_parent, LogDefaults::default()).unwrap();
    let found = second.scan().await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].shim_alive);
    assert_eq!((found[0].task.as_str(), found[0].generation), ("t1", Generation(1)));
    let container = &found[0].containers[0];
    assert_eq!(container.runtime_id, run.runtime_id);
    let RunState::Running { started_at, .. } = container.state else { panic!("{container:?}") };
    assert_eq!(started_at, started);
    assert_eq!(second.start(launch.clone()).await.unwrap(), started);
    assert_eq!(second.scan().await.unwrap(), found);
    fs::write(&go, "").unwrap();
    let event = tokio::time::timeout(Duration::from_mins(1), events.recv()).await.unwrap();
    assert!(matches!(event, Some(Event::Exited { exit_code: Some(9), .. })), "{event:?}");
    let lines = host.output(&run, Stream::Stdout);
    assert_eq!(lines.lines().count(), 20_002);
    assert!(lines.ends_with("20000\ndone\n"));

    // A third one, after the end: it learns the exit, from the shim or from the record.
    let (third, _events) =
        connect(host.dir.path(), &host.cgroup_parent, LogDefaults::default()).unwrap();
    let found = third.scan().await.unwrap();
    let RunState::Exited(exit) = &found[0].containers[0].state else { panic!("{found:?}") };
    assert_eq!((exit.exit_code, &exit.runtime_id), (Some(9), &run.runtime_id));
    third.release(&run.task).await.unwrap();
    let found = third.scan().await.unwrap();
    assert!(!found[0].shim_alive);
    assert!(matches!(&found[0].containers[0].state, RunState::Exited(e) if e.exit_code == Some(9)));
    drop((second, third));
    host.exit(&run).await;
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn a_killed_shim_takes_its_containers_along_and_is_reported() {
    let Some(mut host) = open() else { return };
    let run = run_of("t1", "main", "t1-1");
    host.runtime.start(host.launch(&run, shell("echo ready; sleep 1000"))).await.unwrap();
    host.wait_for(&run, "ready").await;
    let shim = shim_of("t1", host.dir.path());
    let shim = nix::unistd::Pid::from_raw(shim);
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
    match host.event().await {
        Event::ShimLost { task, generation, .. } => {
            assert_eq!((task.as_str(), generation), ("t1", Generation(1)));
        }
        other @ Event::Exited { .. } => panic!("{other:?}"),
    }
    assert_eq!(host.control_groups("t1"), Vec::<std::path::PathBuf>::new());
    // The task can be started again, as a new run.
    let again = run_of("t1", "main", "t1-2");
    host.runtime.start(host.launch(&again, shell("exit 4"))).await.unwrap();
    assert_eq!(host.exit(&again).await.0, Some(4));
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn a_scan_clears_what_a_killed_shim_left() {
    let Some(host) = open() else { return };
    let run = run_of("t1", "main", "t1-1");
    host.runtime.start(host.launch(&run, shell("echo ready; sleep 1000"))).await.unwrap();
    host.wait_for(&run, "ready").await;
    let (dir, parent) = (host.dir.path().to_owned(), host.cgroup_parent.clone());
    let shim = nix::unistd::Pid::from_raw(shim_of("t1", &dir));
    // As if agent and shim had been killed at once, and the run directory been lost: only the group is left.
    let fd = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(shim.as_raw()).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
    rustix::event::poll(&mut [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)], None)
        .unwrap();
    let (second, _events) = connect(&dir, &parent, LogDefaults::default()).unwrap();
    let found = second.scan().await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(!found[0].shim_alive && found[0].containers.is_empty(), "{found:?}");
    assert_eq!(host.control_groups("t1"), Vec::<std::path::PathBuf>::new());
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn an_older_generation_is_refused_and_a_newer_one_replaces() {
    let Some(mut host) = open() else { return };
    let mut run = run_of("t1", "main", "t1-1");
    run.generation = Generation(2);
    host.runtime.start(host.launch(&run, shell("sleep 1000"))).await.unwrap();
    let mut old = run_of("t1", "main", "t1-0");
    old.generation = Generation(1);
    let error = host.runtime.start(host.launch(&old, shell("true"))).await.unwrap_err();
    assert!(matches!(error, StartError::ResourceInitialization(_)), "{error}");
    let mut new = run_of("t1", "main", "t1-2");
    new.generation = Generation(3);
    host.runtime.start(host.launch(&new, shell("exit 6"))).await.unwrap();
    assert_eq!(host.exit(&run).await.0, Some(137));
    assert_eq!(host.exit(&new).await.0, Some(6));
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn probes_run_inside_and_time_out() {
    let Some(mut host) = open() else { return };
    let run = run_of("t1", "main", "t1-1");
    let definition = shell("echo x >/only-here; echo ready; exec sleep 1000");
    host.runtime.start(host.launch(&run, definition)).await.unwrap();
    host.wait_for(&run, "ready").await;
    let runtime = host.runtime.clone();
    let probe = |script: &str, timeout: u64| {
        let command = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let (runtime, run) = (runtime.clone(), run.clone());
        async move { runtime.probe(&run, command, Duration::from_millis(timeout)).await }
    };
    assert_eq!(probe("test -e /only-here", 30_000).await.unwrap(), Some(0));
    assert_eq!(probe("exit 3", 30_000).await.unwrap(), Some(3));
    // The same fences: filter, capabilities, process namespace, control group.
    for inside in [
        "grep -q 'Seccomp:.2' /proc/self/status",
        "grep -q 'CapBnd:.00000000a80425fb' /proc/self/status",
        "grep -q 'CapEff:.00000000a80425fb' /proc/self/status",
        "[ $(cut -d' ' -f4 /proc/1/stat) = 0 ]",
        "! unshare -m true",
        "! grep -v ':/$' /proc/self/cgroup | grep -q coracle",
        // `exec`: a shell keeps descriptors of its own.
        "exec ls /proc/self/fd >/tmp/fds",
        "[ \"$(tr '\\n' ' ' </tmp/fds)\" = '0 1 2 3 ' ]",
        "[ $(hostname) = t1-1 ]",
    ] {
        assert_eq!(probe(inside, 30_000).await.unwrap(), Some(0), "{inside}");
    }
    assert_eq!(probe("sleep 1000 & sleep 1000", 100).await.unwrap(), None);
    // What timed out was killed with all it started; a dead one may wait for the container's first process.
    let sleepers = "[ $(cat /proc/[0-9]*/stat | grep -c '(sleep) [RSD]') = 1 ]";
    assert_eq!(probe(sleepers, 30_000).await.unwrap(), Some(0));
    let missing = host
        .runtime
        .probe(&run, vec!["nothing".into()], Duration::from_secs(30))
        .await
        .unwrap_err();
    assert!(missing.to_string().contains("executable file not found"), "{missing}");
    host.kill(&run).await;
    assert!(probe("true", 1000).await.is_err());
    host.close(&["t1"]).await;
}

/// What the program is linked with, so that it runs inside as well.
fn libraries(program: &str) -> Vec<std::path::PathBuf> {
    let output = std::process::Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(Into::into).collect()
}

/// CVE-2019-5736: the program that the container's runtime was executed from is written over from inside.
#[tokio::test]
async fn the_programs_file_cannot_be_written_from_inside() {
    let Some(mut host) = open() else { return };
    let program = env!("CARGO_BIN_EXE_coracle");
    let before = fs::metadata(program).unwrap();
    // A program whose interpreter is the runtime itself, run as the container's first process, and by a probe.
    for library in libraries(program) {
        let inside = host.layer().join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(inside.parent().unwrap()).unwrap();
        fs::copy(&library, inside).unwrap();
    }
    fs::write(host.layer().join("bin/evil"), "#!/proc/self/exe\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(host.layer().join("bin/evil"), mode).unwrap();
    let mut definition = shell("");
    definition.entry_point = Some(vec!["/bin/evil".into()]);
    definition.command = None;
    let outcome = host.run("t1", definition).await;
    assert_eq!(outcome.exit_code, Some(2), "the runtime itself ran: {outcome:?}");

    let mut definition = shell(
        "echo ready; for round in $(seq 1 2000); do for exe in /proc/[0-9]*/exe; do \
           case $(readlink $exe) in */busybox|'') ;; *) echo seen; (: >>$exe) 2>/dev/null && echo overwritten;; esac; \
         done; [ -e /stop ] && exit 0; done; exit 0",
    );
    definition.linux_parameters = Some(coracle::model::task_definition::LinuxParameters {
        capabilities: Some(coracle::model::task_definition::KernelCapabilities {
            add: Some(vec!["SYS_PTRACE".into(), "DAC_READ_SEARCH".into()]),
            drop: None,
        }),
        ..Default::default()
    });
    let run = run_of("t2", "main", "t2-1");
    host.runtime.start(host.launch(&run, definition)).await.unwrap();
    host.wait_for(&run, "ready").await;
    for _ in 0..40 {
        let done = host.runtime.probe(&run, vec!["true".into()], Duration::from_secs(30)).await;
        assert_eq!(done.unwrap(), Some(0));
    }
    let stop = vec!["touch".to_owned(), "/stop".to_owned()];
    host.runtime.probe(&run, stop, Duration::from_secs(30)).await.unwrap();
    host.exit(&run).await;
    let output = host.output(&run, Stream::Stdout);
    assert!(!output.contains("overwritten"), "{output}");
    let after = fs::metadata(program).unwrap();
    assert_eq!(
        (before.len(), before.modified().unwrap()),
        (after.len(), after.modified().unwrap())
    );
    host.close(&["t1", "t2"]).await;
}

#[tokio::test]
async fn logs_rotate_and_are_followed_across_rotation() {
    let Some(mut host) =
        open_with(LogDefaults { max_size: 20_000, max_file: 50, ..LogDefaults::default() })
    else {
        return;
    };
    let run = run_of("t1", "main", "t1-1");
    let script = "echo first; for i in $(seq 1 2000); do echo line $i; done; echo last";
    let logs = host.runtime.logs();
    let mut follower = logs.follow(&run.task, &run.container, Beginning::Start).unwrap();
    host.runtime.start(host.launch(&run, shell(script))).await.unwrap();
    let follow = async {
        let mut lines = Vec::new();
        loop {
            lines.push(follower.line().await.unwrap().log);
            if lines.last().unwrap() == "last\n" {
                return lines;
            }
        }
    };
    let lines = tokio::time::timeout(Duration::from_mins(1), follow).await.unwrap();
    assert_eq!(host.exit(&run).await.0, Some(0));
    assert_eq!(lines.first().unwrap(), "first\n");
    assert!(host.dir.path().join("state/logs/t1/main.log.1").exists());
    let all: Vec<String> = host.output(&run, Stream::Stdout).lines().map(str::to_owned).collect();
    assert_eq!(all.len(), 2002);
    let tail = logs.open(&run.task, &run.container, Beginning::Tail(500)).unwrap();
    let tail: Vec<String> = tail.map(|l| l.unwrap().log.trim_end().to_owned()).collect();
    assert_eq!(tail, all[all.len() - 500..]);
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn several_containers_share_a_task_and_one_can_run_again() {
    let Some(mut host) = open() else { return };
    let first = run_of("t1", "one", "t1-1");
    let second = run_of("t1", "two", "t1-2");
    let (a, b) = tokio::join!(
        host.runtime.start(host.launch(&first, shell("echo one >/f; sleep 1000"))),
        host.runtime.start(host.launch(&second, shell("echo two >>/f; cat /f; exit 1"))),
    );
    a.unwrap();
    b.unwrap();
    assert_eq!(host.exit(&second).await.0, Some(1));
    // The same container again begins with its image; its log goes on.
    let again = run_of("t1", "two", "t1-3");
    host.runtime.start(host.launch(&again, shell("echo two >>/f; cat /f; exit 0"))).await.unwrap();
    assert_eq!(host.exit(&again).await.0, Some(0));
    assert_eq!(host.output(&again, Stream::Stdout), "two\ntwo\n");
    // The old run is gone, so a signal for it reaches nobody.
    host.runtime.signal(&second, Signal::Kill).await.unwrap();
    host.runtime.release(&TaskId::new("t1").unwrap()).await.unwrap();
    assert_eq!(host.exit(&first).await.0, Some(137));
    host.close(&["t1"]).await;
}

/// The agent dies at some point of a start; the next one starts the same run again, and it runs once.
#[tokio::test]
async fn a_start_that_is_cut_off_can_be_repeated() {
    let Some(mut host) = open() else { return };
    for round in 0..20_u64 {
        let task = format!("t{round}");
        let run = run_of(&task, "main", &format!("{task}-1"));
        let mut definition = shell("echo ran >>/host/count; exit 0");
        definition.mount_points = Some(vec![coracle::model::task_definition::MountPoint {
            source_volume: Some("host".into()),
            container_path: Some("/host".into()),
            read_only: Some(false),
        }]);
        let shared = host.dir.path().join(&task);
        let mut launch = host.launch(&run, definition);
        launch.start.volumes = vec![coracle::model::task_definition::Volume {
            name: Some("host".into()),
            host: Some(coracle::model::task_definition::HostVolumeProperties {
                source_path: Some(shared.to_str().unwrap().into()),
            }),
            ..Default::default()
        }];
        // Somewhere between nothing done and all done.
        let cut = Duration::from_micros(round * 1500);
        let (directory, parent) = (host.dir.path().to_owned(), host.cgroup_parent.clone());
        let again = launch.clone();
        // With an end of its own: nothing of it may be at work when the next one begins, as after the death of a process.
        let first = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (first, _events) =
                    connect(&directory, &parent, LogDefaults::default()).unwrap();
                let _ = tokio::time::timeout(cut, first.start(again)).await;
            });
        });
        tokio::task::spawn_blocking(move || first.join().unwrap()).await.unwrap();
        host.runtime.scan().await.unwrap();
        host.runtime.start(launch).await.unwrap();
        let ran = shared.join("count");
        let exited = host.dir.path().join(format!("state/tasks/{task}/main.exit"));
        // It may have ended before this agent could see it; then the record says so.
        while !exited.exists() {
            host.event().await;
        }
        assert_eq!(fs::read_to_string(&ran).unwrap(), "ran\n", "round {round}");
        host.runtime.release(&run.task).await.unwrap();
        assert_eq!(host.control_groups(&task), Vec::<std::path::PathBuf>::new());
    }
    host.close(&[]).await;
}

#[tokio::test]
async fn many_tasks_at_once_leave_nothing_behind() {
    let Some(host) = open() else { return };
    let starts = (0..12).map(|number| {
        let run = run_of(&format!("t{number}"), "main", &format!("t{number}-1"));
        let launch = host.launch(&run, shell("sleep 1000"));
        let runtime = host.runtime.clone();
        tokio::spawn(async move { runtime.start(launch).await })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = host.dir.path().to_str().unwrap();
    assert!(!mounts.contains(ours), "no mount of a container shows on the host");
    let tasks: Vec<String> = (0..12).map(|number| format!("t{number}")).collect();
    let directory = host.dir.path().to_owned();
    let tasks: Vec<&str> = tasks.iter().map(String::as_str).collect();
    for task in &tasks {
        host.runtime.release(&TaskId::new(*task).unwrap()).await.unwrap();
    }
    assert_eq!(fs::read_dir(directory.join("run/tasks")).unwrap().count(), 0);
    host.close(&tasks).await;
}

/// A definition that notes in `/host/count` that it ran, and the launch for it with `/host` from the test's directory.
fn counting(host: &rootfs::Host, task: &str, runtime_id: &str) -> (Launch, std::path::PathBuf) {
    let run = run_of(task, "main", runtime_id);
    let mut definition = shell("echo ran >>/host/count; exit 0");
    definition.mount_points = Some(vec![coracle::model::task_definition::MountPoint {
        source_volume: Some("host".into()),
        container_path: Some("/host".into()),
        read_only: Some(false),
    }]);
    let shared = host.dir.path().join(task);
    let mut launch = host.launch(&run, definition);
    launch.start.volumes = vec![coracle::model::task_definition::Volume {
        name: Some("host".into()),
        host: Some(coracle::model::task_definition::HostVolumeProperties {
            source_path: Some(shared.to_str().unwrap().into()),
        }),
        ..Default::default()
    }];
    (launch, shared.join("count"))
}

/// Waits until a prepared container's first process is there: the creator and it.
async fn until_made(host: &rootfs::Host, task: &str) {
    let held = || {
        let groups = host.control_groups(task);
        groups.iter().any(|group| {
            fs::read_to_string(group.join("main/cgroup.procs"))
                .is_ok_and(|pids| pids.lines().count() >= 1)
        })
    };
    until(held).await;
}

async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

#[tokio::test]
async fn a_prepared_container_runs_nothing_until_it_is_started() {
    let Some(mut host) = open() else { return };
    let (launch, count) = counting(&host, "t1", "t1-1");
    let run = launch.start.run.clone();
    host.runtime.prepare(launch.clone()).await.unwrap();
    until_made(&host, "t1").await;
    // Preparing it again changes nothing.
    host.runtime.prepare(launch).await.unwrap();
    // Long enough for it to run by mistake.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!count.exists());
    host.runtime.start_prepared(&run).await.unwrap();
    assert_eq!(host.exit(&run).await, (Some(0), false));
    assert_eq!(fs::read_to_string(&count).unwrap(), "ran\n");
    // Too late to undo.
    host.runtime.abandon(&run).await.unwrap();
    // Another generation is not touched before its start.
    let (mut newer, _) = counting(&host, "t1", "t1-2");
    newer.start.run.generation = Generation(2);
    host.runtime.prepare(newer).await.unwrap_err();
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn a_run_that_has_ended_is_not_begun_again_by_another_shim() {
    let Some(mut host) = open() else { return };
    let (launch, count) = counting(&host, "t1", "t1-1");
    let run = launch.start.run.clone();
    host.runtime.start(launch.clone()).await.unwrap();
    assert_eq!(host.exit(&run).await, (Some(0), false));
    host.runtime.release(&run.task).await.unwrap();
    // A start that comes too late, prepared and not.
    host.runtime.prepare(launch.clone()).await.unwrap();
    host.runtime.start_prepared(&run).await.unwrap();
    host.runtime.start(launch).await.unwrap();
    assert_eq!(fs::read_to_string(&count).unwrap(), "ran\n");
    // Another run of the same container is one.
    let (again, _) = counting(&host, "t1", "t1-2");
    let run = again.start.run.clone();
    host.runtime.start(again).await.unwrap();
    assert_eq!(host.exit(&run).await, (Some(0), false));
    assert_eq!(fs::read_to_string(&count).unwrap(), "ran\nran\n");
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_room_for_another() {
    let Some(mut host) = open() else { return };
    for round in 0..10_u64 {
        let (launch, count) = counting(&host, "t1", &format!("t1-{round}"));
        host.runtime.prepare(launch.clone()).await.unwrap();
        // At any point of the preparation.
        tokio::time::sleep(Duration::from_millis(round * 4)).await;
        host.runtime.abandon(&launch.start.run).await.unwrap();
        assert!(!count.exists());
    }
    let (launch, count) = counting(&host, "t1", "t1-last");
    let run = launch.start.run.clone();
    host.runtime.start(launch).await.unwrap();
    host.exit(&run).await;
    assert_eq!(fs::read_to_string(&count).unwrap(), "ran\n");
    host.close(&["t1"]).await;
}

/// An agent of its own threads and connections, which end together.
async fn prepare_and_die(host: &rootfs::Host, launch: &Launch) {
    let (directory, parent) = (host.dir.path().to_owned(), host.cgroup_parent.clone());
    let launch = launch.clone();
    let agent = std::thread::spawn(move || {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        threads.block_on(async {
            let (agent, events) = connect(&directory, &parent, LogDefaults::default()).unwrap();
            agent.prepare(launch).await.unwrap();
            drop((agent, events));
        });
    });
    tokio::task::spawn_blocking(|| agent.join().unwrap()).await.unwrap();
}

/// The intent never became durable, so no store knows the task.
#[tokio::test]
async fn what_was_prepared_for_a_task_that_never_was_is_removed_by_the_next_agent() {
    let Some(host) = open() else { return };
    let (launch, count) = counting(&host, "t1", "t1-1");
    prepare_and_die(&host, &launch).await;
    let directory = host.dir.path();
    let (state, run) = (directory.join("state/tasks/t1"), directory.join("run/tasks/t1"));
    assert!(state.exists() && run.exists());
    let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_coracle"))
        .arg("agent")
        .args(["--listen", "127.0.0.1:0", "--cgroup-parent", &host.cgroup_parent])
        .arg("--state-dir")
        .arg(directory.join("state"))
        .arg("--run-dir")
        .arg(directory.join("run"))
        .spawn()
        .unwrap();
    until(|| !state.exists() && !run.exists()).await;
    assert_eq!(host.control_groups("t1"), Vec::<std::path::PathBuf>::new());
    assert!(!count.exists());
    agent.kill().unwrap();
    agent.wait().unwrap();
    host.close(&[]).await;
}

#[tokio::test]
async fn what_a_dead_agent_had_prepared_is_undone_and_can_be_started() {
    let Some(mut host) = open() else { return };
    let (launch, count) = counting(&host, "t1", "t1-1");
    let run = launch.start.run.clone();
    prepare_and_die(&host, &launch).await;
    until(|| host.control_groups("t1").iter().all(|group| !group.join("main").exists())).await;
    let found = host.runtime.scan().await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].containers.is_empty());
    assert!(!count.exists());
    host.runtime.start(launch).await.unwrap();
    host.exit(&run).await;
    assert_eq!(fs::read_to_string(&count).unwrap(), "ran\n");
    host.close(&["t1"]).await;
}

#[tokio::test]
async fn a_shim_that_is_killed_takes_what_it_prepared_along() {
    let Some(mut host) = open() else { return };
    let (launch, count) = counting(&host, "t1", "t1-1");
    host.runtime.prepare(launch).await.unwrap();
    until_made(&host, "t1").await;
    let shim = nix::unistd::Pid::from_raw(shim_of("t1", host.dir.path()));
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(matches!(host.event().await, Event::ShimLost { .. }));
    assert_eq!(host.control_groups("t1"), Vec::<std::path::PathBuf>::new());
    assert!(!count.exists());
    host.close(&["t1"]).await;
}
