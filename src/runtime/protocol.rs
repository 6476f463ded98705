//! What agent and shim say to each other: JSON lines over the task's unix socket, bounded in length.
//!
//! Any number of connections; every request has a number, its answer bears it. [`Message::Exited`] goes to every
//! connection, unasked. What a container is started from is not in the request but in a file ([`super::launch`]), so
//! that the shim never has to hold it.

use super::network::{FoundNetwork, NetworkScope};
use super::record::Exit;
use crate::model::{ContainerName, Generation, RuntimeId, TerminalSize, Timestamp};
use serde::{Deserialize, Serialize};

/// Neither side takes longer lines.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// Agent to shim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Request {
    /// Make what the container's launch file says, up to the moment before its program is executed. Answered by `Done`
    /// at once; what goes wrong is told to `Start`. It is undone when the connection ends before `Start` came.
    Prepare { id: u64, container: ContainerName, runtime_id: RuntimeId },
    /// Undo a `Prepare` that no `Start` followed. Answered by `Done`.
    Abandon { id: u64, container: ContainerName, runtime_id: RuntimeId },
    /// Start what the container's launch file says. Answered by `Started` or `Failed`.
    Start { id: u64, container: ContainerName, runtime_id: RuntimeId },
    /// Send the stop signal or SIGKILL. Answered by `Done`; somebody who is gone has been signalled.
    Signal { id: u64, container: ContainerName, runtime_id: RuntimeId, kill: bool },
    /// Run a command in the container. Answered by `Probed`.
    Probe {
        id: u64,
        container: ContainerName,
        runtime_id: RuntimeId,
        command: Vec<String>,
        timeout_millis: u64,
    },
    /// The network namespace of that scope, made if there is none yet. Answered by `Namespace`.
    Namespace { id: u64, scope: NetworkScope },
    /// Keep this with the network namespace of that scope. Answered by `Done`.
    Record { id: u64, scope: NetworkScope, record: serde_json::Value },
    /// Run a command in the container on behalf of a client. Answered by `Started` or `Failed`, later by `Ended`. With it
    /// come descriptors: for a terminal the socket that takes its master, else standard output, error and input. When
    /// the connection ends, the command is hung up and soon killed.
    Exec { id: u64, container: ContainerName, runtime_id: RuntimeId, command: ExecCommand },
    /// Send a signal to the command that this connection started. Answered by `Done`.
    SignalExec { id: u64, signal: i32 },
    /// Attach to a container that is interactive or on a terminal. With it come a socket, which takes a descriptor of its
    /// standard input or the master of its terminal, and a pipe, which takes the output of the terminal. Answered by
    /// `Started`.
    Attach { id: u64, container: ContainerName, runtime_id: RuntimeId },
    /// End the standard input of an interactive container. Answered by `Done`.
    CloseInput { id: u64, container: ContainerName, runtime_id: RuntimeId },
    /// Answered by `Containers`.
    List { id: u64 },
    /// Kill everything, remove the control groups, end. Answered by `Done`.
    Release { id: u64 },
}

/// Shim to agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Message {
    Started {
        id: u64,
        at: Timestamp,
    },
    Failed {
        id: u64,
        failure: Failure,
    },
    Done {
        id: u64,
    },
    Probed {
        id: u64,
        exit_code: Option<i32>,
    },
    /// The namespace is the shim's descriptor of that number, for as long as the shim lives.
    Namespace {
        id: u64,
        pid: u32,
        fd: i32,
        record: Option<serde_json::Value>,
    },
    Containers {
        id: u64,
        generation: Generation,
        containers: Vec<Report>,
        #[serde(default)]
        networks: Vec<FoundNetwork>,
    },
    Exited {
        container: ContainerName,
        exit: Exit,
    },
    /// A command that `Exec` started: its code, and whether it ended because its container did.
    Ended {
        id: u64,
        exit_code: i32,
        with_container: bool,
    },
}

impl Message {
    /// The request that this answers.
    pub(crate) const fn answers(&self) -> Option<u64> {
        match self {
            Self::Started { id, .. }
            | Self::Failed { id, .. }
            | Self::Done { id }
            | Self::Probed { id, .. }
            | Self::Namespace { id, .. }
            | Self::Ended { id, .. }
            | Self::Containers { id, .. } => Some(*id),
            Self::Exited { .. } => None,
        }
    }
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) reason: String,
}

/// Where it failed; ECS words the error by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Stage {
    Resources,
    Create,
    Start,
    /// There is no such program; other failures of its start are `Start`.
    Program,
    Request,
}

/// A command for a container that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecCommand {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=VALUE`, added to the container's.
    pub environment: Vec<String>,
    /// Where it begins, absolute; the container's unless given.
    pub working_directory: Option<String>,
    /// `user[:group]`, by name or number; the container's unless given.
    pub user: Option<String>,
    /// It gets a terminal of this size.
    pub terminal: Option<TerminalSize>,
    /// Its standard input is open; always so on a terminal.
    pub stdin: bool,
}

impl Failure {
    pub(crate) fn new(stage: Stage, reason: impl std::fmt::Display) -> Self {
        Self { stage, reason: reason.to_string() }
    }
}

/// A container as the shim knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) container: ContainerName,
    pub(crate) runtime_id: RuntimeId,
    pub(crate) state: RunState,
}

/// What a run of a container is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RunState {
    /// Its process runs.
    Running {
        /// The process's id on the box.
        pid: i32,
        /// Since when.
        started_at: Timestamp,
    },
    /// Its process ended.
    Exited(Exit),
}

/// What the creator tells the shim: one line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Created {
    Running { pid: i32 },
    Failed(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_documented() {
        let request = Request::Signal {
            id: 7,
            container: ContainerName::new("web").unwrap(),
            runtime_id: RuntimeId::new("t-1").unwrap(),
            kill: true,
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            text,
            r#"{"op":"signal","id":7,"container":"web","runtimeId":"t-1","kill":true}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }
}
