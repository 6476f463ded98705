//! `coracle why`: the chain of reasons, from what is wanted to what is there.

use super::Connection;
use super::client::Error;
use super::output::{self, Format};
use crate::config::Overrides;
use crate::daemon;
use anyhow::Result;
use serde_json::Value;
use std::path::PathBuf;

/// Tell why a task, a service or a box is as it is
///
/// It asks the agent; when none is up, the state that it left is read instead, which takes its rights.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A service (NAME, CLUSTER/NAME), a task or a box (its id or the first 6 or more characters of it), or an ARN
    #[arg(value_name = "TASK|SERVICE|NODE")]
    of: String,
    /// The cluster of the service
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The state directory of an agent that is down [default: /var/lib/coracle]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let cluster = self.cluster.as_deref();
        let found = match self.connection.client().why(cluster, &self.of).await {
            Ok(found) => found,
            Err(Error::NoAgent { .. }) => {
                output::complain("note", "no agent is up; this is what its state tells");
                let overrides = Overrides { state_dir: self.state_dir, ..Overrides::default() };
                daemon::why(&overrides, &self.of, cluster)?
            }
            Err(error) => return Err(error.into()),
        };
        if self.format.is_json() {
            return output::json(&found);
        }
        let mut lines = vec![text(&found)];
        branches(&found, "", &mut lines);
        output::line(&lines.join("\n"))
    }
}

fn text(finding: &Value) -> String {
    finding["text"].as_str().unwrap_or_default().to_owned()
}

/// The reasons of `finding` as branches of a tree.
fn branches(finding: &Value, indent: &str, lines: &mut Vec<String>) {
    let reasons = finding["because"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (at, reason) in reasons.iter().enumerate() {
        let last = at + 1 == reasons.len();
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        lines.push(format!("{indent}{branch}{}", text(reason)));
        branches(reason, &format!("{indent}{below}"), lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasons_are_the_branches_of_a_tree() {
        let found = json!({
            "text": "a", "because": [
                { "text": "b", "because": [{ "text": "c" }] },
                { "text": "d", "because": [{ "text": "e" }] }
            ]
        });
        let mut lines = vec![text(&found)];
        branches(&found, "", &mut lines);
        assert_eq!(lines, ["a", "├─ b", "│  └─ c", "└─ d", "   └─ e"]);
    }
}
