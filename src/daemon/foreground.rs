//! An engine for one `coracle run`, when no agent is up.
//!
//! State and run directories are new and are removed at the end; nothing listens on TCP. Images come from the box's own
//! store when it has one, so that they are not pulled again and again. Volumes that outlive their tasks are the box's too.

use super::{Purpose, Started, start, stop_all_tasks, worker_threads};
use crate::api;
use crate::config::{Config, NetworkSettings};
use anyhow::Context;
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running engine of its own.
#[derive(Debug)]
pub struct Foreground {
    runtime: tokio::runtime::Runtime,
    directories: Directories,
    finish: oneshot::Sender<()>,
    server: JoinHandle<anyhow::Result<()>>,
}

impl Foreground {
    /// Starts an engine with the settings of `config` in directories of its own.
    ///
    /// # Errors
    /// When the kernel or a privilege is missing, as for the agent.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let directories = Directories::of(config);
        // The directories are removed whenever they go out of scope, also when starting fails.
        let mut own = config.clone();
        let image_dir = if config.state_dir.join("images").is_dir() {
            config.state_dir.clone()
        } else {
            directories.state.clone()
        };
        own.state_dir.clone_from(&directories.state);
        own.run_dir.clone_from(&directories.run);
        own.socket_group = None;
        // Those of the settings may be an agent's that is just not up, and another run's.
        own.network = NetworkSettings {
            dynamic_ports: config.network.dynamic_ports,
            ..NetworkSettings::default()
        };
        own.cgroup_parent = format!("{}-run-{}", config.cgroup_parent, std::process::id());

        let runtime = worker_threads()?;
        let (finish, finished) = oneshot::channel::<()>();
        let Started { handle, listeners, keys, metadata, runtime: containers, .. } =
            runtime.block_on(start(&own, &image_dir, config.volumes_dir(), Purpose::Run))?;
        let server = runtime.spawn(async move {
            let stop = async { drop(finished.await) };
            let parts = api::Parts {
                engine: handle.clone(),
                listeners,
                keys,
                metadata: Some(metadata),
                boxes: None,
                gate: None,
                documents: None,
                from_hub: None,
            };
            api::serve(parts, stop).await?;
            stop_all_tasks(&handle).await?;
            containers.close().await.context("cannot remove the cgroup")
        });
        Ok(Self { runtime, directories, finish, server })
    }

    /// Where the socket is, as `--run-dir` of the client verbs.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.directories.run
    }

    /// The runtime to run the client in.
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// Stops what still runs and removes everything.
    ///
    /// # Errors
    /// When something could not be stopped or removed.
    pub fn finish(self) -> anyhow::Result<()> {
        let Self { runtime, directories, finish, server } = self;
        let _ = finish.send(());
        runtime.block_on(server).context("the engine ended abnormally")??;
        drop(runtime);
        directories.remove()
    }
}

/// The directories of one foreground run; removed when dropped.
#[derive(Debug)]
struct Directories {
    state: PathBuf,
    run: PathBuf,
}

impl Directories {
    fn of(config: &Config) -> Self {
        let name = format!("coracle-run-{}", std::process::id());
        let run_parent = config.run_dir.parent().unwrap_or(Path::new("/run"));
        Self { state: Path::new("/var/tmp").join(&name), run: run_parent.join(&name) }
    }

    fn remove(&self) -> anyhow::Result<()> {
        for dir in [&self.state, &self.run] {
            match std::fs::remove_dir_all(dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        // `finish` reports what cannot be removed; here an error is on its way already.
        let _ = self.remove();
    }
}
