//! `coracle env`: what a shell needs so that `aws ecs` and the AWS SDKs talk to this agent.

use super::Connection;
use super::output::{self, Format};
use anyhow::Result;
use serde_json::json;

/// Print the exports that point the AWS CLI and SDKs to this agent
///
/// Use: eval "$(coracle env)". They hold the agent's secret key: only root, or the user that the agent runs as, gets them.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let given = self.connection.client().credentials().await?;
        let variables = [
            ("AWS_ENDPOINT_URL_ECS", given.endpoint),
            ("AWS_ACCESS_KEY_ID", given.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", given.secret_access_key),
            // The SDKs read the one, version 1 of the AWS CLI and boto3 only the other.
            ("AWS_REGION", given.region.clone()),
            ("AWS_DEFAULT_REGION", given.region),
        ];
        if self.format.is_json() {
            let object: serde_json::Map<_, _> = variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect();
            return output::json(&object.into());
        }
        for (name, value) in variables {
            output::line(&format!("export {name}={}", quoted(&value)))?;
        }
        Ok(())
    }
}

/// `value` as one word of a POSIX shell.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+=@%,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for value in ["http://127.0.0.1:51678", "a b", "it's", "$(id)", "", "a/b+c=="] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(value))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
        }
    }
}
