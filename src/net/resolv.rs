//! The text of a container's `/etc/resolv.conf`.
//!
//! A container in a namespace of its own cannot reach a name server on the box's loopback, such as the stub of
//! systemd-resolved. So loopback servers of the box's file are left out; when none other is left, the file in which
//! systemd-resolved lists the servers that it asks itself is taken; when that has none either, the public servers in
//! [`FALLBACK`]. Where the agent serves names, its own server is the only one, and asks those of the box. A box whose only way to names is a server on its loopback sets `dnsServers` in its task definitions.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

/// The servers for a container on a box that has none a container could reach: two operators of public resolvers, each
/// with IPv4 and IPv6.
pub const FALLBACK: [&str; 4] =
    ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2001:4860:4860::8888"];

/// The box's own file.
const BOX_FILE: &str = "/etc/resolv.conf";
/// The servers that systemd-resolved asks.
const UPSTREAM_FILE: &str = "/run/systemd/resolve/resolv.conf";
/// The most that is read of a file, and the most that is taken from it.
const LARGEST: u64 = 64 * 1024;
const MOST_SERVERS: usize = 16;
const MOST_DOMAINS: usize = 32;

/// The box's files, as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoxResolver {
    /// `/etc/resolv.conf`.
    pub file: String,
    /// The file with systemd-resolved's own servers; empty where there is none.
    pub upstream: String,
}

/// What a container definition sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsSettings {
    /// `dnsServers`, in place of the box's.
    pub servers: Vec<IpAddr>,
    /// The name server that serves it, in place of the box's unless the definition names others.
    pub served_by: Option<NameService>,
    /// `dnsSearchDomains`, in place of the box's; `.` alone is none at all.
    pub search: Vec<String>,
    /// Whether the container can reach the box's loopback: it is in the box's own namespace.
    pub on_loopback: bool,
}

/// A name server for containers, which asks the box's own for what it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameService {
    /// Where containers reach it.
    pub server: IpAddr,
    /// Where names without a dot are looked for first.
    pub zone: String,
}

impl BoxResolver {
    /// Reads the box's files. One that is missing or cannot be read is empty: the fallback is better than no task.
    #[must_use]
    pub fn read() -> Self {
        Self {
            file: bounded(Path::new(BOX_FILE)).unwrap_or_default(),
            upstream: bounded(Path::new(UPSTREAM_FILE)).unwrap_or_default(),
        }
    }
}

/// The box's own file.
pub(super) fn box_file() -> &'static Path {
    Path::new(BOX_FILE)
}

/// The servers that a file like the box's names, each an address, perhaps with `%INTERFACE`.
pub(super) fn box_servers(file: &Path) -> Vec<String> {
    Parsed::read(&bounded(file).unwrap_or_default()).servers
}

fn bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text of `/etc/resolv.conf`: the box's servers, search domains and options, each replaced by what `settings`
/// name.
#[must_use]
pub fn resolv_conf(of_box: &BoxResolver, settings: &DnsSettings) -> String {
    let mut file = Parsed::read(&of_box.file);
    if !settings.on_loopback {
        file.servers.retain(|server| in_reach(server));
        if file.servers.is_empty() {
            file.servers = Parsed::read(&of_box.upstream).servers;
            file.servers.retain(|server| in_reach(server));
        }
    }
    if !settings.servers.is_empty() {
        file.servers = settings.servers.iter().map(IpAddr::to_string).collect();
    } else if let Some(NameService { server, zone }) = &settings.served_by {
        // Alone: a resolver that asks all servers at once would take the first that does not know a name for true.
        file.servers = vec![server.to_string()];
        file.search.retain(|domain| domain != zone);
        file.search.insert(0, zone.clone());
        file.search.truncate(MOST_DOMAINS);
    } else if file.servers.is_empty() {
        file.servers = FALLBACK.map(str::to_owned).to_vec();
    }
    if !settings.search.is_empty() {
        file.search.clone_from(&settings.search);
        file.search.retain(|domain| domain != "." && is_word(domain));
    }
    let mut text = String::new();
    for server in &file.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (keyword, words) in [("search", &file.search), ("options", &file.options)] {
        if !words.is_empty() {
            let _ = writeln!(text, "{keyword} {}", words.join(" "));
        }
    }
    text
}

fn is_word(word: &str) -> bool {
    (1..=255).contains(&word.len())
        && !word.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '#' | ';'))
}

/// Whether a namespace of its own can reach it: not on the box's loopback, and not on one of its links (`fe80::1%eth0`).
fn in_reach(server: &str) -> bool {
    server
        .parse::<IpAddr>()
        .is_ok_and(|address| !address.is_loopback() && !address.is_unspecified())
}

#[derive(Default)]
struct Parsed {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

impl Parsed {
    /// Reads what resolv.conf(5) says; the last `search` or `domain` wins.
    fn read(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let mut words = words.filter(|word| is_word(word)).map(str::to_owned);
            match keyword {
                Some("nameserver") if parsed.servers.len() < MOST_SERVERS => {
                    parsed.servers.extend(words.next().filter(|server| is_server(server)));
                }
                Some("search" | "domain") => parsed.search = words.take(MOST_DOMAINS).collect(),
                Some("options") => {
                    parsed.options.extend(words);
                    parsed.options.truncate(MOST_DOMAINS);
                }
                _ => {}
            }
        }
        parsed
    }
}

/// An address, perhaps on an interface.
fn is_server(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_box(file: &str, upstream: &str) -> BoxResolver {
        BoxResolver { file: file.to_owned(), upstream: upstream.to_owned() }
    }

    fn plain(file: &str, upstream: &str) -> String {
        resolv_conf(&of_box(file, upstream), &DnsSettings::default())
    }

    #[test]
    fn the_boxs_servers_domains_and_options_are_taken() {
        let file = "# made by hand\nnameserver 192.0.2.53 ; first\nnameserver fd00::53\n\
                    domain old.example\nsearch a.example b.example\noptions ndots:2\noptions edns0\nsortlist x\n";
        assert_eq!(
            plain(file, ""),
            "nameserver 192.0.2.53\nnameserver fd00::53\nsearch a.example b.example\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn a_loopback_server_gives_way_to_what_it_asks() {
        let stub = "nameserver 127.0.0.53\noptions edns0\nsearch home.example\n";
        let upstream = "nameserver 192.0.2.1\nsearch ignored.example\n";
        assert_eq!(
            plain(stub, upstream),
            "nameserver 192.0.2.1\nsearch home.example\noptions edns0\n"
        );
        assert_eq!(
            plain("nameserver ::1\nnameserver 192.0.2.9\n", upstream),
            "nameserver 192.0.2.9\n"
        );
        let on_loopback = DnsSettings { on_loopback: true, ..DnsSettings::default() };
        assert_eq!(
            resolv_conf(&of_box(stub, upstream), &on_loopback).lines().next(),
            Some("nameserver 127.0.0.53")
        );
    }

    #[test]
    fn a_box_without_a_usable_server_falls_back_to_public_ones() {
        let public = "nameserver 1.1.1.1\nnameserver 8.8.8.8\nnameserver 2606:4700:4700::1111\n\
                      nameserver 2001:4860:4860::8888\n";
        assert_eq!(plain("", ""), public);
        assert_eq!(plain("nameserver 127.0.0.1\n", "nameserver 127.0.0.1\n"), public);
        assert_eq!(plain("nameserver not-an-address\nnameserver fe80::1%eth0\n", ""), public);
    }

    #[test]
    fn settings_replace_the_boxs() {
        let settings = DnsSettings {
            servers: vec!["192.0.2.99".parse().unwrap(), "127.0.0.1".parse().unwrap()],
            search: vec!["task.example".to_owned(), "bad\nnameserver 6.6.6.6".to_owned()],
            ..DnsSettings::default()
        };
        assert_eq!(
            resolv_conf(
                &of_box("nameserver 192.0.2.1\nsearch b.example\noptions ndots:1\n", ""),
                &settings
            ),
            "nameserver 192.0.2.99\nnameserver 127.0.0.1\nsearch task.example\noptions ndots:1\n"
        );
        let none = DnsSettings { search: vec![".".to_owned()], ..DnsSettings::default() };
        assert_eq!(
            resolv_conf(&of_box("nameserver 192.0.2.1\nsearch b.example\n", ""), &none),
            "nameserver 192.0.2.1\n"
        );
    }

    #[test]
    fn the_agents_own_server_is_the_only_one_unless_the_definition_names_others() {
        let of_box = of_box("nameserver 192.0.2.1\nsearch b.example\noptions ndots:1\n", "");
        let served_by = Some(NameService {
            server: "10.9.0.1".parse().unwrap(),
            zone: "default.internal".to_owned(),
        });
        let served = DnsSettings { served_by, ..DnsSettings::default() };
        assert_eq!(
            resolv_conf(&of_box, &served),
            "nameserver 10.9.0.1\nsearch default.internal b.example\noptions ndots:1\n"
        );
        let search = vec!["task.example".to_owned()];
        assert_eq!(
            resolv_conf(&of_box, &DnsSettings { search, ..served.clone() }),
            "nameserver 10.9.0.1\nsearch task.example\noptions ndots:1\n"
        );
        let servers = vec!["192.0.2.99".parse().unwrap()];
        assert_eq!(
            resolv_conf(&of_box, &DnsSettings { servers, ..served }),
            "nameserver 192.0.2.99\nsearch b.example\noptions ndots:1\n"
        );
    }

    #[test]
    fn a_file_gives_no_more_than_it_may() {
        let many: Vec<String> =
            (0..200).map(|n| format!("nameserver 192.0.2.{n}\noptions o{n}")).collect();
        let many = many.join("\n");
        let text = plain(&many, "");
        assert_eq!(text.matches("nameserver").count(), MOST_SERVERS);
        assert!(text.lines().last().unwrap().split(' ').count() <= MOST_DOMAINS + 1);
    }
}
