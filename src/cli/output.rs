//! What the commands print: tables for people, JSON for programs, and one line on stderr when something is wrong.

use crate::model::Timestamp;
use anyhow::Result;
use comfy_table::Table;
use serde_json::Value;
use std::io::{self, Write};
use std::time::Duration;

/// `--output`, part of every client verb.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Format {
    /// How to print the result
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Kind::Table)]
    output: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// For people
    Table,
    /// For programs, with the names of the ECS API
    Json,
}

impl Format {
    pub(super) fn is_json(&self) -> bool {
        self.output == Kind::Json
    }
}

/// What a command prints cannot be written. Told apart from every other failed write: a request that could not be sent to
/// an agent that has just died is a broken pipe as well, and no success.
#[derive(Debug, thiserror::Error)]
#[error("what this command prints cannot be written: {0}")]
pub(super) struct Unwritten(pub(super) io::Error);

/// Prints `bytes` as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    Ok(out.write_all(bytes).and_then(|()| out.flush()).map_err(Unwritten)?)
}

/// Prints one line.
pub(super) fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    Ok(writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Unwritten)?)
}

/// Prints `value`, indented.
pub(super) fn json(value: &Value) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Prints a table without lines around it, as `docker ps` does.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    line(table.trim_fmt().trim_end())
}

/// One line on stderr. It is the last resort: that it cannot be written is nobody's business.
pub(super) fn complain(what: &str, text: &str) {
    let _ = writeln!(io::stderr().lock(), "{what}: {text}");
}

/// The error and its causes in one line. A cause that its effect has told already is not told again.
pub(super) fn sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// True when whoever read our output has gone (`coracle ps | head -1`), which is no error of ours.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Unwritten>())
        .any(|Unwritten(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

/// How long ago `then` was, in its largest unit: `8s`, `3m`, `5h`, `2d`.
pub(super) fn age(now: Timestamp, then: Timestamp) -> String {
    duration(now.since(then))
}

/// So many seconds, in their largest unit.
pub(super) fn seconds(seconds: u64) -> String {
    duration(Duration::from_secs(seconds))
}

fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds}s"),
        seconds @ 120..=7_199 => format!("{}m", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Bytes in the unit that leaves one to three digits.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut whole = bytes;
    let mut tenths = 0;
    let mut unit = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{whole} B") } else { format!("{whole}.{tenths} {}", UNITS[unit]) }
}

/// The last part of an ARN: the id, `family:revision`, the cluster's name.
pub(super) fn id_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// An id as tables show it; long enough to be typed back.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_of_ours_that_has_gone_is_a_closed_pipe() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&Unwritten(broken()).into()));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!is_closed_pipe(&Unwritten(full).into()));
        // An agent that died while it was sent a request.
        assert!(!is_closed_pipe(&anyhow::Error::from(broken()).context("the connection broke")));
    }

    #[test]
    fn ages_are_in_their_largest_unit() {
        let at = |seconds| age(Timestamp::from_secs(seconds), Timestamp::from_secs(0));
        assert_eq!(
            [at(-5), at(0), at(119), at(120), at(7_200), at(200_000)],
            ["0s", "0s", "119s", "2m", "2h", "2d"]
        );
    }

    #[test]
    fn sizes_have_one_digit_after_the_point() {
        assert_eq!(
            [size(0), size(1023), size(1024), size(1_572_864), size(u64::MAX)],
            ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16777215.9 TiB"]
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = io::Error::other("disk full");
        let error =
            anyhow::Error::new(cause).context("cannot write: disk full").context("no image");
        assert_eq!(sentence(&error), "no image: cannot write: disk full");
    }

    #[test]
    fn ids_are_the_end_of_an_arn() {
        assert_eq!(id_of("arn:aws:ecs:local:000000000000:task/default/0123abcd"), "0123abcd");
        assert_eq!(id_of("0123abcd"), "0123abcd");
        assert_eq!(short("0123456789abcdef"), "0123456789ab");
        assert_eq!(short("01"), "01");
    }
}
