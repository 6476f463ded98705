//! Files with declarations, and what an apply of them answers.

use super::output;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// As many bytes of one file are read; the agent takes one less.
const FILE_LIMIT: u64 = (1 << 20) + 1;
/// As many files are read of one directory.
const MOST_FILES: usize = 1000;

/// The files of `apply` and `diff`.
#[derive(Debug, clap::Args)]
pub(super) struct Files {
    /// A file, a directory with *.json, *.yaml and *.yml files, or - for standard input; may be given again
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The cluster of services that name none [default: default]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// What these files are called together: services get the tag coracle:applied=NAME, and --prune goes by it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Files {
    /// What the agent is asked for.
    pub(super) fn request(&self, prune: bool, dry_run: bool) -> Result<Value> {
        let mut sources = Vec::new();
        for file in &self.from {
            if file.is_dir() {
                for file in in_directory(file)? {
                    sources.push(source(&file)?);
                }
            } else {
                sources.push(source(file)?);
            }
        }
        Ok(json!({
            "sources": sources, "cluster": self.cluster, "set": self.name, "prune": prune,
            "dryRun": dry_run,
        }))
    }
}

fn source(file: &Path) -> Result<Value> {
    let name = file.display().to_string();
    let mut text = String::new();
    let read = if name == "-" {
        std::io::stdin().take(FILE_LIMIT).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text))
    };
    read.with_context(|| format!("{name} cannot be read"))?;
    let name = if name == "-" { "stdin".to_owned() } else { name };
    Ok(json!({ "name": name, "text": text }))
}

/// The manifests of a directory, by name.
fn in_directory(directory: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("{} cannot be read", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let end = path.extension().and_then(|end| end.to_str());
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if matches!(end, Some("json" | "yaml" | "yml")) && !hidden {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("{} has no *.json, *.yaml or *.yml files", directory.display());
    }
    if files.len() > MOST_FILES {
        bail!("{} has more than {MOST_FILES} manifests", directory.display());
    }
    files.sort();
    Ok(files)
}

/// What an apply answers.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) steps: Vec<Value>,
    pub(super) warnings: Vec<String>,
}

/// What was done for one object, or would be.
#[derive(Debug, Deserialize)]
pub(super) struct Step {
    pub(super) object: String,
    origin: Option<String>,
    action: String,
    differences: Vec<Difference>,
    #[serde(default)]
    result: Value,
}

#[derive(Debug, Deserialize)]
struct Difference {
    path: String,
    old: Value,
    new: Value,
}

/// A service that was applied.
#[derive(Debug, Clone)]
pub(super) struct Applied {
    pub(super) cluster: String,
    pub(super) name: String,
    /// What it is to run.
    pub(super) task_definition: Option<String>,
}

impl Step {
    pub(super) fn of(value: &Value) -> Result<Self> {
        Ok(Self::deserialize(value)?)
    }

    pub(super) fn changes(&self) -> bool {
        self.action != "nothing"
    }

    /// In the past.
    pub(super) fn done(&self) -> &'static str {
        match self.action.as_str() {
            "create" => "created",
            "update" => "updated",
            "delete" => "deleted",
            _ => "unchanged",
        }
    }

    /// The service that it is about, unless it goes.
    pub(super) fn service(&self) -> Option<Applied> {
        if self.action == "delete" {
            return None;
        }
        let text = |member: &str| self.result[member].as_str().map(str::to_owned);
        Some(Applied {
            cluster: output::id_of(&text("clusterArn")?).to_owned(),
            name: text("serviceName")?,
            task_definition: text("taskDefinition"),
        })
    }
}

/// Prints one object: a line for it, and one for each member that differs.
pub(super) fn show(step: &Step) -> Result<()> {
    let sign = match step.action.as_str() {
        "create" => '+',
        "update" => '~',
        "delete" => '-',
        _ => '=',
    };
    let origin = step.origin.as_ref().map(|origin| format!("  ({origin})")).unwrap_or_default();
    output::line(&format!("{sign} {}{origin}", step.object))?;
    for Difference { path, old, new } in &step.differences {
        let line = match (old, new) {
            (Value::Null, new) => format!("    + {path}: {new}"),
            (old, Value::Null) => format!("    - {path}: {old}"),
            (old, new) => format!("    ~ {path}: {old} → {new}"),
        };
        output::line(&line)?;
    }
    Ok(())
}
