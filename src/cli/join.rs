//! `coracle join`: makes this box a member of a fleet.

use super::client::{Client, Error};
use super::output::{self, Format};
use super::token::{once, pair};
use crate::config::{Config, Overrides};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use zeroize::Zeroizing;

/// A token has less than 100 characters.
const TOKEN_AT_MOST: u64 = 4096;

/// Make this box a member of the fleet of a hub
///
/// The agent of the box, if it runs, goes on as a member at once; else the next one does. The box must have no tasks or
/// services of its own. The token comes from `coracle token create` on the hub; it is never sent, so the hub's address may
/// be one of plain HTTP.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the hub's API is, for example http://hub.example:51678
    #[arg(value_name = "URL")]
    hub: String,
    /// The token; - reads it from the standard input, where no list of processes shows it
    #[arg(long, value_name = "TOKEN", required_unless_present = "token_file")]
    token: Option<String>,
    /// A file that holds the token
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// An attribute of this box
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = pair)]
    attributes: Vec<(String, String)>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// Which box: that of an agent, or of its directories.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Place {
    /// Where the box's state is kept, for when its agent does not run [default: /var/lib/coracle]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The run directory of the agent [default: /run/coracle]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The agent's configuration file [default: /etc/coracle/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The settings that an agent there has.
    pub(super) fn config(self) -> Result<Config> {
        let Self { state_dir, run_dir, config } = self;
        Ok(Config::load(&Overrides { config, state_dir, run_dir, ..Overrides::default() })?)
    }
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) if token == "-" => read(std::io::stdin().lock())?,
            (Some(token), _) => Zeroizing::new(token.clone()),
            (None, Some(path)) => {
                let file = std::fs::File::open(path);
                read(file.with_context(|| format!("cannot open {}", path.display()))?)?
            }
            (None, None) => bail!("--token is missing"),
        };
        let wish =
            json!({ "url": self.hub, "token": token.trim(), "attributes": once(self.attributes)? });
        let answer = ask(self.place, Some(wish))?;
        if self.format.is_json() {
            output::json(&answer)?;
            return Ok(ExitCode::SUCCESS);
        }
        let text = |member: &str| answer[member].as_str().unwrap_or_default().to_owned();
        output::line(&format!(
            "{} joined the cluster {} of {}",
            text("device"),
            text("cluster"),
            text("hub")
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks the agent, or does what it would without one.
pub(super) fn ask(place: Place, wish: Option<Value>) -> Result<Value> {
    let config = place.config()?;
    let client = Client::new(&config.run_dir);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(async {
        match &wish {
            Some(wish) => client.join(wish).await,
            None => client.leave().await,
        }
    });
    match answered {
        Err(Error::NoAgent { .. }) => crate::daemon::without_agent(&config, wish),
        answered => Ok(answered?),
    }
}

fn read(source: impl Read) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source.take(TOKEN_AT_MOST).read_to_string(&mut text).context("cannot read the token")?;
    Ok(text)
}
