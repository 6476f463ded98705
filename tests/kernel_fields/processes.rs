//! `initProcessEnabled`: the first process of a container.

use super::{Host, register, run, shell, wait_for_line, with};
use serde_json::json;
use std::os::unix::fs::MetadataExt;

fn with_init(script: &str) -> serde_json::Value {
    with(shell(script), json!({"linuxParameters": {"initProcessEnabled": true}}))
}

#[test]
fn an_init_reaps_and_hands_signals_and_the_exit_code_on() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);

    // Without: the program is the first process, and nobody reaps for it.
    let orphan = "sh -c 'sleep 0.2 & echo $! >/orphan'; pid=$(cat /orphan); ";
    let ended = run(
        &agent,
        "without",
        shell(&format!(
            "mkfifo /end; {orphan} (while grep -q '^State:.[SR]' /proc/$pid/status; do sleep 0.1; done; \
         grep ^State /proc/$pid/status; : >/end) & exec cat /end"
        )),
    );
    assert!(ended.text("main").contains("State:\tZ"), "{}", ended.text("main"));

    let ended = run(
        &agent,
        "reaps",
        with_init(&format!(
            "{orphan} while [ -d /proc/$pid ]; do sleep 0.1; done; echo reaped; cat /proc/1/comm; \
         echo program $$; ls /proc/1/fd; grep -E '^(Cap|Seccomp:|NoNew)' /proc/1/status >/one; \
         grep -E '^(Cap|Seccomp:|NoNew)' /proc/self/status | cmp - /one && echo same; exit 42"
        )),
    );
    let text = ended.text("main");
    assert!(text.contains("reaped\ninit\nprogram 2\n0\n1\n2\nsame\n"), "{text}");
    assert_eq!(ended.exit_code(), 42);

    // The program's end is the container's, whatever else runs.
    let ended = run(&agent, "others", with_init("sleep 1000 & setsid sleep 1000 & exit 7"));
    assert_eq!(ended.exit_code(), 7);
    let ended = run(&agent, "signalled", with_init("kill -9 $$"));
    assert_eq!(ended.exit_code(), 137);

    // A program without a handler would not end as the first process; behind an init it does.
    for (family, script, code) in [
        ("default", "echo up; exec sleep 1000", 143),
        ("handled", "trap 'echo told; exit 9' TERM; echo up; while :; do sleep 0.1; done", 9),
    ] {
        let definition = register(
            &agent,
            family,
            json!({"containerDefinitions": [
            with(with_init(script), json!({"stopTimeout": 60}))]}),
        );
        let arn = agent.run(&definition);
        wait_for_line(&agent, &arn, "main", "up");
        agent.ok("StopTask", &json!({"task": arn}));
        let task = agent.wait(&arn, "STOPPED");
        assert_eq!(task["containers"][0]["exitCode"], code, "{task:#}");
    }

    // What cannot be executed is told as without an init.
    let ended = run(&agent, "nothing", with(with_init(""), json!({"command": ["/none/such"]})));
    assert!(ended.reason().starts_with("CannotStartContainerError"), "{:#}", ended.task);
}

#[test]
fn an_init_reaps_where_it_is_not_the_first_process() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    for mode in ["host", "task"] {
        let script = "sh -c 'sleep 0.2 & echo $! >/orphan'; pid=$(cat /orphan); \
            cut -d' ' -f4 /proc/$pid/stat; echo $PPID; cat /proc/$PPID/comm; \
            while [ -d /proc/$pid ]; do sleep 0.1; done; exit 5";
        let ended = super::run_task(
            &agent,
            &format!("init-{mode}"),
            json!({"pidMode": mode, "containerDefinitions": [with_init(script)]}),
        );
        let lines = ended.lines();
        assert_eq!((lines[0], lines[2]), (lines[1], "init"), "{}", ended.text("main"));
        assert_eq!(ended.exit_code(), 5);
    }
}

/// An init is a copy of the runtime, so its program must be as safe as the shim's (CVE-2019-5736).
#[test]
fn an_init_gives_nothing_of_the_runtime_away() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let program = env!("CARGO_BIN_EXE_coracle");
    let before = std::fs::metadata(program).unwrap();
    // It cannot be looked into; whoever may look into everything finds the container's own root, and a read-only file.
    let script = "for n in 1 2 3 4 5 6 7 8 9 10; do (echo overwritten >/proc/1/exe) 2>/dev/null && echo WROTE; done; \
        (: >>/proc/1/exe) 2>&1; chmod 777 /proc/1/exe 2>&1; ls /proc/1/root/ 2>&1; ls /proc/1/fd; echo end";
    for (family, add, refusal) in [
        ("copy", json!([]), "Permission denied"),
        ("copy-ptrace", json!(["SYS_PTRACE"]), "Read-only file system"),
    ] {
        let mut container = with_init(script);
        container["linuxParameters"]["capabilities"] = json!({"add": add});
        let ended = run(&agent, family, container);
        let text = ended.text("main");
        assert!(text.ends_with("0\n1\n2\nend\n") && !text.contains("WROTE"), "{text}");
        assert!(text.contains(&format!("/proc/1/exe: {refusal}")), "{text}");
        assert!(!text.contains("lost+found") && !text.contains("boot"), "{text}");
    }
    let after = std::fs::metadata(program).unwrap();
    let seen = |m: &std::fs::Metadata| (m.mtime(), m.mtime_nsec(), m.len(), m.mode());
    assert_eq!(seen(&before), seen(&after));
}
