//! `coracle service`: services and their roll-outs, with the operations of the ECS API.

mod deploy;
mod events;
mod list;
mod remove;
mod rollback;
mod scale;
mod show;
pub(super) mod wait;

use super::Connection;
use super::output;
use super::output::Format;
use anyhow::Result;
use serde_json::Value;
use std::process::ExitCode;

/// Services: tasks that are kept running
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    Ls(list::Arguments),
    Show(show::Arguments),
    Scale(scale::Arguments),
    Deploy(deploy::Arguments),
    Rollback(rollback::Arguments),
    Events(events::Arguments),
    Rm(remove::Arguments),
}

impl Verb {
    pub(super) async fn run(self) -> Result<ExitCode> {
        match self {
            Self::Ls(arguments) => arguments.run().await,
            Self::Show(arguments) => arguments.run().await,
            Self::Scale(arguments) => arguments.run().await,
            Self::Deploy(arguments) => arguments.run().await,
            Self::Rollback(arguments) => arguments.run().await,
            Self::Events(arguments) => arguments.run().await,
            Self::Rm(arguments) => arguments.run().await,
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// Which service.
#[derive(Debug, clap::Args)]
struct Target {
    /// The service: NAME, CLUSTER/NAME or its ARN
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The cluster of the service [default: default]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Target {
    /// Cluster and name.
    fn names(&self) -> (String, String) {
        names(&self.service, self.cluster.as_deref())
    }
}

fn names(service: &str, cluster: Option<&str>) -> (String, String) {
    let short = match service.split_once(":service/") {
        Some((_, names)) if service.starts_with("arn:") => names,
        _ => service,
    };
    let (own, name) = match short.split_once('/') {
        Some((own, name)) => (Some(own), name),
        None => (None, short),
    };
    (cluster.or(own).unwrap_or("default").to_owned(), name.to_owned())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// Cluster and name of a service as described.
fn names_of(service: &Value) -> (&str, &str) {
    (output::id_of(text(&service["clusterArn"])), text(&service["serviceName"]))
}

/// What the service is to run, `family:revision`.
fn definition_of(service: &Value) -> &str {
    output::id_of(text(&service["taskDefinition"]))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_service_is_named_in_three_ways() {
        let pair = |cluster: &str, name: &str| (cluster.to_owned(), name.to_owned());
        assert_eq!(names("web", None), pair("default", "web"));
        assert_eq!(names("edge/web", None), pair("edge", "web"));
        assert_eq!(names("web", Some("edge")), pair("edge", "web"));
        let arn = "arn:aws:ecs:local:000000000000:service/edge/web";
        assert_eq!(names(arn, None), pair("edge", "web"));
    }
}
