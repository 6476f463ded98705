//! From RunTask to STOPPED: shows the output, watches the task, passes the wish to stop on.

use super::super::client::{Client, LogLine, LogQuery, Task};
use super::super::stop;
use super::definition::Job;
use super::outcome::Outcome;
use super::printer::Printer;
use super::signals::Signals;
use anyhow::{Context, Result};
use serde_json::Value;

/// Waits for the end of `task`, with all of its output shown.
pub(super) async fn to_the_end(
    client: &Client,
    job: &Job,
    task: Value,
    mut signals: Signals,
) -> Result<Outcome> {
    let mut outcome = Outcome::new(job.essential().map(str::to_owned).collect());
    let started: Task = serde_json::from_value(task)?;
    let query = LogQuery { task: started.id().to_owned(), follow: true, ..LogQuery::default() };
    let mut log = Some(client.logs(&query).await?);
    let mut watch = Some(client.watch(started.id()).await?);
    let mut printer = Printer::new(started.containers.len() > 1, false);
    let mut stopping = false;
    while log.is_some() || watch.is_some() {
        tokio::select! {
            line = next::<LogLine>(&mut log) => match line? {
                Some(line) => if let Err(error) = printer.print(&line) {
                    // Nobody reads any longer, so nobody waits for the task either.
                    stop(client, &started, "nobody reads what coracle run prints").await?;
                    return Err(error.into());
                },
                None => log = None,
            },
            seen = next::<Task>(&mut watch) => match seen? {
                Some(seen) => outcome.observe(seen),
                None => watch = None,
            },
            number = signals.next() => {
                if stopping {
                    outcome.give_up(number);
                    return Ok(outcome);
                }
                stopping = true;
                stop(client, &started, "stopped by a signal to coracle run").await?;
            }
        }
    }
    Ok(outcome)
}

/// Waits for the end of `task`, whose output is shown already.
pub(super) async fn quietly_to_the_end(
    client: &Client,
    job: &Job,
    task: &Task,
    mut signals: Signals,
) -> Result<Outcome> {
    let mut outcome = Outcome::new(job.essential().map(str::to_owned).collect());
    let mut watch = client.watch(task.id()).await?;
    let mut stopping = false;
    loop {
        tokio::select! {
            seen = watch.next::<Task>() => match seen? {
                Some(seen) => outcome.observe(seen),
                None => return Ok(outcome),
            },
            number = signals.next() => {
                if stopping {
                    outcome.give_up(number);
                    return Ok(outcome);
                }
                stopping = true;
                stop(client, task, "stopped by a signal to coracle run").await?;
            }
        }
    }
}

async fn stop(client: &Client, task: &Task, reason: &str) -> Result<()> {
    stop::request(client, task, Some(reason)).await.context("the task was not stopped")?;
    Ok(())
}

/// The next value of a stream that may be over; then it waits for ever.
async fn next<T: serde::de::DeserializeOwned>(
    lines: &mut Option<super::super::client::Lines>,
) -> Result<Option<T>, super::super::client::Error> {
    match lines {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}
