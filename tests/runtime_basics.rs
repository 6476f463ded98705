//! Containers on the real kernel: they run, log, exit, and leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod rootfs;

use coracle::model::TaskId;
use coracle::model::task_definition::LinuxParameters;
use coracle::runtime::Signal;
use coracle::runtime::logs::Stream;
use rootfs::{open, run_of, shell};

#[tokio::test]
async fn a_container_runs_logs_and_exits() {
    let Some(mut host) = open() else { return };
    let outcome = host.run("t1", shell("echo out; echo err >&2; exit 7")).await;
    assert_eq!(outcome.exit_code, Some(7));
    assert!(!outcome.out_of_memory);
    assert_eq!(outcome.stdout, "out\n");
    assert_eq!(outcome.stderr, "err\n");
    let task = TaskId::new("t1").unwrap();
    host.runtime.release(&task).await.unwrap();
    assert!(!host.dir.path().join("run/tasks/t1").exists());
    assert!(!host.dir.path().join("state/tasks/t1/main").exists());
    assert!(host.dir.path().join("state/tasks/t1/main.exit").exists());
    assert!(host.dir.path().join("state/logs/t1/main.log").exists());
    host.runtime.forget(&task).await.unwrap();
    assert!(!host.dir.path().join("state/tasks/t1").exists());
    assert!(!host.dir.path().join("state/logs/t1").exists());
    host.close(&[]).await;
}

#[tokio::test]
async fn signals_end_a_container_with_their_code() {
    let Some(mut host) = open() else { return };
    let run = run_of("t1", "main", "t1-1");
    let script = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 1000 & wait $!; done";
    host.runtime.start(host.launch(&run, shell(script))).await.unwrap();
    host.wait_for(&run, "ready").await;
    host.runtime.signal(&run, Signal::Stop).await.unwrap();
    assert_eq!(host.exit(&run).await, (Some(3), false));
    assert_eq!(host.output(&run, Stream::Stdout), "ready\nbye\n");
    // Gone is fine.
    host.runtime.signal(&run, Signal::Kill).await.unwrap();

    let run = run_of("t2", "main", "t2-1");
    host.runtime.start(host.launch(&run, shell("sleep 1000"))).await.unwrap();
    host.runtime.signal(&run, Signal::Kill).await.unwrap();
    assert_eq!(host.exit(&run).await, (Some(137), false));
    host.close(&["t1", "t2"]).await;
}

#[tokio::test]
async fn an_init_process_reaps_and_hands_signals_on() {
    let Some(mut host) = open() else { return };
    let init =
        || Some(LinuxParameters { init_process_enabled: Some(true), ..LinuxParameters::default() });
    let run = run_of("t1", "main", "t1-1");
    let script = "trap 'exit 3' TERM; [ $$ != 1 ] && cat /proc/1/comm; (sleep 0.01 & exec true); \
                  while ! [ -e /done ]; do grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | grep -v self || touch /done; done; \
                  grep Seccomp: /proc/1/status; ls /proc/1/fd | tr '\\n' ' '; echo ready; while :; do sleep 1000 & wait $!; done";
    let mut definition = shell(script);
    definition.linux_parameters = init();
    host.runtime.start(host.launch(&run, definition)).await.unwrap();
    host.wait_for(&run, "ready").await;
    host.runtime.signal(&run, Signal::Stop).await.unwrap();
    assert_eq!(host.exit(&run).await, (Some(3), false));
    let output = host.output(&run, Stream::Stdout);
    assert!(output.starts_with("init\n"), "{output}");
    assert!(output.ends_with("Seccomp:\t2\n0 1 2 ready\n"), "{output}");
    let mut definition = shell("kill -9 $$");
    definition.linux_parameters = init();
    assert_eq!(host.run("t2", definition).await.exit_code, Some(137));
    host.close(&["t1", "t2"]).await;
}
