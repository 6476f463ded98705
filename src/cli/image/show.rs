//! `coracle image inspect`, `history` and `df`: what there is.

use super::super::Connection;
use super::super::output::{self, Format};
use super::OnInstance;
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

/// Show all that an image says of itself
///
/// As docker image inspect does: a list of objects, whatever --output says.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Inspect {
    /// Names or digests
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    instance: OnInstance,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Show how an image was made
///
/// The newest step first. The size is that of the layer as it came, which mostly is compressed.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct History {
    /// Name or digest
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Do not shorten commands
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    instance: OnInstance,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Show what images take on the disk
///
/// Looks at every file of every layer, which may take a while.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Df {
    #[command(flatten)]
    instance: OnInstance,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Inspect {
    pub(super) async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let mut shown = Vec::new();
        for image in &self.images {
            let answer = client.image("inspect", Some(image), self.instance.id()).await?;
            shown.extend(answer["images"].as_array().cloned().unwrap_or_default());
        }
        // There is no table that holds it.
        let _ = self.format;
        output::json(&Value::Array(shown))
    }
}

impl History {
    pub(super) async fn run(self) -> Result<()> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[derive(Default)]
        struct Step {
            created: String,
            created_by: String,
            size: u64,
            comment: String,
            layer: Option<String>,
        }
        let client = self.connection.client();
        let instance = self.instance.id();
        let mut answer = client.image("history", Some(&self.image), instance).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let steps: Vec<Step> = serde_json::from_value(answer["history"].take())?;
        let row = |step: Step| {
            let layer = step.layer.unwrap_or_else(|| "-".to_owned());
            let layer = layer.strip_prefix("sha256:").unwrap_or(&layer);
            vec![
                output::short(layer).to_owned(),
                step.created.get(..19).unwrap_or(&step.created).replace('T', " "),
                shortened(&step.created_by, self.no_trunc),
                output::size(step.size),
                step.comment,
            ]
        };
        let header = ["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"];
        output::table(&header, steps.into_iter().map(row).collect())
    }
}

/// One line, of bounded length unless it is to be whole.
fn shortened(command: &str, whole: bool) -> String {
    const LONGEST: usize = 60;
    let line = command.split_whitespace().collect::<Vec<_>>().join(" ");
    if whole || line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

impl Df {
    pub(super) async fn run(self) -> Result<()> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Image {
            names: Vec<String>,
            shared: u64,
            unique: u64,
            in_use: usize,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Space {
            images: Vec<Image>,
            blobs: (usize, u64),
            layers: (usize, u64),
            partial: u64,
            loose: u64,
            reclaimable: u64,
            disk_size: u64,
            disk_free: u64,
            disk_fill: u8,
        }
        let client = self.connection.client();
        let answer = client.image("space", None, self.instance.id()).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let space: Space = serde_json::from_value(answer)?;
        let row = |image: Image| {
            let used = match image.in_use {
                0 => "-".to_owned(),
                number => number.to_string(),
            };
            let (unique, shared) = (output::size(image.unique), output::size(image.shared));
            vec![image.names.join(", "), used, unique, shared]
        };
        let rows: Vec<_> = space.images.into_iter().map(row).collect();
        output::table(&["IMAGE", "IN USE BY", "UNIQUE", "SHARED"], rows)?;
        output::line("")?;
        let line = |what: &str, size: u64| vec![what.to_owned(), output::size(size)];
        let rows = vec![
            line(&format!("{} blobs, as they came", space.blobs.0), space.blobs.1),
            line(&format!("{} layers, unpacked", space.layers.0), space.layers.1),
            line("unfinished downloads", space.partial),
            line("of no image", space.loose),
            line("reclaimable with prune --all", space.reclaimable),
            line(&format!("the disk, {}% full", space.disk_fill), space.disk_size),
            line("free", space.disk_free),
        ];
        output::table(&["", "SIZE"], rows)
    }
}
