//! How a container is connected, as far as the runtime has to know: which namespace it joins, and its `/etc` files.
//!
//! A namespace with addresses is made and held by the task's shim, so it lives as long as the task and needs neither
//! a mount nor a process that waits. What gives it its interfaces and addresses is no part of the runtime; the record
//! of that is kept by the shim, as it is told, for the agent's next life.

use crate::model::ContainerName;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// Whose network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetworkScope {
    /// All containers of the task share it.
    Task,
    /// Of one container, over all of its runs.
    Container(ContainerName),
}

/// The network of a container that is to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LaunchNetwork {
    /// That of the box.
    Host,
    /// A namespace of its own with nothing but the loopback interface.
    None,
    /// A namespace that the task's shim holds.
    Namespace {
        /// Which.
        scope: NetworkScope,
        /// The text of `/etc/hosts`.
        hosts: String,
        /// The text of `/etc/resolv.conf`.
        resolv_conf: String,
    },
}

/// A network namespace that a shim holds.
#[derive(Debug)]
pub struct NetworkNamespace {
    /// The namespace.
    pub fd: OwnedFd,
    /// What [`Runtime::record_network`](super::Runtime::record_network) was told of it.
    pub record: Option<serde_json::Value>,
}

/// A network namespace that a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundNetwork {
    /// Whose.
    pub scope: NetworkScope,
    /// What was recorded of it; none when that did not come about.
    pub record: Option<serde_json::Value>,
}
