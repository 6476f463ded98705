//! What the hub signs: JWS (RFC 7515) in the flattened JSON form, with Ed25519.
//!
//! ```text
//! {"payload":"BASE64URL","protected":"BASE64URL","signature":"BASE64URL"}
//! protected = {"alg":"EdDSA","kid":"FINGERPRINT","typ":"coracle-KIND+jws"}, to the byte
//! ```
//!
//! While boxes still trust a key that another one follows, each key that is trusted signs: then it is the general form, with
//! `"signatures":[{"protected":…,"signature":…},…]` in the place of the two.
//!
//! The bytes are signed and not what they parse to, and the only header that is taken is the one that the expected key
//! writes for the expected kind. So there is no algorithm to choose, and a message of one kind never passes for another.

use super::file::{self, FileError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// What a signed message is; it stands in its header as `typ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The desired document of one box.
    Document,
    /// A body that documents refer to.
    Body,
    /// A command to one box, frames of tunnels among them.
    Command,
    /// How far the hub has a box's events and logs.
    Ack,
    /// What the hub says of itself.
    Hub,
    /// The answer to a box that joins or renews its certificate.
    Join,
}

impl Kind {
    /// `typ` of the header.
    #[must_use]
    pub const fn typ(self) -> &'static str {
        match self {
            Self::Document => "coracle-document+jws",
            Self::Body => "coracle-body+jws",
            Self::Command => "coracle-command+jws",
            Self::Ack => "coracle-ack+jws",
            Self::Hub => "coracle-hub+jws",
            Self::Join => "coracle-join+jws",
        }
    }
}

/// Why a message is not taken. Each has a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Larger than what is expected here may be.
    #[error("it has {size} bytes, more than the {at_most} that are taken")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The bound.
        at_most: usize,
    },
    /// Not a JWS in JSON.
    #[error("it is not a signed message")]
    Malformed,
    /// Another algorithm, another key, or another kind of message.
    #[error("its header is not that of a {0} signed by this hub")]
    Header(&'static str),
    /// Signed by somebody else, or changed.
    #[error("its signature is not the hub's")]
    Signature,
}

impl JwsError {
    /// The name of its counter.
    #[must_use]
    pub const fn counter(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "oversized",
            Self::Malformed => "malformed",
            Self::Header(_) => "foreign",
            Self::Signature => "forged",
        }
    }
}

/// More signatures than a hub has keys.
const SIGNATURES: usize = 8;

/// Both forms.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed<'a> {
    payload: &'a str,
    protected: Option<&'a str>,
    signature: Option<&'a str>,
    #[serde(borrow)]
    signatures: Option<Vec<Signature<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature<'a> {
    protected: &'a str,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    fn signatures(self) -> Option<(&'a str, Vec<Signature<'a>>)> {
        let signatures = match (self.protected, self.signature, self.signatures) {
            (Some(protected), Some(signature), None) => vec![Signature { protected, signature }],
            (None, None, Some(signatures)) if signatures.len() <= SIGNATURES => signatures,
            _ => return None,
        };
        Some((self.payload, signatures))
    }
}

/// What tells keys apart: 128 bits of the hash of a public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Characters of one.
    pub(super) const LENGTH: usize = 22;

    /// The text, if it can be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let decoded = URL_SAFE_NO_PAD.decode(text).ok()?;
        (decoded.len() == 16).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public half of a hub's key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// What tells it apart.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(URL_SAFE_NO_PAD.encode(&digest(&SHA256, &self.0).as_ref()[..16]))
    }

    fn protected(&self, kind: Kind) -> String {
        let (key, typ) = (self.fingerprint(), kind.typ());
        URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"EdDSA","kid":"{key}","typ":"{typ}"}}"#))
    }

    /// The payload of `message`, if this hub signed it as a message of this kind, and it has `at_most` bytes.
    ///
    /// # Errors
    /// [`JwsError`]; nothing of the payload was looked at then.
    pub fn verify(&self, kind: Kind, message: &[u8], at_most: usize) -> Result<Vec<u8>, JwsError> {
        if message.len() > at_most {
            return Err(JwsError::TooLarge { size: message.len(), at_most });
        }
        let jws: Option<Signed<'_>> = serde_json::from_slice(message).ok();
        let (payload, signatures) = jws.and_then(Signed::signatures).ok_or(JwsError::Malformed)?;
        let protected = self.protected(kind);
        let own = signatures.iter().find(|one| one.protected == protected);
        let own = own.ok_or(JwsError::Header(kind.typ()))?;
        let signature = URL_SAFE_NO_PAD.decode(own.signature).map_err(|_| JwsError::Malformed)?;
        let signed = [protected.as_bytes(), b".", payload.as_bytes()].concat();
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(&signed, &signature)
            .map_err(|_| JwsError::Signature)?;
        URL_SAFE_NO_PAD.decode(payload).map_err(|_| JwsError::Malformed)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.fingerprint())
    }
}

impl From<VerifyingKey> for String {
    fn from(key: VerifyingKey) -> Self {
        URL_SAFE_NO_PAD.encode(key.0)
    }
}

impl TryFrom<String> for VerifyingKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a hub's key has 32 bytes in base64url")
    }
}

/// The file of the hub's key, in `STATE/keys`.
pub(super) const FILE: &str = "hub.pk8";

/// The hub's key: `STATE/keys/hub.pk8`, made at the first start.
pub struct HubKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl fmt::Debug for HubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl HubKey {
    /// Reads the key, or makes it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(state_dir: &Path) -> Result<Self, FileError> {
        let dir = state_dir.join("keys");
        let path = dir.join(FILE);
        if let Some(pkcs8) = file::read(&path)? {
            return Self::parse(&pkcs8)
                .ok_or_else(|| FileError::malformed(&path, "is not the key of a hub"));
        }
        file::private_dir(&dir)?;
        let pkcs8 = generate();
        file::write(&path, &pkcs8)?;
        Self::parse(&pkcs8).ok_or_else(|| FileError::malformed(&path, "is not the key of a hub"))
    }

    /// A key that is kept nowhere.
    ///
    /// # Panics
    /// When the kernel has no random source, which on Linux does not happen.
    #[must_use]
    #[expect(clippy::expect_used, reason = "nothing can go on without randomness")]
    pub fn ephemeral() -> Self {
        Self::parse(&generate()).expect("ring reads what it writes")
    }

    pub(super) fn parse(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok()?;
        let public = VerifyingKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }

    /// Signs `payload` as a message of this kind.
    #[must_use]
    pub fn sign(&self, kind: Kind, payload: &[u8]) -> Vec<u8> {
        sign(std::iter::once(self), kind, payload)
    }

    /// Header and signature, as two members of an object. Nothing in base64url needs escaping.
    fn signature(&self, kind: Kind, payload: &str) -> String {
        let protected = self.public.protected(kind);
        let signed = [protected.as_bytes(), b".", payload.as_bytes()].concat();
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(&signed));
        format!(r#""protected":"{protected}","signature":"{signature}""#)
    }
}

/// `payload` as a message of this kind, signed by all these keys.
pub(super) fn sign<'a>(
    keys: impl ExactSizeIterator<Item = &'a HubKey>,
    kind: Kind,
    payload: &[u8],
) -> Vec<u8> {
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let alone = keys.len() == 1;
    let signatures: Vec<String> = keys.map(|key| key.signature(kind, &payload)).collect();
    let signatures = match &signatures[..] {
        [one] if alone => one.clone(),
        several => format!(r#""signatures":[{{{}}}]"#, several.join("},{")),
    };
    format!(r#"{{"payload":"{payload}",{signatures}}}"#).into_bytes()
}

#[expect(
    clippy::expect_used,
    reason = "it fails without a random source only, and nothing can go on then"
)]
pub(super) fn generate() -> zeroize::Zeroizing<Vec<u8>> {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("getrandom(2) works");
    zeroize::Zeroizing::new(pkcs8.as_ref().to_vec())
}
