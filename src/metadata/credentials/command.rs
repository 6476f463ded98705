//! A program that prints credentials, as `credential_process` of the AWS CLI does.

use super::{Keys, SourceError};
use crate::model::Timestamp;
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much it may print.
const LARGEST: u64 = 64 * 1024;
/// How much of its complaint is passed on.
const COMPLAINT: usize = 500;

/// What it prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

/// Runs `command`, as the agent's own user, and reads what it prints.
pub(super) async fn run(command: &[String]) -> Result<Keys, SourceError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(SourceError::NoEntry);
    };
    let failed = |reason: String| SourceError::Program { program: program.clone(), reason };
    let broken = |source| SourceError::Run { program: program.clone(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        let (output, complaint) = tokio::join!(bounded(stdout), bounded(stderr));
        child.wait().await.map(|status| (status, output, complaint))
    };
    let Ok(ended) = tokio::time::timeout(PATIENCE, ended).await else {
        return Err(failed(format!("took longer than {} s", PATIENCE.as_secs())));
    };
    let (status, output, complaint) = ended.map_err(broken)?;
    if !status.success() {
        let complaint: String = String::from_utf8_lossy(&complaint)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(COMPLAINT)
            .collect();
        return Err(failed(format!("ended with {status}: {}", complaint.trim())));
    }
    // The text may hold a secret, also where it is wrong.
    let output: Output = serde_json::from_slice(&output)
        .map_err(|_| failed("did not print the JSON of credential_process".to_owned()))?;
    if output.version != 1 {
        return Err(failed(format!("printed version {}, not 1", output.version)));
    }
    let end = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let expiration =
        match output.expiration.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(end(text).ok_or_else(|| {
                failed("printed an Expiration that is no RFC 3339 time".to_owned())
            })?),
        };
    Ok(Keys {
        access_key_id: output.access_key_id,
        secret_access_key: output.secret_access_key,
        session_token: output.session_token.filter(|token| !token.is_empty()),
        expiration: expiration.map(|at| Timestamp(at.as_millisecond())),
    })
}

/// All of a pipe, up to the limit. A program that prints more meets a closed pipe.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What cannot be read is judged by what came before.
        let _ = pipe.take(LARGEST).read_to_end(&mut bytes).await;
    }
    bytes
}
