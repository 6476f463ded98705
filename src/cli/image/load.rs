//! `coracle image load`: images from archives.

use super::super::Connection;
use super::super::client::Client;
use super::super::output::{self, Format};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Load images from archives
///
/// Takes what `coracle image save`, `docker save`, `podman save` and `skopeo copy` write: OCI and Docker archives, plain,
/// with gzip or with zstd, and OCI layout directories. An archive is sent to the agent when it does not lie where the
/// agent sees it.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Load {
    /// The archives; `-`, as without any, is the standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Load {
    pub(super) async fn run(mut self) -> Result<()> {
        if self.files.is_empty() {
            self.files.push("-".into());
        }
        let client = self.connection.client();
        let mut loaded = Vec::new();
        for file in &self.files {
            let names = load(&client, file).await.with_context(|| file.display().to_string())?;
            if !self.format.is_json() {
                for name in &names {
                    output::line(name)?;
                }
            }
            loaded.extend(names);
        }
        if self.format.is_json() {
            return output::json(&json!({ "images": loaded }));
        }
        Ok(())
    }
}

/// Has the agent load `file`; the names of its images.
pub(super) async fn load(client: &Client, file: &Path) -> Result<Vec<String>> {
    if file.as_os_str() == "-" {
        if io::stdin().is_terminal() {
            bail!("the standard input is a terminal: name an archive, or pipe one in");
        }
        return Ok(client.send_image("archive", io::stdin()).await?.images);
    }
    // The agent does not stand in our working directory.
    let path = file.canonicalize()?;
    let metadata = path.metadata()?;
    let is = Some((metadata.dev(), metadata.ino()));
    let loaded = client.load_image(&path, is).await?;
    if !loaded.elsewhere {
        return Ok(loaded.images);
    }
    if metadata.is_dir() {
        bail!("the agent does not see this directory: pack it with tar and load that");
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(client.send_image(&name, File::open(&path)?).await?.images)
}
