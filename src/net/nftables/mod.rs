//! The rules of an agent's network, in an nftables table of its own: `inet coracle-BRIDGE`.
//!
//! [`rules`] says which, from what is wanted, purely; [`encode`] puts them into bytes. The kernel takes them as one
//! batch that replaces the table whole or not at all, so no packet meets half of it, and nothing is ever added to or
//! removed from what is there.
//!
//! Tables of others are not touched. As every table has a say about every packet, a firewall of the box's own that
//! drops what is forwarded must let through what the bridge's endpoints send and are sent:
//! `iifname "BRIDGE" accept` and `oifname "BRIDGE" accept` in its forward chain. What endpoints send to the box itself
//! (its addresses, the bridge's) is up to the box's input chain.

mod encode;
mod rules;

pub(super) use rules::{Published, Ruleset};

use super::error::NetworkError;
use super::netlink::{Batch, Flags, Refused, Socket, attributes, text};
use encode::{Writer, family_head, kind};
use rustix::io::Errno;

/// The name of a bridge's table.
pub(super) fn table(bridge: &str) -> String {
    format!("coracle-{bridge}")
}

fn failed(action: &'static str, table: &str) -> impl Fn(Refused) -> NetworkError {
    move |refused| NetworkError::Rules { action, table: table.to_owned(), source: refused.source }
}

fn open(table: &str) -> Result<Socket, NetworkError> {
    Socket::netfilter().map_err(|source| NetworkError::Rules {
        action: "open a netlink socket for",
        table: table.to_owned(),
        source,
    })
}

/// Puts rules into the kernel, over one socket: the kernel lets whoever closes one wait until it has disposed of what
/// the last batch replaced, for some ten milliseconds.
#[derive(Debug, Default)]
pub(super) struct Committer(Option<Socket>);

impl Committer {
    /// Puts `rules` in place of what their table holds.
    pub(super) fn replace(&mut self, rules: &Ruleset) -> Result<(), NetworkError> {
        let table = rules.table();
        let socket = match self.0.take() {
            Some(socket) => socket,
            None => open(&table)?,
        };
        // One with a refusal may have more to say, which would be taken for the next answer.
        socket.request(&rules.encode()).map_err(failed("replace", &table))?;
        self.0 = Some(socket);
        Ok(())
    }
}

/// Removes the table with this name, if it is there.
pub(super) fn remove(table: &str) -> Result<(), NetworkError> {
    let mut writer = Writer::begin(table);
    writer.remove_table();
    open(table)?.request(&writer.end()).map_err(failed("remove", table))
}

/// The tables that are `owner`'s.
pub(super) fn owned(owner: &str) -> Result<Vec<String>, NetworkError> {
    let mut batch = Batch::default();
    batch.message("list tables", kind::GET_TABLE, Flags::LIST, &family_head(), |_| {});
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
    match open("all")?.list(&batch, each) {
        // A kernel without nftables has no tables.
        Err(refused) if refused.is(Errno::OPNOTSUPP) => Ok(Vec::new()),
        other => other.map(|()| tables).map_err(failed("list", "all")),
    }
}
