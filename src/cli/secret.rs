//! `coracle secret`: what containers may know and nobody else.

use super::Connection;
use super::output::{self, Format};
use super::prompt;
use crate::model::Timestamp;
use crate::sys;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// Set, list and remove the secrets of this box
///
/// They answer what task definitions ask AWS Secrets Manager and the SSM Parameter Store for: `secrets`, `secretOptions` and
/// `repositoryCredentials`. Values are sealed in the agent's store and are never shown again.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    Set(Set),
    Ls(List),
    Rm(Remove),
    RotateKey(RotateKey),
}

/// Set a secret or parameter
///
/// The value is asked for on a terminal, else read from standard input, where one newline at its end is left out. Containers
/// see a new value when they start again.
#[derive(Debug, clap::Args)]
pub(super) struct Set {
    /// Its name or ARN; a name that begins with / is a parameter of SSM, others are secrets of Secrets Manager
    #[arg(value_name = "NAME")]
    name: String,
    /// Read the value from FILE as it is; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// NAME is a parameter of SSM though it does not begin with /
    #[arg(long)]
    ssm: bool,
    /// The stage of the new version instead of AWSCURRENT
    #[arg(long, value_name = "STAGE")]
    version_stage: Option<String>,
    /// The id of the new version, for definitions that name one
    #[arg(long, value_name = "ID")]
    version_id: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// List names, versions and dates; values are never shown
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Remove secrets with all their versions
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// Their names or ARNs
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// They are parameters of SSM though they do not begin with /
    #[arg(long)]
    ssm: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Seal all values with a new key
#[derive(Debug, clap::Args)]
pub(super) struct RotateKey {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Verb {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Set(arguments) => arguments.run().await,
            Self::Ls(arguments) => arguments.run().await,
            Self::Rm(arguments) => arguments.run().await,
            Self::RotateKey(arguments) => arguments.run().await,
        }
    }
}

impl Set {
    async fn run(self) -> Result<()> {
        let value = match &self.file {
            Some(file) if file == Path::new("-") => {
                prompt::text(io::stdin().lock(), "standard input")?
            }
            Some(file) => {
                let name = file.display().to_string();
                prompt::text(File::open(file).with_context(|| name.clone())?, &name)?
            }
            None if io::stdin().is_terminal() => {
                prompt::hidden(&format!("Value of {}: ", self.name), "the value")?
            }
            None => prompt::without_newline(prompt::text(io::stdin().lock(), "standard input")?),
        };
        let mut request = json!({ "name": self.name, "parameter": self.ssm, "value": *value });
        if let Some(stage) = self.version_stage {
            request["versionStage"] = stage.into();
        }
        if let Some(id) = self.version_id {
            request["versionId"] = id.into();
        }
        let answer = self.connection.client().secrets("set", &request).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        output::line(answer["name"].as_str().unwrap_or_default())
    }
}

impl List {
    async fn run(self) -> Result<()> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Secret {
            name: String,
            kind: String,
            last_changed_date: Timestamp,
            #[serde(default)]
            versions: Vec<Version>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            version_stages: Vec<String>,
        }
        let mut answer = self.connection.client().list_secrets().await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let secrets: Vec<Secret> = serde_json::from_value(answer["secrets"].take())?;
        let now = sys::now();
        let rows = secrets.into_iter().map(|secret| {
            let stages: Vec<String> =
                secret.versions.into_iter().flat_map(|version| version.version_stages).collect();
            let changed = format!("{} ago", output::age(now, secret.last_changed_date));
            vec![secret.name, secret.kind, changed, stages.join(", ")]
        });
        output::table(&["NAME", "KIND", "CHANGED", "STAGES"], rows.collect())
    }
}

impl Remove {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let mut removed: Vec<Value> = Vec::new();
        for name in &self.names {
            let request = json!({ "name": name, "parameter": self.ssm });
            let answer = client.secrets("remove", &request).await?;
            if !self.format.is_json() {
                output::line(answer["name"].as_str().unwrap_or_default())?;
            }
            removed.push(answer);
        }
        if self.format.is_json() {
            return output::json(&json!({ "secrets": removed }));
        }
        Ok(())
    }
}

impl RotateKey {
    async fn run(self) -> Result<()> {
        let answer = self.connection.client().secrets("rotate-key", &json!({})).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        output::line(&format!("{} values are sealed with a new key", answer["values"]))
    }
}
