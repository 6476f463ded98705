//! `coracle task-def`: task definitions and their revisions.

use super::Connection;
use super::output::{self, Format};
use super::run::definition;
use crate::model::Timestamp;
use crate::sys;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Register, list and show task definitions
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    Register(Register),
    Ls(List),
    Show(Show),
}

/// Register a new revision of a task definition
///
/// The file holds what RegisterTaskDefinition takes. What `aws ecs describe-task-definition` prints is taken as well,
/// and a bare list of containers, which gets the name of the file as its family. What is not known is named and left
/// out.
#[derive(Debug, clap::Args)]
pub(super) struct Register {
    /// The files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// List the revisions that tasks can be started from
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only families that begin like this
    #[arg(value_name = "PREFIX")]
    family_prefix: Option<String>,
    /// Only the newest revision of each family
    #[arg(long)]
    newest: bool,
    /// Those that were deregistered, too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Show a task definition
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// FAMILY for its newest revision, FAMILY:REVISION, or an ARN
    #[arg(value_name = "DEFINITION")]
    definition: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Verb {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Register(arguments) => arguments.run().await,
            Self::Ls(arguments) => arguments.run().await,
            Self::Show(arguments) => arguments.run().await,
        }
    }
}

impl Register {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        // All are read before the first is registered.
        let mut inputs = Vec::new();
        for file in &self.files {
            let read = definition::from_file(file)?;
            for warning in &read.warnings {
                output::complain("warning", &format!("{}: {warning}", file.display()));
            }
            inputs.push((file, definition::registration(&read)?));
        }
        let mut registered = Vec::new();
        for (file, input) in inputs {
            let mut answer = client
                .ecs("RegisterTaskDefinition", &input)
                .await
                .with_context(|| file.display().to_string())?;
            registered.push(answer["taskDefinition"].take());
        }
        if self.format.is_json() {
            return output::json(&json!({ "taskDefinitions": registered }));
        }
        for definition in registered {
            output::line(output::id_of(text(&definition["taskDefinitionArn"])))?;
        }
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let mut arns: Vec<(String, &str)> = Vec::new();
        let statuses: &[&str] = if self.all { &["ACTIVE", "INACTIVE"] } else { &["ACTIVE"] };
        for status in statuses {
            let input = json!({ "status": status });
            for arn in client.ecs_pages("ListTaskDefinitions", input, "taskDefinitionArns").await? {
                arns.push((text(&arn).to_owned(), status));
            }
        }
        let mut rows: Vec<Row> = arns
            .iter()
            .map(|(arn, status)| Row::new(arn, status))
            .filter(|row| {
                let prefix = self.family_prefix.as_deref().unwrap_or_default();
                row.family.starts_with(prefix)
            })
            .collect();
        rows.sort_by(|a, b| a.family.cmp(b.family).then(b.revision.cmp(&a.revision)));
        if self.newest {
            rows.dedup_by(|b, a| a.family == b.family);
        }
        if self.format.is_json() {
            let arns: Vec<&str> = rows.iter().map(|row| row.arn).collect();
            return output::json(&json!({ "taskDefinitionArns": arns }));
        }
        let rows = rows
            .into_iter()
            .map(|row| vec![row.family.to_owned(), row.revision.to_string(), row.status.to_owned()])
            .collect();
        output::table(&["FAMILY", "REVISION", "STATUS"], rows)
    }
}

#[derive(Debug)]
struct Row<'a> {
    arn: &'a str,
    family: &'a str,
    revision: u64,
    status: &'a str,
}

impl<'a> Row<'a> {
    fn new(arn: &'a str, status: &'a str) -> Self {
        let (family, revision) = output::id_of(arn).rsplit_once(':').unwrap_or((arn, "0"));
        Self { arn, family, revision: revision.parse().unwrap_or_default(), status }
    }
}

impl Show {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let input = json!({ "taskDefinition": self.definition, "include": ["TAGS"] });
        let answer = client.ecs("DescribeTaskDefinition", &input).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let definition = &answer["taskDefinition"];
        for (name, value) in facts(definition) {
            output::line(&format!("{name:<14}{value}"))?;
        }
        output::line("")?;
        let containers = definition["containerDefinitions"].as_array().cloned().unwrap_or_default();
        let rows = containers.iter().map(container_row).collect();
        output::table(&["CONTAINER", "IMAGE", "ESSENTIAL", "CPU", "MEMORY", "COMMAND"], rows)
    }
}

/// What is said of the definition as a whole, name and value; nothing of what is unset.
fn facts(definition: &Value) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("definition", output::id_of(text(&definition["taskDefinitionArn"])).to_owned()),
        ("status", text(&definition["status"]).to_owned()),
    ];
    let registered = definition["registeredAt"].clone();
    if let Ok(at) = serde_json::from_value::<Timestamp>(registered) {
        facts.push(("registered", format!("{} ago", output::age(sys::now(), at))));
    }
    let members = [("network mode", "networkMode"), ("cpu", "cpu"), ("memory", "memory")];
    for (name, member) in members {
        if let Some(value) = definition[member].as_str() {
            facts.push((name, value.to_owned()));
        }
    }
    facts
}

fn container_row(container: &Value) -> Vec<String> {
    let number = |member: &str| container[member].as_i64().filter(|number| *number != 0);
    let memory = match (number("memory"), number("memoryReservation")) {
        (Some(hard), _) => format!("{hard} MiB"),
        (None, Some(soft)) => format!("{soft} MiB reserved"),
        (None, None) => String::new(),
    };
    let words = |member: &str| container[member].as_array().into_iter().flatten().map(text);
    vec![
        text(&container["name"]).to_owned(),
        text(&container["image"]).to_owned(),
        if container["essential"] == Value::Bool(false) { "no" } else { "yes" }.to_owned(),
        number("cpu").map(|cpu| cpu.to_string()).unwrap_or_default(),
        memory,
        words("entryPoint").chain(words("command")).collect::<Vec<_>>().join(" "),
    ]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_told_in_one_line() {
        let container = json!({
            "name": "web", "image": "nginx", "essential": true, "cpu": 0, "memoryReservation": 64,
            "entryPoint": ["/bin/sh", "-c"], "command": ["exec nginx"],
        });
        assert_eq!(
            container_row(&container),
            ["web", "nginx", "yes", "", "64 MiB reserved", "/bin/sh -c exec nginx"]
        );
    }

    #[test]
    fn an_arn_is_split_into_family_and_revision() {
        let row = Row::new("arn:aws:ecs:local:000000000000:task-definition/web:12", "ACTIVE");
        assert_eq!((row.family, row.revision), ("web", 12));
    }
}
