//! Whether the box forwards what containers send, once they have a bridge.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;

pub(super) const CHECK: Check = Check::new(
    "forwarding",
    "The box forwards IPv4 as long as the agent has a bridge. The agent switches that on; something else may have switched it off.",
    "`sysctl -w net.ipv4.ip_forward=1`, and take `net.ipv4.ip_forward=0` out of the file in `/etc/sysctl.d` that is named.",
    |subject| judge(&Reading::of(subject)),
)
.of(super::Of::Box);

struct Reading {
    forwards: bool,
    /// The agent's bridges.
    bridges: Vec<String>,
    /// Files that switch it off.
    files: Vec<String>,
}

/// The bridges of agents: their aliases say so.
pub(super) fn bridges(subject: &Subject) -> Vec<String> {
    let ours = |name: &String| {
        let alias = subject.text(&format!("/sys/class/net/{name}/ifalias")).unwrap_or_default();
        let is_bridge = subject.path(&format!("/sys/class/net/{name}/bridge")).exists();
        is_bridge && alias.starts_with("coracle ")
    };
    subject.names("/sys/class/net").into_iter().filter(ours).collect()
}

impl Reading {
    fn of(subject: &Subject) -> Self {
        const DIRECTORIES: [&str; 3] = ["/etc/sysctl.d", "/run/sysctl.d", "/usr/lib/sysctl.d"];
        let below = DIRECTORIES.iter().flat_map(|directory| {
            subject.names(directory).into_iter().map(move |name| format!("{directory}/{name}"))
        });
        let all = below.chain(["/etc/sysctl.conf".to_owned()]);
        let off = |path: &String| {
            let text = subject.text(path).unwrap_or_default();
            let line = |line: &str| line.replace([' ', '/', '\t'], ".").replace('.', "");
            text.lines().any(|l| line(l).trim_start_matches('-') == "netipv4ip_forward=0")
        };
        let forwards = subject.text("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
        Self {
            forwards: forwards.trim() == "1",
            bridges: bridges(subject),
            files: all.filter(off).collect(),
        }
    }
}

fn judge(reading: &Reading) -> Finding {
    let Some(bridge) = reading.bridges.first() else {
        let state = if reading.forwards { "on" } else { "off" };
        return Finding::ok(format!(
            "forwarding is {state}; the agent switches it on with its first bridge"
        ));
    };
    if reading.forwards {
        return Finding::ok(format!("what containers on {bridge} send is forwarded"));
    }
    let because = match reading.files.as_slice() {
        [] => String::new(),
        files => format!(", and take net.ipv4.ip_forward=0 out of {}", files.join(" and ")),
    };
    Finding::error(
        format!("forwarding was switched off: containers on {bridge} reach nothing outside of it"),
        format!("sudo sysctl -w net.ipv4.ip_forward=1{because}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn a_bridge_without_forwarding_is_an_error() {
        let off = ("/proc/sys/net/ipv4/ip_forward", "0\n");
        let alias =
            ("/sys/class/net/coracle0/ifalias", "coracle /var/lib/coracle [ip_forward=0]\n");
        let bridge = ("/sys/class/net/coracle0/bridge/x", "");
        let other = ("/sys/class/net/docker0/bridge/x", "");
        let setting = ("/etc/sysctl.d/99-hardening.conf", "# x\nnet.ipv4.ip_forward = 0\n");
        assert_eq!((CHECK.run)(&a_box(&[off, other]).1).status, Status::Ok);
        let bad = (CHECK.run)(&a_box(&[off, alias, bridge, setting]).1);
        assert_eq!(bad.status, Status::Error);
        assert!(bad.remedy.unwrap().contains("99-hardening.conf"));
        let on = ("/proc/sys/net/ipv4/ip_forward", "1\n");
        assert_eq!((CHECK.run)(&a_box(&[on, alias, bridge]).1).status, Status::Ok);
    }
}
