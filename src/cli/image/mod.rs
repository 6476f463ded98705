//! `coracle image`: the images that are on the box.

mod build;
mod keep;
mod load;
mod pull;
mod save;
mod show;

use super::Connection;
use super::output::{self, Format};
use anyhow::Result;
use serde::Deserialize;

/// List, pull, load, save, build and remove images
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    Ls(List),
    Load(load::Load),
    Save(save::Save),
    Pull(pull::Pull),
    Build(build::Build),
    Rm(keep::Remove),
    Prune(keep::Prune),
    Inspect(show::Inspect),
    History(show::History),
    Df(show::Df),
}

/// List the images on this box
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    instance: OnInstance,
    /// Show whole digests
    #[arg(long)]
    digests: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// `--instance` of a hub.
#[derive(Debug, clap::Args)]
struct OnInstance {
    /// Of a hub: on this box, by the id of its container instance or the beginning of it
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
}

impl OnInstance {
    /// What is given.
    fn id(&self) -> Option<&str> {
        self.instance.as_deref()
    }
}

impl Verb {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Ls(arguments) => arguments.run().await,
            Self::Load(arguments) => arguments.run().await,
            Self::Save(arguments) => arguments.run().await,
            Self::Pull(arguments) => arguments.run().await,
            Self::Build(arguments) => arguments.run().await,
            Self::Rm(arguments) => arguments.run().await,
            Self::Prune(arguments) => arguments.run().await,
            Self::Inspect(arguments) => arguments.run().await,
            Self::History(arguments) => arguments.run().await,
            Self::Df(arguments) => arguments.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<()> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Image {
            name: String,
            digest: String,
            size: u64,
            #[serde(default)]
            platform: String,
            // A box of an older version does not tell.
            #[serde(default)]
            in_use: usize,
            unused_seconds: Option<u64>,
        }
        let mut answer = self.connection.client().images(self.instance.id()).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let images: Vec<Image> = serde_json::from_value(answer["images"].take())?;
        let rows = images
            .into_iter()
            .map(|image| {
                let digest = image.digest.strip_prefix("sha256:").unwrap_or(&image.digest);
                let digest = if self.digests { &image.digest } else { output::short(digest) };
                let (used, last) = match (image.in_use, image.unused_seconds) {
                    (0, None) => ("-".to_owned(), "-".to_owned()),
                    (0, Some(seconds)) => {
                        ("-".to_owned(), format!("{} ago", output::seconds(seconds)))
                    }
                    (number, _) => (number.to_string(), "now".to_owned()),
                };
                let digest = digest.to_owned();
                vec![image.name, digest, image.platform, output::size(image.size), used, last]
            })
            .collect();
        output::table(&["IMAGE", "DIGEST", "PLATFORM", "SIZE", "IN USE BY", "LAST USED"], rows)
    }
}
