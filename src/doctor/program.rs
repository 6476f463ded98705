//! Runs a program that only shows something, and waits for a time only.

use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where programs of the system are.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
/// The longest text.
const LONGEST: usize = 4 << 20;

/// Where the program is.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

/// What the program writes to its output; none when it cannot be run or takes too long.
pub(super) fn output(program: &Path, arguments: &[&str], patience: Duration) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdout = child.stdout.take()?;
    let until = sys::uptime() + patience;
    let (mut text, mut buffer, mut whole) = (Vec::new(), [0; 16 * 1024], false);
    while text.len() < LONGEST {
        let left = until.saturating_sub(sys::uptime());
        let timeout = Timespec::try_from(left).ok();
        let mut ready = [PollFd::new(&stdout, PollFlags::IN)];
        if left.is_zero() || !matches!(poll(&mut ready, timeout.as_ref()), Ok(1..)) {
            break;
        }
        match stdout.read(&mut buffer) {
            Ok(0) => {
                whole = true;
                break;
            }
            Ok(read) => text.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(_) => break,
        }
    }
    // It has closed its output, or is of no use any more.
    if !whole {
        let _ = child.kill();
    }
    let _ = child.wait();
    whole.then(|| String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_given_up() {
        let shell = Path::new("/bin/sh");
        let patience = Duration::from_secs(30);
        assert_eq!(output(shell, &["-c", "echo a; echo b >&2"], patience).as_deref(), Some("a\n"));
        assert_eq!(output(shell, &["-c", "exec sleep 60"], Duration::from_millis(50)), None);
        assert_eq!(output(Path::new("/nonexistent"), &[], patience), None);
        assert!(find("sh").is_some() && find("no-such-program").is_none());
    }
}
