//! `coracle image build`: an image from a recipe. The one thing here that needs no agent: files become files.

use super::super::Connection;
use super::super::client::Client;
use super::super::output::{self, Format};
use crate::image::recipe;
use crate::sys;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Build an image from a recipe
///
/// The recipe is DIR/recipe.json, as in images/. With LAYOUT the image is written there as an OCI layout and no agent is
/// needed; without, it is loaded into the agent.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Build {
    /// The folder of the recipe
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to write the OCI layout; made if it is missing
    #[arg(value_name = "LAYOUT")]
    layout: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Build {
    pub(super) async fn run(self) -> Result<()> {
        let (name, digest) = match &self.layout {
            Some(layout) => build(&self.folder, layout).await?,
            None => self.load(&self.connection.client()).await?,
        };
        if self.format.is_json() {
            return output::json(&json!({ "image": name, "digest": digest }));
        }
        output::line(&format!("{name}@{digest}"))
    }

    /// Builds in a folder of its own, from which the agent loads.
    async fn load(&self, client: &Client) -> Result<(String, String)> {
        // It is no use to build what nobody takes.
        client.version().await?;
        // Not by the process id: one that was killed may have left a folder, and its id comes again.
        let folder = format!("coracle-image-build-{:032x}", sys::seed());
        let folder = std::env::temp_dir().join(folder);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let result: Result<_> = async {
            let built = build(&self.folder, &folder).await?;
            client.load_image(&folder).await?;
            Ok(built)
        }
        .await;
        let removed = fs::remove_dir_all(&folder);
        let built = result?;
        removed.with_context(|| format!("cannot remove {}", folder.display()))?;
        Ok(built)
    }
}

/// The image's name and digest.
async fn build(folder: &Path, layout: &Path) -> Result<(String, String)> {
    let (folder, layout) = (folder.to_owned(), layout.to_owned());
    let built = tokio::task::spawn_blocking(move || recipe::build(&folder, &layout)).await??;
    Ok((built.name, built.manifest.to_string()))
}
