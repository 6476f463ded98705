//! Verdicts by number, per architecture that a process here can call the kernel by.

use super::profile::{REFUSED, UNKNOWN, Verdict, verdict};
use caps::CapsHashSet;

/// Numbers from `first` to the next range's, all with one verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) verdict: Verdict,
}

/// One way to call the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Architecture {
    /// `AUDIT_ARCH_*`.
    pub(super) audit: u32,
    /// Sorted; the first begins at 0.
    pub(super) ranges: Vec<Range>,
}

#[cfg(target_arch = "x86_64")]
const X86_64: u32 = 0xc000_003e;
#[cfg(target_arch = "x86_64")]
const I386: u32 = 0x4000_0003;
#[cfg(target_arch = "aarch64")]
const AARCH64: u32 = 0xc000_00b7;
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
const ARM: u32 = 0x4000_0028;

/// All numbers of an architecture with their names.
macro_rules! numbers {
    ($architecture:ident) => {{
        use syscalls::$architecture::Sysno;
        // The crate's iterator leaves the last one out.
        Sysno::iter()
            .chain(std::iter::once(Sysno::last()))
            .map(|call| (call.id().cast_unsigned(), call.name()))
            .collect::<Vec<(u32, &'static str)>>()
    }};
}

/// The architectures of this machine, its own first.
pub(super) fn architectures(capabilities: &CapsHashSet) -> Vec<Architecture> {
    #[cfg(target_arch = "x86_64")]
    {
        let native = numbers!(x86_64);
        let mut ranges = ranges(&native, capabilities);
        ranges.extend(x32(&native, capabilities));
        vec![
            Architecture { audit: X86_64, ranges },
            Architecture { audit: I386, ranges: self::ranges(&numbers!(x86), capabilities) },
        ]
    }
    #[cfg(target_arch = "aarch64")]
    {
        vec![
            Architecture { audit: AARCH64, ranges: ranges(&numbers!(aarch64), capabilities) },
            Architecture { audit: ARM, ranges: arm(capabilities) },
        ]
    }
    #[cfg(target_arch = "arm")]
    {
        vec![Architecture { audit: ARM, ranges: arm(capabilities) }]
    }
}

/// 32-bit ARM has calls of its own far above the others: breakpoint, cacheflush, set_tls.
#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
fn arm(capabilities: &CapsHashSet) -> Vec<Range> {
    const PRIVATE: u32 = 0x000f_0000;
    let common: Vec<_> =
        numbers!(arm).into_iter().filter(|(number, _)| *number < PRIVATE).collect();
    let mut ranges = ranges(&common, capabilities);
    for (first, verdict) in [(1, Verdict::Allow), (3, REFUSED), (5, Verdict::Allow), (6, UNKNOWN)] {
        ranges.push(Range { first: PRIVATE + first, verdict });
    }
    ranges
}

/// The x32 numbers: those of x86-64 with a bit set, and some of its own.
#[cfg(target_arch = "x86_64")]
fn x32(native: &[(u32, &'static str)], capabilities: &CapsHashSet) -> Vec<Range> {
    const BIT: u32 = 0x4000_0000;
    const FIRST_OWN: u32 = 512;
    #[rustfmt::skip]
    const OWN: [&str; 36] = [
        "rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg", "recvmsg", "execve",
        "ptrace", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack", "timer_create", "mq_notify",
        "kexec_load", "waitid", "set_robust_list", "get_robust_list", "vmsplice", "move_pages", "preadv", "pwritev",
        "rt_tgsigqueueinfo", "recvmmsg", "sendmmsg", "process_vm_readv", "process_vm_writev", "setsockopt",
        "getsockopt", "io_setup", "io_submit", "execveat", "preadv2", "pwritev2",
    ];
    let mut all: Vec<_> =
        native.iter().filter(|(number, _)| *number < FIRST_OWN).copied().collect();
    all.extend((FIRST_OWN..).zip(OWN));
    ranges(&all, capabilities)
        .into_iter()
        .map(|range| Range { first: range.first | BIT, ..range })
        .collect()
}

fn ranges(numbers: &[(u32, &'static str)], capabilities: &CapsHashSet) -> Vec<Range> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut ranges: Vec<Range> = Vec::new();
    let mut push = |first, verdict| {
        if ranges.last().is_none_or(|last| last.verdict != verdict) {
            ranges.push(Range { first, verdict });
        }
    };
    let mut next = 0;
    for (number, name) in sorted {
        if number > next {
            push(next, REFUSED);
        }
        push(number, verdict(name, capabilities));
        next = number + 1;
    }
    // Newer than this list.
    push(next, UNKNOWN);
    ranges
}

#[cfg(test)]
mod tests {
    use super::super::profile::ALWAYS;
    use super::*;

    #[test]
    fn the_allow_list_is_sorted_and_every_name_exists_somewhere() {
        assert!(ALWAYS.is_sorted());
        let mut known: Vec<&str> = Vec::new();
        for table in [numbers!(x86_64), numbers!(x86), numbers!(aarch64), numbers!(arm)] {
            known.extend(table.into_iter().map(|(_, name)| name));
        }
        // Private to ARM, and newer than the tables.
        known.extend(["breakpoint", "cacheflush", "set_tls", "epoll_ctl_old", "epoll_wait_old"]);
        let unknown: Vec<_> = ALWAYS.iter().filter(|n| !known.contains(n)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn calls_that_are_named_apart_are_allowed_on_every_architecture() {
        // What stat(3) and posix_fadvise(3) of a libc come down to: each table has names of its own for them.
        for (table, numbers) in [
            (numbers!(x86_64), [262, 221]),
            (numbers!(x86), [300, 272]),
            (numbers!(aarch64), [79, 223]),
            (numbers!(arm), [327, 270]),
        ] {
            for number in numbers {
                let (_, name) = table.iter().find(|(n, _)| *n == number).unwrap();
                assert_eq!(verdict(name, &CapsHashSet::new()), Verdict::Allow, "{name}");
            }
        }
    }

    #[test]
    fn ranges_are_sorted_and_cover_everything() {
        for architecture in architectures(&CapsHashSet::new()) {
            assert_eq!(architecture.ranges[0].first, 0);
            assert!(architecture.ranges.windows(2).all(|w| w[0].first < w[1].first));
        }
    }
}
