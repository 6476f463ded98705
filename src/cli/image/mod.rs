//! `coracle image`: the images that are on the box.

mod build;

use super::Connection;
use super::output::{self, Format};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// List, load, pull and build images
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    Ls(List),
    Load(Load),
    Pull(Pull),
    Build(build::Build),
}

/// List the images on this box
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Of a hub: the images of this box, by the id of its container instance or the beginning of it
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Load images from archives
///
/// Takes what `docker save`, `podman save` and `skopeo copy` write: OCI and Docker archives, gzipped or not, and OCI
/// layout directories. The agent reads the file, so it must be on its machine.
#[derive(Debug, clap::Args)]
pub(super) struct Load {
    /// The archives
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Pull an image from its registry
#[derive(Debug, clap::Args)]
pub(super) struct Pull {
    /// The image, as a task definition would name it
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Verb {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Ls(arguments) => arguments.run().await,
            Self::Load(arguments) => arguments.run().await,
            Self::Pull(arguments) => arguments.run().await,
            Self::Build(arguments) => arguments.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<()> {
        #[derive(Deserialize)]
        struct Image {
            name: String,
            digest: String,
            size: u64,
            #[serde(default)]
            platform: String,
        }
        let mut answer = self.connection.client().images(self.instance.as_deref()).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let images: Vec<Image> = serde_json::from_value(answer["images"].take())?;
        let rows = images
            .into_iter()
            .map(|image| {
                let digest = image.digest.strip_prefix("sha256:").unwrap_or(&image.digest);
                let digest = output::short(digest).to_owned();
                vec![image.name, digest, image.platform, output::size(image.size)]
            })
            .collect();
        output::table(&["IMAGE", "DIGEST", "PLATFORM", "SIZE"], rows)
    }
}

impl Load {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let mut loaded = Vec::new();
        for file in &self.files {
            // The agent does not stand in our working directory.
            let path = file.canonicalize().with_context(|| file.display().to_string())?;
            let names =
                client.load_image(&path).await.with_context(|| file.display().to_string())?;
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

/// A line of a pull: how far a layer is, or how it all ended.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Progress {
    Layer {
        layer: String,
        done: u64,
        #[serde(default)]
        total: u64,
    },
    Done {
        image: String,
        digest: String,
    },
}

impl Pull {
    async fn run(self) -> Result<()> {
        let mut lines = self.connection.client().pull_image(&self.image).await?;
        // Drawn on stderr, and only when that is a terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) =
            ProgressStyle::with_template("{prefix}: {bytes} of {total_bytes} {wide_bar}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(self.image.clone());
        let mut layers = BTreeMap::new();
        while let Some(line) =
            lines.next::<Progress>().await.inspect_err(|_| bar.finish_and_clear())?
        {
            match line {
                Progress::Layer { layer, done, total } => {
                    layers.insert(layer, (done, total));
                    bar.set_length(layers.values().map(|(_, total)| total).sum());
                    bar.set_position(layers.values().map(|(done, _)| done).sum());
                }
                Progress::Done { image, digest } => {
                    bar.finish_and_clear();
                    if self.format.is_json() {
                        let done: Value = json!({ "image": image, "digest": digest });
                        return output::json(&done);
                    }
                    return output::line(&format!("{image}@{digest}"));
                }
            }
        }
        bail!("the agent ended before the image was there")
    }
}
