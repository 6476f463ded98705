//! `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname` of a container: files of its own, which it may change.
//!
//! With addresses of its own they are given; with the network of the box, or none, they are made from the box's.

use super::SpecError;
use super::mounts::bind;
use crate::runtime::launch::LaunchFile;
use crate::runtime::network::LaunchNetwork;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// As much is read of a file of the box.
const LARGEST: u64 = 256 << 10;

/// Writes the files to `directory`; the mounts that show them.
pub(super) fn mounts(
    launch: &LaunchFile,
    directory: &Path,
    hostname: &str,
) -> Result<Vec<Value>, SpecError> {
    let (hosts, resolv_conf) = match &launch.network {
        LaunchNetwork::Host => (hosts(launch, &of_box("hosts")), resolv_conf(launch)),
        LaunchNetwork::None => {
            let loopback = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{hostname}\n");
            (hosts(launch, &loopback), resolv_conf(launch))
        }
        LaunchNetwork::Namespace { hosts, resolv_conf, .. } => (hosts.clone(), resolv_conf.clone()),
    };
    let read_only = launch.definition.readonly_root_filesystem == Some(true);
    let options = ["bind", "rprivate", if read_only { "ro" } else { "rw" }];
    let files =
        [("resolv.conf", resolv_conf), ("hosts", hosts), ("hostname", format!("{hostname}\n"))];
    let mut mounts = Vec::new();
    for (name, text) in files {
        let path = directory.join(name);
        write(&path, &text).map_err(|source| SpecError::File { path: path.clone(), source })?;
        mounts.push(bind(&path, &Path::new("/etc").join(name), &options));
    }
    Ok(mounts)
}

/// Everybody in the container may read it, whatever the agent's umask.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// A file of the box's `/etc`; empty when there is none.
fn of_box(name: &str) -> String {
    let mut bytes = Vec::new();
    let path = PathBuf::from("/etc").join(name);
    if let Ok(file) = File::open(path) {
        // What was read before an error is better than nothing.
        let _ = file.take(LARGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hosts(launch: &LaunchFile, base: &str) -> String {
    let mut text = base.trim_end().to_owned();
    text.push('\n');
    for entry in launch.definition.extra_hosts.iter().flatten() {
        // Docker's word for the box, whose network this is.
        let address = entry.ip_address.as_deref().filter(|address| *address != "host-gateway");
        let name = entry.hostname.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{}\t{name}", address.unwrap_or("127.0.0.1"));
    }
    text
}

fn resolv_conf(launch: &LaunchFile) -> String {
    let servers = launch.definition.dns_servers.as_deref().unwrap_or_default();
    let domains = launch.definition.dns_search_domains.as_deref().unwrap_or_default();
    name_servers(&of_box("resolv.conf"), servers, domains)
}

/// The box's, with what the definition says in the place of what it says.
fn name_servers(of_box: &str, servers: &[String], domains: &[String]) -> String {
    let kept = |line: &&str| match line.split_whitespace().next().unwrap_or_default() {
        "nameserver" => servers.is_empty(),
        "search" | "domain" => domains.is_empty(),
        _ => true,
    };
    let mut text: String = of_box.lines().filter(kept).flat_map(|l| [l, "\n"]).collect();
    if !domains.is_empty() {
        text = format!("{text}search {}\n", domains.join(" "));
    }
    for server in servers {
        text = format!("{text}nameserver {server}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_replace_those_of_the_box() {
        let of_box = "nameserver 10.0.0.1\nsearch lan\noptions ndots:2\n";
        let text = name_servers(of_box, &["1.1.1.1".to_owned()], &["corp".to_owned()]);
        assert_eq!(text, "options ndots:2\nsearch corp\nnameserver 1.1.1.1\n");
        assert_eq!(name_servers(of_box, &[], &[]), of_box);
    }
}
