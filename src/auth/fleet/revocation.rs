//! The list of certificates that are refused before they end (RFC 5280, section 5), as a broker reads it.

use super::certificate::{NOT_BEFORE, name, time};
use super::der;
use super::request::{PrivateKey, signature_algorithm};

/// The list of these serial numbers, in hexadecimal, issued by who is called `issuer` and has this key. None when one of
/// them is no number.
///
/// It is valid since 2020 and does not end: a broker that found it outdated would refuse everybody.
pub(super) fn list<'a>(
    serials: impl Iterator<Item = &'a str>,
    issuer: &str,
    key: &PrivateKey,
) -> Option<Vec<u8>> {
    let entry = |serial: &str| {
        let number = der::positive(&bytes(serial)?);
        Some(der::of(der::SEQUENCE, &[number, time(NOT_BEFORE)]))
    };
    let entries = serials.map(entry).collect::<Option<Vec<_>>>()?;
    let mut body = vec![
        // Version 2.
        der::value(der::INTEGER, &[1]),
        signature_algorithm(),
        name(issuer, None),
        time(NOT_BEFORE),
    ];
    // An empty list must not be there.
    if !entries.is_empty() {
        body.push(der::of(der::SEQUENCE, &entries));
    }
    Some(key.signed(der::of(der::SEQUENCE, &body)))
}

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    digits.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_or_refused() {
        assert_eq!(bytes("40ff"), Some(vec![0x40, 0xff]));
        for wrong in ["", "4", "+f", "xy", "40 f"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
        let key = PrivateKey::generate();
        assert!(list(["zz"].into_iter(), "ca", &key).is_none());
        let (none, two) =
            (list([].into_iter(), "ca", &key), list(["40", "41"].into_iter(), "ca", &key));
        assert!(none.unwrap().len() < two.unwrap().len());
    }
}
