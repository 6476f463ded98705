//! Firewalls of others that drop what containers send and are sent.

use super::Check;
use super::forwarding::bridges;
use crate::doctor::finding::Finding;
use crate::doctor::program;
use crate::doctor::subject::Subject;
use std::time::Duration;

pub(super) const CHECK: Check = Check::new(
    "firewall",
    "No other firewall of the box (docker's, ufw, firewalld, your own) drops what is forwarded from and to the agent's bridge: then published ports and the way out are dead.",
    "Let `iifname` and `oifname` of the bridge through in the chain that is named; for iptables: `iptables -I FORWARD -i coracle0 -j ACCEPT` and `-o`.",
    look,
)
.of(super::Of::Box)
.as_root();

/// For each program.
const PATIENCE: Duration = Duration::from_secs(4);

fn look(subject: &Subject) -> Finding {
    let mut names = bridges(subject);
    let set = subject.config().and_then(|config| config.network.bridge.clone());
    names.extend(set);
    if names.is_empty() {
        names.push("coracle0".to_owned());
    }
    let mut wrong = Vec::new();
    let mut unseen = Vec::new();
    let loaded = subject.text("/proc/modules").unwrap_or_default();
    match program::find("nft") {
        Some(nft) => match program::output(&nft, &["list", "ruleset"], PATIENCE) {
            Some(rules) => wrong.extend(nft_rules(&rules, &names)),
            None => unseen.push("`nft list ruleset` does not end"),
        },
        None if loaded.contains("nf_tables") => unseen.push("nft is not installed"),
        None => {}
    }
    let legacy = subject.text("/proc/net/ip_tables_names").unwrap_or_default();
    if legacy.lines().any(|table| table == "filter") {
        let program = program::find("iptables-legacy").or_else(|| program::find("iptables"));
        let rules = program.and_then(|p| program::output(&p, &["-S", "FORWARD"], PATIENCE));
        match rules {
            Some(rules) => wrong.extend(iptables_rules(&rules, &names)),
            None => unseen.push("`iptables -S` fails"),
        }
    }
    let fine = || match unseen.as_slice() {
        [] => Finding::ok("no other firewall drops what containers send"),
        programs => Finding::skipped(format!(
            "rules that are there cannot be seen: {}",
            programs.join(", ")
        )),
    };
    Finding::all(wrong, fine)
}

/// The chains that drop what is forwarded, in the words of `nft list ruleset`.
fn nft_rules(rules: &str, bridges: &[String]) -> Option<Finding> {
    let (mut table, mut chain, mut hooks, mut last) = ("", "", false, "");
    let (mut dropping, mut accepted) = (Vec::new(), false);
    let names_bridge = |line: &str| {
        bridges.iter().any(|bridge| line.contains(&format!("\"{bridge}\"")))
            || line.contains("\"coracle*\"")
    };
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches('{').trim();
        } else if let Some(name) = line.strip_prefix("chain ") {
            (chain, hooks, last) = (name.trim_end_matches('{').trim(), false, "");
        } else if line.starts_with("type ") {
            let of_packets = !table.starts_with("bridge ") && !table.contains("coracle-");
            hooks = line.contains("hook forward") && of_packets;
            if hooks && line.contains("policy drop") {
                dropping.push(format!("{table} {chain}"));
            }
        } else if line == "}" {
            let refuses = last.starts_with("reject")
                || last == "drop"
                || last.ends_with(" drop") && !last.contains("ct state");
            let name = format!("{table} {chain}");
            if hooks && refuses && !last.contains("name") && !dropping.contains(&name) {
                dropping.push(name);
            }
            hooks = false;
        } else if !line.is_empty() {
            last = line;
            accepted |=
                !table.contains("coracle-") && line.contains("accept") && names_bridge(line);
        }
    }
    let chain = dropping.first().filter(|_| !accepted)?;
    let bridge = bridges.first()?;
    Some(Finding::warning(
        format!(
            "the chain {} drops what is forwarded, from and to {bridge} as well",
            dropping.join(", ")
        ),
        format!(
            "sudo nft insert rule {chain} iifname {bridge} accept; sudo nft insert rule {chain} oifname {bridge} accept; and the same where that firewall keeps its rules"
        ),
    ))
}

/// The same of `iptables -S FORWARD`.
fn iptables_rules(rules: &str, bridges: &[String]) -> Option<Finding> {
    let drops = rules.lines().any(|line| line == "-P FORWARD DROP" || line == "-P FORWARD REJECT");
    let accepts = |line: &str| {
        bridges.iter().any(|bridge| line.contains(&format!(" {bridge} ")))
            && line.ends_with("ACCEPT")
    };
    if !drops || rules.lines().any(accepts) {
        return None;
    }
    let bridge = bridges.first()?;
    Some(Finding::warning(
        format!("the policy of iptables' FORWARD is DROP, for {bridge} as well"),
        format!(
            "sudo iptables -I FORWARD -i {bridge} -j ACCEPT; sudo iptables -I FORWARD -o {bridge} -j ACCEPT; and the same where that firewall keeps its rules"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    const DOCKER: &str = "table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter packets 0 bytes 0 jump DOCKER-USER
	}
	chain DOCKER-USER {
		counter packets 0 bytes 0 return
	}
}
table inet coracle-coracle0 {
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname \"coracle0\" accept
	}
}
";
    const FIREWALLD: &str = "table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		reject with icmpx admin-prohibited
	}
}
";

    fn bridges() -> Vec<String> {
        vec!["coracle0".to_owned()]
    }

    #[test]
    fn a_chain_that_drops_is_named_with_its_remedy() {
        let found = nft_rules(DOCKER, &bridges()).unwrap();
        assert_eq!(found.status, Status::Warning);
        let remedy = found.remedy.unwrap();
        assert!(remedy.contains("nft insert rule ip filter FORWARD iifname coracle0 accept"));
        let let_through = DOCKER.replace("0 return", "0 iifname \"coracle0\" accept");
        assert_eq!(nft_rules(&let_through, &bridges()), None);
        assert!(nft_rules(FIREWALLD, &bridges()).unwrap().found.contains("filter_FORWARD"));
        let harmless = DOCKER.replace("policy drop", "policy accept");
        assert_eq!(nft_rules(&harmless, &bridges()), None);
        assert_eq!(nft_rules("", &bridges()), None);
    }

    #[test]
    fn the_same_of_iptables() {
        let rules = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n";
        assert!(iptables_rules(rules, &bridges()).unwrap().found.contains("DROP"));
        let through = format!("{rules}-A FORWARD -i coracle0 -j ACCEPT\n");
        assert_eq!(iptables_rules(&through, &bridges()), None);
        assert_eq!(iptables_rules("-P FORWARD ACCEPT\n", &bridges()), None);
    }
}
