//! `pidMode`, `ipcMode` and `systemControls`.

use super::{Host, register, run, run_task, shell, wait_for_line, with};
use crate::agent::wait_for;
use serde_json::json;
use std::fs;

fn own(namespace: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap().display().to_string()
}

/// A container that goes on until its task is stopped.
fn lasting(name: &str, script: &str) -> serde_json::Value {
    let script = format!("{script}; exec sleep 1000");
    with(shell(&script), json!({"name": name, "essential": true}))
}

#[test]
fn containers_of_a_task_share_its_processes() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let containers = json!([
        lasting(
            "first",
            "echo ns $(readlink /proc/self/ns/pid); echo one $(tr '\\0' ' ' </proc/1/cmdline)"
        ),
        with(
            // What its parent leaves is reaped by the first process, which is no container's.
            shell(
                "readlink /proc/self/ns/pid; for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done; \
                 (sleep 0.1 & echo $! >/left); orphan=$(cat /left); \
                 while [ -d /proc/$orphan ]; do sleep 0.1; done; echo reaped; \
                 kill -9 1; kill -TERM 1; ls /proc/1/root/ /proc/1/fd 2>&1; \
                 grep -c . /proc/1/net/dev; grep -E 'CapEff|CapBnd|NoNewPrivs|Name' /proc/1/status"
            ),
            json!({"essential": true, "dependsOn": [{"containerName": "first", "condition": "START"}],
                   "linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"]}}}),
        ),
    ]);
    let shims = host.shims();
    let arn = agent.run(&register(
        &agent,
        "shared",
        json!({"pidMode": "task", "containerDefinitions": containers}),
    ));
    let pid_namespace = wait_for_line(&agent, &arn, "first", "ns ");
    let task = agent.wait(&arn, "STOPPED");
    let ended = super::Ended { output: agent.output(&arn), task };
    let lines = ended.lines();
    let (text, first) = (ended.text("main"), ended.text("first"));
    assert_eq!(format!("ns {}", lines[0]), pid_namespace, "{text}");
    assert_ne!(lines[0], own("pid"));
    assert!(first.contains("one pause"), "{first}");
    assert!(lines.iter().any(|line| line.starts_with("sleep 1000")), "{text}");
    assert!(text.contains("reaped"), "{text}");
    // An empty root, nothing in its network namespace but what the kernel puts there, no privileges.
    assert!(!text.contains("bin") && !text.contains("etc") && !text.contains("proc\n"), "{text}");
    assert_eq!(super::status(&text, "Name"), "pause");
    assert_eq!(super::status(&text, "CapEff"), "0000000000000000");
    assert_eq!(super::status(&text, "CapBnd"), "0000000000000000");
    assert_eq!(super::status(&text, "NoNewPrivs"), "1");
    // The first process is no container, and goes with the task.
    assert_eq!(ended.task["containers"].as_array().unwrap().len(), 2);
    assert_eq!(ended.exit_code(), 0, "{text}");
    assert_eq!(ended.container("first")["exitCode"], 143);
    wait_for("the shim and its copy to end", || host.shims().len() <= shims.len());
    assert_eq!(host.pids_in_cgroups(), Vec::<i32>::new());
}

#[test]
fn shared_namespaces_outlive_the_agent_and_end_with_the_shim() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let modes = json!({"pidMode": "task", "ipcMode": "task", "containerDefinitions": [
        lasting("main", "echo ready"),
        with(lasting("late", "[ -e /dev/shm/now ] && echo found; readlink /proc/self/ns/ipc"),
            json!({"dependsOn": [{"containerName": "main", "condition": "HEALTHY"}]})),
    ]});
    let mut definition = modes;
    definition["containerDefinitions"][0]["healthCheck"] =
        json!({"command": ["CMD-SHELL", "[ -e /dev/shm/now ]"], "interval": 5, "retries": 10});
    let arn = agent.run(&register(&agent, "outlives", definition));
    wait_for_line(&agent, &arn, "main", "ready");
    agent.kill();
    let agent = host.start();
    // Put there from the host, through the container that runs.
    let pid = *host.container_pids_in_any_namespace().first().unwrap();
    fs::write(format!("/proc/{pid}/root/dev/shm/now"), "").unwrap();
    let ipc = fs::read_link(format!("/proc/{pid}/ns/ipc")).unwrap().display().to_string();
    assert_eq!(wait_for_line(&agent, &arn, "late", "found"), "found");
    assert_eq!(wait_for_line(&agent, &arn, "late", "ipc:"), ipc);
    // Without its shim nothing of the task is left, the namespaces' first process included.
    let shims = host.shims();
    let shim = *shims.iter().min().unwrap();
    crate::agent::kill(shim, 9);
    agent.wait(&arn, "STOPPED");
    wait_for("all processes to end", || {
        host.pids_in_cgroups().is_empty() && shims.iter().all(|pid| !host.shims().contains(pid))
    });
}

#[test]
fn processes_of_the_box_are_seen_and_cannot_be_reached() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let marker = format!("CORACLE_MARKER={}", agent.pid());
    let script = format!(
        "readlink /proc/self/ns/pid; agent={}; tr '\\0' ' ' </proc/$agent/cmdline; echo; \
         tr '\\0' ' ' </proc/$PPID/cmdline; echo; \
         for pid in $agent $PPID; do \
           for f in environ mem maps auxv exe fd/0 root/etc cwd/etc ns/mnt task/$pid/environ; do \
             [ $f != exe ] || {{ readlink /proc/$pid/exe && echo REACHED $pid $f; }}; \
             cat /proc/$pid/$f >/dev/null 2>&1 && echo REACHED $pid $f; \
             ls /proc/$pid/$f/ >/dev/null 2>&1 && echo REACHED $pid $f/; \
             (echo x >/proc/$pid/$f) 2>/dev/null && echo WROTE $pid $f; done; done; \
         echo done; sleep 1000 & sleep 1000 & exit 3",
        agent.pid()
    );
    let ended = run_task(
        &agent,
        "host-pid",
        json!({"pidMode": "host", "containerDefinitions": [with(shell(&script), json!({"environment": [{"name": "M", "value": marker}]}))]}),
    );
    let text = ended.text("main");
    assert_eq!(ended.lines()[0], own("pid"), "{text}");
    assert!(text.contains("agent --state-dir") && text.contains("coracle shim"), "{text}");
    assert!(text.contains("done"), "{text}");
    assert!(!text.contains("REACHED") && !text.contains("WROTE"), "{text}");
    // What the first process left behind ended with it.
    assert_eq!(ended.exit_code(), 3);
    assert_eq!(host.pids_in_cgroups(), Vec::<i32>::new());

    // Stopping ends all, not only the process that is known.
    let arn = agent.run(&register(
        &agent,
        "host-pid-stop",
        json!({"pidMode": "host", "containerDefinitions": [shell("trap '' TERM; sleep 1000 & setsid sleep 1000 & echo up; sleep 1000")]}),
    ));
    wait_for_line(&agent, &arn, "main", "up");
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
    assert_eq!(host.pids_in_cgroups(), Vec::<i32>::new());
}

#[test]
fn memory_is_shared_as_ipc_mode_says() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let look = "readlink /proc/self/ns/ipc; grep ' /dev/shm ' /proc/mounts; ls -A /dev/shm; ls -d /dev/shm";

    let ended = run(&agent, "ipc-own", shell(look));
    assert_ne!(ended.lines()[0], own("ipc"));
    assert!(ended.text("main").contains("size=65536k"), "{}", ended.text("main"));

    // As large as the largest of the task's containers asks for.
    let large = json!({"linuxParameters": {"sharedMemorySize": 100}});
    let ended = run_task(
        &agent,
        "ipc-task",
        json!({"ipcMode": "task", "containerDefinitions": [
            with(lasting("writer", "echo here >/dev/shm/file; echo ns $(readlink /proc/self/ns/ipc)"), json!({"essential": false})),
            with(shell("while [ ! -s /dev/shm/file ]; do sleep 0.1; done; cat /dev/shm/file; echo ns $(readlink /proc/self/ns/ipc); \
                grep ' /dev/shm ' /proc/mounts; : >/dev/shm/x && echo writable; cp /bin/busybox /dev/shm/; /dev/shm/busybox true || echo noexec"), large),
        ]}),
    );
    let text = ended.text("main");
    let namespace = ended.lines()[1];
    assert_eq!(ended.lines()[0], "here", "{text}");
    assert!(ended.text("writer").contains(namespace) && !namespace.contains(&own("ipc")), "{text}");
    assert!(
        text.contains("size=102400k") && text.contains("writable") && text.contains("noexec"),
        "{text}"
    );

    let ended = run_task(
        &agent,
        "ipc-none",
        json!({"ipcMode": "none", "containerDefinitions": [shell(look)]}),
    );
    assert_ne!(ended.lines()[0], own("ipc"));
    assert!(!ended.text("main").contains("tmpfs"), "{}", ended.text("main"));
    assert!(ended.text("main").contains("No such file"), "{}", ended.text("main"));

    let file = format!("/dev/shm/coracle-test-{}", agent.pid());
    fs::write(&file, "").unwrap();
    let ended = run_task(
        &agent,
        "ipc-host",
        json!({"ipcMode": "host", "containerDefinitions": [shell(&format!("{look}; rm {file} && echo removed"))]}),
    );
    let gone = fs::remove_file(&file).is_err();
    assert_eq!(ended.lines()[0], own("ipc"));
    assert!(ended.text("main").contains("removed") && gone, "{}", ended.text("main"));
}

#[test]
fn kernel_parameters_are_set_in_each_namespace() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let parameters = [
        ("net.core.somaxconn", "77"),
        ("net.ipv4.ip_local_port_range", "20000\t20100"),
        ("fs.mqueue.msg_max", "7"),
        ("kernel.msgmax", "4097"),
        ("kernel.msgmnb", "20000"),
        ("kernel.msgmni", "55"),
        ("kernel.sem", "100\t200\t30\t40"),
        ("kernel.shmall", "1000000"),
        ("kernel.shmmax", "123456789"),
        ("kernel.shmmni", "44"),
        ("kernel.shm_rmid_forced", "1"),
    ];
    let path = |name: &str| format!("/proc/sys/{}", name.replace('.', "/"));
    let files: Vec<_> = parameters.iter().map(|(name, _)| path(name)).collect();
    let before: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let controls: Vec<_> =
        parameters.iter().map(|(name, value)| json!({"namespace": name, "value": value})).collect();
    let container =
        with(shell(&format!("cat {}", files.join(" "))), json!({"systemControls": controls}));
    let ended = run(&agent, "sysctl", container);
    let expected: Vec<_> = parameters.iter().map(|(_, value)| *value).collect();
    assert_eq!(ended.lines(), expected, "{}", ended.text("main"));
    let after: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert_eq!(before, after, "the box's own");

    // What is not the container's own is refused at registration.
    for (task, control, names) in [
        (json!({"networkMode": "host"}), "net.core.somaxconn", "networkMode=host"),
        (json!({"ipcMode": "host"}), "kernel.shmmax", "ipcMode=host"),
        (json!({"ipcMode": "host"}), "fs.mqueue.msg_max", "ipcMode=host"),
        (json!({}), "kernel.panic", "kernel.panic"),
        (json!({}), "vm.swappiness", "vm.swappiness"),
    ] {
        let container =
            with(shell("true"), json!({"systemControls": [{"namespace": control, "value": "1"}]}));
        let input = with(
            json!({"family": "refused", "networkMode": "none", "containerDefinitions": [container]}),
            task,
        );
        let error = agent.call("RegisterTaskDefinition", &input).unwrap_err();
        assert!(error.message.contains(names) && error.message.contains(control), "{error:?}");
    }

    // A value that the kernel refuses says which.
    let container = with(
        shell("true"),
        json!({"systemControls": [{"namespace": "kernel.shmmni", "value": "none"}]}),
    );
    let ended = run(&agent, "sysctl-value", container);
    assert!(ended.reason().contains("kernel.shmmni"), "{:#}", ended.task);
}
