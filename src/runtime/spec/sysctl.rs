//! `systemControls`: kernel parameters that belong to a namespace of the container.

use super::SpecError;
use crate::model::task_definition::SystemControl;
use crate::runtime::launch::LaunchFile;
use crate::runtime::network::LaunchNetwork;
use std::collections::BTreeMap;

/// Parameters of the IPC namespace besides `fs.mqueue.*`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn of(
    controls: Option<&Vec<SystemControl>>,
    launch: &LaunchFile,
) -> Result<BTreeMap<String, String>, SpecError> {
    let own_network = launch.network != LaunchNetwork::Host;
    let own_ipc = launch.ipc_mode.as_deref() != Some("host");
    controls
        .into_iter()
        .flatten()
        .map(|control| {
            let name = control.namespace.clone().unwrap_or_default();
            allowed(&name, own_network, own_ipc).map_err(SpecError::Invalid)?;
            Ok((name, control.value.clone().unwrap_or_default()))
        })
        .collect()
}

/// A parameter that is not the container's own would be the host's.
fn allowed(name: &str, own_network: bool, own_ipc: bool) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(plain) || name.contains("..") {
        return Err(format!("invalid sysctl {name:?}"));
    }
    let (own, namespace) = if name.starts_with("net.") {
        (own_network, "network")
    } else if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        (own_ipc, "IPC")
    } else {
        return Err(format!("sysctl {name:?} is not in a separate kernel namespace"));
    };
    if own {
        Ok(())
    } else {
        Err(format!("sysctl {name:?} is not allowed in the host's {namespace} namespace"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_the_container_is_set() {
        assert!(allowed("net.core.somaxconn", true, true).is_ok());
        assert!(allowed("kernel.shmmax", false, true).is_ok());
        assert!(allowed("net.core.somaxconn", false, true).is_err());
        assert!(allowed("fs.mqueue.msg_max", true, false).is_err());
        assert!(allowed("kernel.panic", true, true).is_err());
        assert!(allowed("net.../../kernel.panic", true, true).is_err());
    }
}
