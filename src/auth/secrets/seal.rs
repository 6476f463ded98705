//! Sealing: ChaCha20-Poly1305, with what the value belongs to as associated data.
//!
//! ```text
//! format (1) | key id (8) | nonce (12) | ciphertext | tag (16)        in base64
//! ```
//!
//! Nonces are random: 2^32 values could be sealed with one key before two of the same become a thought.

use super::key::{KeyId, SealingKey};
use super::value::SecretText;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

const FORMAT: u8 = 1;
const HEADER: usize = 1 + KeyId::LENGTH + NONCE_LEN;

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed(Vec<u8>);

impl Sealed {
    /// Seals `value` with `key` so that it opens only for the same `context`.
    pub(super) fn seal(key: &SealingKey, context: &str, value: &SecretText) -> Self {
        let mut nonce = [0; NONCE_LEN];
        crate::sys::random(&mut nonce);
        let mut sealed = Vec::with_capacity(HEADER + value.expose().len() + 16);
        sealed.push(FORMAT);
        sealed.extend_from_slice(key.id().bytes());
        sealed.extend_from_slice(&nonce);
        // The room is there already, so that no copy of the plain text is left behind by growing.
        let mut text = Vec::with_capacity(value.expose().len() + 16);
        text.extend_from_slice(value.expose().as_bytes());
        let aad = Aad::from(context.as_bytes());
        let done = cipher(key).is_some_and(|cipher| {
            cipher
                .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
                .is_ok()
        });
        if done {
            sealed.extend_from_slice(&text);
        }
        // Fails for texts of 256 GiB only; then what is kept does not open.
        text.zeroize();
        Self(sealed)
    }

    /// Which key it was sealed with.
    pub(super) fn key_id(&self) -> KeyId {
        KeyId::from_slice(self.0.get(1..=KeyId::LENGTH).unwrap_or_default())
    }

    /// The value; none when it was changed or belongs to another `context`.
    pub(super) fn open(&self, key: &SealingKey, context: &str) -> Option<SecretText> {
        let (header, text) = self.0.split_at_checked(HEADER)?;
        if header.first() != Some(&FORMAT) {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(header.get(1 + KeyId::LENGTH..)?).ok()?;
        let mut text = text.to_vec();
        let length =
            cipher(key)?.open_in_place(nonce, Aad::from(context.as_bytes()), &mut text).ok()?.len();
        text.truncate(length);
        match String::from_utf8(text) {
            Ok(text) => Some(SecretText::new(text)),
            Err(error) => {
                error.into_bytes().zeroize();
                None
            }
        }
    }
}

fn cipher(key: &SealingKey) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key.bytes()).ok().map(LessSafeKey::new)
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD_NO_PAD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}
