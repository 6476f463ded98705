//! Short names for long ones.

use ring::digest::{SHA256, digest};
use std::fmt::Write;

/// The first `length` hexadecimal digits of a digest of `text`.
pub(super) fn fingerprint(text: &str, length: usize) -> String {
    let mut digits = String::new();
    for byte in digest(&SHA256, text.as_bytes()).as_ref() {
        let _ = write!(digits, "{byte:02x}");
    }
    digits.truncate(length);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_sha256sum() {
        assert_eq!(fingerprint("abc", 9), "ba7816bf8");
        assert_eq!(fingerprint("abc", 1000).len(), 64);
    }
}
