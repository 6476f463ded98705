//! X.509 certificates (RFC 5280): writing those that [`super::Authority`] issues, and what must be known of one.

use super::der::{self, Reader};
use super::request::{CertifiedKey, PrivateKey, signature_algorithm};
use crate::model::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The beginning of 2026, before which no clock that is set can be: an earlier one says nothing.
pub const PLAUSIBLE: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Since when certificates are valid, whatever the clocks say: 2020-01-01.
const NOT_BEFORE: Timestamp = Timestamp::from_secs(1_577_836_800);

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 0x0e];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const EXTENDED_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const LIST_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
const SERVER: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// The longest organization that X.520 allows.
const LONGEST_ORGANIZATION: usize = 64;

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To issue others.
    Authority,
    /// A server with these names and addresses.
    Server(Vec<String>),
    /// A client.
    Client,
}

/// A certificate to be.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) common_name: &'a str,
    pub(super) organization: Option<&'a str>,
    pub(super) purpose: Purpose,
    pub(super) key: &'a CertifiedKey,
    pub(super) not_after: Timestamp,
}

impl Draft<'_> {
    /// The certificate, issued by who is called `issuer` and has this key.
    pub(super) fn issue(&self, issuer: &str, key: &PrivateKey) -> Certificate {
        let mut serial = [0; 16];
        crate::sys::random(&mut serial);
        // Not negative, and as long each time.
        serial[0] = serial[0] & 0x7f | 0x40;
        let validity = [time(NOT_BEFORE), time(self.not_after)];
        let organization = self.organization.filter(|text| text.len() <= LONGEST_ORGANIZATION);
        let body = [
            der::of(der::context_of(0), &[der::value(der::INTEGER, &[2])]),
            der::positive(&serial),
            signature_algorithm(),
            name(issuer, None),
            der::of(der::SEQUENCE, &validity),
            name(self.common_name, organization),
            self.key.info(),
            der::of(der::context_of(3), &[der::of(der::SEQUENCE, &self.extensions(key.public()))]),
        ];
        Certificate(key.signed(der::of(der::SEQUENCE, &body)))
    }

    fn extensions(&self, issuer: &CertifiedKey) -> Vec<Vec<u8>> {
        let usage = match self.purpose {
            // keyCertSign and cRLSign; digitalSignature.
            Purpose::Authority => [1, 0x06],
            Purpose::Server(_) | Purpose::Client => [7, 0x80],
        };
        let mut extensions = vec![
            extension(SUBJECT_KEY, false, &der::value(der::OCTET_STRING, &self.key.id())),
            issued_by(issuer),
            extension(KEY_USAGE, true, &der::value(der::BIT_STRING, &usage)),
        ];
        let extended = |purpose| {
            let purposes = der::of(der::SEQUENCE, &[der::value(der::OID, purpose)]);
            extension(EXTENDED_USAGE, false, &purposes)
        };
        match &self.purpose {
            Purpose::Authority => {
                // An authority, of nothing that is one itself.
                let constraints =
                    [der::value(der::BOOLEAN, &[0xff]), der::value(der::INTEGER, &[0])];
                let constraints = der::of(der::SEQUENCE, &constraints);
                extensions.push(extension(BASIC_CONSTRAINTS, true, &constraints));
            }
            Purpose::Server(names) => {
                extensions.push(extended(SERVER));
                let names: Vec<_> = names.iter().map(|name| alternative(name)).collect();
                let names = der::of(der::SEQUENCE, &names);
                extensions.push(extension(ALTERNATIVE_NAMES, false, &names));
            }
            Purpose::Client => extensions.push(extended(CLIENT)),
        }
        extensions
    }
}

/// The list of what `issuer` issued and takes back, by serial number; valid at every time that its certificates are.
pub(super) fn revocation_list(
    issuer: &str,
    key: &PrivateKey,
    serials: impl Iterator<Item = Vec<u8>>,
    number: Timestamp,
    not_after: Timestamp,
) -> Vec<u8> {
    let entry =
        |serial: Vec<u8>| der::of(der::SEQUENCE, &[der::positive(&serial), time(NOT_BEFORE)]);
    let entries: Vec<_> = serials.map(entry).collect();
    let number = der::positive(&number.millis().max(0).to_be_bytes());
    let extensions = [issued_by(key.public()), extension(LIST_NUMBER, false, &number)];
    let mut body = vec![
        der::value(der::INTEGER, &[1]),
        signature_algorithm(),
        name(issuer, None),
        time(NOT_BEFORE),
        time(not_after),
    ];
    // A list of none is not there.
    if !entries.is_empty() {
        body.push(der::of(der::SEQUENCE, &entries));
    }
    body.push(der::of(der::context_of(0), &[der::of(der::SEQUENCE, &extensions)]));
    key.signed(der::of(der::SEQUENCE, &body))
}

fn issued_by(issuer: &CertifiedKey) -> Vec<u8> {
    let key = der::of(der::SEQUENCE, &[der::value(der::context(0), &issuer.id())]);
    extension(AUTHORITY_KEY, false, &key)
}

fn extension(id: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let mut parts = vec![der::value(der::OID, id)];
    if critical {
        parts.push(der::value(der::BOOLEAN, &[0xff]));
    }
    parts.push(der::value(der::OCTET_STRING, content));
    der::of(der::SEQUENCE, &parts)
}

/// A name or an address of a server.
fn alternative(name: &str) -> Vec<u8> {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => der::value(der::context(7), &address.octets()),
        Ok(IpAddr::V6(address)) => der::value(der::context(7), &address.octets()),
        Err(_) => der::value(der::context(2), name.as_bytes()),
    }
}

fn name(common_name: &str, organization: Option<&str>) -> Vec<u8> {
    let part = |id: &[u8], text: &str| {
        let pair = [der::value(der::OID, id), der::value(der::UTF8_STRING, text.as_bytes())];
        der::of(der::SET, &[der::of(der::SEQUENCE, &pair)])
    };
    let organization = organization.map(|text| part(ORGANIZATION, text));
    let parts: Vec<_> = organization.into_iter().chain([part(COMMON_NAME, common_name)]).collect();
    der::of(der::SEQUENCE, &parts)
}

fn time(at: Timestamp) -> Vec<u8> {
    // A time that no calendar has is the last one that certificates can name.
    let zoned = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::MAX);
    let date = zoned.to_zoned(TimeZone::UTC).datetime();
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        date.month(),
        date.day(),
        date.hour(),
        date.minute(),
        date.second()
    );
    match date.year() {
        year @ 2000..2050 => {
            der::value(der::UTC_TIME, format!("{:02}{rest}", year - 2000).as_bytes())
        }
        year => der::value(der::GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes()),
    }
}

fn read_time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let (year, rest) = match tag {
        der::UTC_TIME => text.split_at_checked(2)?,
        der::GENERALIZED_TIME => text.split_at_checked(4)?,
        _ => return None,
    };
    let number = |digits: &[u8]| {
        let fold = |sum: i16, digit: &u8| {
            digit.is_ascii_digit().then(|| sum * 10 + i16::from(*digit - b'0'))
        };
        digits.iter().try_fold(0, fold)
    };
    let year = match (tag, number(year)?) {
        (der::UTC_TIME, year @ 50..) => 1900 + year,
        (der::UTC_TIME, year) => 2000 + year,
        (_, year) => year,
    };
    let digits = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
    let mut parts = [0_i8; 5];
    for (part, digits) in parts.iter_mut().zip(digits.chunks(2)) {
        *part = i8::try_from(number(digits)?).ok()?;
    }
    let [month, day, hour, minute, second] = parts;
    let date = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Some(Timestamp(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond()))
}

/// A certificate, in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate(Vec<u8>);

impl Certificate {
    /// Its bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// The same as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.0)
    }

    /// A certificate out of its bytes, with what must be known of it; none when it is not one.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<(Self, CertificateInfo)> {
        let info = read(der)?;
        Some((Self(der.to_vec()), info))
    }

    /// What must be known of it.
    #[must_use]
    pub fn info(&self) -> CertificateInfo {
        // What is held here was read or written before.
        read(&self.0).unwrap_or_default()
    }
}

impl Serialize for Certificate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Certificate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).ok();
        let read = bytes.and_then(|bytes| Self::read(&bytes));
        read.map(|(certificate, _)| certificate)
            .ok_or_else(|| serde::de::Error::custom("this is not a certificate in base64"))
    }
}

/// What must be known of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateInfo {
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// The SHA-256 of it, in hexadecimal.
    pub sha256: String,
    /// The SHA-256 of the key that it is for, in hexadecimal; empty for a kind of key that is not issued here.
    pub key: String,
}

fn read(bytes: &[u8]) -> Option<CertificateInfo> {
    let mut outside = Reader::new(bytes);
    let mut parts = outside.enter(der::SEQUENCE).filter(|_| outside.is_empty())?;
    let mut body = parts.enter(der::SEQUENCE)?;
    body.take(der::context_of(0))?;
    let serial = body.take(der::INTEGER)?;
    body.take(der::SEQUENCE)?;
    body.take(der::SEQUENCE)?;
    let mut validity = body.enter(der::SEQUENCE)?;
    validity.next()?;
    let (tag, text, _) = validity.next()?;
    body.take(der::SEQUENCE)?;
    let (_, _, key) = body.next()?;
    Some(CertificateInfo {
        not_after: read_time(tag, text)?,
        serial: hex(serial),
        sha256: hex(digest(&SHA256, bytes).as_ref()),
        key: CertifiedKey::read(key).map(|key| key.fingerprint()).unwrap_or_default(),
    })
}

/// `bytes` as PEM (RFC 7468).
#[must_use]
pub fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + &format!("-----END {label}-----\n")
}

/// Hexadecimal digits as bytes.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
