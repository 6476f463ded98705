//! What mosquitto is told, as texts: its settings, and who may read and write which topic.

use super::{HUB, LARGEST_PACKET, Roster};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::pbkdf2;
use std::fmt::Write;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;

/// Where its files are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paths<'a> {
    /// Of the texts.
    pub(super) dir: &'a Path,
    /// Of the hub's own way in.
    pub(super) socket: &'a Path,
    /// Of the database.
    pub(super) data: &'a Path,
}

/// `mosquitto.conf`.
///
/// Every limit is per client, the hub included: what many boxes send at once waits for the hub in one queue.
pub(super) fn settings(paths: Paths<'_>, listen: SocketAddr, memory: u64) -> String {
    let Paths { dir, socket, data } = paths;
    let (dir, socket, data) = (dir.display(), socket.display(), data.display());
    let (port, address) = (listen.port(), listen.ip());
    format!(
        "# Made by `coracle hub` at every start: changes are lost.
per_listener_settings false
allow_anonymous false
password_file {dir}/passwords
acl_file {dir}/acl
# Publishing is checked when it happens. Checked again at delivery, by a hub that has reconnected since, it fails.
check_retain_source false

persistence true
persistence_location {data}/
# Every box and the hub can say again what is lost, so an SD card is spared: saved at the end, and this often.
autosave_interval 21600
persistent_client_expiration 1d

max_packet_size {LARGEST_PACKET}
max_inflight_messages 1000
max_queued_messages 100000
max_queued_bytes 67108864
queue_qos0_messages false
max_keepalive 1200
memory_limit {memory}
allow_zero_length_clientid false
set_tcp_nodelay true
sys_interval 60

log_dest stderr
log_timestamp false
log_type error
log_type warning
log_type notice
log_type information

# Boxes: the certificate says who it is, and the client id is that name.
listener {port} {address}
cafile {dir}/authority.pem
certfile {dir}/broker.pem
keyfile {dir}/broker.key
crlfile {dir}/revoked.pem
require_certificate true
use_identity_as_username true
use_username_as_clientid true

# The hub.
listener 0 {socket}
"
    )
}

/// The rules. What every device may do with its own topics is said once for all of them. A device's cluster, whose shared
/// documents it reads, is said for each, because mosquitto knows no more of it than its name; unless there is one
/// cluster only. Then the rules do not grow, and one more device changes nothing: mosquitto compares every client with
/// every name whenever it reads its rules, and does nothing else meanwhile, for seconds when there are thousands.
pub(super) fn rules(roster: &Roster) -> String {
    let mut text = String::with_capacity(1024 + 128 * roster.admitted.len());
    let _ = write!(text, "user {HUB}\ntopic readwrite coracle/1/#\n");
    for own in ["want", "cmd", "ack"] {
        let _ = writeln!(text, "pattern read coracle/1/+/%u/{own}");
    }
    for own in ["state", "live", "log/+", "rpc/+"] {
        let _ = writeln!(text, "pattern write coracle/1/+/%u/{own}");
    }
    let mut clusters = roster.admitted.values();
    let first = clusters.next();
    let only = first.filter(|first| clusters.all(|cluster| cluster == *first));
    if let Some(only) = only {
        for shared in ["hub", "doc/+"] {
            let _ = writeln!(text, "pattern read coracle/1/{only}/{shared}");
        }
    }
    for (device, cluster) in roster.admitted.iter().filter(|_| only.is_none()) {
        let _ = write!(
            text,
            "user {device}\ntopic read coracle/1/{cluster}/hub\ntopic read coracle/1/{cluster}/doc/+\n"
        );
    }
    for device in &roster.refused {
        let _ = write!(text, "user {device}\ntopic deny #\n");
    }
    text
}

/// The hub's line of the password file: `$7$`, PBKDF2 with HMAC-SHA-512.
pub(super) fn passwords(password: &str, salt: [u8; 12]) -> String {
    // The password is 256 random bits: there is nothing to slow down.
    const ITERATIONS: NonZeroU32 = NonZeroU32::new(101).unwrap();
    let mut hash = [0; 64];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ITERATIONS, &salt, password.as_bytes(), &mut hash);
    format!("{HUB}:$7${ITERATIONS}${}${}\n", STANDARD.encode(salt), STANDARD.encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ClusterName, ContainerInstanceId};

    #[test]
    fn the_hash_is_one_that_mosquitto_takes() {
        // Made by mosquitto_passwd 2.0.11 for the password "secret".
        let made = "hub:$7$101$2o5Gk7z9T2Bm2BDF$0Svie9ApDNLLIrZJXO564VfLZfuZFqNPZq9UWZbzFB7qWrKkWzfkh15bvThy/1CF+8FfqWZzMmilk0cQgGm31A==";
        let salt: [u8; 12] = STANDARD.decode("2o5Gk7z9T2Bm2BDF").unwrap().try_into().unwrap();
        assert!(passwords("secret", salt).starts_with(made), "{}", passwords("secret", salt));
    }

    #[test]
    fn the_rules_of_one_cluster_do_not_grow() {
        let mut roster = Roster::default();
        let mut admit = |digit: &str, cluster: &str| {
            let device = ContainerInstanceId::new(digit.repeat(32)).unwrap();
            roster.admitted.insert(device, ClusterName::new(cluster).unwrap());
            rules(&roster)
        };
        let one = admit("a", "north");
        assert!(
            one.ends_with("pattern read coracle/1/north/hub\npattern read coracle/1/north/doc/+\n")
        );
        assert_eq!(admit("b", "north"), one);
        let two = admit("c", "south");
        assert!(
            !two.contains("pattern read coracle/1/north/") && two.matches("user ").count() == 4
        );
    }

    #[test]
    fn every_device_reads_the_documents_of_its_own_cluster_alone() {
        let mut roster = Roster::default();
        for (digit, cluster) in [("a", "north"), ("b", "south")] {
            let device = ContainerInstanceId::new(digit.repeat(32)).unwrap();
            roster.admitted.insert(device, ClusterName::new(cluster).unwrap());
        }
        let text = rules(&roster);
        let of_a: Vec<_> =
            text.lines().skip_while(|line| !line.starts_with("user aaaa")).take(3).collect();
        assert_eq!(
            of_a[1..],
            ["topic read coracle/1/north/hub", "topic read coracle/1/north/doc/+"]
        );
        assert_eq!(text.matches("south").count(), 2);
        assert!(text.starts_with("user hub\ntopic readwrite coracle/1/#\npattern read"), "{text}");
    }
}
