//! What was refused, counted by the reason; the counters are part of each report, so a hostile broker shows at the hub.

use crate::auth::fleet::JwsError;
use crate::fleet::message::ReadError;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// How deep messages may be nested. Ours are not half as deep.
const DEEPEST: usize = 64;

/// The counters. Each reason is told of once in the log, and counted from then on.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<&'static str, u64>);

impl Refusals {
    /// Something was refused that came on `topic`, and changed nothing.
    pub(super) fn count(&mut self, topic: &str, why: &'static str) {
        let count = self.0.entry(why).or_default();
        *count += 1;
        if *count == 1 {
            tracing::warn!(topic, why, "a message was refused; the next ones like it are counted");
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(why, count)| ((*why).to_owned(), *count)).collect()
    }
}

/// The counter of a message that was not signed as it should be.
pub(super) fn of_signature(error: JwsError, message: &[u8]) -> &'static str {
    match error {
        JwsError::TooLarge { .. } => "oversized",
        JwsError::Header(_) | JwsError::Signature => "signature",
        JwsError::Malformed if depth(message) > DEEPEST => "nested",
        JwsError::Malformed if serde_json::from_slice::<IgnoredAny>(message).is_ok() => "unsigned",
        JwsError::Malformed => "malformed",
    }
}

/// The counter of what was signed and is not read all the same.
pub(super) fn of_reading(error: &ReadError, payload: &[u8]) -> &'static str {
    match error {
        ReadError::Malformed(_) if depth(payload) > DEEPEST => "nested",
        other => other.counter(),
    }
}

/// How deep JSON is nested; whatever else is not deep.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fleet::{HubKey, Kind};
    use crate::fleet::message::{WANT_LIMIT, Want};

    #[test]
    fn each_kind_of_hostility_has_its_name() {
        let hub = HubKey::ephemeral();
        let why = |message: &[u8]| match hub.verifying_key().verify(
            Kind::Document,
            message,
            WANT_LIMIT,
        ) {
            Err(error) => of_signature(error, message),
            Ok(payload) => of_reading(&Want::read(&payload).unwrap_err(), &payload),
        };
        assert_eq!(why(b"{\"v\":1}"), "unsigned");
        assert_eq!(why(b"[]"), "unsigned");
        assert_eq!(why(b"no JSON"), "malformed");
        assert_eq!(why(&[b'['; 1000]), "nested");
        assert_eq!(why(&vec![b'['; WANT_LIMIT + 1]), "oversized");
        assert_eq!(why(&HubKey::ephemeral().sign(Kind::Document, b"{}")), "signature");
        assert_eq!(why(&hub.sign(Kind::Command, b"{}")), "signature");
        assert_eq!(why(&hub.sign(Kind::Document, b"{\"v\":1}")), "malformed");
        assert_eq!(why(&hub.sign(Kind::Document, b"{\"v\":7}")), "unsupported");
        let deep = format!("{{\"v\":1,\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(why(&hub.sign(Kind::Document, deep.as_bytes())), "nested");
    }

    #[test]
    fn brackets_in_texts_are_not_deep() {
        assert_eq!(depth(br#"{"a":"[[[\"[[","b":[{}]}"#), 3);
        assert_eq!(depth(b"]]]]["), 1);
    }
}
