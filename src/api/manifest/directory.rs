//! A directory of manifests, applied when the agent starts and when it is told to look again.
//!
//! A file that is wrong is left out whole, and reported; the others are applied. Nothing is removed because its file is
//! gone: a directory that is not mounted yet must not stop a box's services.

use super::object::Source;
use super::{carry_out, fresh, make, read};
use crate::engine::Handle;
use crate::model::ClusterName;
use crate::model::task_definition::lenient;
use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Files in one directory at most.
const MOST_FILES: usize = 1000;

/// Makes the box what the files of `directory` say; services that name no cluster are of `cluster`. What is wrong is
/// logged. A directory that is not there declares nothing.
pub async fn apply_directory(engine: &Handle, directory: &Path, cluster: &ClusterName) {
    let path = directory.to_owned();
    let read = tokio::task::spawn_blocking(move || read_directory(&path)).await;
    let sources = match read {
        Ok(Ok(sources)) => sources,
        Ok(Err(error)) => {
            tracing::error!(%error, directory = %directory.display(), "cannot read the manifests");
            return;
        }
        Err(error) => {
            tracing::error!(%error, "cannot read the manifests");
            return;
        }
    };
    if !sources.is_empty() {
        apply(engine, sources, cluster).await;
    }
}

async fn apply(engine: &Handle, mut sources: Vec<Source>, cluster: &ClusterName) {
    // Leaving a file out may break one that counts on it, so until nothing more is wrong.
    loop {
        let mut declared = read::read(&sources, cluster);
        let fresh = fresh(engine, &declared.objects);
        declared.errors.extend(make(engine, &fresh, &declared.objects, None).await);
        let mut wrong = BTreeSet::new();
        for error in &declared.errors {
            tracing::error!("a manifest is left out: {error}");
            wrong.extend(error.source_name().map(str::to_owned));
        }
        if wrong.is_empty() {
            for warning in declared.warnings {
                tracing::warn!("{warning}");
            }
            for object in &declared.objects {
                match carry_out(engine, &fresh, object, None).await {
                    Ok(step) if step.changes() => {
                        tracing::info!(object = step.object, origin = step.origin, "applied");
                    }
                    Ok(_) => {}
                    Err(error) => tracing::error!("a manifest was not applied: {error}"),
                }
            }
            return;
        }
        sources.retain(|source| !wrong.contains(&source.name));
    }
}

/// The manifests in `directory`, in the order of their names.
fn read_directory(directory: &Path) -> io::Result<Vec<Source>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let end = path.extension().and_then(|end| end.to_str());
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if matches!(end, Some("json" | "yaml" | "yml")) && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.len() > MOST_FILES {
        tracing::error!(
            "only the first {MOST_FILES} manifests of {} are read",
            directory.display()
        );
        paths.truncate(MOST_FILES);
    }
    let mut sources = Vec::new();
    for path in paths {
        match read_file(&path) {
            Ok(text) => sources.push(Source { name: path.display().to_string(), text }),
            Err(error) => {
                tracing::error!(%error, "a manifest is left out: {} cannot be read", path.display());
            }
        }
    }
    Ok(sources)
}

/// One byte more than is taken, so that too much is noticed.
fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(lenient::LIMIT as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}
