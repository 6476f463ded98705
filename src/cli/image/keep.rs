//! `coracle image rm` and `prune`: what goes.

use super::super::Connection;
use super::super::output::{self, Format};
use super::OnInstance;
use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Remove images
///
/// An image that a task runs or is to run, that a service's deployments want, or that last ran well for a service, is not
/// removed. Of an image with several names only the one given goes; a digest, or the beginning of one, means all of them.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Remove {
    /// Names or digests
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Take the name off an image that is in use as well; what it named goes when nobody uses it any more
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    instance: OnInstance,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Remove images that nobody uses, and what is left of downloads
///
/// Without --all only images that have lost their tag to a newer one. What was brought here or used in the last half
/// minute stays.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Prune {
    /// Every image that nobody uses, also what was pulled or loaded by hand
    #[arg(short, long)]
    all: bool,
    /// Only what nobody has used for so long while the box was on: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,
    /// Only say which images would go
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    instance: OnInstance,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// What went.
#[derive(Debug, Deserialize)]
struct Removed {
    images: Vec<RemovedImage>,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
struct RemovedImage {
    digest: String,
    names: Vec<String>,
}

impl Remove {
    pub(super) async fn run(self) -> Result<()> {
        let wanted = json!({ "images": self.images, "force": self.force });
        let client = self.connection.client();
        let answer = client.change_images("remove", &wanted, self.instance.id()).await?;
        show(&self.format, answer, "freed")
    }
}

impl Prune {
    pub(super) async fn run(self) -> Result<()> {
        if !self.force && !self.dry_run {
            let what =
                if self.all { "all images that nobody uses" } else { "images without a tag" };
            let what = match self.instance.id() {
                Some(instance) => format!("{what} of {instance}"),
                None => what.to_owned(),
            };
            if !agreed(&what)? {
                return Ok(());
            }
        }
        let seconds = self.older_than.unwrap_or_default().as_secs();
        let wanted =
            json!({ "all": self.all, "olderThanSeconds": seconds, "dryRun": self.dry_run });
        let client = self.connection.client();
        let answer = client.change_images("prune", &wanted, self.instance.id()).await?;
        show(&self.format, answer, if self.dry_run { "" } else { "freed" })
    }
}

fn show(format: &Format, answer: Value, freed: &str) -> Result<()> {
    if format.is_json() {
        return output::json(&answer);
    }
    let removed: Removed = serde_json::from_value(answer)?;
    for image in &removed.images {
        for name in &image.names {
            output::line(&format!("{name}  {}", image.digest))?;
        }
    }
    if freed.is_empty() {
        return Ok(());
    }
    output::line(&format!("{} {freed}", output::size(removed.bytes)))
}

/// Asks whoever sits there.
fn agreed(what: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this removes {what}; say --force to do so without being asked");
    }
    write!(std::io::stderr(), "Remove {what}? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `90s`, `10m`, `24h`, `7d`, or several of them.
fn duration(text: &str) -> Result<Duration, String> {
    let rule = || "it must be a time such as 90m, 24h or 7d".to_owned();
    let (mut total, mut rest) = (0_u64, text);
    if rest.is_empty() {
        return Err(rule());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(rule)?;
        let (number, unit) = rest.split_at(end);
        let seconds = match unit.chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(rule()),
        };
        let number: u64 = number.parse().map_err(|_| rule())?;
        total = number.checked_mul(seconds).and_then(|n| total.checked_add(n)).ok_or_else(rule)?;
        rest = &unit[1..];
    }
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_hours(168)));
        for wrong in ["", "5", "h", "5w", "-1h", "1h ", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
