//! `coracle logs`: what the containers of a task, or of all tasks of a family, wrote.

mod target;
mod when;

use super::Connection;
use super::client::{Error, Lines, LogLine, LogQuery};
use super::output::{self, Format};
use super::run::Printer;
use anyhow::Result;
use serde::de::DeserializeOwned;
use serde_json::Value;
use target::Target;

/// Show what the containers of a task, or of all tasks of a family, wrote
///
/// stdout goes to stdout and stderr to stderr. When several containers have written, each line begins with the name of
/// its container, and with its task when there are several. On a terminal, control characters other than colours are
/// shown as text, so that no output can do things to the terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    coracle logs -f 3f2a91c0\n  \
    coracle logs --since 10m --tail 100 web\n  \
    coracle logs -f web:3 -c app")]
pub(super) struct Arguments {
    /// A task (its id, the first 6 or more characters of it, or its ARN), or a family of task definitions, with or
    /// without a revision
    #[arg(value_name = "TASK|FAMILY[:REVISION]")]
    target: String,
    /// Go on with what is written from now on, until the task has stopped; of a family, those of tasks that start
    /// meanwhile as well
    #[arg(short, long)]
    follow: bool,
    /// Of a hub: what the hub stores of what boxes forwarded, without asking the boxes; a box that is away is never asked
    #[arg(long, conflicts_with = "follow")]
    stored: bool,
    /// Begin with the last N lines of each container
    #[arg(long, value_name = "N")]
    tail: Option<u64>,
    /// Only what was written since then: how long ago (10m, 1h30m, 2d), a time (2026-01-31T12:00:00Z), or seconds
    /// since 1970
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<when::Moment>,
    /// Only what was written until then; given as for --since
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<when::Moment>,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// Show control characters to the terminal as they are
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let target = target::find(&client, &self.target).await?;
        let mut query = LogQuery {
            container: self.container.clone(),
            follow: self.follow,
            stored: self.stored,
            tail: self.tail,
            since: self.since.map(|moment| moment.to_string()),
            until: self.until.map(|moment| moment.to_string()),
            ..LogQuery::default()
        };
        let mut printer = match target {
            Target::Task(task) => {
                task.id().clone_into(&mut query.task);
                let several = self.container.is_none() && task.containers.len() > 1;
                Printer::new(several, self.timestamps)
            }
            Target::Family(family) => {
                query.family = Some(family);
                Printer::of_several_tasks(self.timestamps)
            }
        };
        if !self.raw {
            printer = printer.careful_with_terminals();
        }
        let mut lines = client.logs(&query).await?;
        let mut trouble = Trouble::default();
        if self.format.is_json() {
            // A stream has no end to wait for: a line each, as it comes.
            while let Some(line) = trouble.next::<Value>(&mut lines).await? {
                output::line(&line.to_string())?;
            }
            return trouble.end();
        }
        while let Some(line) = trouble.next::<LogLine>(&mut lines).await? {
            match line.note {
                Some(note) => output::complain("note", &note),
                None => printer.print(&line)?,
            }
        }
        trouble.end()
    }
}

/// What is told among the lines: one container's log may not be readable, or one box not be there, and others are. The
/// last is what the command ends with.
#[derive(Debug, Default)]
struct Trouble(Option<Error>);

impl Trouble {
    /// The next line that is one, or none after the last.
    async fn next<T: DeserializeOwned>(&mut self, lines: &mut Lines) -> Result<Option<T>, Error> {
        loop {
            match lines.next().await {
                Err(error @ Error::Told(_)) => {
                    if let Some(before) = self.0.replace(error) {
                        output::complain("error", &before.to_string());
                    }
                }
                read => return read,
            }
        }
    }

    fn end(self) -> Result<()> {
        self.0.map_or(Ok(()), |error| Err(error.into()))
    }
}
