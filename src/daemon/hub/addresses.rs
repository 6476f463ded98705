//! Under which names and addresses the broker may be reached, for its certificate.

use crate::config::HubConfig;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All of them: those that are set, and those that this machine knows of itself.
pub(super) fn of_the_broker(config: &HubConfig) -> Vec<String> {
    let mut names: BTreeSet<String> =
        config.mqtt_advertise.iter().map(|host| host.name().to_owned()).collect();
    let listen = config.mqtt_listen.ip();
    if listen.is_unspecified() {
        names.insert("localhost".to_owned());
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if !node.is_empty() && node.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        {
            names.insert(node);
        }
        let trie = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
        let inet6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        names.extend(local(&trie).map(|address| address.to_string()));
        names.extend(local6(&inet6).map(|address| address.to_string()));
    } else {
        names.insert(listen.to_string());
    }
    names.into_iter().collect()
}

/// The local addresses in `/proc/net/fib_trie`: a line `|-- ADDRESS`, and behind it one that says `host LOCAL`.
fn local(trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let pairs = trie.lines().zip(trie.lines().skip(1));
    pairs.filter_map(|(line, next)| {
        let address = line.trim_start().strip_prefix("|-- ")?;
        next.ends_with("host LOCAL").then(|| address.trim().parse().ok())?
    })
}

/// The addresses in `/proc/net/if_inet6`, without those that only the link knows.
fn local6(table: &str) -> impl Iterator<Item = IpAddr> {
    table.lines().filter_map(|line| {
        let digits = line.split_whitespace().next()?;
        let address = Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
        (!address.is_unicast_link_local()).then_some(IpAddr::V6(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.1.2.3\n        /32 host LOCAL\n     \
                    |-- 10.1.2.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let found: Vec<_> = local(trie).map(|address| address.to_string()).collect();
        assert_eq!(found, ["10.1.2.3", "127.0.0.1"]);
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe800000000000000000000000000001 02 40 20 80     eth0\n";
        assert_eq!(local6(table).collect::<Vec<_>>(), ["::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn what_is_set_is_among_the_names() {
        let config = HubConfig {
            mqtt_listen: "192.0.2.1:8883".parse().unwrap(),
            mqtt_advertise: vec![crate::config::BrokerHost {
                host: "[2001:db8::1]".to_owned(),
                port: 8883,
            }],
            ..HubConfig::default()
        };
        assert_eq!(of_the_broker(&config), ["192.0.2.1", "2001:db8::1"]);
        let names = of_the_broker(&HubConfig::default());
        assert!(names.contains(&"127.0.0.1".to_owned()), "{names:?}");
    }
}
