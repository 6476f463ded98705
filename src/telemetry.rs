//! Logging: `tracing` events as compact lines on stderr.
//!
//! Under journald (`JOURNAL_STREAM` names our stderr's device and inode) lines have no time of their own, since the
//! journal has one. Colour is never used.

use std::io;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, fmt};

/// Starts logging what `targets` lets through; once per process.
pub fn init(targets: Targets) -> Result<(), TryInitError> {
    let layer = fmt::layer().compact().with_ansi(false).with_writer(io::stderr);
    let registry = tracing_subscriber::registry();
    if goes_to_journal() {
        registry.with(layer.without_time().with_filter(targets)).try_init()
    } else {
        registry.with(layer.with_filter(targets)).try_init()
    }
}

fn goes_to_journal() -> bool {
    let stream = std::env::var_os("JOURNAL_STREAM");
    let stderr = rustix::fs::fstat(io::stderr());
    match (stream, stderr) {
        (Some(stream), Ok(stderr)) => {
            stream.to_str().is_some_and(|stream| names(stream, stderr.st_dev, stderr.st_ino))
        }
        _ => false,
    }
}

/// True when `stream`, `DEVICE:INODE`, is that file.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream.split_once(':').is_some_and(|(stream_device, stream_inode)| {
        stream_device.parse() == Ok(device) && stream_inode.parse() == Ok(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn only_the_journals_own_stream_counts() {
        assert!(names("9:12345", 9, 12345));
        assert!(!names("9:12345", 9, 1));
        assert!(!names("8:12345", 9, 12345));
        for broken in ["", "9", "9:", ":12345", "nine:12345"] {
            assert!(!names(broken, 9, 12345), "{broken}");
        }
    }
}
