//! Messages of the protocol (RFC 1035, RFC 6891): a query is read, a reply is written.
//!
//! Of what comes in, only the header, the one question and the size that the sender can take are read. No pointer of a
//! compressed name is ever followed, so there is nothing that could go in circles.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The length of a header.
const HEADER: usize = 12;
/// Where the question's name stands, as a pointer of a compressed name.
const TO_QUESTION: [u8; 2] = [0xc0, 0x0c];
/// The longest name, with the lengths of its labels.
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;
/// What everybody takes over UDP.
const SMALLEST_DATAGRAM: u16 = 512;
/// The most that is sent over UDP: it is never fragmented.
const LARGEST_DATAGRAM: u16 = 1232;
/// The length of an OPT record without options.
const OPT: usize = 11;
/// The class of the internet.
const INTERNET: u16 = 1;

const IS_REPLY: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AUTHORITATIVE: u8 = 0x04;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
const CHECKING_DISABLED: u8 = 0x10;

/// The type of a record, or what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u16);

impl Kind {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// Where a zone begins.
    pub const SOA: Self = Self(6);
    /// The name of an address.
    pub const PTR: Self = Self(12);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);
    /// A port and the name of its host.
    pub const SRV: Self = Self(33);
    const OPT: Self = Self(41);
    /// Everything there is (RFC 8482: nobody has to tell).
    pub const ANY: Self = Self(255);
}

/// What a reply says of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
    BadVersion = 16,
}

impl Code {
    const fn number(self) -> u8 {
        self as u8
    }
}

/// A query with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    head: Head,
    /// As it came, for the reply.
    question: Vec<u8>,
    /// Labels joined by dots, in the letters of the sender; what is no letter, digit, `-` or `_` as `\DDD`.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) class: u16,
    edns: Option<Edns>,
}

/// What a reply repeats of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    id: [u8; 2],
    flags: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edns {
    size: u16,
    version: u8,
}

/// Why a message is not answered as a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Nobody can be told: it is too short, or is itself a reply.
    Silence,
    /// To be told with this code.
    Tell(Head, Code),
}

/// One record of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub name: String,
    /// For how many seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An address.
    A(Ipv4Addr),
    /// An address.
    Aaaa(Ipv6Addr),
    /// A port of a host.
    Srv {
        /// Its port.
        port: u16,
        /// The host.
        target: String,
    },
    /// The name of an address.
    Ptr(String),
    /// The zone: who asks for what is not there keeps that for these seconds.
    Soa {
        /// How long.
        minimum: u32,
    },
}

/// A reply, to be written for a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: Code,
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

/// A place in a message that only moves on.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let part = self.message.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(part)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A name as a question has it: written out.
    fn name(&mut self) -> Option<String> {
        let start = self.at;
        let mut name = String::new();
        loop {
            let length = usize::from(self.u8()?);
            if length == 0 {
                return Some(name);
            }
            if length > LONGEST_LABEL || self.at + length + 1 - start > LONGEST_NAME {
                return None;
            }
            if !name.is_empty() {
                name.push('.');
            }
            for byte in self.take(length)? {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                    name.push(char::from(*byte));
                } else {
                    let _ = write!(name, "\\{byte:03}");
                }
            }
        }
    }

    /// Goes past a name, which may end with a pointer.
    fn pass_name(&mut self) -> Option<()> {
        loop {
            match self.u8()? {
                0 => return Some(()),
                length @ 1..=63 => {
                    self.take(usize::from(length))?;
                }
                0xc0.. => return self.u8().map(|_| ()),
                _ => return None,
            }
        }
    }
}

impl Query {
    /// Reads a query.
    pub(super) fn read(message: &[u8]) -> Result<Self, Bad> {
        let mut reader = Reader { message, at: 0 };
        let header = reader.take(HEADER).ok_or(Bad::Silence)?;
        let [a, b, first, second, questions @ ..] = header else { return Err(Bad::Silence) };
        if first & IS_REPLY != 0 {
            return Err(Bad::Silence);
        }
        let head = Head { id: [*a, *b], flags: [*first, *second] };
        let tell = |code| Bad::Tell(head, code);
        if first & OPCODE != 0 {
            return Err(tell(Code::NotImplemented));
        }
        let count = |at: usize| {
            questions.get(at..at + 2).map_or(0, |c| usize::from(c[0]) << 8 | usize::from(c[1]))
        };
        if count(0) != 1 {
            return Err(tell(Code::FormatError));
        }
        let mut read = || -> Option<Self> {
            let name = reader.name()?;
            let (kind, class) = (Kind(reader.u16()?), reader.u16()?);
            let question = message.get(HEADER..reader.at)?.to_vec();
            let mut edns = None;
            for _ in 0..count(2) + count(4) + count(6) {
                reader.pass_name()?;
                let (kind, size) = (Kind(reader.u16()?), reader.u16()?);
                let rest = reader.take(4)?;
                let length = reader.u16()?;
                reader.take(usize::from(length))?;
                if kind == Kind::OPT {
                    // There is one at most (RFC 6891, 6.1.1).
                    if edns.is_some() {
                        return None;
                    }
                    edns = Some(Edns { size, version: rest[1] });
                }
            }
            Some(Self { head, question, name, kind, class, edns })
        };
        read().ok_or(tell(Code::FormatError))
    }

    /// Whether it is of the internet.
    pub(super) fn is_internet(&self) -> bool {
        self.class == INTERNET
    }

    /// Whether its sender speaks a later version of EDNS than there is.
    pub(super) fn is_of_later_edns(&self) -> bool {
        self.edns.is_some_and(|edns| edns.version != 0)
    }

    /// The most that may be sent to its sender in one datagram.
    pub(super) fn datagram(&self) -> usize {
        let size = self.edns.map_or(SMALLEST_DATAGRAM, |edns| edns.size);
        usize::from(size.clamp(SMALLEST_DATAGRAM, LARGEST_DATAGRAM))
    }

    /// Whether `message`, as somebody sent it, replies to this query under `id`.
    pub(super) fn is_replied_by(&self, message: &[u8], id: [u8; 2]) -> bool {
        let end = HEADER + self.question.len();
        message.get(..2) == Some(&id[..])
            && message.get(2).is_some_and(|flags| flags & (IS_REPLY | OPCODE) == IS_REPLY)
            && message.get(4..6) == Some(&[0, 1])
            && message
                .get(HEADER..end)
                .is_some_and(|question| question.eq_ignore_ascii_case(&self.question))
    }

    /// Gives what somebody else replied the id that the sender of this query waits for.
    pub(super) fn adopt(&self, message: &mut [u8]) {
        for (to, from) in message.iter_mut().zip(self.head.id) {
            *to = from;
        }
    }

    /// Writes `reply` in at most `limit` bytes. Of what does not fit, answers are told to be missing.
    pub(super) fn write(&self, reply: &Reply, limit: usize) -> Vec<u8> {
        let mut message = self.head.begin(reply.code);
        let opt = if self.edns.is_some() { OPT } else { 0 };
        let limit = limit.saturating_sub(opt);
        message.extend_from_slice(&self.question);
        set_count(&mut message, 4, 1);
        let mut truncated = false;
        let sections = [(6, &reply.answers), (8, &reply.authority), (10, &reply.additional)];
        for (at, records) in sections {
            let mut written = 0;
            for record in records {
                let before = message.len();
                let whole = !truncated && self.put(&mut message, record).is_some();
                if !whole || message.len() > limit {
                    message.truncate(before);
                    // What is additional may be missing.
                    truncated |= at != 10;
                    break;
                }
                written += 1;
            }
            set_count(&mut message, at, written);
        }
        if self.edns.is_some() {
            let [a, b] = LARGEST_DATAGRAM.to_be_bytes();
            let high = reply.code.number() >> 4;
            message.extend_from_slice(&[0, 0, 41, a, b, high, 0, 0, 0, 0, 0]);
            let additional = u16::from_be_bytes([message[10], message[11]]);
            set_count(&mut message, 10, additional + 1);
        }
        message[2] |= if truncated { TRUNCATED } else { 0 };
        message[2] |= if reply.authoritative { AUTHORITATIVE } else { 0 };
        message
    }

    /// None when a name cannot be written.
    fn put(&self, message: &mut Vec<u8>, record: &Record) -> Option<()> {
        if record.name.eq_ignore_ascii_case(&self.name) {
            message.extend_from_slice(&TO_QUESTION);
        } else {
            put_name(message, &record.name)?;
        }
        message.extend_from_slice(&record.data.kind().0.to_be_bytes());
        message.extend_from_slice(&INTERNET.to_be_bytes());
        message.extend_from_slice(&record.ttl.to_be_bytes());
        let at = message.len();
        message.extend_from_slice(&[0, 0]);
        match &record.data {
            Data::A(address) => message.extend_from_slice(&address.octets()),
            Data::Aaaa(address) => message.extend_from_slice(&address.octets()),
            Data::Srv { port, target } => {
                // One priority, one weight.
                message.extend_from_slice(&[0, 1, 0, 1]);
                message.extend_from_slice(&port.to_be_bytes());
                put_name(message, target)?;
            }
            Data::Ptr(name) => put_name(message, name)?,
            Data::Soa { minimum } => {
                put_name(message, &format!("ns.{}", record.name))?;
                put_name(message, &format!("hostmaster.{}", record.name))?;
                for number in [1, 60, 60, 60, *minimum] {
                    message.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
        let length = u16::try_from(message.len() - at - 2).ok()?.to_be_bytes();
        message[at..at + 2].copy_from_slice(&length);
        Some(())
    }
}

impl Head {
    /// A whole reply without a question.
    pub(super) fn reply(self, code: Code) -> Vec<u8> {
        self.begin(code)
    }

    fn begin(self, code: Code) -> Vec<u8> {
        let kept = self.flags[0] & (OPCODE | RECURSION_DESIRED);
        let mut message = vec![0; HEADER];
        message[..2].copy_from_slice(&self.id);
        message[2] = IS_REPLY | kept;
        message[3] =
            RECURSION_AVAILABLE | (self.flags[1] & CHECKING_DISABLED) | (code.number() & 0x0f);
        message
    }
}

impl Reply {
    /// One that says nothing more than `code`.
    pub(super) fn bare(code: Code) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }
}

impl Data {
    fn kind(&self) -> Kind {
        match self {
            Self::A(_) => Kind::A,
            Self::Aaaa(_) => Kind::AAAA,
            Self::Srv { .. } => Kind::SRV,
            Self::Ptr(_) => Kind::PTR,
            Self::Soa { .. } => Kind::SOA,
        }
    }
}

/// What a message that somebody sent as a reply says of the question; none if it is too short.
pub(super) fn code_of(message: &[u8]) -> Option<u8> {
    message.get(3).map(|flags| flags & 0x0f)
}

/// Whether a reply says that the question could not be dealt with there, so that another server may do better.
pub(super) fn is_no_answer(message: &[u8]) -> bool {
    let no_answer = [Code::FormatError, Code::ServerFailure, Code::NotImplemented, Code::Refused];
    code_of(message).is_none_or(|code| no_answer.iter().any(|bad| bad.number() == code))
}

fn set_count(message: &mut [u8], at: usize, count: u16) {
    if let Some(place) = message.get_mut(at..at + 2) {
        place.copy_from_slice(&count.to_be_bytes());
    }
}

/// None when it is no name: a label is empty or too long, or all of it is.
fn put_name(message: &mut Vec<u8>, name: &str) -> Option<()> {
    if name.len() + 2 > LONGEST_NAME {
        return None;
    }
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    Some(())
}

#[cfg(test)]
mod tests;
