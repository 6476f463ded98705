//! Fluentd's forward protocol, one event per message: `[tag, time, record]` in MessagePack.

use super::msgpack::Writer;
use crate::model::Timestamp;
use crate::model::task_definition::logging::{Fluentd, Subject};
use crate::runtime::logs::line::Stream;
use crate::runtime::logs::pieces::Piece;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Encoder {
    tag: String,
    sub_second: bool,
    /// Members of the record that are the same in every message, encoded, and how many they are.
    fixed: Vec<u8>,
    count: usize,
    /// Tells the pieces of this container's lines from others'.
    id: String,
}

impl Encoder {
    pub(super) fn new(
        fluentd: &Fluentd,
        subject: &Subject,
        attrs: &BTreeMap<String, String>,
    ) -> Self {
        let mut fixed = Writer::default();
        let own = [("container_id", &subject.full_id), ("container_name", &subject.name)];
        let own = own.into_iter().map(|(name, value)| (name, value.as_str()));
        let extra = attrs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let names = ["container_id", "container_name", "source", "log"];
        let extra =
            extra.filter(|(name, _)| !names.contains(name) && !name.starts_with("partial_"));
        let mut count = 0;
        for (name, value) in own.chain(extra) {
            fixed.string(name);
            fixed.string(value);
            count += 1;
        }
        Self {
            tag: fluentd.tag.render(subject),
            sub_second: fluentd.sub_second,
            fixed: fixed.0,
            count,
            id: subject.full_id.clone(),
        }
    }

    pub(super) fn encode(&self, piece: &Piece<'_>, at: Timestamp) -> Box<[u8]> {
        let mut message = Writer(Vec::with_capacity(self.fixed.len() + piece.text.len() + 128));
        message.array(3);
        message.string(&self.tag);
        let seconds = at.millis().div_euclid(1000);
        match u32::try_from(seconds) {
            Ok(seconds) if self.sub_second => {
                let millis = u32::try_from(at.millis().rem_euclid(1000)).unwrap_or(0);
                message.event_time(seconds, millis * 1_000_000);
            }
            _ => message.integer(seconds),
        }
        let partial = !piece.last || piece.number > 0;
        message.map(self.count + 2 + if partial { 4 } else { 0 });
        message.0.extend_from_slice(&self.fixed);
        message.string("source");
        message.string(if piece.stream == Stream::Stderr { "stderr" } else { "stdout" });
        message.string("log");
        message.string(&String::from_utf8_lossy(piece.bare()));
        if partial {
            let number = (u64::from(piece.number) + 1).to_string();
            let last = if piece.last { "true" } else { "false" };
            for (name, value) in [
                ("partial_message", "true"),
                ("partial_id", &self.id),
                ("partial_ordinal", &number),
                ("partial_last", last),
            ] {
                message.string(name);
                message.string(value);
            }
        }
        message.0.into_boxed_slice()
    }
}
