//! `coracle agent`: the daemon of this box, in the foreground of whoever supervises it.

use crate::config::Overrides;
use anyhow::Result;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run the agent of this box: the ECS API, the scheduler and the containers
///
/// It stays in the foreground: let systemd or another supervisor keep it (configs/coracle.service). Each flag is also a
/// key of the configuration file and an environment variable, for example CORACLE_STATE_DIR; a flag counts more than
/// the environment, the environment more than the file. SIGTERM ends the agent and leaves its tasks running; the next
/// one takes them over.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where state that must survive a reboot is kept [default: /var/lib/coracle]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where sockets are kept; the API's is DIR/api.sock [default: /run/coracle]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Where the ECS API listens with TCP [default: 127.0.0.1:51678]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The cgroup that all tasks of this agent live under [default: coracle]
    #[arg(long, value_name = "NAME")]
    cgroup_parent: Option<String>,
    /// The configuration file [default: /etc/coracle/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The region in ARNs [default: local]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// The account in ARNs [default: 000000000000]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The cluster that this box belongs to [default: default]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// What is logged on stderr: a level, and TARGET=LEVEL, separated by commas [default: info]
    #[arg(long, value_name = "LEVELS")]
    log: Option<String>,
    /// Stop all tasks when the agent ends; for tests
    #[arg(long)]
    stop_tasks_on_exit: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        crate::daemon::agent(&Overrides {
            config: self.config,
            state_dir: self.state_dir,
            run_dir: self.run_dir,
            listen: self.listen,
            cgroup_parent: self.cgroup_parent,
            region: self.region,
            account: self.account,
            cluster: self.cluster,
            log: self.log,
            stop_tasks_on_exit: self.stop_tasks_on_exit,
        })
    }
}
