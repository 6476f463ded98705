//! The creator: a copy of the shim that makes one container through libcontainer and ends.
//!
//! It works in a mount namespace of its own, so the root file system it mounts is seen by nobody else and goes when
//! the container goes. Its changes to itself (directory, heap, dumpable, OOM score) go with it.

use super::stdio::Stdio;
use crate::runtime::cgroup::Hierarchy;
use crate::runtime::launch::LaunchFile;
use crate::runtime::process::{ContainerExecutor, ContainerTerminal, chain, default_signals};
use crate::runtime::protocol::{Created, Failure, Stage};
use crate::runtime::volume::{self, VolumeError};
use crate::runtime::{layout, record, spec};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::init_builder::InitContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::unistd::ForkResult;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the creator works from.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) launch: LaunchFile,
    pub(super) joined: super::Joined,
    /// The task's control group.
    pub(super) group: PathBuf,
    pub(super) hierarchy: Hierarchy,
    pub(super) stdio: Stdio,
    /// The shim does not share the host's mounts.
    pub(super) own_namespace: bool,
    /// The program is executed once a byte comes from here; at once without it.
    pub(super) go: Option<OwnedFd>,
    /// Takes one line: [`Created`].
    pub(super) report: OwnedFd,
}

/// Starts a creator; in the shim, returns its process id.
#[expect(unsafe_code, reason = "fork is how the shim keeps libcontainer out of itself")]
pub(super) fn fork(order: Order) -> io::Result<i32> {
    // SAFETY: the shim has one thread, so the copy may do whatever the original could.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            // The shim's own, above all its connections: whoever holds a copy keeps them open after its death. This
            // copy ends without dropping what owned them.
            let mut keep = order.stdio.descriptors();
            keep.push(order.report.as_raw_fd());
            keep.extend(order.go.iter().map(AsRawFd::as_raw_fd));
            super::close_all_but(&mut keep);
            let report = order.report.try_clone();
            let created = match create(order) {
                Ok(pid) => Created::Running { pid },
                Err(failure) => Created::Failed(failure),
            };
            if let (Ok(report), Ok(mut line)) = (report, serde_json::to_vec(&created)) {
                line.push(b'\n');
                let _ = File::from(report).write_all(&line);
            }
            // SAFETY: ends this copy without running what the shim registered for its own end.
            unsafe { libc::_exit(0) }
        }
    }
}

fn create(order: Order) -> Result<i32, Failure> {
    let at = |stage: Stage, what: &'static str| {
        move |error: io::Error| Failure::new(stage, format!("{what}: {error}"))
    };
    default_signals();
    // A shim that is killed takes an unfinished container with it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|e| at(Stage::Resources, "prctl")(e.into()))?;
    let launch = &order.launch;
    let resources = |error: VolumeError| Failure::new(Stage::Resources, chain(&error));
    let volumes = volume::provide(launch, order.own_namespace).map_err(resources)?;
    private_mounts().map_err(at(Stage::Resources, "mount namespace"))?;
    let directory = launch.layout.container_run(&launch.task, &launch.container);
    let rootfs = directory.join("rootfs");
    let writable = launch.layout.container_state(&launch.task, &launch.container);
    // The first run begins with the image; one that `restartPolicy` brings back finds what the run before it wrote. After a
    // power cut, which leaves perhaps half of that, the directory has been removed.
    if !launch.restart {
        layout::remove_tree(&writable).map_err(at(Stage::Resources, "writable layer"))?;
    }
    super::overlay::mount_overlay(&launch.layers, &writable, &rootfs)
        .map_err(at(Stage::Create, "cannot mount the root file system"))?;
    volume::populate(&volumes, &rootfs).map_err(resources)?;
    let mounts =
        volume::stage(launch, &volumes, &rootfs, &directory.join("mounts")).map_err(resources)?;
    let group = order.group.join(launch.container.as_str());
    let absolute_group = Path::new("/").join(&group);
    let view = directory.join("cgroup");
    let memory = directory.join("shm");
    if let Some(namespace) = &order.joined.memory {
        let mib = spec::shared_memory_mib(&launch.definition);
        super::shared::mount_memory(namespace, mib, &memory)
            .map_err(at(Stage::Resources, "/dev/shm of the task"))?;
    }
    let built = spec::build(&spec::Input {
        launch,
        rootfs: &rootfs,
        directory: &directory,
        cgroup: &absolute_group,
        cgroup_view: matches!(order.hierarchy, Hierarchy::V1(_)).then_some(&*view),
        mounts: &mounts.binds,
        joined: &order.joined,
        shared_memory: order.joined.memory.is_some().then_some(&*memory),
    })
    .map_err(|error| Failure::new(Stage::Create, chain(&error)))?;
    write_private(&directory.join("config.json"), &built.config)
        .map_err(at(Stage::Resources, "config.json"))?;
    order
        .hierarchy
        .create_task(&order.group, &built.task_limits)
        .and_then(|()| order.hierarchy.create_container(&group, &built.limits, &built.devices))
        .map_err(|e| Failure::new(Stage::Resources, chain(&e)))?;
    let back = order.hierarchy.back_with_memory();
    if let Hierarchy::V1(_) = order.hierarchy {
        let writable = launch.definition.privileged == Some(true);
        super::cgroup_view::prepare(&order.hierarchy, &group, &view, writable)
            .map_err(at(Stage::Resources, "cannot show the control groups"))?;
        order
            .hierarchy
            .join(&group, std::process::id())
            .map_err(|e| Failure::new(Stage::Resources, chain(&e)))?;
        super::cgroup_view::cover(&order.hierarchy)
            .map_err(at(Stage::Resources, "cannot cover the control groups"))?;
    }

    let (mut errors, error_end) = pipe_with(PipeFlags::CLOEXEC)
        .map(|(read, write)| (File::from(read), write))
        .map_err(|e| at(Stage::Resources, "pipe")(e.into()))?;
    let executor = ContainerExecutor {
        privileges: built.privileges,
        program: built.program,
        report: error_end.as_raw_fd(),
        late: Arc::new(mounts.late),
        terminal: match &order.stdio {
            Stdio::Terminal { socket, size } => {
                Some(ContainerTerminal { socket: socket.as_raw_fd(), size: *size, uid: built.uid })
            }
            Stdio::Null | Stdio::Pipes { .. } => None,
        },
    };
    order.stdio.give_to(built.uid).map_err(at(Stage::Resources, "standard streams"))?;
    // The socket must be there until the container's process has used it, by its number.
    let (pipes, _socket) = match order.stdio {
        Stdio::Pipes { stdin, stdout, stderr } => (Some((stdin, stdout, stderr)), None),
        Stdio::Terminal { socket, .. } => (None, Some(socket)),
        Stdio::Null => (None, None),
    };
    let id = launch.runtime_id.as_str().to_owned();
    let state = directory.join("oci");
    layout::remove_tree(&state).map_err(at(Stage::Resources, "container state"))?;
    let container = ContainerBuilder::new(id, SyscallType::default())
        .with_root_path(&state)
        .map(|builder| {
            // What is not given is this process's own: /dev/null.
            let builder = builder.with_executor(executor);
            let builder = match pipes {
                Some((stdin, stdout, stderr)) => {
                    let builder = builder.with_stdout(stdout).with_stderr(stderr);
                    match stdin {
                        Some(stdin) => builder.with_stdin(stdin),
                        None => builder,
                    }
                }
                None => builder,
            };
            builder.as_init(&directory).with_systemd(false).with_detach(true).as_sibling(true)
        })
        .and_then(InitContainerBuilder::build);
    // When the container's memory runs out, the kernel would take this process for what fills it.
    if let Some(back) = back {
        back.enter().map_err(|e| Failure::new(Stage::Resources, chain(&e)))?;
    }
    if let (Ok(_), Some(go)) = (&container, order.go)
        && !matches!(File::from(go).read(&mut [0]), Ok(1))
    {
        // Whoever closes the pipe also kills what was made.
        return Err(Failure::new(Stage::Request, "the start was abandoned"));
    }
    let container = container.and_then(|mut container| container.start().map(|()| container));
    // Ours; the init process has its own, which closes when it executes the program.
    drop(error_end);
    let mut refusal = String::new();
    let _ = (&mut errors).take(4096).read_to_string(&mut refusal);
    let container = match container {
        Ok(container) if refusal.is_empty() => container,
        Err(error) if refusal.is_empty() => {
            return Err(Failure::new(Stage::Create, explained(chain(&error), launch)));
        }
        _ => return Err(Failure::new(Stage::Start, refusal)),
    };
    let pid = container
        .pid()
        .map(nix::unistd::Pid::as_raw)
        .ok_or_else(|| Failure::new(Stage::Create, "libcontainer names no process"))?;
    // libcontainer's own state is not needed any more; exit and clean-up go by ours.
    let _ = layout::remove_tree(&state);
    // A launch file that stays as it was is still for root's eyes only.
    let path = launch.layout.launch_file(&launch.task, &launch.container);
    let _ = record::write_volatile(&path, &launch.without_secrets());
    Ok(pid)
}

/// libcontainer says that a kernel parameter was refused, but not which.
fn explained(reason: String, launch: &LaunchFile) -> String {
    let controls = launch.definition.system_controls.iter().flatten();
    let pairs: Vec<_> = controls
        .filter_map(|c| Some(format!("{}={}", c.namespace.as_deref()?, c.value.as_deref()?)))
        .collect();
    if reason.contains("failed to set sysctl") && !pairs.is_empty() {
        return format!("systemControls: the kernel refuses {}", pairs.join(" or "));
    }
    reason
}

/// Mounts made from here on are seen by nobody else; those made on the host still show.
pub(super) fn private_mounts() -> io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "unsharing is only defined for one thread, which this process has"
    )]
    // SAFETY: this process has one thread, and file descriptors are not unshared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(())
}

/// The configuration holds the environment, which may hold secrets.
fn write_private(path: &Path, value: &serde_json::Value) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(value)?)
}
