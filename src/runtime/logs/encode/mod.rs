//! Lines as the receivers of the log drivers want them. Pure: bytes out of lines; `shim::forward` delivers them.

mod fluentd;
mod gelf;
mod journald;
mod msgpack;
mod syslog;

use super::pieces::Piece;
use crate::model::Timestamp;
use crate::model::task_definition::logging::{Driver, Subject};
use std::collections::BTreeMap;

/// Makes messages for one container.
#[derive(Debug)]
pub(crate) enum Encoder {
    Syslog(syslog::Encoder),
    Journald(journald::Encoder),
    Fluentd(fluentd::Encoder),
    Gelf(gelf::Encoder),
}

/// One message: a datagram or a part of a stream, or, when one datagram cannot hold it, several of them.
pub(crate) type Message = Vec<Box<[u8]>>;

impl Encoder {
    /// The encoder of a driver that forwards; none for those that keep all on the box. `attrs` go with every line.
    pub(crate) fn new(
        driver: &Driver,
        subject: &Subject,
        attrs: &BTreeMap<String, String>,
    ) -> Option<Self> {
        Some(match driver {
            Driver::Local(_) | Driver::None => return None,
            Driver::Syslog(syslog) => Self::Syslog(syslog::Encoder::new(syslog, subject)),
            Driver::Journald(tag) => Self::Journald(journald::Encoder::new(tag, subject, attrs)),
            Driver::Fluentd(fluentd) => {
                Self::Fluentd(fluentd::Encoder::new(fluentd, subject, attrs))
            }
            Driver::Gelf(gelf) => Self::Gelf(gelf::Encoder::new(gelf, subject, attrs)),
        })
    }

    /// One message for one piece; an empty one is none.
    pub(crate) fn encode(&self, piece: &Piece<'_>, at: Timestamp) -> Message {
        match self {
            Self::Syslog(encoder) => vec![encoder.encode(piece, at)],
            Self::Journald(encoder) => vec![encoder.encode(piece, at)],
            Self::Fluentd(encoder) => vec![encoder.encode(piece, at)],
            Self::Gelf(encoder) => encoder.encode(piece, at),
        }
    }
}

#[cfg(test)]
mod tests;
