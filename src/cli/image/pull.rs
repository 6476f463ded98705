//! `coracle image pull`: a bar for each layer on a terminal, a line for each step of a layer elsewhere; both on stderr.

use crate::cli::Connection;
use crate::cli::output::{self, Format};
use anyhow::{Result, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

/// Pull an image from its registry
///
/// The pull goes on when this command is ended. What came before a cut, of the network or of the power, is not brought
/// again.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Pull {
    /// The image, as a task definition would name it
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// A line of a pull: how far a layer is, or how it all ended.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Step(Step),
    Done { image: String, digest: String },
}

#[derive(Debug, Deserialize)]
struct Step {
    layer: String,
    #[serde(default)]
    phase: String,
    done: u64,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    resumed: u64,
}

impl Pull {
    pub(in crate::cli) async fn run(self) -> Result<()> {
        let mut lines = self.connection.client().pull_image(&self.image).await?;
        let mut screen = if self.quiet {
            Screen::Silent
        } else if std::io::stderr().is_terminal() {
            Screen::bars()
        } else {
            Screen::Lines(BTreeMap::new())
        };
        while let Some(line) = lines.next::<Line>().await.inspect_err(|_| screen.clear())? {
            match line {
                Line::Step(step) => screen.show(&step),
                Line::Done { image, digest } => {
                    screen.clear();
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

/// Where progress is shown.
enum Screen {
    Silent,
    Bars {
        all: MultiProgress,
        bars: BTreeMap<String, ProgressBar>,
    },
    /// The phase of each layer that was told last.
    Lines(BTreeMap<String, String>),
}

impl Screen {
    fn bars() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self::Bars { all, bars: BTreeMap::new() }
    }

    fn show(&mut self, layer: &Step) {
        let name = layer.layer.strip_prefix("sha256:").unwrap_or(&layer.layer);
        let name = output::short(name);
        match self {
            Self::Silent => {}
            Self::Bars { all, bars } => {
                let bar = bars.entry(layer.layer.clone()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::new(layer.total));
                    let template = "{prefix} {msg:17} {bytes:>11} of {total_bytes:11} {wide_bar}";
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        bar.set_style(style);
                    }
                    bar.set_prefix(name.to_owned());
                    bar
                });
                bar.set_message(words(layer));
                bar.set_position(layer.done);
                if matches!(layer.phase.as_str(), "done" | "here") {
                    bar.abandon();
                }
            }
            Self::Lines(told) => {
                if told.get(&layer.layer) == Some(&layer.phase) {
                    return;
                }
                told.insert(layer.layer.clone(), layer.phase.clone());
                let size = output::size(layer.total);
                let from = match layer.resumed {
                    0 => String::new(),
                    resumed if layer.phase == "downloading" => {
                        format!(", {} are here already", output::size(resumed))
                    }
                    _ => String::new(),
                };
                // Nobody reads it: the pull goes on all the same.
                let _ = writeln!(std::io::stderr(), "{name}: {} ({size}{from})", words(layer));
            }
        }
    }

    /// Leaves the bars of finished layers where they are, and takes the others away.
    fn clear(&self) {
        if let Self::Bars { bars, .. } = self {
            for bar in bars.values().filter(|bar| !bar.is_finished()) {
                bar.finish_and_clear();
            }
        }
    }
}

fn words(layer: &Step) -> &'static str {
    match layer.phase.as_str() {
        "waiting" => "waiting",
        "downloading" if layer.resumed > 0 => "resuming",
        "downloading" => "downloading",
        "unpacking" => "unpacking",
        "done" => "done",
        "here" => "already here",
        _ => "",
    }
}
