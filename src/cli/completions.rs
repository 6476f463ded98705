//! `coracle completions`: the script that makes a shell complete our command line.

use super::{Cli, output};
use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

/// Print a completion script for a shell
///
/// For bash: coracle completions bash > /etc/bash_completion.d/coracle
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "coracle", &mut script);
        output::bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
