//! `coracle exec`: a command in a running container.

use super::Connection;
use super::output;
use super::session::{self, Finish, Local};
use anyhow::{Result, bail};
use rustix::termios::isatty;
use serde_json::json;
use std::process::ExitCode;

/// It did not come to the command, or its end is not known.
const FAILED: u8 = 125;

/// Run a command in a running container
///
/// It gets what the container's own process has: namespaces, limits, privileges, environment, user. Without -t its
/// output goes to stdout and stderr; with -t it has a terminal.
///
/// The exit code is the command's, 128 + N when signal N ended it, 127 when there is no such command, 126 when it cannot
/// be executed, and 125 when it did not come to that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    coracle exec -it 0123456789ab -- sh\n  \
    coracle exec 0123456789ab --container web -- cat /etc/hosts\n  \
    tar c . | coracle exec -i 0123456789ab -- tar x -C /srv")]
pub(super) struct Arguments {
    /// The task: its id, the first 6 or more characters of it, or its ARN
    #[arg(value_name = "TASK")]
    task: String,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    command: Vec<String>,
    /// The container; needed when the task has several
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// Run it as this user, by name or number, instead of the container's
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Begin in this directory, instead of the container's
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Set an environment variable; may be given several times
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<ExitCode> {
        match self.execute().await {
            Err(error) if output::is_closed_pipe(&error) => Err(error),
            Err(error) => {
                output::complain("coracle exec", &output::sentence(&error));
                Ok(ExitCode::from(session::exit_code_of(&error).unwrap_or(FAILED)))
            }
            code => code,
        }
    }

    async fn execute(self) -> Result<ExitCode> {
        let local = Local::new(self.interactive, self.tty);
        if self.tty && self.interactive && !isatty(std::io::stdin()) {
            bail!("standard input is no terminal: leave -t out");
        }
        let content = json!({
            "container": self.container,
            "command": self.command,
            "environment": self.env,
            "workingDirectory": self.workdir,
            "user": self.user,
            "terminal": local.terminal_size(),
            "stdin": self.interactive,
        });
        let client = self.connection.client();
        let stream = client.session(&self.task, "exec", &content).await?;
        let end = match local.attach(stream).await? {
            Finish::Ended(end) => end,
            Finish::Signalled(number) => return Ok(ExitCode::from(128 + number)),
            Finish::Detached => return Ok(ExitCode::SUCCESS),
        };
        if let Some(reason) = &end.reason {
            output::complain("coracle exec", reason);
        }
        Ok(ExitCode::from(end.exit_code.unwrap_or(FAILED)))
    }
}
