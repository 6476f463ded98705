//! Credential helpers: programs named `docker-credential-NAME` that keep credentials elsewhere.
//!
//! `get` reads the server's name from standard input and prints `{"ServerURL", "Username", "Secret"}`.

use super::{AuthError, Credentials};
use serde::Deserialize;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use zeroize::Zeroizing;

/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much it may print.
const LARGEST: u64 = 64 << 10;
/// How much of its complaint is passed on.
const COMPLAINT: usize = 300;
/// What helpers print when they have nothing.
const NOTHING: &str = "credentials not found";
/// The user name that says that the secret is a token of the token server.
const TOKEN_USER: &str = "<token>";

/// Asks the helper for the credentials of `server`; `None` when it has none.
pub(super) async fn get(
    helper: &str,
    server: &str,
    search_path: &OsStr,
) -> Result<Option<Credentials>, AuthError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let failed = |reason: String, transient| AuthError::Helper {
        helper: helper.chars().take(100).collect(),
        reason,
        transient,
    };
    let program =
        program(helper, search_path).map_err(|reason| failed(reason.to_owned(), false))?;
    let (status, output, complaint) =
        match tokio::time::timeout(PATIENCE, run(program, server.to_owned())).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return Err(failed(format!("it does not run: {error}"), false)),
            Err(_) => {
                return Err(failed(format!("it took longer than {} s", PATIENCE.as_secs()), true));
            }
        };
    if !status.success() {
        let said = [String::from_utf8_lossy(&output), String::from_utf8_lossy(&complaint)];
        let said = said.each_ref().map(|text| text.trim()).join(" ");
        if said.contains(NOTHING) {
            return Ok(None);
        }
        let said: String =
            said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(COMPLAINT).collect();
        return Err(failed(format!("it ended with {status}: {}", said.trim()), true));
    }
    // The text may hold a secret, also where it is wrong.
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|_| failed("it did not print Username and Secret as JSON".to_owned(), false))?;
    Ok(Some(match answer.username.as_str() {
        TOKEN_USER => Credentials::Identity(answer.secret),
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }))
}

type Ended = (std::process::ExitStatus, Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

async fn run(program: PathBuf, server: String) -> io::Result<Ended> {
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let told = async {
        if let Some(mut stdin) = stdin {
            // One that does not read says so by how it ends.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
    };
    let ((), output, complaint) = tokio::join!(told, bounded(stdout), bounded(stderr));
    Ok((child.wait().await?, output, complaint))
}

/// All of a pipe, up to the limit. A program that prints more meets a closed pipe.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if let Some(pipe) = pipe {
        // What cannot be read is judged by what came before.
        let _ = pipe.take(LARGEST).read_to_end(&mut bytes).await;
    }
    bytes
}

/// The helper's program, from the absolute directories of the agent's `PATH`.
fn program(helper: &str, search_path: &OsStr) -> Result<PathBuf, &'static str> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if helper.is_empty() || helper.len() > 100 || !helper.chars().all(known) {
        return Err("its name is not one of letters, digits and - _ .");
    }
    std::env::split_paths(search_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(format!("docker-credential-{helper}")))
        .find(|program| {
            let metadata = program.metadata();
            metadata.is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
        .ok_or("it is not in the PATH of the agent; install it, or `coracle login` instead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_path() {
        for name in ["", "../x", "a/b", "a b", "a\0", &"x".repeat(101)] {
            assert!(
                program(name, "/bin".as_ref()).unwrap_err().starts_with("its name"),
                "{name:?}"
            );
        }
        assert!(program("no-such-helper", "/bin".as_ref()).unwrap_err().contains("PATH"));
    }
}
