//! `coracle top`: the processes of a task.

use super::Connection;
use super::output::{self, Format};
use anyhow::Result;
use serde::Deserialize;

/// List the processes in the containers of a task
///
/// PID is the process's id on the box, CPID the one that it has in its container.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The task: its id, the first 6 or more characters of it, or its ARN
    #[arg(value_name = "TASK")]
    task: String,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Deserialize)]
struct Answer {
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
    processes: Vec<Process>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    pid: i32,
    container_pid: i32,
    uid: u32,
    user: Option<String>,
    cpu_millis: u64,
    resident_bytes: u64,
    command: Vec<String>,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let answer = client.top(&self.task, self.container.as_deref()).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let answer: Answer = serde_json::from_value(answer)?;
        let mut rows = Vec::new();
        for container in answer.containers {
            for process in container.processes {
                rows.push(vec![
                    container.name.clone(),
                    process.pid.to_string(),
                    process.container_pid.to_string(),
                    process.user.unwrap_or_else(|| process.uid.to_string()),
                    time(process.cpu_millis),
                    output::size(process.resident_bytes),
                    printable(&process.command.join(" ")),
                ]);
            }
        }
        output::table(&["CONTAINER", "PID", "CPID", "USER", "TIME", "RSS", "COMMAND"], rows)
    }
}

/// `1:02.34`: minutes, seconds, hundredths.
fn time(millis: u64) -> String {
    format!("{}:{:02}.{:02}", millis / 60_000, millis / 1000 % 60, millis / 10 % 100)
}

/// What a process calls itself must not move the cursor of whoever looks at it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_minutes() {
        assert_eq!([time(0), time(62_340), time(3_600_000)], ["0:00.00", "1:02.34", "60:00.00"]);
    }

    #[test]
    fn commands_cannot_reach_the_terminal() {
        assert_eq!(printable("sh\u{1b}[2J\n"), "sh?[2J?");
    }
}
