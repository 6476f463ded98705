//! The settings of the kernel without which nothing is forwarded, and their way back.
//!
//! Forwarding is switched on for the whole box when the first bridge comes, as every container runtime does. What that
//! changed is noted on the bridge itself, in its alias: it is there exactly as long as the bridge, whoever is killed
//! in between, and in the same network namespace. A second agent's bridge takes the note over, so whichever goes last
//! restores.
//!
//! Restored is only what nobody else may have come to rely on: nothing, as long as the box has a bridge, a tunnel or
//! the like that is not ours.
//!
//! A box that forwards IPv6 stops to learn its own routes from router advertisements unless `accept_ra` is 2. So that
//! is set first, wherever it was 1; with forwarding off both mean the same, so it may stay.

use super::error::NetworkError;
use super::fingerprint::fingerprint;
use super::link::Link;
use std::fs;
use std::path::Path;

/// Begins each of our aliases.
const OWNER: &str = "coracle ";
/// The longest alias that the kernel takes, with some room.
const LONGEST: usize = 240;
const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const IPV6_LINKS: &str = "/proc/sys/net/ipv6/conf";
/// Links that others forward over.
const FORWARDING: [&str; 8] =
    ["bridge", "tun", "wireguard", "vxlan", "macvlan", "ipvlan", "geneve", "gretap"];

/// What is to be switched off again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Restore {
    ipv4: bool,
    ipv6: bool,
}

/// The part of an alias that says whose bridge it is.
pub(super) fn owner(state_dir: &Path) -> String {
    let path = state_dir.to_string_lossy();
    if path.len() <= LONGEST - 40 && !path.contains(['[', '\n', '\0']) {
        format!("{OWNER}{path}")
    } else {
        format!("{OWNER}sha256:{}", fingerprint(&path, 32))
    }
}

/// Whether a link with this alias is `owner`'s.
pub(super) fn is_owned(alias: &str, owner: &str) -> bool {
    alias.split(" [").next() == Some(owner)
}

/// Whether a link with this alias is some agent's.
fn is_ours(alias: &str) -> bool {
    alias.starts_with(OWNER)
}

impl Restore {
    /// The alias of `owner`'s bridge with this note.
    pub(super) fn alias(self, owner: &str) -> String {
        match (self.ipv4, self.ipv6) {
            (false, false) => owner.to_owned(),
            (true, false) => format!("{owner} [ip_forward=0]"),
            (false, true) => format!("{owner} [ipv6_forwarding=0]"),
            (true, true) => format!("{owner} [ip_forward=0 ipv6_forwarding=0]"),
        }
    }

    /// Reads the note back.
    fn read(alias: &str) -> Self {
        let note = alias.split_once(" [").map_or("", |(_, note)| note).trim_end_matches(']');
        let has = |word: &str| note.split(' ').any(|one| one == word);
        Self { ipv4: has("ip_forward=0"), ipv6: has("ipv6_forwarding=0") }
    }

    /// What a bridge that is made now has to note: what it will switch on, and what other agents' bridges note.
    pub(super) fn needed(links: &[Link], ipv6: bool) -> Self {
        let noted = links.iter().filter(|link| is_ours(&link.alias));
        let noted = noted.map(|link| Self::read(&link.alias)).fold(Self::default(), Self::or);
        let off = |path: &str| fs::read_to_string(path).is_ok_and(|value| value.trim() == "0");
        noted.or(Self { ipv4: off(IPV4), ipv6: ipv6 && off(IPV6) })
    }

    fn or(self, other: Self) -> Self {
        Self { ipv4: self.ipv4 || other.ipv4, ipv6: self.ipv6 || other.ipv6 }
    }
}

/// Writes a setting unless it has that value: it may be one that cannot be written.
fn set(path: &Path, value: &str) -> Result<(), NetworkError> {
    let failed = |source| NetworkError::Setting { path: path.to_owned(), source };
    if fs::read_to_string(path).map_err(failed)?.trim() == value {
        return Ok(());
    }
    fs::write(path, value).map_err(failed)
}

/// Whether the kernel has IPv6 and nobody disabled it.
pub(super) fn has_ipv6() -> bool {
    let enabled = |name: &str| {
        fs::read_to_string(Path::new(IPV6_LINKS).join(name).join("disable_ipv6"))
            .is_ok_and(|value| value.trim() == "0")
    };
    enabled("all") && enabled("default")
}

/// Switches forwarding on, for the box and for `bridge`, and lets the box send from its loopback to the bridge: a
/// connection to a published port at 127.0.0.1 goes there with that source, until it is masqueraded.
pub(super) fn enable(bridge: &str, ipv6: bool) -> Result<(), NetworkError> {
    let of_bridge = Path::new("/proc/sys/net/ipv4/conf").join(bridge);
    set(&of_bridge.join("route_localnet"), "1")?;
    set(Path::new(IPV4), "1")?;
    set(&of_bridge.join("forwarding"), "1")?;
    if ipv6 {
        set(&Path::new(IPV6_LINKS).join(bridge).join("accept_ra"), "0")?;
        keep_learning_routes();
        set(Path::new(IPV6), "1")?;
        set(&Path::new(IPV6_LINKS).join(bridge).join("forwarding"), "1")?;
    }
    Ok(())
}

/// Lets all links that learn routes from router advertisements go on with it. Links come and go meanwhile, so what
/// fails is not there any more.
fn keep_learning_routes() {
    let Ok(links) = fs::read_dir(IPV6_LINKS) else { return };
    for link in links.flatten() {
        let path = link.path().join("accept_ra");
        let learns = fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1");
        if learns && link.file_name() != "all" {
            let _ = fs::write(&path, "2");
        }
    }
}

/// Restores what the bridge with this `alias`, which is gone, notes, unless another link of `links` relies on it.
pub(super) fn restore(alias: &str, links: &[Link]) -> Result<(), NetworkError> {
    if links.iter().any(|link| FORWARDING.contains(&link.kind.as_str())) {
        return Ok(());
    }
    let restore = Restore::read(alias);
    if restore.ipv4 {
        set(Path::new(IPV4), "0")?;
    }
    if restore.ipv6 {
        set(Path::new(IPV6), "0")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: &str, alias: &str) -> Link {
        Link { index: 7, name: "x".into(), alias: alias.into(), kind: kind.into(), master: None }
    }

    #[test]
    fn a_note_is_read_back() {
        let owner = owner(Path::new("/var/lib/coracle"));
        assert_eq!(owner, "coracle /var/lib/coracle");
        for (ipv4, ipv6) in [(false, false), (true, false), (false, true), (true, true)] {
            let restore = Restore { ipv4, ipv6 };
            let alias = restore.alias(&owner);
            assert_eq!(Restore::read(&alias), restore);
            assert!(is_owned(&alias, &owner));
            assert!(!is_owned(&alias, "coracle /var/lib"));
            assert!(!is_owned(&alias, "coracle /var/lib/coracle2"));
        }
    }

    #[test]
    fn an_alias_fits() {
        for path in ["/x".repeat(300), "/a [ip_forward=0]".to_owned()] {
            let owner = owner(Path::new(&path));
            assert!(Restore { ipv4: true, ipv6: true }.alias(&owner).len() < 256);
            assert_eq!(Restore::read(&owner), Restore::default());
        }
    }

    #[test]
    fn a_second_bridge_takes_the_note_over() {
        let links = [link("", ""), link("bridge", "coracle /a [ip_forward=0]")];
        assert!(Restore::needed(&links, false).ipv4);
        let foreign = [link("bridge", "other [ipv6_forwarding=0]")];
        assert!(!Restore::needed(&foreign, false).ipv6);
    }
}
