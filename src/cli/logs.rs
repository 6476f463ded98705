//! `coracle logs`: what the containers of a task wrote.

use super::Connection;
use super::client::{LogLine, LogQuery};
use super::output::{self, Format};
use super::run::Printer;
use anyhow::Result;
use serde_json::Value;

/// Show what the containers of a task wrote
///
/// stdout goes to stdout and stderr to stderr. When several containers have written, each line begins with the name of
/// its container.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The task: its id, the first 6 or more characters of it, or its ARN
    #[arg(value_name = "TASK")]
    task: String,
    /// Go on with what is written from now on, until the task has stopped
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last N lines
    #[arg(long, value_name = "N")]
    tail: Option<u64>,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let task = client.find_task(&self.task).await?;
        let query = LogQuery {
            task: task.id().to_owned(),
            container: self.container.clone(),
            follow: self.follow,
            tail: self.tail,
        };
        let mut lines = client.logs(&query).await?;
        if self.format.is_json() {
            // A stream has no end to wait for: a line each, as it comes.
            while let Some(line) = lines.next::<Value>().await? {
                output::line(&line.to_string())?;
            }
            return Ok(());
        }
        let several = self.container.is_none() && task.containers.len() > 1;
        let mut printer = Printer::new(several, self.timestamps);
        while let Some(line) = lines.next::<LogLine>().await? {
            printer.print(&line)?;
        }
        Ok(())
    }
}
