//! `coracle volume`: the volumes that tasks share, and that outlive them.

use super::Connection;
use super::output::{self, Format};
use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

/// List, make and remove shared volumes
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    Ls(List),
    Create(Create),
    Inspect(Inspect),
    Rm(Remove),
    Prune(Prune),
}

/// List the shared volumes of this box
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Show how much space each takes, which may take a while
    #[arg(long)]
    size: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Make a shared volume
///
/// Tasks whose definition has it with scope shared use it. One that is there already with the same options is left as
/// it is.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// Its name, as in volumes[].name
    #[arg(value_name = "NAME")]
    name: String,
    /// An option of the driver local: type=…, device=…, o=…
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// A label
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Show all that is known of shared volumes
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Remove shared volumes and what is in them
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Remove all shared volumes that no task uses, and what is in them
#[derive(Debug, clap::Args)]
pub(super) struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    #[serde(default)]
    driver_opts: BTreeMap<String, String>,
    #[serde(default)]
    tasks: Vec<String>,
    size: Option<u64>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

/// Each key once: none is dropped.
fn pairs(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (key, value) in given {
        if all.contains_key(&key) {
            bail!("{key} is given twice");
        }
        all.insert(key, value);
    }
    Ok(all)
}

impl Verb {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Ls(arguments) => arguments.run().await,
            Self::Create(arguments) => arguments.run().await,
            Self::Inspect(arguments) => arguments.run().await,
            Self::Rm(arguments) => arguments.run().await,
            Self::Prune(arguments) => arguments.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<()> {
        let mut answer = self.connection.client().volumes(self.size).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let volumes: Vec<Volume> = serde_json::from_value(answer["volumes"].take())?;
        let row = |volume: Volume| {
            let kind = volume.driver_opts.get("type").map_or("directory", String::as_str);
            let tasks = volume.tasks.iter().map(|task| output::short(task)).collect::<Vec<_>>();
            let mut row = vec![volume.name, kind.to_owned(), tasks.join(" ")];
            if self.size {
                row.push(volume.size.map_or("-".to_owned(), output::size));
            }
            row
        };
        let mut header = vec!["VOLUME", "TYPE", "TASKS"];
        if self.size {
            header.push("SIZE");
        }
        output::table(&header, volumes.into_iter().map(row).collect())
    }
}

impl Create {
    async fn run(self) -> Result<()> {
        let wanted = json!({
            "name": self.name, "driverOpts": pairs(self.options)?, "labels": pairs(self.labels)?,
        });
        let volume = self.connection.client().create_volume(&wanted).await?;
        if self.format.is_json() {
            return output::json(&volume);
        }
        output::line(&self.name)
    }
}

impl Inspect {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let mut volumes = Vec::new();
        for name in &self.names {
            volumes.push(client.volume(name).await?);
        }
        if self.format.is_json() {
            return output::json(&json!({ "volumes": volumes }));
        }
        for volume in &volumes {
            let lines = volume.as_object().into_iter().flatten().map(|(key, value)| {
                let value = match value {
                    Value::String(text) => text.clone(),
                    Value::Array(items) => {
                        items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
                    }
                    Value::Object(members) => {
                        let members = members.iter();
                        let pairs =
                            members.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()));
                        pairs.collect::<Vec<_>>().join(" ")
                    }
                    other => other.to_string(),
                };
                vec![key.clone(), value]
            });
            output::table(&["MEMBER", "VALUE"], lines.collect())?;
        }
        Ok(())
    }
}

impl Remove {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let mut removed = Vec::new();
        for name in &self.names {
            client.remove_volume(name).await?;
            if !self.format.is_json() {
                output::line(name)?;
            }
            removed.push(name);
        }
        if self.format.is_json() {
            return output::json(&json!({ "removed": removed }));
        }
        Ok(())
    }
}

impl Prune {
    async fn run(self) -> Result<()> {
        if !self.force && std::io::stdin().is_terminal() && !agreed()? {
            bail!("nothing was removed");
        }
        let answer = self.connection.client().prune_volumes().await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        for name in answer["removed"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            output::line(name)?;
        }
        Ok(())
    }
}

/// Asks somebody who can answer.
fn agreed() -> Result<bool> {
    let mut out = std::io::stderr().lock();
    write!(out, "Remove all shared volumes that no task uses, and what is in them? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
