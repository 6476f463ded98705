//! `coracle image build`: an image from a recipe. The one thing here that needs no agent: files become files.

use super::super::Connection;
use super::super::client::Client;
use super::super::output::{self, Format};
use crate::image::{recipe, save};
use crate::sys;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Build an image from a recipe
///
/// The recipe is DIR/recipe.json, as in images/. With LAYOUT the image is written there as an OCI layout, with -o as an OCI
/// archive, and no agent is needed; without, it is loaded into the agent.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Build {
    /// The folder of the recipe
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to write the OCI layout; made if it is missing
    #[arg(value_name = "LAYOUT", conflicts_with = "file")]
    layout: Option<PathBuf>,
    /// Where to write an OCI archive
    #[arg(short = 'o', value_name = "FILE")]
    file: Option<PathBuf>,
    /// The image's name, in place of the recipe's
    #[arg(short, long, value_name = "NAME")]
    tag: Option<String>,
    /// Only for this platform of the recipe's, for example linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Where to keep Debian packages for the next time
    #[arg(long, value_name = "DIR", env = "CORACLE_CACHE")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Build {
    pub(super) async fn run(self) -> Result<()> {
        let wanted = recipe::Build {
            platform: self.platform.clone(),
            name: self.tag.clone(),
            cache: self.cache.clone(),
        };
        let (name, digest) = match (&self.layout, &self.file) {
            (Some(layout), _) => build(&self.folder, layout, wanted).await?,
            (None, Some(file)) => self.pack(file, wanted).await?,
            (None, None) => self.load(&self.connection.client(), wanted).await?,
        };
        if self.format.is_json() {
            return output::json(&json!({ "image": name, "digest": digest }));
        }
        output::line(&format!("{name}@{digest}"))
    }

    /// Builds in a folder of its own, from which the agent loads.
    async fn load(&self, client: &Client, wanted: recipe::Build) -> Result<(String, String)> {
        // It is no use to build what nobody takes.
        client.version().await?;
        let folder = Temporary::new(&std::env::temp_dir())?;
        let built = build(&self.folder, &folder.0, wanted).await?;
        super::load::load(client, &folder.0).await?;
        folder.remove()?;
        Ok(built)
    }

    /// Builds in a folder beside the archive, from which that is packed.
    async fn pack(&self, file: &Path, wanted: recipe::Build) -> Result<(String, String)> {
        let beside = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = Temporary::new(beside)?;
        let layout = folder.0.join("layout");
        let built = build(&self.folder, &layout, wanted).await?;
        let (unfinished, finished) = (folder.0.join("archive"), file.to_owned());
        let packed = tokio::task::spawn_blocking(move || -> Result<()> {
            let mut out = BufWriter::new(File::create_new(&unfinished)?);
            save::pack(&layout, &mut out)?;
            out.flush()?;
            out.get_ref().sync_all()?;
            fs::rename(&unfinished, &finished)?;
            Ok(())
        });
        packed.await?.with_context(|| format!("cannot write {}", file.display()))?;
        folder.remove()?;
        Ok(built)
    }
}

/// A folder that goes when it is no longer needed.
struct Temporary(PathBuf);

impl Temporary {
    fn new(parent: &Path) -> Result<Self> {
        // Not by the process id: one that was killed may have left a folder, and its id comes again.
        let folder = parent.join(format!(".coracle-image-build-{:032x}", sys::seed()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// Removes it, which must not fail unnoticed when all went well.
    fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.0).with_context(|| format!("cannot remove {}", self.0.display()))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already, or what went wrong before is told.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The image's name and digest.
async fn build(folder: &Path, layout: &Path, wanted: recipe::Build) -> Result<(String, String)> {
    let (folder, layout) = (folder.to_owned(), layout.to_owned());
    let built = tokio::task::spawn_blocking(move || recipe::build_with(&folder, &layout, &wanted))
        .await??;
    Ok((built.name, built.manifest.to_string()))
}
