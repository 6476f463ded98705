//! `coracle login` and `coracle logout`: who this box is to a registry.

use super::Connection;
use super::output::{self, Format};
use super::prompt;
use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, IsTerminal};

const HUB: &str = "docker.io";

/// Log in to a registry
///
/// The agent has the registry confirm user and password, and keeps them in its state directory, in registries/config.json
/// of Docker's format. They are used for pulls of this box that bring no repositoryCredentials.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    coracle login ghcr.io -u ada\n  \
    coracle login registry.example:5000 -u ada --password-stdin < password\n  \
    aws ecr get-login-password | coracle login -u AWS --password-stdin ACCOUNT.dkr.ecr.REGION.amazonaws.com\n  \
    coracle login --list")]
pub(super) struct Login {
    /// The registry, HOST or HOST:PORT
    #[arg(value_name = "REGISTRY", default_value = HUB)]
    registry: String,
    /// The user; asked for on a terminal
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// Read the password from standard input; else it is asked for on the terminal
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// List the registries that there is a login for, and the users
    #[arg(long, conflicts_with_all = ["username", "password_stdin"])]
    list: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Log out of a registry: forget its login
#[derive(Debug, clap::Args)]
pub(super) struct Logout {
    /// The registry, HOST or HOST:PORT
    #[arg(value_name = "REGISTRY", default_value = HUB)]
    registry: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Login {
    pub(super) async fn run(self) -> Result<()> {
        if self.list {
            return self.list().await;
        }
        let terminal = io::stdin().is_terminal();
        let user = match self.username {
            Some(user) => user,
            None if terminal => prompt::plain("Username: ")?,
            None => bail!("there is no terminal to ask on: give --username and --password-stdin"),
        };
        let password = if self.password_stdin {
            prompt::without_newline(prompt::text(io::stdin().lock(), "standard input")?)
        } else if terminal {
            prompt::hidden("Password: ", "the password")?
        } else {
            bail!("there is no terminal to ask for the password on: give --password-stdin");
        };
        let request = json!({ "registry": self.registry, "user": user, "password": *password });
        let answer = self.connection.client().registries("login", &request).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        output::line(&format!("logged in to {}", answer["registry"].as_str().unwrap_or_default()))
    }

    async fn list(self) -> Result<()> {
        #[derive(Deserialize)]
        struct Registry {
            registry: String,
            user: Option<String>,
        }
        let mut answer = self.connection.client().list_logins().await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let logins: Vec<Registry> = serde_json::from_value(answer["registries"].take())?;
        let rows = logins
            .into_iter()
            .map(|login| vec![login.registry, login.user.unwrap_or_else(|| "-".to_owned())])
            .collect();
        output::table(&["REGISTRY", "USER"], rows)
    }
}

impl Logout {
    pub(super) async fn run(self) -> Result<()> {
        let request = json!({ "registry": self.registry });
        let answer = self.connection.client().registries("logout", &request).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let registry = answer["registry"].as_str().unwrap_or_default();
        if answer["found"] == Value::Bool(true) {
            output::line(&format!("the login for {registry} is forgotten"))
        } else {
            output::line(&format!("there was no login for {registry}"))
        }
    }
}
