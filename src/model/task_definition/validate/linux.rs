//! `linuxParameters`, `ulimits`, `systemControls`, `dockerSecurityOptions`.

use super::super::{ContainerDefinition, LinuxParameters, TaskDefinitionContent};
use super::{Check, client, container_range, container_setting, one_of};

const CAPABILITIES: [&str; 39] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

const TMPFS_OPTIONS: [&str; 39] = [
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "remount",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "bind",
    "rbind",
    "unbindable",
    "runbindable",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "mpol",
];

/// Kernel parameters of the IPC namespace, beside `fs.mqueue.*`.
const IPC_PARAMETERS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn container(
    name: &str,
    container: &ContainerDefinition,
    content: &TaskDefinitionContent,
) -> Check {
    if let Some(parameters) = &container.linux_parameters {
        linux_parameters(name, container, parameters)?;
    }
    for limit in container.ulimits.iter().flatten() {
        let (Some(ulimit), Some(soft), Some(hard)) =
            (limit.name.as_deref(), limit.soft_limit, limit.hard_limit)
        else {
            return client(
                "Ulimit.name, Ulimit.softLimit and Ulimit.hardLimit should not be null or empty.",
            );
        };
        one_of("UlimitName", Some(ulimit), &ULIMITS)?;
        if soft < -1 || hard < -1 {
            return container_setting(
                name,
                &format!("The limits of ulimit '{ulimit}' must not be negative."),
            );
        }
        // -1 is unlimited.
        if hard != -1 && (soft == -1 || soft > hard) {
            return container_setting(
                name,
                &format!(
                    "The softLimit of ulimit '{ulimit}' must not be greater than its hardLimit."
                ),
            );
        }
    }
    for option in container.docker_security_options.iter().flatten() {
        let known = option == "no-new-privileges"
            || ["apparmor:", "label:", "credentialspec:"].iter().any(|p| option.starts_with(p));
        if !known {
            return client(format!("Invalid docker security option '{option}'."));
        }
    }
    system_controls(container, content)
}

fn linux_parameters(
    name: &str,
    container: &ContainerDefinition,
    parameters: &LinuxParameters,
) -> Check {
    if let Some(capabilities) = &parameters.capabilities {
        let named = capabilities.add.iter().flatten().chain(capabilities.drop.iter().flatten());
        for capability in named {
            if !CAPABILITIES.contains(&capability.as_str()) {
                return client(format!("Invalid kernel capability '{capability}'."));
            }
        }
    }
    for device in parameters.devices.iter().flatten() {
        if device.host_path.is_none() {
            return client("Device.hostPath should not be null or empty.");
        }
        for permission in device.permissions.iter().flatten() {
            one_of("DeviceCgroupPermission", Some(permission), &["read", "write", "mknod"])?;
        }
    }
    for tmpfs in parameters.tmpfs.iter().flatten() {
        if tmpfs.container_path.as_deref().is_none_or(|path| !path.starts_with('/')) {
            return client("Tmpfs.containerPath should be an absolute path.");
        }
        if tmpfs.size.is_none_or(|size| size <= 0) {
            return client("Tmpfs.size should be a positive number of MiB.");
        }
        for option in tmpfs.mount_options.iter().flatten() {
            let key = option.split_once('=').map_or(option.as_str(), |(key, _)| key);
            if !TMPFS_OPTIONS.contains(&key) {
                return client(format!("Invalid tmpfs mount option '{option}'."));
            }
        }
    }
    container_range(name, "linuxParameters.swappiness", parameters.swappiness, 0..=100)?;
    container_range(name, "linuxParameters.maxSwap", parameters.max_swap, 0..=i64::from(i32::MAX))?;
    container_range(
        name,
        "linuxParameters.sharedMemorySize",
        parameters.shared_memory_size,
        0..=i64::from(i32::MAX),
    )?;
    if parameters.max_swap.is_some() && container.memory.is_none() {
        return container_setting(name, "'maxSwap' requires 'memory' to be specified.");
    }
    Ok(())
}

fn system_controls(container: &ContainerDefinition, content: &TaskDefinitionContent) -> Check {
    for control in container.system_controls.iter().flatten() {
        let (Some(namespace), Some(_)) = (control.namespace.as_deref(), control.value.as_deref())
        else {
            return client(
                "SystemControl.namespace and SystemControl.value should not be null or empty.",
            );
        };
        let network = namespace.strip_prefix("net.").is_some_and(|rest| !rest.is_empty());
        let ipc = IPC_PARAMETERS.contains(&namespace) || namespace.starts_with("fs.mqueue.");
        if !network && !ipc {
            return client(format!("Invalid namespace for systemControls: '{namespace}'."));
        }
        if network && content.network_mode.as_deref() == Some("host") {
            return client(format!(
                "System control '{namespace}' is not supported when networkMode=host."
            ));
        }
        if ipc && content.ipc_mode.as_deref() == Some("host") {
            return client(format!(
                "System control '{namespace}' is not supported when ipcMode=host."
            ));
        }
    }
    Ok(())
}
