//! The memory of the box, and its swap.

use super::Check;
use crate::doctor::finding::Finding;

pub(super) const CHECK: Check = Check::new(
    "memory",
    "There is memory left for tasks, and what swap there is.",
    "Stop what takes it (`ps aux --sort=-rss`), give tasks a `memory` limit; on a small box add zram: `apt-get install zram-tools`.",
    |subject| {
        let meminfo = subject.text("/proc/meminfo").unwrap_or_default();
        judge(&meminfo, &subject.text("/proc/swaps").unwrap_or_default())
    },
);

/// MiB below which a task of any size does not start.
const LOW: u64 = 32;
/// The same of what all of a box should have.
const LEAST: u64 = 64;

fn judge(meminfo: &str, swaps: &str) -> Finding {
    let mib = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
    };
    let (Some(total), Some(available)) = (mib("MemTotal"), mib("MemAvailable")) else {
        return Finding::skipped("the kernel does not tell how much memory there is");
    };
    let zram = if swaps.contains("/zram") { ", in zram" } else { "" };
    let swap = match mib("SwapTotal") {
        None | Some(0) => "no swap".to_owned(),
        Some(swap) => format!("{swap} MiB of swap{zram}"),
    };
    let what = format!("{available} of {total} MiB are available, {swap}");
    if total < LEAST || available < LOW {
        return Finding::warning(
            what,
            "see what takes it: ps aux --sort=-rss | head; give tasks a memory limit; add zram: sudo apt-get install zram-tools",
        );
    }
    Finding::ok(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn what_is_left_is_told() {
        let of = |available: u64, swap: u64| {
            format!("MemTotal: 524288 kB\nMemAvailable: {available} kB\nSwapTotal: {swap} kB\n")
        };
        let good = judge(&of(204_800, 102_400), "Filename\n/dev/zram0 partition\n");
        assert_eq!(good, Finding::ok("200 of 512 MiB are available, 100 MiB of swap, in zram"));
        assert!(judge(&of(204_800, 0), "").found.ends_with("no swap"));
        assert_eq!(judge(&of(20_480, 0), "").status, Status::Warning);
        assert_eq!(judge("", "").status, Status::Skipped);
    }
}
