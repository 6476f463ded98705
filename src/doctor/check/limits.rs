//! Limits of the kernel and of the agent's process.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::{Subject, text};

pub(super) const CHECK: Check = Check::new(
    "limits",
    "The agent may open enough files, and the kernel lets enough processes and file watches be.",
    "`LimitNOFILE=1048576` in the unit; `sysctl -w` of the setting that is named, and the same in `/etc/sysctl.d/coracle.conf`.",
    |subject| judge(&Reading::of(subject)),
);

/// Fewer are soon used up.
const FILES: u64 = 4096;
const PROCESSES: u64 = 8192;
/// The kernel gives about one for each 128 KiB of memory.
const THREADS: u64 = 512;
const WATCHES: u64 = 64;

struct Reading {
    /// Files that the running agent may open.
    files: Option<u64>,
    pid_max: Option<u64>,
    threads: Option<u64>,
    /// Each follower of a log has one.
    inotify: Option<u64>,
    unit: &'static str,
}

/// The agent that has the store, as it noted itself.
pub(super) fn agent_pid(subject: &Subject) -> Option<u32> {
    let pid = text(&subject.state_dir().join("store/agent.lock"))?.trim().parse().ok()?;
    let line = subject.text(&format!("/proc/{pid}/cmdline"))?;
    line.contains("coracle").then_some(pid)
}

impl Reading {
    fn of(subject: &Subject) -> Self {
        let number = |path: &str| subject.text(path)?.trim().parse().ok();
        let limits = agent_pid(subject).and_then(|p| subject.text(&format!("/proc/{p}/limits")));
        Self {
            files: limits.as_deref().and_then(open_files),
            pid_max: number("/proc/sys/kernel/pid_max"),
            threads: number("/proc/sys/kernel/threads-max"),
            inotify: number("/proc/sys/fs/inotify/max_user_instances"),
            unit: subject.unit(),
        }
    }
}

/// The soft limit in `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn judge(reading: &Reading) -> Finding {
    let mut wrong = Vec::new();
    if let Some(files) = reading.files.filter(|files| *files < FILES) {
        let unit = reading.unit;
        wrong.push(Finding::warning(
            format!("the {unit} process may open {files} files only"),
            format!("sudo systemctl edit {unit}: [Service] LimitNOFILE=1048576; then sudo systemctl restart {unit}"),
        ));
    }
    let settings = [
        ("kernel.pid_max", reading.pid_max, PROCESSES, 32_768),
        ("kernel.threads-max", reading.threads, THREADS, 4096),
        ("fs.inotify.max_user_instances", reading.inotify, WATCHES, 256),
    ];
    for (name, found, least, better) in settings {
        if let Some(found) = found.filter(|found| *found < least) {
            let what = format!("{name} is {found} only");
            wrong.push(Finding::warning(
                what,
                format!("echo {name}={better} | sudo tee -a /etc/sysctl.d/coracle.conf && sudo sysctl --system"),
            ));
        }
    }
    Finding::all(wrong, || match reading.files {
        Some(files) => Finding::ok(format!("the {} process may open {files} files", reading.unit)),
        None => Finding::ok("the kernel's limits are high enough"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn low_limits_are_told() {
        let limits = "Limit  Soft Hard Units\nMax open files            1024                 524288               files\n";
        let files = [
            ("/var/lib/coracle/store/agent.lock", "77\n"),
            ("/proc/77/cmdline", "/usr/local/bin/coracle\0agent\0"),
            ("/proc/77/limits", limits),
            ("/proc/sys/kernel/pid_max", "4096\n"),
            ("/proc/sys/fs/inotify/max_user_instances", "128\n"),
        ];
        let found = (CHECK.run)(&a_box(&files).1);
        assert_eq!(found.status, Status::Warning);
        let remedy = found.remedy.unwrap();
        assert!(remedy.contains("LimitNOFILE") && remedy.contains("kernel.pid_max=32768"));
        assert!(!remedy.contains("inotify"));
        assert_eq!(open_files("Max open files unlimited unlimited files"), Some(u64::MAX));
        assert_eq!((CHECK.run)(&a_box(&files[..1]).1).status, Status::Ok);
    }
}
