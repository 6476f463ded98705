//! `coracle doctor`: looks over this box, or the hub on this machine, and says of what is wrong how to mend it.

use super::output::{self, Format};
use crate::config::{Config, HubConfig, HubOverrides, Overrides};
use crate::doctor::{Report, Subject, Where, examine};
use anyhow::{Error, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// Look over this box, and say of what is wrong how to mend it
///
/// Changes nothing. Works with and without root, an agent and a store; what only root can see is skipped. The exit code is 1
/// when something is an error.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Look over the hub on this machine instead
    #[arg(long)]
    hub: bool,
    /// Exit with 1 for a warning as well
    #[arg(long)]
    strict: bool,
    /// Where the agent's or hub's state is kept [default: as its settings say]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The run directory of the agent or hub [default: as its settings say]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The configuration file [default: /etc/coracle/agent.toml or hub.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let (strict, json) = (self.strict, self.format.is_json());
        let mut printed = Ok(());
        let report = examine(self.subject(), |check, finding| {
            if !json && printed.is_ok() {
                printed = output::line(&Report::lines(check, finding));
            }
        });
        printed?;
        if json {
            output::json(&report.json())?;
        } else {
            output::line(&report.summary())?;
        }
        Ok(if report.is_well(strict) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Settings that are refused are a finding, and the directories are then those of the command line or the usual ones.
    fn subject(self) -> Subject {
        let Self { hub, state_dir, run_dir, config, .. } = self;
        let fault = |error| output::sentence(&Error::new(error));
        if hub {
            let flags = HubOverrides { config, state_dir, run_dir, ..HubOverrides::default() };
            let file = HubConfig::file(&flags);
            let (settings, fault) = match HubConfig::load(&flags) {
                Ok(settings) => (settings, None),
                Err(error) => {
                    let mut settings = HubConfig::default();
                    settings.state_dir = flags.state_dir.unwrap_or(settings.state_dir);
                    settings.run_dir = flags.run_dir.unwrap_or(settings.run_dir);
                    (settings, Some(fault(error)))
                }
            };
            return Subject::new(Where::Hub(Box::new(settings)), file, fault);
        }
        let flags = Overrides { config, state_dir, run_dir, ..Overrides::default() };
        let file = Config::file(&flags);
        let (settings, fault) = match Config::load(&flags) {
            Ok(settings) => (settings, None),
            Err(error) => {
                let mut settings = Config::default();
                settings.state_dir = flags.state_dir.unwrap_or(settings.state_dir);
                settings.run_dir = flags.run_dir.unwrap_or(settings.run_dir);
                (settings, Some(fault(error)))
            }
        };
        Subject::new(Where::Box(Box::new(settings)), file, fault)
    }
}
