//! `coracle run`: one task, in the foreground, from a file or an image.
//!
//! ```text
//! read ── agent up? ── yes ──► its socket ──┐
//!              └────── no ───► an engine of  ├─► register (if it is new) ─► RunTask ─► follow output, watch ─► exit code
//!                              our own, ─────┘                                             ▲
//!                              same socket                     SIGINT, SIGTERM ── StopTask ┘
//! ```
//!
//! The engine of our own lives in this process, keeps its state apart from any agent's, and is removed with all that it
//! made when the task is over.

mod arguments;
pub(super) mod definition;
mod follow;
mod interactive;
mod outcome;
mod printer;
mod signals;

pub(super) use arguments::Arguments;
pub(super) use printer::Printer;

use super::client::{self, Client, Task};
use super::output;
use super::session::Local;
use crate::config::{Config, Overrides};
use crate::daemon::Foreground;
use anyhow::{Context, Result, bail};
use definition::Job;
use outcome::Outcome;
use rustix::termios::isatty;
use serde_json::{Value, json};
use signals::Signals;
use std::process::ExitCode;

/// The task did not come to run.
const NOT_STARTED: u8 = 125;

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.tty && self.interactive && !self.detach && !isatty(std::io::stdin()) {
            bail!("standard input is no terminal: leave -t out");
        }
        let job = Job::read(&self)?;
        for warning in &job.read.warnings {
            output::complain("warning", warning);
        }
        let client = self.connection.client();
        // A thread beside this one, which may have to wait for a slow reader of our output.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        match runtime.block_on(client.version()) {
            Ok(_) if self.detach => runtime.block_on(self.detached(&client, &job)),
            Ok(_) => runtime.block_on(async {
                let signals = Signals::listen()?;
                self.attached(&client, &job, signals).await
            }),
            Err(error @ client::Error::NoAgent { .. }) if self.detach => {
                Err(anyhow::Error::new(error).context("--detach leaves the task to an agent"))
            }
            Err(client::Error::NoAgent { .. }) => {
                // Before anything is made: a signal must not keep it from being removed.
                let signals = runtime.block_on(async { Signals::listen() })?;
                self.alone(&job, signals)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// With an engine of our own, for this task only.
    fn alone(&self, job: &Job, signals: Signals) -> Result<ExitCode> {
        let config = Config::load(&Overrides::default())?;
        let engine = match Foreground::start(&config) {
            Ok(engine) => engine,
            Err(error) => return Ok(self.not_started(&output::sentence(&error))),
        };
        let client = Client::new(engine.run_dir());
        let result = engine.runtime().block_on(self.attached(&client, job, signals));
        // Also when it went wrong: nothing stays behind.
        let removed = engine.finish();
        let code = result?;
        removed.context("not everything of the task could be removed")?;
        Ok(code)
    }

    async fn detached(&self, client: &Client, job: &Job) -> Result<ExitCode> {
        let started = match start(client, job).await? {
            Ok(task) => task,
            Err(reason) => return Ok(self.not_started(&reason)),
        };
        if self.format.is_json() {
            output::json(&json!({ "task": started }))?;
        } else {
            let task: Task = serde_json::from_value(started)?;
            output::line(task.id())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn attached(&self, client: &Client, job: &Job, signals: Signals) -> Result<ExitCode> {
        let task = match start(client, job).await? {
            Ok(task) => task,
            Err(reason) => return Ok(self.not_started(&reason)),
        };
        let local = Local::detachable(self.interactive, self.tty);
        let outcome = if self.tty {
            let end = interactive::on_terminal(client, job, task.clone(), signals, local).await?;
            match end {
                interactive::End::Outcome(outcome) => *outcome,
                interactive::End::Detached => {
                    let task: Task = serde_json::from_value(task)?;
                    output::line(task.id())?;
                    return Ok(ExitCode::SUCCESS);
                }
            }
        } else if self.interactive {
            let seen: Task = serde_json::from_value(task.clone())?;
            tokio::select! {
                outcome = follow::to_the_end(client, job, task, signals) => outcome?,
                never = interactive::feed(client, job, &seen, local) => match never {},
            }
        } else {
            follow::to_the_end(client, job, task, signals).await?
        };
        if self.format.is_json() {
            output::json(&outcome.json())?;
        }
        if let Some(text) = outcome.complaint() {
            output::complain("coracle run", &text);
        }
        Ok(ExitCode::from(outcome.code()))
    }

    fn not_started(&self, reason: &str) -> ExitCode {
        let outcome = Outcome::refused(reason);
        if self.format.is_json() {
            // The exit code tells it as well.
            let _ = output::json(&outcome.json());
        }
        output::complain("coracle run", reason);
        ExitCode::from(NOT_STARTED)
    }
}

/// Registers and runs it: the task, or why ECS placed none.
async fn start(client: &Client, job: &Job) -> Result<Result<Value, String>> {
    let registered = definition::register(client, &job.read).await;
    let arn = match registered {
        Ok(arn) => arn,
        Err(error @ client::Error::Exception { .. }) => return Ok(Err(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let mut input = json!({ "taskDefinition": arn, "count": 1, "startedBy": "coracle-run" });
    if !job.overrides.is_empty() {
        input["overrides"] = json!({ "containerOverrides": job.overrides });
    }
    let mut answer = match client.ecs("RunTask", &input).await {
        Ok(answer) => answer,
        Err(error @ client::Error::Exception { .. }) => return Ok(Err(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    if answer["tasks"][0].is_object() {
        return Ok(Ok(answer["tasks"][0].take()));
    }
    let failure = &answer["failures"][0];
    let Some(reason) = failure["reason"].as_str() else {
        bail!("RunTask answered neither with a task nor with a failure");
    };
    Ok(Err(match failure["detail"].as_str() {
        Some(detail) => format!("the task was not placed: {reason}: {detail}"),
        None => format!("the task was not placed: {reason}"),
    }))
}
