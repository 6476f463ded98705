//! The capabilities of a container's process: Docker's default fourteen, plus and minus what the definition says.

use crate::model::task_definition::KernelCapabilities;
use caps::{CapSet, Capability, CapsHashSet};
use std::str::FromStr;

/// What a container has unless told otherwise.
const DEFAULT: [Capability; 14] = [
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// The set that the definition asks for.
pub(crate) fn wanted(
    change: Option<&KernelCapabilities>,
    privileged: bool,
) -> Result<CapsHashSet, String> {
    if privileged {
        // What this program does not have itself it cannot give.
        return caps::read(None, CapSet::Bounding).map_err(|e| e.to_string());
    }
    let named = |names: Option<&Vec<String>>| -> Result<Vec<String>, String> {
        Ok(names.into_iter().flatten().map(|n| n.trim().to_ascii_uppercase()).collect())
    };
    let add = named(change.and_then(|c| c.add.as_ref()))?;
    let drop = named(change.and_then(|c| c.drop.as_ref()))?;
    let mut set: CapsHashSet = if drop.iter().any(|n| n == "ALL") {
        CapsHashSet::new()
    } else {
        DEFAULT.into_iter().collect()
    };
    if add.iter().any(|n| n == "ALL") {
        set = caps::read(None, CapSet::Bounding).map_err(|e| e.to_string())?;
    }
    for name in drop.iter().filter(|n| *n != "ALL") {
        set.remove(&parse(name)?);
    }
    for name in add.iter().filter(|n| *n != "ALL") {
        set.insert(parse(name)?);
    }
    Ok(set)
}

fn parse(name: &str) -> Result<Capability, String> {
    let full = if name.starts_with("CAP_") { name.to_owned() } else { format!("CAP_{name}") };
    Capability::from_str(&full).map_err(|_| format!("unknown capability {name:?}"))
}

/// Makes the bounding set at most `keep`. Needs `CAP_SETPCAP`.
pub(crate) fn bound(keep: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    for capability in caps::runtime::thread_all_supported() {
        if !keep.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    Ok(())
}

/// Leaves the process with `keep`, or with nothing when it is not root's: as Docker, a user gets no capabilities
/// but what a file it executes gives, within the bounding set.
pub(crate) fn keep_only(keep: &CapsHashSet, root: bool) -> Result<(), caps::errors::CapsError> {
    // Kernels without ambient capabilities are too old for everything else here.
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    let empty = CapsHashSet::new();
    let keep = if root { keep } else { &empty };
    let permitted = caps::read(None, CapSet::Permitted)?;
    let keep: CapsHashSet = keep.intersection(&permitted).copied().collect();
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Permitted, &keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(add: &[&str], drop: &[&str]) -> KernelCapabilities {
        let list = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
        KernelCapabilities { add: list(add), drop: list(drop) }
    }

    #[test]
    fn additions_and_drops_change_the_default() {
        assert_eq!(wanted(None, false).unwrap().len(), 14);
        let set = wanted(Some(&change(&["SYS_TIME"], &["NET_RAW", "MKNOD"])), false).unwrap();
        assert_eq!(set.len(), 13);
        assert!(set.contains(&Capability::CAP_SYS_TIME));
        assert!(!set.contains(&Capability::CAP_NET_RAW));
    }

    #[test]
    fn dropping_all_leaves_what_is_added() {
        let set = wanted(Some(&change(&["NET_BIND_SERVICE"], &["ALL"])), false).unwrap();
        assert_eq!(set.into_iter().collect::<Vec<_>>(), [Capability::CAP_NET_BIND_SERVICE]);
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = wanted(Some(&change(&["FLY"], &[])), false).unwrap_err();
        assert!(error.contains("FLY"), "{error}");
    }
}
