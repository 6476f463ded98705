//! A box that is to be as if no agent had run on it: for the package that is removed, and for whoever starts over.
//!
//! It goes the way of an agent: an engine takes over what runs, stops it as its definitions say, and takes down links,
//! rules and control groups with the last task. When that does not work, because the store does not open or a task does
//! not stop in time, everything is killed and removed without a store. Files are removed by name: what is not the
//! agent's stays, and is told.

use super::{
    Purpose, Started, is_over, private_dir, runtime_config, start, stop_all_tasks, worker_threads,
};
use crate::api::ListenError;
use crate::config::Config;
use crate::net::Network;
use crate::runtime::{PreflightError, Runtime};
use crate::store::StoreError;
use crate::telemetry;
use anyhow::{Context, bail};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// How long tasks may take to stop before they are killed.
const PATIENCE: Duration = Duration::from_mins(2);

/// What an agent has in its run directory.
const RUN: &[&str] = &["api.sock", "boot", "empty", "tasks"];

/// What an agent has in its state directory.
const STATE: &[&str] = &[
    "fleet",
    "images",
    "keys",
    "layers",
    "logs",
    "registries",
    "secret.key",
    "store",
    "tasks",
    "volumes",
];

/// What a name may end with beside one of these: a file that was about to be replaced.
const ASIDE: &[&str] = &["", ".new", ".old"];

/// How much is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What runs. Services, definitions, images, volumes and logs stay for an agent to come.
    Tasks,
    /// The state as well.
    Everything,
}

/// How tasks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As their definitions say.
    Stopped,
    /// Killed, since they could not be stopped.
    Killed,
}

/// Stops every task of this box and removes what the agent left in the kernel and in its run directory.
///
/// # Errors
/// When an agent runs, or something could not be removed; doing it again is safe.
pub fn reset(config: &Config, extent: Extent) -> anyhow::Result<Ended> {
    if !rustix::process::geteuid().is_root() {
        return Err(PreflightError::NotRoot.into());
    }
    // Of what is done step by step, the failures matter here.
    telemetry::init(Targets::new().with_default(LevelFilter::WARN))
        .context("cannot start logging")?;
    // What is not there is not made in order to be removed.
    let ended = if config.run_dir.exists() || config.state_dir.exists() {
        stop(config)?
    } else {
        Ended::Stopped
    };
    remove(&config.run_dir, RUN)?;
    if extent == Extent::Everything {
        remove(&config.state_dir, STATE)?;
    }
    Ok(ended)
}

fn stop(config: &Config) -> anyhow::Result<Ended> {
    let mut config = config.clone();
    // Those who may use the socket have nothing to ask any more, and may be gone themselves.
    config.socket_group = None;
    let Err(error) = run(stop_in_order(&config)) else { return Ok(Ended::Stopped) };
    if has_agent(&error) {
        return Err(error.context("the agent must be stopped first: `systemctl stop coracle`"));
    }
    tracing::warn!(error = format!("{error:#}"), "tasks are not stopped but killed");
    run(kill(&config)).context("what runs cannot be removed")?;
    Ok(Ended::Killed)
}

/// Whether the reason is another agent.
fn has_agent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ListenError::Taken(_)))
        || matches!(error.downcast_ref(), Some(StoreError::InUse { .. }))
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = worker_threads()?;
    let done = runtime.block_on(work);
    // Not for ever: whatever still waits for something has been given up.
    runtime.shutdown_timeout(Duration::from_secs(5));
    done
}

async fn stop_in_order(config: &Config) -> anyhow::Result<()> {
    let Started { handle, runtime, .. } =
        start(config, &config.state_dir, config.volumes_dir(), Purpose::Stop).await?;
    let stopped = tokio::time::timeout(PATIENCE, stop_all_tasks(&handle));
    stopped.await.context("tasks did not stop in time")??;
    if !handle.read(is_over) {
        bail!("tasks are left");
    }
    Ok(runtime.close().await?)
}

/// Without a store: every task that left a trace on the box is killed, and what it has is removed.
async fn kill(config: &Config) -> anyhow::Result<()> {
    for dir in [&config.state_dir, &config.run_dir] {
        private_dir(dir)?;
    }
    let (events, _nobody) = mpsc::unbounded_channel();
    let runtime = Runtime::open(runtime_config(config, config.volumes_dir()), events)?;
    for found in runtime.scan().await? {
        runtime.release(&found.task).await?;
    }
    let network = Network::open(super::host::network(config))?;
    network.adopt(Vec::new()).await?;
    Ok(runtime.close().await?)
}

/// Removes what is `known` in `dir`, then `dir` itself, unless something is mounted there.
fn remove(dir: &Path, known: &[&str]) -> anyhow::Result<()> {
    for name in known.iter().flat_map(|name| ASIDE.iter().map(move |end| format!("{name}{end}"))) {
        let path = dir.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        gone(removed).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    match gone(fs::remove_dir(dir)) {
        // A file system of its own, or a directory that systemd keeps for the service.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            let entries = fs::read_dir(dir)?.filter_map(Result::ok);
            let left: Vec<_> = entries.map(|e| e.file_name().display().to_string()).collect();
            // The root of a file system of its own has this one.
            if left == ["lost+found"] {
                return Ok(());
            }
            bail!("{} holds what is not the agent's and stays: {}", dir.display(), left.join(", "))
        }
        removed => removed.with_context(|| format!("cannot remove {}", dir.display())),
    }
}

/// What is not there need not be removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_agents_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let elsewhere = dir.path().join("elsewhere");
        for made in [&state.join("store/copies"), &state.join("fleet.old"), &elsewhere] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(state.join("secret.key"), "k").unwrap();
        fs::write(elsewhere.join("data"), "d").unwrap();
        std::os::unix::fs::symlink(&elsewhere, state.join("images")).unwrap();
        fs::write(state.join("notes"), "mine").unwrap();
        let refused = remove(&state, STATE).unwrap_err().to_string();
        assert!(refused.ends_with("holds what is not the agent's and stays: notes"), "{refused}");
        assert!(elsewhere.join("data").exists(), "a link is not followed");
        fs::remove_file(state.join("notes")).unwrap();
        remove(&state, STATE).unwrap();
        assert!(!state.exists());
        remove(&state, STATE).unwrap();
    }
}
