//! This program: does it need libraries of the box, is it for this processor, is it what the agent runs.

use super::Check;
use super::limits::agent_pid;
use crate::doctor::finding::Finding;
use std::io::Read;
use std::path::Path;

pub(super) const CHECK: Check = Check::new(
    "program",
    "The program is static, is for this processor, and is the version that runs: after an upgrade the agent or hub must start anew. Tasks go on meanwhile.",
    "`systemctl restart coracle` (or `coracle-hub`); install the package for this processor.",
    |subject| {
        let running = subject.version().content().and_then(|c| c["version"].as_str());
        let exe = agent_pid(subject).map(|pid| subject.path(&format!("/proc/{pid}/exe")));
        let exe = exe.and_then(|exe| std::fs::read_link(exe).ok());
        let replaced = exe.is_some_and(|exe| exe.to_string_lossy().ends_with(" (deleted)"));
        let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
        let header = header(Path::new("/proc/self/exe"));
        judge(header.as_deref(), &machine, running, replaced, subject.unit())
    },
);

/// ELF: a program that needs a loader, and so libraries.
const INTERPRETER: u32 = 3;

/// The beginning of a program, with its table of segments.
fn header(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(4096).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether a program needs a loader; none when this is no program.
fn is_dynamic(bytes: &[u8]) -> Option<bool> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let wide = bytes.get(4) == Some(&2);
    let number = |at: usize, length: usize| {
        let bytes = bytes.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
    let table = number(table, if wide { 8 } else { 4 })?;
    let (size, count) = (number(size, 2)?, number(count, 2)?);
    let kinds = (0..count).map_while(|place| number(table + place * size, 4));
    Some(kinds.into_iter().any(|kind| u32::try_from(kind) == Ok(INTERPRETER)))
}

fn judge(
    header: Option<&[u8]>,
    machine: &str,
    running: Option<&str>,
    replaced: bool,
    unit: &str,
) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let restart = format!("sudo systemctl restart {unit}; tasks go on meanwhile");
    let mut wrong = Vec::new();
    if let Some(running) = running.filter(|running| *running != own) {
        let what = format!("version {running} runs, this program is {own}");
        wrong.push(Finding::warning(what, restart));
    } else if replaced {
        let what = "the program was replaced since the agent started";
        wrong.push(Finding::warning(what, restart));
    }
    let built_for = std::env::consts::ARCH;
    let kind = match header.and_then(is_dynamic) {
        Some(true) => "with libraries of this box",
        Some(false) => "static",
        None => "of unknown kind",
    };
    Finding::all(wrong, || {
        Finding::ok(format!("version {own} for {built_for}, {kind}, on {machine}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn another_version_that_runs_is_told() {
        let own = env!("CARGO_PKG_VERSION");
        let status = |running, replaced| judge(None, "x86_64", running, replaced, "coracle").status;
        assert_eq!(status(Some(own), false), Status::Ok);
        assert_eq!(status(None, false), Status::Ok);
        assert_eq!(status(Some(own), true), Status::Warning);
        let older = judge(None, "x86_64", Some("0.0.1"), false, "coracle");
        assert!(older.found.contains("0.0.1 runs"), "{older:?}");
        assert!(older.remedy.unwrap().contains("systemctl restart coracle"));
    }

    #[test]
    fn programs_with_a_loader_are_told_from_static_ones() {
        let shell = header(Path::new("/bin/sh")).unwrap();
        let word = |wide: bool, kind: u8| {
            let mut bytes = vec![0; 128];
            bytes[..4].copy_from_slice(b"\x7fELF");
            bytes[4] = if wide { 2 } else { 1 };
            let (table, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
            (bytes[table], bytes[size], bytes[count], bytes[64]) = (64, 32, 1, kind);
            is_dynamic(&bytes)
        };
        assert!(is_dynamic(&shell).is_some());
        assert_eq!(
            [word(true, 3), word(true, 1), word(false, 3), word(false, 6)],
            [true, false, true, false].map(Some)
        );
        assert_eq!(is_dynamic(b"#!/bin/sh"), None);
    }
}
