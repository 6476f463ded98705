//! The text of a container's `/etc/hosts`.

use std::fmt::Write;
use std::net::IpAddr;

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// The address.
    pub address: IpAddr,
    /// Its names, at least one.
    pub names: Vec<String>,
}

/// What every file begins with.
const LOCAL: &str = "127.0.0.1\tlocalhost\n\
                     ::1\tlocalhost ip6-localhost ip6-loopback\n\
                     fe00::\tip6-localnet\n\
                     ff00::\tip6-mcastprefix\n\
                     ff02::1\tip6-allnodes\n\
                     ff02::2\tip6-allrouters\n";

/// The text of `/etc/hosts`: localhost, then `entries` in their order (links, extra hosts), then the container's own
/// `addresses` under its `hostname`. The first line with a name wins, so an entry may be given another meaning than
/// the container's own name has.
///
/// Names with blanks, control characters or `#`, which would say something else in the file, are left out; the API
/// refuses them.
#[must_use]
pub fn hosts(hostname: &str, addresses: &[IpAddr], entries: &[HostEntry]) -> String {
    let mut text = LOCAL.to_owned();
    for entry in entries {
        line(&mut text, entry.address, entry.names.iter().map(String::as_str));
    }
    for address in addresses {
        line(&mut text, *address, std::iter::once(hostname));
    }
    text
}

fn line<'a>(text: &mut String, address: IpAddr, names: impl Iterator<Item = &'a str>) {
    let names: Vec<&str> = names.filter(|name| is_name(name)).collect();
    if !names.is_empty() {
        let _ = writeln!(text, "{address}\t{}", names.join(" "));
    }
}

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_localhost_the_entries_and_the_container() {
        let entries = [
            HostEntry {
                address: "10.210.0.3".parse().unwrap(),
                names: vec!["database".to_owned(), "db".to_owned()],
            },
            HostEntry { address: "192.0.2.7".parse().unwrap(), names: vec!["registry".to_owned()] },
        ];
        let own = ["10.210.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        assert_eq!(
            hosts("web", &own, &entries),
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n\
             10.210.0.3\tdatabase db\n\
             192.0.2.7\tregistry\n\
             10.210.0.2\tweb\n\
             fd00::2\tweb\n"
        );
        assert_eq!(hosts("web", &[], &[]), LOCAL);
    }

    #[test]
    fn a_name_cannot_add_a_line() {
        let entries = [HostEntry {
            address: "192.0.2.7".parse().unwrap(),
            names: ["a\n192.0.2.8 bank", "b c", "#", "", "good"].map(str::to_owned).to_vec(),
        }];
        assert_eq!(hosts("", &[], &entries), format!("{LOCAL}192.0.2.7\tgood\n"));
    }
}
