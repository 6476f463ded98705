//! The journal's native protocol: fields, a line each; values of more than a line with their length before them.

use crate::model::Timestamp;
use crate::model::task_definition::logging::{Subject, Tag};
use crate::runtime::logs::line::Stream;
use crate::runtime::logs::pieces::Piece;
use std::collections::BTreeMap;

/// Of the journal: informational and error.
const INFO: &str = "6";
const ERROR: &str = "3";

#[derive(Debug)]
pub(crate) struct Encoder {
    /// What is the same in every message.
    fields: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(tag: &Tag, subject: &Subject, attrs: &BTreeMap<String, String>) -> Self {
        let mut fields = Vec::new();
        let tag = tag.render(subject);
        for (name, value) in attrs {
            if let Some(name) = field_name(name) {
                put(&mut fields, &name, value.as_bytes());
            }
        }
        for (name, value) in [
            ("CONTAINER_ID", &subject.id),
            ("CONTAINER_ID_FULL", &subject.full_id),
            ("CONTAINER_NAME", &subject.name),
            ("CONTAINER_TAG", &tag),
            ("IMAGE_NAME", &subject.image_name),
            ("SYSLOG_IDENTIFIER", &tag),
        ] {
            put(&mut fields, name, value.as_bytes());
        }
        Self { fields }
    }

    pub(super) fn encode(&self, piece: &Piece<'_>, at: Timestamp) -> Box<[u8]> {
        let mut message = Vec::with_capacity(self.fields.len() + piece.text.len() + 128);
        put(&mut message, "MESSAGE", piece.bare());
        let priority = if piece.stream == Stream::Stderr { ERROR } else { INFO };
        put(&mut message, "PRIORITY", priority.as_bytes());
        let time = super::super::line::rfc3339(at);
        put(&mut message, "SYSLOG_TIMESTAMP", time.as_bytes());
        if !piece.last || piece.number > 0 {
            if !piece.last {
                put(&mut message, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
            let number = (u64::from(piece.number) + 1).to_string();
            put(&mut message, "CONTAINER_PARTIAL_ORDINAL", number.as_bytes());
            let last: &[u8] = if piece.last { b"true" } else { b"false" };
            put(&mut message, "CONTAINER_PARTIAL_LAST", last);
        }
        message.extend_from_slice(&self.fields);
        message.into_boxed_slice()
    }
}

fn put(message: &mut Vec<u8>, name: &str, value: &[u8]) {
    message.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        message.push(b'\n');
        message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value);
    message.push(b'\n');
}

/// Fields are in capitals; one that begins with an underscore, which only the journal may set, loses it.
fn field_name(name: &str) -> Option<String> {
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    let name = name.trim_start_matches('_').trim_start_matches(|c: char| c.is_ascii_digit());
    let name: String = name.trim_start_matches('_').chars().take(64).collect();
    (!name.is_empty()).then_some(name)
}
