//! Network namespaces of the task: made by the shim, and held by it with a descriptor.

use crate::runtime::network::{FoundNetwork, NetworkScope};
use crate::runtime::process::loopback_up;
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

/// All of a task; a container has one of its own or that of the task.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    held: BTreeMap<NetworkScope, Held>,
}

#[derive(Debug)]
struct Held {
    fd: OwnedFd,
    record: Option<serde_json::Value>,
}

impl Namespaces {
    /// The descriptor and the record of the namespace, made if there is none yet.
    pub(super) fn get_or_make(
        &mut self,
        scope: NetworkScope,
    ) -> io::Result<(i32, Option<serde_json::Value>)> {
        if let Some(held) = self.held.get(&scope) {
            return Ok((held.fd.as_raw_fd(), held.record.clone()));
        }
        let fd = make()?;
        let number = fd.as_raw_fd();
        self.held.insert(scope, Held { fd, record: None });
        Ok((number, None))
    }

    /// Keeps what was done with the namespace; false when there is none.
    pub(super) fn record(&mut self, scope: &NetworkScope, record: serde_json::Value) -> bool {
        self.held.get_mut(scope).map(|held| held.record = Some(record)).is_some()
    }

    /// Where a child of this process finds the namespace.
    pub(super) fn path(&self, scope: &NetworkScope) -> Option<PathBuf> {
        let fd = self.held.get(scope)?.fd.as_raw_fd();
        Some(PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id())))
    }

    pub(super) fn list(&self) -> Vec<FoundNetwork> {
        let found = |(scope, held): (&NetworkScope, &Held)| FoundNetwork {
            scope: scope.clone(),
            record: held.record.clone(),
        };
        self.held.iter().map(found).collect()
    }
}

/// A new namespace with its loopback up.
fn make() -> io::Result<OwnedFd> {
    let current = || open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let home = current()?;
    #[expect(unsafe_code, reason = "unsharing is only defined for one thread, which the shim has")]
    // SAFETY: this process has one thread, and file descriptors are not unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    let made = loopback_up().and_then(|()| Ok(current()?));
    let back = move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network));
    if back.is_err() {
        // A shim that cannot go home would put containers of the box's network into this one.
        std::process::abort();
    }
    made
}
