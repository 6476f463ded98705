//! GELF: JSON; over UDP compressed and, when one datagram cannot hold it, in chunks; over TCP ended by a zero byte.

use crate::model::Timestamp;
use crate::model::task_definition::logging::{Compression, Gelf, Subject};
use crate::runtime::logs::line::Stream;
use crate::runtime::logs::pieces::Piece;
use crate::sys;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What a datagram may carry on any way; then 12 bytes are the chunk's header.
const CHUNK: usize = 1420;
const HEADER: usize = 12;
/// Receivers take no more of one message.
const MOST_CHUNKS: usize = 128;
/// Of syslog: informational and error.
const INFO: u8 = 6;
const ERROR: u8 = 3;

#[derive(Debug)]
pub(crate) struct Encoder {
    datagram: bool,
    compression: Compression,
    level: flate2::Compression,
    /// What is the same in every message.
    fixed: Map<String, Value>,
}

impl Encoder {
    pub(super) fn new(gelf: &Gelf, subject: &Subject, attrs: &BTreeMap<String, String>) -> Self {
        let mut fixed = Map::new();
        for (name, value) in attrs {
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' })
                .collect();
            // `_id` is the receiver's own.
            if !name.is_empty() && name != "id" {
                fixed.insert(format!("_{name}"), Value::String(value.clone()));
            }
        }
        for (name, value) in [
            ("version", "1.1"),
            ("host", &subject.host),
            ("_container_id", &subject.full_id),
            ("_container_name", &subject.name),
            ("_image_id", &subject.image_id),
            ("_image_name", &subject.image_name),
            ("_command", &subject.command),
            ("_tag", &gelf.tag.render(subject)),
        ] {
            fixed.insert(name.to_owned(), Value::String(value.to_owned()));
        }
        Self {
            datagram: gelf.address.is_datagram(),
            compression: gelf.compression,
            level: gelf.level.map_or(flate2::Compression::default(), flate2::Compression::new),
            fixed,
        }
    }

    /// None for an empty line, which GELF cannot carry.
    pub(super) fn encode(&self, piece: &Piece<'_>, at: Timestamp) -> super::Message {
        if piece.bare().is_empty() {
            return Vec::new();
        }
        let mut fields = self.fixed.clone();
        let text = String::from_utf8_lossy(piece.bare()).into_owned();
        fields.insert("short_message".to_owned(), Value::String(text));
        let level = if piece.stream == Stream::Stderr { ERROR } else { INFO };
        fields.insert("level".to_owned(), level.into());
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era fit in 53 bits")]
        let seconds = at.millis() as f64 / 1000.0;
        fields.insert("timestamp".to_owned(), seconds.into());
        if !piece.last || piece.number > 0 {
            fields.insert("_partial_ordinal".to_owned(), (u64::from(piece.number) + 1).into());
            fields.insert("_partial_last".to_owned(), piece.last.into());
        }
        let mut json = Value::Object(fields).to_string().into_bytes();
        if !self.datagram {
            json.push(0);
            return vec![json.into_boxed_slice()];
        }
        chunks(&self.compressed(&json).unwrap_or(json))
    }

    fn compressed(&self, json: &[u8]) -> io::Result<Vec<u8>> {
        match self.compression {
            Compression::None => Ok(json.to_vec()),
            Compression::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), self.level);
                gzip.write_all(json)?;
                gzip.finish()
            }
            Compression::Zlib => {
                let mut zlib = ZlibEncoder::new(Vec::new(), self.level);
                zlib.write_all(json)?;
                zlib.finish()
            }
        }
    }
}

/// `0x1e 0x0f`, 8 bytes of message id, number and count before each part.
fn chunks(message: &[u8]) -> super::Message {
    if message.len() <= CHUNK {
        return vec![message.into()];
    }
    let parts: Vec<&[u8]> = message.chunks(CHUNK - HEADER).collect();
    let Some(count) = u8::try_from(parts.len()).ok().filter(|_| parts.len() <= MOST_CHUNKS) else {
        // Only a message of 16 KiB of control characters comes so far, uncompressed.
        return vec![message.into()];
    };
    let mut id = [0; 8];
    sys::random(&mut id);
    (0..count)
        .zip(parts)
        .map(|(number, part)| {
            let mut chunk = Vec::with_capacity(HEADER + part.len());
            chunk.extend_from_slice(&[0x1e, 0x0f]);
            chunk.extend_from_slice(&id);
            chunk.extend_from_slice(&[number, count]);
            chunk.extend_from_slice(part);
            chunk.into_boxed_slice()
        })
        .collect()
}
