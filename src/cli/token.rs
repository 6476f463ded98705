//! `coracle token`: the tokens that boxes join a hub with.

use super::client::Client;
use super::output::{self, Format};
use crate::model::Timestamp;
use crate::sys;
use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Make, list and remove the tokens that boxes join this hub with
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    Create(Create),
    Ls(List),
    Rm(Remove),
}

/// Where the hub is.
#[derive(Debug, Clone, clap::Args)]
struct Connection {
    /// The run directory of the hub; its socket is DIR/api.sock
    #[arg(long, value_name = "DIR", env = "CORACLE_RUN_DIR", default_value = "/run/coracle-hub")]
    run_dir: PathBuf,
}

impl Connection {
    fn client(&self) -> Client {
        Client::new(&self.run_dir)
    }
}

/// Make a token and print it
///
/// Whoever has it can make a box a member of the cluster: treat it as a password. It is shown once and kept nowhere.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The cluster that is joined; it must be there
    #[arg(long, value_name = "NAME", default_value = "default")]
    cluster: String,
    /// How many boxes may join with it; any number unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// For how long boxes may join with it: 30m, 12h, 7d, or never
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lasting)]
    expires: Lasting,
    /// An attribute that the boxes that join with it have
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = pair)]
    attributes: Vec<(String, String)>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// List the tokens
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Remove tokens; boxes that joined with them stay
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// Their ids, or the tokens themselves
    #[arg(required = true, value_name = "TOKEN")]
    tokens: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Seconds; none for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lasting(Option<u64>);

fn lasting(text: &str) -> Result<Lasting, String> {
    if text == "never" {
        return Ok(Lasting(None));
    }
    let wrong = || "it must be a number with s, m, h or d, for example 12h, or `never`".to_owned();
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    if number == 0 {
        return Err(wrong());
    }
    Ok(Lasting(Some(u64::from(number) * unit)))
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

/// Each key once: none is dropped.
pub(super) fn once(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (key, value) in given {
        if all.contains_key(&key) {
            bail!("--attribute {key} is given twice");
        }
        all.insert(key, value);
    }
    Ok(all)
}

impl Verb {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Create(arguments) => arguments.run().await,
            Self::Ls(arguments) => arguments.run().await,
            Self::Rm(arguments) => arguments.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<()> {
        let mut wanted = json!({ "cluster": self.cluster, "attributes": once(self.attributes)? });
        if let Some(uses) = self.uses {
            wanted["uses"] = uses.into();
        }
        if let Lasting(Some(seconds)) = self.expires {
            wanted["expiresAfter"] = seconds.into();
        }
        let answer = self.connection.client().create_token(&wanted).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        output::line(answer["token"].as_str().unwrap_or_default())
    }
}

impl List {
    async fn run(self) -> Result<()> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Token {
            id: String,
            cluster: String,
            uses_left: Option<u32>,
            expires_at: Option<Timestamp>,
            joined: u64,
            attributes: Vec<Attribute>,
        }
        #[derive(Deserialize)]
        struct Attribute {
            name: String,
            value: Option<String>,
        }
        let mut answer = self.connection.client().tokens().await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let tokens: Vec<Token> = serde_json::from_value(answer["tokens"].take())?;
        let now = sys::now();
        let rows = tokens.into_iter().map(|token| {
            let attribute =
                |a: &Attribute| format!("{}={}", a.name, a.value.as_deref().unwrap_or_default());
            let expires = match token.expires_at {
                None => "never".to_owned(),
                Some(at) if at <= now => "expired".to_owned(),
                Some(at) => format!("in {}", output::age(at, now)),
            };
            vec![
                token.id,
                token.cluster,
                token.uses_left.map_or_else(|| "any".to_owned(), |uses| uses.to_string()),
                token.joined.to_string(),
                expires,
                token.attributes.iter().map(attribute).collect::<Vec<_>>().join(" "),
            ]
        });
        let header = ["TOKEN", "CLUSTER", "USES LEFT", "JOINED", "EXPIRES", "ATTRIBUTES"];
        output::table(&header, rows.collect())
    }
}

impl Remove {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let mut removed: Vec<Value> = Vec::new();
        for token in &self.tokens {
            // The id is the second part of a token.
            let id = token.split('.').nth(1).unwrap_or(token);
            let answer = client.remove_token(id).await?;
            if !self.format.is_json() {
                output::line(id)?;
            }
            removed.push(answer);
        }
        if self.format.is_json() {
            return output::json(&json!({ "tokens": removed }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_or_no_end() {
        assert_eq!(lasting("90m").unwrap(), Lasting(Some(5400)));
        assert_eq!(lasting("7d").unwrap(), Lasting(Some(604_800)));
        assert_eq!(lasting("never").unwrap(), Lasting(None));
        for wrong in ["", "7", "0h", "-1h", "1w", "h", "1h30m", "5ü"] {
            assert!(lasting(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_attribute_is_dropped() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(once(vec![pair("a", "1"), pair("b", "")]).unwrap().len(), 2);
        assert!(once(vec![pair("a", "1"), pair("a", "1")]).is_err());
    }
}
