//! `coracle hub`: the control plane without a box; today, a simulation.

use crate::config::HubOverrides;
use anyhow::Result;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run a hub: the ECS API and the scheduler over boxes that are elsewhere; today, that are made up (--simulate)
///
/// With --simulate, RegisterContainerInstance makes boxes up, and their tasks run, fail and stop as the fault plan says:
/// to try a placement before the boxes are bought, and to test what speaks the ECS API. It needs no root, runs no
/// container, and checks no signatures. It stays in the foreground; SIGTERM ends it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Make up the boxes, and what becomes of their tasks
    #[arg(long)]
    simulate: bool,
    /// Where state that must survive a restart is kept [default: /var/lib/coracle-hub]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where sockets are kept; the API's is DIR/api.sock [default: /run/coracle-hub]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Where the ECS API listens with TCP [default: 127.0.0.1:51678]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The account in ARNs [default: 000000000000]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The region in ARNs [default: local]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// What befalls the tasks of a simulation: a fault plan, in TOML or JSON
    #[arg(long, value_name = "FILE", requires = "simulate")]
    faults: Option<PathBuf>,
    /// The configuration file [default: /etc/coracle/hub.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged on stderr: a level, and TARGET=LEVEL, separated by commas [default: info]
    #[arg(long, value_name = "LEVELS")]
    log: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let overrides = HubOverrides {
            config: self.config,
            state_dir: self.state_dir,
            run_dir: self.run_dir,
            listen: self.listen,
            region: self.region,
            account: self.account,
            faults: self.faults,
            log: self.log,
        };
        crate::daemon::hub(&overrides, self.simulate)
    }
}
