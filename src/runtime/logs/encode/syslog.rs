//! syslog: RFC 3164 and RFC 5424, and the form without a host that programs of a box use.
//!
//! Times are in UTC. In a stream each message ends with a newline.

use crate::model::Timestamp;
use crate::model::task_definition::logging::{Subject, Syslog, SyslogFormat};
use crate::runtime::logs::line::Stream;
use crate::runtime::logs::pieces::Piece;
use jiff::{Timestamp as Moment, Unit};
use std::io::Write;

/// Of RFC 5424: informational and error.
const INFO: u8 = 6;
const ERROR: u8 = 3;

#[derive(Debug)]
pub(crate) struct Encoder {
    facility: u8,
    format: SyslogFormat,
    datagram: bool,
    host: String,
    tag: String,
    pid: u32,
}

impl Encoder {
    pub(super) fn new(syslog: &Syslog, subject: &Subject) -> Self {
        // A space would end the field.
        let word = |text: String| -> String {
            let word: String = text.split_whitespace().collect::<Vec<_>>().join("_");
            if word.is_empty() { "-".to_owned() } else { word }
        };
        Self {
            facility: syslog.facility,
            format: syslog.format,
            datagram: syslog.address.is_datagram(),
            host: word(subject.host.clone()),
            tag: word(syslog.tag.render(subject)),
            pid: std::process::id(),
        }
    }

    pub(super) fn encode(&self, piece: &Piece<'_>, at: Timestamp) -> Box<[u8]> {
        let Self { host, tag, pid, .. } = self;
        let severity = if piece.stream == Stream::Stderr { ERROR } else { INFO };
        let priority = self.facility * 8 + severity;
        let mut message = Vec::with_capacity(piece.text.len() + 128);
        // Writing to memory does not fail.
        let _ = match self.format {
            SyslogFormat::Local => write!(message, "<{priority}>{} {tag}[{pid}]: ", stamp(at)),
            SyslogFormat::Rfc3164 => {
                write!(message, "<{priority}>{} {host} {tag}[{pid}]: ", stamp(at))
            }
            SyslogFormat::Rfc5424 => {
                let time = time(at, Unit::Second);
                write!(message, "<{priority}>1 {time:.0} {host} {tag} {pid} {tag} - ")
            }
            SyslogFormat::Rfc5424Micro => {
                let time = time(at, Unit::Microsecond);
                write!(message, "<{priority}>1 {time:.6} {host} {tag} {pid} {tag} - ")
            }
        };
        message.extend_from_slice(piece.bare());
        if !self.datagram {
            message.push(b'\n');
        }
        message.into_boxed_slice()
    }
}

fn time(at: Timestamp, unit: Unit) -> Moment {
    let moment = Moment::from_millisecond(at.millis()).unwrap_or(Moment::UNIX_EPOCH);
    // Down, not to the nearest: no line comes from the future.
    let down = jiff::TimestampRound::new().smallest(unit).mode(jiff::RoundMode::Trunc);
    moment.round(down).unwrap_or(moment)
}

/// `Nov  3 04:05:06`.
fn stamp(at: Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = time(at, Unit::Second).to_zoned(jiff::tz::TimeZone::UTC);
    let month = usize::try_from(at.month() - 1).ok().and_then(|m| MONTHS.get(m)).unwrap_or(&"Jan");
    format!("{month} {:>2} {:02}:{:02}:{:02}", at.day(), at.hour(), at.minute(), at.second())
}
