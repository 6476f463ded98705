//! What the shell saw. Observations are commands too ([`super::Command::Observe`]).

use super::action::ContainerRun;
use crate::model::{Generation, ImageDigest, NetworkBinding, NetworkInterface, TaskId, Timestamp};

/// What connects a container that shares not the box's network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connected {
    /// Its addresses.
    pub interface: NetworkInterface,
    /// The ports that are published on the box; in awsvpc mode those of the whole task.
    pub bindings: Vec<NetworkBinding>,
}

/// A fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The image is in the local store.
    ImageReady {
        /// As the definition names it.
        image: String,
        /// With which login it was asked for.
        credentials: Option<String>,
        /// What it resolved to.
        digest: ImageDigest,
        /// What its registry calls it for all platforms, if it came from one.
        source: Option<ImageDigest>,
    },
    /// The image could not be had.
    ImageFailed {
        /// As the definition names it.
        image: String,
        /// With which login it was asked for.
        credentials: Option<String>,
        /// `CannotPullContainerError: …`.
        reason: String,
    },
    /// A container's process runs.
    Started {
        /// Which run.
        run: ContainerRun,
        /// Since when.
        at: Timestamp,
        /// By what it is connected; none when it shares the box's network or has none.
        network: Option<Connected>,
    },
    /// A container could not be started.
    StartFailed {
        /// Which run.
        run: ContainerRun,
        /// `CannotStartContainerError: …`, `CannotCreateContainerError: …`, `ResourceInitializationError: …`.
        reason: String,
    },
    /// The signal was sent, or there was nobody left to get it.
    Signalled {
        /// To which run.
        run: ContainerRun,
        /// SIGKILL rather than the stop signal.
        killed: bool,
    },
    /// A container's process ended.
    Exited {
        /// Which run.
        run: ContainerRun,
        /// How; 128 + n for signal n. None when nobody could tell.
        exit_code: Option<i32>,
        /// Whether the kernel killed something in it for want of memory.
        out_of_memory: bool,
        /// When.
        at: Timestamp,
    },
    /// A health check's command ended.
    Probed {
        /// In which run.
        run: ContainerRun,
        /// How; None when it took too long or could not be run.
        exit_code: Option<i32>,
        /// When.
        at: Timestamp,
    },
    /// The task's shim is gone though it should not be; its containers have been killed.
    ShimLost {
        /// The task.
        task: TaskId,
        /// Of the task.
        generation: Generation,
        /// What is known.
        reason: String,
    },
    /// All of the task's resources are gone.
    Released {
        /// The task.
        task: TaskId,
        /// Of the task.
        generation: Generation,
    },
    /// What was left of a forgotten task is gone.
    Forgotten {
        /// The task.
        task: TaskId,
    },
    /// The wall clock was set: by so many milliseconds it went forward (or, negative, back) beside the passing of time.
    ClockStepped {
        /// Milliseconds.
        by: i64,
    },
    /// Images came or went that no pull of a task has to do with: the engine looks anew at what is there.
    ImagesChanged,
    /// The agent ends and its tasks with it: none is started any more, and those of services stop.
    Stopping,
    /// Looking for shims is done: every task not reported by `Started` or `Exited` before this has nothing running.
    /// With `rebooted`, the box has started anew since the last agent ran.
    Scanned {
        /// The box has rebooted.
        rebooted: bool,
    },
}
