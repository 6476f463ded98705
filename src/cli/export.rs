//! `coracle export`: what is there, as files that `coracle apply` takes.

use super::Connection;
use super::output;
use anyhow::Result;

/// Write what is there as a file that makes it: clusters, task definitions and services
///
/// Applied to the same box it changes nothing. A family of task definitions is written as its newest revision.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only this cluster, its services, and the task definitions that they run
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// How to write it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = Kind::Yaml)]
    output: Kind,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A document per object
    Yaml,
    /// One object with lists
    Json,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let format = match self.output {
            Kind::Yaml => "yaml",
            Kind::Json => "json",
        };
        let client = self.connection.client();
        let exported = client.export(self.cluster.as_deref(), format).await?;
        for warning in &exported.warnings {
            output::complain("warning", warning);
        }
        output::bytes(exported.text.as_bytes())
    }
}
