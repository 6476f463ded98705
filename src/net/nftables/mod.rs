//! The rules of an agent's network, in an nftables table of its own: `inet coracle-BRIDGE`.
//!
//! [`rules`] says which, from what is wanted, purely, and [`senders`] for what passes the bridge itself (a second
//! table, `bridge coracle-BRIDGE`); [`encode`] puts them into bytes. The kernel takes them as one
//! batch that replaces the table whole or not at all, so no packet meets half of it, and nothing is ever added to or
//! removed from what is there.
//!
//! Tables of others are not touched. As every table has a say about every packet, a firewall of the box's own that
//! drops what is forwarded must let through what the bridge's endpoints send and are sent:
//! `iifname "BRIDGE" accept` and `oifname "BRIDGE" accept` in its forward chain. What endpoints send to the box itself
//! (its addresses, the bridge's) is up to the box's input chain.

mod encode;
mod rules;
mod senders;

pub(super) use rules::{Published, Ruleset};
pub(super) use senders::Member;

use super::error::NetworkError;
use super::netlink::{Batch, Flags, Refused, Socket, attributes, text};
use encode::{BRIDGE, INET, Writer, head, kind};
use rustix::io::Errno;
use std::io;

/// The name of a bridge's table.
pub(super) fn table(bridge: &str) -> String {
    format!("coracle-{bridge}")
}

fn failed(action: &'static str, table: &str) -> impl Fn(Refused) -> NetworkError {
    move |refused| error(action, table, refused.source)
}

fn error(action: &'static str, table: &str, source: io::Error) -> NetworkError {
    const ABSENT: [Errno; 3] = [Errno::AFNOSUPPORT, Errno::OPNOTSUPP, Errno::PROTONOSUPPORT];
    if Errno::from_io_error(&source).is_some_and(|errno| ABSENT.contains(&errno)) {
        return NetworkError::NoNftables(source);
    }
    // No object of ours is missing, for a batch makes all it names: it is a kind of expression or chain.
    if Errno::from_io_error(&source) == Some(Errno::NOENT) {
        return NetworkError::PartOfNftables(source);
    }
    NetworkError::Rules { action, table: table.to_owned(), source }
}

fn open(table: &str) -> Result<Socket, NetworkError> {
    Socket::netfilter().map_err(|source| error("open a netlink socket for", table, source))
}

/// A kernel without nftables has no tables.
fn unless_absent<T: Default>(result: Result<T, NetworkError>) -> Result<T, NetworkError> {
    match result {
        Err(NetworkError::NoNftables(_)) => Ok(T::default()),
        other => other,
    }
}

/// Puts rules into the kernel, over one socket: the kernel lets whoever closes one wait until it has disposed of what
/// the last batch replaced, for some ten milliseconds.
#[derive(Debug, Default)]
pub(super) struct Committer {
    socket: Option<Socket>,
    /// The kernel has no rules for bridges.
    unbridged: bool,
}

impl Committer {
    /// Puts `rules` in place of what their tables hold.
    pub(super) fn replace(&mut self, rules: &Ruleset) -> Result<(), NetworkError> {
        let table = rules.table();
        loop {
            let socket = match self.socket.take() {
                Some(socket) => socket,
                None => open(&table)?,
            };
            match socket.request(&rules.encode(!self.unbridged)) {
                Ok(()) => {
                    self.socket = Some(socket);
                    return Ok(());
                }
                // The socket is not used again: it may have more to say, which would be taken for the next answer.
                Err(refused) if !self.unbridged && is_unbridged(&refused) => {
                    tracing::warn!(
                        "this kernel has no nftables for bridges (modprobe nft_meta_bridge; CONFIG_NF_TABLES_BRIDGE, \
                         CONFIG_NFT_BRIDGE_META): containers with CAP_NET_RAW can send in each other's names"
                    );
                    self.unbridged = true;
                }
                Err(refused) => return Err(failed("replace", &table)(refused)),
            }
        }
    }
}

/// Whether the kernel refused rules because it has none for bridges, or not all that those take. Should it lack something for
/// others as well, it says so again without them.
fn is_unbridged(refused: &Refused) -> bool {
    [Errno::AFNOSUPPORT, Errno::OPNOTSUPP, Errno::NOENT].into_iter().any(|errno| refused.is(errno))
}

/// Removes the tables with this name, if they are there.
pub(super) fn remove(table: &str) -> Result<(), NetworkError> {
    let batch = |bridged: bool| {
        let mut writer = Writer::begin(INET, table);
        writer.remove_table();
        if bridged {
            writer.family(BRIDGE);
            writer.remove_table();
        }
        writer.end()
    };
    let ask = |bridged| open(table)?.request(&batch(bridged)).map_err(failed("remove", table));
    // Without nftables for bridges the whole batch is refused.
    unless_absent(match ask(true) {
        Err(NetworkError::NoNftables(_)) => ask(false),
        other => other,
    })
}

/// The names of tables that are `owner`'s.
pub(super) fn owned(owner: &str) -> Result<Vec<String>, NetworkError> {
    let mut batch = Batch::default();
    // Of all families.
    batch.message("list tables", kind::GET_TABLE, Flags::LIST, &head(0), |_| {});
    let mut tables = Vec::new();
    let each = |message: super::netlink::Message<'_>| {
        let rest = message.body.get(4..).unwrap_or_default();
        let (mut name, mut comment) = (String::new(), String::new());
        for (kind, value) in attributes(rest) {
            match kind {
                encode::TABLE_NAME => name = text(value),
                encode::TABLE_USERDATA => comment = text(value.get(2..).unwrap_or_default()),
                _ => {}
            }
        }
        if message.kind == kind::NEW_TABLE && comment == owner && name.starts_with("coracle-") {
            tables.push(name);
        }
    };
    let listed = open("all").and_then(|all| all.list(&batch, each).map_err(failed("list", "all")));
    unless_absent(listed)?;
    Ok(tables)
}
