//! `coracle run -i` and `-t`: the task's first essential container is this terminal's, or reads this process's input.

use super::super::client::{self, Client, Task};
use super::super::session::{Finish, Local};
use super::super::{output, stop};
use super::definition::Job;
use super::follow;
use super::outcome::Outcome;
use super::signals::Signals;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// How it went.
#[derive(Debug)]
pub(super) enum End {
    /// The task has ended, or nobody waits for it any longer.
    Outcome(Box<Outcome>),
    /// The task goes on without this process.
    Detached,
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(Box::new(outcome))
    }
}

/// On a terminal: shows what the container's shows, until the task has ended or the keys to detach are typed.
pub(super) async fn on_terminal(
    client: &Client,
    job: &Job,
    task: Value,
    mut signals: Signals,
    local: Local,
) -> Result<End> {
    let started: Task = serde_json::from_value(task.clone())?;
    let Some(name) = job.essential().next() else {
        return Ok(follow::to_the_end(client, job, task, signals).await?.into());
    };
    tokio::select! {
        running = has_started(client, &started, name) => if !running? {
            // It has ended already: what it wrote is in the log.
            return Ok(follow::to_the_end(client, job, task, signals).await?.into());
        },
        _ = signals.next() => {
            stop::request(client, &started, Some("stopped by a signal to coracle run")).await?;
            return Ok(follow::to_the_end(client, job, task, signals).await?.into());
        }
    }
    let content = json!({ "container": name, "terminal": local.terminal_size() });
    let stream = match client.session(started.id(), "attach", &content).await {
        Ok(stream) => stream,
        Err(client::Error::Refused(_)) => {
            return Ok(follow::to_the_end(client, job, task, signals).await?.into());
        }
        Err(error) => return Err(error.into()),
    };
    match local.attach(stream).await? {
        Finish::Detached => return Ok(End::Detached),
        Finish::Ended(_) => {}
        Finish::Signalled(_) => {
            stop::request(client, &started, Some("stopped by a signal to coracle run"))
                .await
                .context("the task was not stopped")?;
        }
    }
    Ok(follow::quietly_to_the_end(client, job, &started, signals).await?.into())
}

/// Without a terminal: passes standard input on beside the output that is shown as ever. Never ends by itself.
pub(super) async fn feed(
    client: &Client,
    job: &Job,
    task: &Task,
    local: Local,
) -> std::convert::Infallible {
    let feeding = async {
        let Some(name) = job.essential().next() else { return Ok(()) };
        if has_started(client, task, name).await? {
            let content = json!({ "container": name });
            let stream = client.session(task.id(), "attach", &content).await?;
            local.attach(stream).await?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = feeding.await {
        output::complain("coracle run", &format!("standard input: {}", output::sentence(&error)));
    }
    std::future::pending().await
}

/// Waits until the container runs; false when it has ended, or never will.
async fn has_started(client: &Client, task: &Task, name: &str) -> Result<bool> {
    let mut watch = client.watch(task.id()).await?;
    while let Some(seen) = watch.next::<Task>().await? {
        let container = seen.containers.iter().find(|container| container.name == name);
        match container.map(|container| container.last_status.as_str()) {
            Some("RUNNING") => return Ok(true),
            Some("STOPPED") | None => return Ok(false),
            Some(_) => {}
        }
    }
    Ok(false)
}
