//! IPv6, which containers can do without.

use super::Check;
use crate::doctor::finding::Finding;

pub(super) const CHECK: Check = Check::new(
    "ipv6",
    "Whether the box has IPv6. Without it containers have IPv4 addresses alone; nothing else is lost.",
    "Take `ipv6.disable=1` off the kernel's command line, or `sysctl -w net.ipv6.conf.all.disable_ipv6=0`, if you want it.",
    |subject| {
        let read = |name: &str| subject.text(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"));
        judge(&[read("all"), read("default")])
    },
)
.of(super::Of::Box);

/// `disable_ipv6` of all links and of new ones.
fn judge(disabled: &[Option<String>; 2]) -> Finding {
    if disabled.iter().all(Option::is_none) {
        return Finding::ok("the kernel has no IPv6: containers have IPv4 addresses alone");
    }
    if disabled.iter().flatten().any(|value| value.trim() == "1") {
        return Finding::ok("IPv6 is disabled: containers have IPv4 addresses alone");
    }
    Finding::ok("IPv6 is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named() {
        let of = |all: &str| judge(&[Some(all.to_owned()), Some("0\n".to_owned())]).found;
        assert_eq!(of("0\n"), "IPv6 is there");
        assert!(of("1\n").contains("IPv4 addresses alone"));
        assert!(judge(&[None, None]).found.contains("no IPv6"));
    }
}
