//! From a container definition and an image to what the kernel is asked for.
//!
//! [`build`] makes the OCI specification for libcontainer, and what libcontainer is not given: limits and device
//! rules ([`super::cgroup`]), capabilities and the seccomp filter ([`super::process`]). It runs in the creator, which
//! sees the mounted root file system. What is not supported yet is refused by name, never ignored.

mod devices;
mod fence;
mod limits;
mod mounts;
mod network_files;
pub(crate) mod program;
pub(crate) mod rootfs;
mod secret_files;
mod sysctl;
pub(crate) mod user;

pub(crate) use mounts::shared_memory_mib;

use super::capability;
use super::cgroup::{DeviceRule, Limits};
use super::launch::LaunchFile;
use super::network::LaunchNetwork;
use super::process::{Privileges, Program};
use super::seccomp;
use super::shim::Joined;
use super::volume::Staged;
use crate::model::task_definition::ContainerDefinition;
use devices::Devices;
use rootfs::RootFs;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use user::{User, UserError};

/// Why a definition cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    /// Not built yet.
    #[error("{0} is not supported by this version of Coracle")]
    Unsupported(String),
    /// Wrong or beyond this box.
    #[error("{0}")]
    Invalid(String),
    /// The user.
    #[error(transparent)]
    User(#[from] UserError),
    /// A file or directory.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
}

/// All that a container is made of.
#[derive(Debug)]
pub(crate) struct Built {
    /// `config.json`.
    pub(crate) config: Value,
    pub(crate) task_limits: Limits,
    pub(crate) limits: Limits,
    pub(crate) devices: Vec<DeviceRule>,
    pub(crate) privileges: Privileges,
    pub(crate) program: Program,
    /// Whose the process is.
    pub(crate) uid: u32,
}

/// What [`build`] works from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) launch: &'a LaunchFile,
    /// The mounted root file system.
    pub(crate) rootfs: &'a Path,
    /// Takes generated files.
    pub(crate) directory: &'a Path,
    /// The container's control group.
    pub(crate) cgroup: &'a Path,
    /// What the container is to see in `/sys/fs/cgroup`; absent where libcontainer does that.
    pub(crate) cgroup_view: Option<&'a Path>,
    /// The definition's own, ready to be bound.
    pub(crate) mounts: &'a [Staged],
    /// Namespaces of the task.
    pub(crate) joined: &'a Joined,
    /// What is to be `/dev/shm`; a new one where absent.
    pub(crate) shared_memory: Option<&'a Path>,
}

/// Builds everything.
pub(crate) fn build(input: &Input<'_>) -> Result<Built, SpecError> {
    let Input {
        launch,
        rootfs: rootfs_path,
        directory,
        cgroup,
        cgroup_view,
        joined,
        shared_memory,
        mounts,
    } = *input;
    let definition = &launch.definition;
    refuse_unsupported(launch)?;
    let privileged = definition.privileged == Some(true);
    let rootfs = RootFs::open(rootfs_path)
        .map_err(|source| SpecError::File { path: rootfs_path.to_owned(), source })?;
    fence::check_image(&rootfs)?;
    let hostname = launch.hostname();
    let wanted_user = definition
        .user
        .as_deref()
        .filter(|u| !u.is_empty())
        .or(launch.image.user.as_deref())
        .unwrap_or_default();
    let user = User::find(&rootfs, wanted_user)?;
    let program =
        program::program(definition, &launch.image, &launch.environment, &hostname, &user.home);
    let cwd = program::working_directory(definition, &launch.image);
    rootfs
        .create_dir_all(Path::new(&cwd))
        .map_err(|source| SpecError::File { path: PathBuf::from(&cwd), source })?;
    let linux_parameters = definition.linux_parameters.as_ref();
    let mut devices = Devices::of(linux_parameters.and_then(|l| l.devices.as_ref()), privileged)
        .map_err(SpecError::Invalid)?;
    let allowed = privileges(launch, launch.network == LaunchNetwork::None)?;

    let mut all_mounts = mounts::standard(launch, cgroup_view, shared_memory);
    all_mounts.extend(network_files::mounts(launch, directory, &hostname)?);
    let mut own_mounts = mounts::of_definition(mounts);
    // Last, so that no volume hides them.
    let files_at = directory.join("secrets.d");
    own_mounts.extend(secret_files::mounts(&launch.files, &files_at, &user)?);
    fence::check_targets(&own_mounts)?;
    all_mounts.extend(own_mounts);
    if privileged {
        fence::leave_mounts_alone(&mut devices.nodes, &all_mounts);
    }
    fence::check_devices(&devices.nodes, &all_mounts)?;

    let mut namespaces =
        vec![json!({"type": "mount"}), json!({"type": "uts"}), json!({"type": "cgroup"})];
    match &launch.network {
        LaunchNetwork::Host => {}
        LaunchNetwork::None => namespaces.push(json!({"type": "network"})),
        LaunchNetwork::Namespace { .. } => {
            namespaces.push(json!({"type": "network", "path": joined.network}));
        }
    }
    for (kind, mode, path) in
        [("pid", &launch.pid_mode, &joined.pid), ("ipc", &launch.ipc_mode, &joined.ipc)]
    {
        match path {
            Some(path) => namespaces.push(json!({"type": kind, "path": path})),
            None if mode.as_deref() == Some("host") => {}
            None => namespaces.push(json!({"type": kind})),
        }
    }
    let rlimits = limits::rlimits(definition.ulimits.as_ref()).map_err(SpecError::Invalid)?;
    let sysctl = sysctl::of(definition.system_controls.as_ref(), launch)?;
    let (masked, read_only) = fence::hidden(privileged);
    let config = json!({
        "ociVersion": "1.0.2",
        "hostname": hostname,
        "root": {"path": rootfs_path, "readonly": definition.readonly_root_filesystem == Some(true)},
        "process": {
            "terminal": false,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "args": program.args,
            "env": program.env,
            "cwd": cwd,
            "rlimits": rlimits,
            "oomScoreAdj": 0,
        },
        "mounts": all_mounts,
        "annotations": annotations(definition),
        "linux": {
            "namespaces": namespaces,
            "devices": devices.nodes,
            "cgroupsPath": cgroup,
            "sysctl": sysctl,
            "maskedPaths": masked,
            "readonlyPaths": read_only,
        },
    });
    Ok(Built {
        config,
        task_limits: limits::task(launch),
        limits: limits::container(definition),
        devices: devices.rules,
        privileges: allowed,
        program,
        uid: user.uid,
    })
}

/// What a process in the container may do.
pub(crate) fn privileges(launch: &LaunchFile, loopback: bool) -> Result<Privileges, SpecError> {
    let privileged = launch.definition.privileged == Some(true);
    let linux = launch.definition.linux_parameters.as_ref();
    let capabilities = capability::wanted(linux.and_then(|l| l.capabilities.as_ref()), privileged)
        .map_err(SpecError::Invalid)?;
    let options = security_options(launch)?;
    let filter =
        (!privileged && !options.unconfined).then(|| seccomp::default_filter(&capabilities));
    let never_more = options.no_new_privileges;
    let init = linux.and_then(|l| l.init_process_enabled) == Some(true);
    Ok(Privileges { capabilities, never_more, filter, init, loopback })
}

fn refuse_unsupported(launch: &LaunchFile) -> Result<(), SpecError> {
    let definition = &launch.definition;
    let unsupported = |what: &str| Err(SpecError::Unsupported(what.to_owned()));
    if definition.resource_requirements.as_ref().is_some_and(|r| !r.is_empty()) {
        return unsupported("resourceRequirements");
    }
    if definition.credential_specs.as_ref().is_some_and(|c| !c.is_empty()) {
        return unsupported("credentialSpecs");
    }
    for (name, mode, known) in [
        ("pidMode", &launch.pid_mode, &["host", "task"][..]),
        ("ipcMode", &launch.ipc_mode, &["host", "task", "none"][..]),
    ] {
        if let Some(mode) = mode.as_deref().filter(|m| !m.is_empty() && !known.contains(m)) {
            return unsupported(&format!("{name} {mode}"));
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct SecurityOptions {
    no_new_privileges: bool,
    unconfined: bool,
}

fn security_options(launch: &LaunchFile) -> Result<SecurityOptions, SpecError> {
    let mut options = SecurityOptions::default();
    for option in launch.definition.docker_security_options.iter().flatten() {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true" => {
                options.no_new_privileges = true;
            }
            "seccomp:unconfined" | "seccomp=unconfined" => options.unconfined = true,
            // Nothing confines by AppArmor here, so there is nothing to lift.
            "no-new-privileges:false"
            | "no-new-privileges=false"
            | "apparmor:unconfined"
            | "apparmor=unconfined" => {}
            other => {
                return Err(SpecError::Unsupported(format!("dockerSecurityOptions {other:?}")));
            }
        }
    }
    Ok(options)
}

/// The definition's labels. Not the image's: who makes an image has no word in how its containers are run.
fn annotations(definition: &ContainerDefinition) -> BTreeMap<String, String> {
    definition.docker_labels.clone().unwrap_or_default()
}
