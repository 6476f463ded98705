//! `coracle secret`: what containers may know and nobody else.

use super::Connection;
use super::output::{self, Format};
use crate::model::Timestamp;
use crate::sys;
use anyhow::{Context, Result, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A little more than the agent takes, so that it is the agent that says how much that is.
const READ_AT_MOST: u64 = 66 * 1024;

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
            Some(file) if file == Path::new("-") => text(io::stdin().lock(), "standard input")?,
            Some(file) => {
                let name = file.display().to_string();
                text(File::open(file).with_context(|| name.clone())?, &name)?
            }
            None if io::stdin().is_terminal() => ask(&self.name)?,
            None => {
                let mut value = text(io::stdin().lock(), "standard input")?;
                if value.ends_with('\n') {
                    value.pop();
                    if value.ends_with('\r') {
                        value.pop();
                    }
                }
                value
            }
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

/// All of `source`, which must be text.
fn text(source: impl Read, name: &str) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(READ_AT_MOST)?));
    source.take(READ_AT_MOST).read_to_end(&mut bytes).with_context(|| name.to_owned())?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            bail!("{name} is not UTF-8 text; encode it, for example with base64")
        }
    }
}

/// Asks on the terminal, which shows nothing of the answer.
fn ask(name: &str) -> Result<Zeroizing<String>> {
    let hidden = Hidden::new()?;
    let mut screen = io::stderr().lock();
    write!(screen, "Value of {name}: ")?;
    screen.flush()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(READ_AT_MOST)?));
    for byte in io::stdin().lock().take(READ_AT_MOST).bytes() {
        match byte? {
            b'\r' | b'\n' | 0x04 => break,
            // Interrupt and quit: signals are off, so that the terminal is put right whatever happens.
            0x03 | 0x1c => {
                drop(hidden);
                writeln!(screen)?;
                bail!("nothing was set");
            }
            0x08 | 0x7f => while bytes.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            byte => bytes.push(byte),
        }
    }
    drop(hidden);
    writeln!(screen)?;
    text(bytes.as_slice(), "the value")
}

/// The terminal without echo, line by line no more; as it was when dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn new() -> Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).context("cannot look at the terminal")?;
        let mut now = before.clone();
        now.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&stdin, OptionalActions::Flush, &now).context("cannot silence the terminal")?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_is() {
        assert_eq!(*text(&b"a\nb\n"[..], "x").unwrap(), "a\nb\n");
        let refused = text(&b"\xff"[..], "blob").unwrap_err().to_string();
        assert!(refused.starts_with("blob is not UTF-8"), "{refused}");
        assert_eq!(text(io::repeat(b'a'), "x").unwrap().len() as u64, READ_AT_MOST);
    }
}
