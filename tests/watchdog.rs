//! systemd's watchdog: fed while the engine comes round, and not while it is stuck. The socket and the stuck disk are real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may fail by panicking, and says why it skips"
)]

mod agent;

use agent::{Agent, Host, kill, wait_for};
use serde_json::json;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the agent is told that systemd waits for a feed.
const WITHIN: Duration = Duration::from_secs(2);

/// The end of the notification socket that is systemd's.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(dir: &Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path }
    }

    /// Starts the agent with the environment that systemd gives a service.
    fn start<'a>(&self, host: &'a Host) -> Agent<'a> {
        let mut command = host.agent_command();
        command.env("NOTIFY_SOCKET", &self.path);
        command.env("WATCHDOG_USEC", WITHIN.as_micros().to_string());
        host.start_command(command)
    }

    /// The next message, if it comes within that time.
    fn next(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 256];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).unwrap()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn wait_for_feed(&self) {
        while self.next(agent::PATIENCE).expect("the watchdog is not fed") != "WATCHDOG=1\n" {}
    }
}

/// A file system that can be made to keep writes waiting; it lets go of them, and goes, when dropped.
struct Freezer(PathBuf);

impl Freezer {
    fn mount(image: &Path, at: &Path) -> Option<Self> {
        std::fs::File::create_new(image).unwrap().set_len(64 << 20).unwrap();
        std::fs::create_dir_all(at).unwrap();
        for output in [
            Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).output(),
            Command::new("mount").args(["-o", "loop"]).arg(image).arg(at).output(),
        ] {
            if !output.as_ref().is_ok_and(|output| output.status.success()) {
                println!("skipped: no file system on a loop device can be made: {output:?}");
                return None;
            }
        }
        Some(Self(at.to_owned()))
    }

    fn set(&self, how: &str) -> bool {
        Command::new("fsfreeze").arg(how).arg(&self.0).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).output();
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how often it is fed is real time")]
fn a_stuck_engine_is_not_fed_and_started_again_it_finds_its_tasks() {
    let host = Host::new();
    let image = host.dir.path().join("disk");
    let Some(disk) = Freezer::mount(&image, &host.state_dir()) else { return };
    let manager = Manager::new(host.dir.path());
    let agent = manager.start(&host);
    assert_eq!(manager.next(agent::PATIENCE).unwrap(), "READY=1\n");

    // Not from one that came while this test had to wait.
    while manager.next(Duration::from_millis(1)).is_some() {}
    manager.wait_for_feed();
    let begin = Instant::now();
    manager.wait_for_feed();
    manager.wait_for_feed();
    // Two pauses passed, and an idle agent is woken no more often than that.
    assert!(begin.elapsed() > WITHIN * 9 / 10, "fed after {:?}", begin.elapsed());

    host.load_busybox(&agent);
    let sleeper = agent.register(
        "sleeper",
        json!({"name": "main", "image": "coracle/busybox", "memory": 32, "stopTimeout": 1,
               "command": ["sleep", "1000"]}),
    );
    let task = agent.run(&sleeper);
    agent.wait(&task, "RUNNING");
    let before = host.container_pids();

    // What was fed meanwhile; there is a second between two feeds.
    while manager.next(WITHIN / 4).is_some() {}
    assert!(disk.set("-f"), "fsfreeze");
    // A commit, from which the engine does not come back.
    let mut asking = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(["run", "--detach", "--run-dir"])
        .arg(host.run_dir())
        .args(["coracle/busybox", "true"])
        .spawn()
        .unwrap();
    // One feed may be under way before the request arrives; a loaded machine may be late with it.
    let mut more = 0;
    while manager.next(WITHIN * 2).is_some() {
        more += 1;
        assert!(more < 8, "a stuck engine is fed");
    }
    // What systemd does in the end. A process in a write that hangs goes when the write does.
    kill(agent.pid(), 9);
    assert!(disk.set("-u"), "fsfreeze");
    let status = agent.wait_for_its_end();
    assert!(!status.success(), "{status}");
    let _ = asking.wait();

    let agent = manager.start(&host);
    manager.wait_for_feed();
    assert_eq!(agent.describe(&task)["lastStatus"], "RUNNING");
    assert!(before.iter().all(|pid| host.container_pids().contains(pid)), "another process");
    agent.ok("StopTask", &json!({ "task": task }));
    agent.wait(&task, "STOPPED");
    wait_for("the containers to be gone", || host.container_pids().is_empty());
    drop(agent);
    drop(disk);
}

#[test]
fn a_disk_that_was_slow_is_fed_again() {
    let host = Host::new();
    let image = host.dir.path().join("disk");
    let Some(disk) = Freezer::mount(&image, &host.state_dir()) else { return };
    let manager = Manager::new(host.dir.path());
    let agent = manager.start(&host);
    manager.wait_for_feed();
    assert!(disk.set("-f"), "fsfreeze");
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| agent.ok("CreateCluster", &json!({"clusterName": "slow"})));
        while manager.next(WITHIN * 2).is_some() {}
        assert!(!asked.is_finished(), "the disk is not frozen");
        assert!(disk.set("-u"), "fsfreeze");
        manager.wait_for_feed();
        assert_eq!(asked.join().unwrap()["cluster"]["clusterName"], "slow");
    });
    assert!(host.log().contains("the engine was stuck for"), "{}", host.log());
    drop(agent);
}
