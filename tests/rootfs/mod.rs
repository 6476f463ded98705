//! A host to test on: a root file system of busybox in a temporary directory, and a runtime of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]
#![allow(clippy::print_stdout, reason = "a skipped test says why")]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use coracle::model::task_definition::ContainerDefinition;
use coracle::model::{ClusterName, ContainerName, Generation, ImageDigest, RuntimeId, TaskId};
use coracle::plan::action::ContainerRun;
use coracle::plan::{Connection, StartContainer};
use coracle::runtime::logs::{Beginning, Stream};
use coracle::runtime::{
    Event, ImageSettings, Launch, LaunchNetwork, LogDefaults, Runtime, RuntimeConfig, Signal,
};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A runtime with directories and a control group of its own.
pub struct Host {
    pub dir: tempfile::TempDir,
    pub runtime: Runtime,
    pub events: UnboundedReceiver<Event>,
    pub cgroup_parent: String,
}

/// How a run ended, and what it wrote.
#[derive(Debug)]
pub struct Outcome {
    pub exit_code: Option<i32>,
    pub out_of_memory: bool,
    pub stdout: String,
    pub stderr: String,
}

/// The box to test on; none, with the reason printed, where containers cannot run.
pub fn open() -> Option<Host> {
    open_with(LogDefaults::default())
}

pub fn open_with(log: LogDefaults) -> Option<Host> {
    open_program(log, Path::new(env!("CARGO_BIN_EXE_coracle")))
}

/// With shims executed from `program`.
pub fn open_program(log: LogDefaults, program: &Path) -> Option<Host> {
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        println!("skipped: /bin/busybox is missing (Debian package busybox-static)");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    build_rootfs(&dir.path().join("layer"), busybox);
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    let cgroup_parent = format!("coracle-test-{}", name.trim_start_matches(".tmp"));
    let (runtime, events) = match connect_program(dir.path(), &cgroup_parent, log, program) {
        Ok(open) => open,
        Err(error) => {
            println!("skipped: {error}");
            return None;
        }
    };
    Some(Host { dir, runtime, events, cgroup_parent })
}

/// Another runtime on the same directories: an agent that has been restarted.
pub fn connect(
    dir: &Path,
    cgroup_parent: &str,
    log: LogDefaults,
) -> Result<(Runtime, UnboundedReceiver<Event>), coracle::runtime::RuntimeError> {
    connect_program(dir, cgroup_parent, log, Path::new(env!("CARGO_BIN_EXE_coracle")))
}

fn connect_program(
    dir: &Path,
    cgroup_parent: &str,
    log: LogDefaults,
    program: &Path,
) -> Result<(Runtime, UnboundedReceiver<Event>), coracle::runtime::RuntimeError> {
    let config = RuntimeConfig {
        state_dir: dir.join("state"),
        volumes_dir: dir.join("state/volumes"),
        run_dir: dir.join("run"),
        cgroup_parent: cgroup_parent.to_owned(),
        log,
        allow_privileged: true,
    };
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    Ok((Runtime::open_with_program(config, sender, program)?, events))
}

fn build_rootfs(root: &Path, busybox: &Path) {
    for directory in ["bin", "etc", "tmp", "root", "home/app"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    let output = std::process::Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(output.stdout).unwrap().lines() {
        if applet != "busybox" {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1001:\naudio:x:29:app\n").unwrap();
}

pub fn run_of(task: &str, container: &str, runtime_id: &str) -> ContainerRun {
    ContainerRun {
        task: TaskId::new(task).unwrap(),
        generation: Generation(1),
        container: ContainerName::new(container).unwrap(),
        runtime_id: RuntimeId::new(runtime_id).unwrap(),
    }
}

pub fn shell(script: &str) -> ContainerDefinition {
    ContainerDefinition {
        entry_point: Some(vec!["sh".into(), "-c".into()]),
        command: Some(vec![script.into()]),
        ..ContainerDefinition::default()
    }
}

impl Host {
    pub fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    pub fn launch(&self, run: &ContainerRun, definition: ContainerDefinition) -> Launch {
        let variables = definition.environment.iter().flatten();
        let environment = variables
            .map(|pair| (pair.name.clone().unwrap(), pair.value.clone().unwrap_or_default()))
            .collect();
        Launch {
            environment,
            files: Vec::new(),
            log_options_secret: std::collections::BTreeMap::new(),
            start: StartContainer {
                cluster: ClusterName::default_cluster(),
                long_name: format!("ecs-test-1-{}", run.container),
                run: run.clone(),
                image_digest: ImageDigest::new(format!("sha256:{}", "0".repeat(64))).unwrap(),
                definition,
                volumes: Vec::new(),
                inherited_mounts: Vec::new(),
                network_mode: "none".into(),
                connection: Connection::None,
                task_role: None,
                launch_type: "EC2".to_owned(),
                pid_mode: None,
                ipc_mode: None,
                task_cpu: None,
                task_memory: None,
                task_cpu_shares: 2,
                restart: false,
            },
            image: ImageSettings::default(),
            layers: vec![self.layer()],
            network: LaunchNetwork::None,
        }
    }

    /// Starts a container and waits for its end.
    pub async fn run(&mut self, task: &str, definition: ContainerDefinition) -> Outcome {
        let run = run_of(task, "main", &format!("{task}-1"));
        let launch = self.launch(&run, definition);
        self.run_launch(launch).await
    }

    pub async fn run_launch(&mut self, launch: Launch) -> Outcome {
        let run = launch.start.run.clone();
        self.runtime.start(launch).await.unwrap();
        let (exit_code, out_of_memory) = self.exit(&run).await;
        let (stdout, stderr) =
            (self.output(&run, Stream::Stdout), self.output(&run, Stream::Stderr));
        Outcome { exit_code, out_of_memory, stdout, stderr }
    }

    /// Waits for the end of a run.
    pub async fn exit(&mut self, run: &ContainerRun) -> (Option<i32>, bool) {
        match self.event().await {
            Event::Exited { run: ended, exit_code, out_of_memory, .. } if ended == *run => {
                (exit_code, out_of_memory)
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    pub async fn event(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap()
    }

    /// What a run wrote.
    pub fn output(&self, run: &ContainerRun, stream: Stream) -> String {
        let log = self.runtime.logs().open(&run.task, &run.container, Beginning::Start).unwrap();
        log.map(Result::unwrap).filter(|l| l.stream == stream).map(|l| l.log).collect()
    }

    /// Waits for a line of a run's output that contains `text`.
    pub async fn wait_for(&self, run: &ContainerRun, text: &str) -> String {
        let logs = self.runtime.logs();
        let mut log = logs.follow(&run.task, &run.container, Beginning::Start).unwrap();
        let found = async {
            loop {
                let line = log.line().await.unwrap();
                if line.log.contains(text) {
                    return line.log;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    pub async fn kill(&mut self, run: &ContainerRun) {
        self.runtime.signal(run, Signal::Kill).await.unwrap();
        self.exit(run).await;
    }

    /// Directories of the box's control groups that still exist.
    pub fn control_groups(&self, task: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for mount in fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(Result::ok) {
            found.push(mount.path().join(&self.cgroup_parent).join(task));
        }
        found.push(Path::new("/sys/fs/cgroup").join(&self.cgroup_parent).join(task));
        found.retain(|p| p.exists());
        found
    }

    /// Removes what the test made outside of its directory.
    pub async fn close(self, tasks: &[&str]) {
        for task in tasks {
            self.runtime.release(&TaskId::new(*task).unwrap()).await.unwrap();
            assert_eq!(self.control_groups(task), Vec::<PathBuf>::new());
        }
        self.runtime.close().await.unwrap();
        let parent = &self.cgroup_parent;
        let left: Vec<PathBuf> = fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .filter_map(Result::ok)
            .map(|mount| mount.path().join(parent))
            .chain([Path::new("/sys/fs/cgroup").join(parent)])
            .filter(|group| group.exists())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}
