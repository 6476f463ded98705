//! The text that lets a box join: `coracle1.ID.SECRET.FINGERPRINT`.
//!
//! The secret is never sent. A request carries an HMAC under a key derived from it, so who listens learns nothing that
//! lets him join, and plain HTTP is enough. The fingerprint is that of the hub's key: the answer of anybody else is not
//! taken. The hub keeps no secret of a token: it computes them from the id with a key of its own ([`super::Vault`]).

use super::jws::Fingerprint;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const PREFIX: &str = "coracle1";
const ID: usize = 12;
pub(super) const SECRET: usize = 24;

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another text.
    #[error(
        "this is not a join token; one is made with `coracle token create` on the hub and begins with `coracle1.`"
    )]
    Foreign,
    /// Cut short or mistyped.
    #[error("this join token is not whole: it has four parts separated by dots; copy all of it")]
    Malformed,
}

/// The public part of a token: 12 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    /// A new one.
    pub(super) fn generate() -> Self {
        let mut id = [0; ID / 2];
        crate::sys::random(&mut id);
        Self(super::certificate::hex(&id))
    }

    /// As a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == ID && text.bytes().all(hex) {
            Ok(Self(text))
        } else {
            Err(TokenError::Malformed)
        }
    }
}

/// A token, as the operator carries it from the hub to a box.
pub struct JoinToken {
    id: TokenId,
    secret: Zeroizing<[u8; SECRET]>,
    hub: Fingerprint,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl JoinToken {
    /// A token out of its parts.
    pub(super) fn new(id: TokenId, secret: [u8; SECRET], hub: Fingerprint) -> Self {
        Self { id, secret: Zeroizing::new(secret), hub }
    }

    /// Which token it is.
    #[must_use]
    pub fn id(&self) -> &TokenId {
        &self.id
    }

    /// The hub whose answer is taken.
    #[must_use]
    pub fn hub(&self) -> &Fingerprint {
        &self.hub
    }

    /// What it proves itself with.
    #[must_use]
    pub fn proof(&self) -> Proof {
        let derived = digest(&SHA256, &[b"coracle join token 1\0", &self.secret[..]].concat());
        let mut key = [0; 32];
        key.copy_from_slice(derived.as_ref());
        Proof(key)
    }

    /// The whole text, secret included.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.secret));
        Zeroizing::new(format!("{PREFIX}.{}.{}.{}", self.id, *secret, self.hub))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Foreign)?;
        let rest = rest.strip_prefix('.').ok_or(TokenError::Foreign)?;
        let mut parts = rest.split('.');
        let (Some(id), Some(secret), Some(hub), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).unwrap_or_default());
        let bytes: [u8; SECRET] =
            decoded.as_slice().try_into().map_err(|_| TokenError::Malformed)?;
        let hub = Some(hub).filter(|hub| hub.len() == Fingerprint::LENGTH);
        Ok(Self {
            id: TokenId::try_from(id.to_owned())?,
            secret: Zeroizing::new(bytes),
            hub: hub.and_then(Fingerprint::parse).ok_or(TokenError::Malformed)?,
        })
    }
}

/// Shows that somebody holds a token.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Proof([u8; 32]);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").finish_non_exhaustive()
    }
}

impl Proof {
    /// The proof for one message, as text.
    #[must_use]
    pub fn of(&self, message: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(HMAC_SHA256, &self.0), message))
    }

    /// Whether `text` is the proof for this message; in a time that does not tell how much of it is right.
    #[must_use]
    pub fn is_of(&self, message: &[u8], text: &str) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(text) else { return false };
        hmac::verify(&hmac::Key::new(HMAC_SHA256, &self.0), message, &tag).is_ok()
    }
}
