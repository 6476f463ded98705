//! The hub's own secret, `STATE/keys/fleet.key`: 32 random bytes, made at the first start.
//!
//! From it come the secrets of join tokens, and the key that the sealing keys of boxes are sealed with in the store. A
//! copy of the store without this file lets nobody join and opens nothing.

use super::file::{self, FileError};
use super::jws::Fingerprint;
use super::sealing::SealingKey;
use super::token::{JoinToken, SECRET, TokenId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::hmac::{self, HMAC_SHA256};
use std::path::Path;
use zeroize::Zeroizing;

/// What the hub computes with its own secret.
pub struct Vault {
    tokens: hmac::Key,
    sealing: SealingKey,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

impl Vault {
    /// Reads the secret, or makes it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(state_dir: &Path) -> Result<Self, FileError> {
        let dir = state_dir.join("keys");
        let path = dir.join("fleet.key");
        let secret = if let Some(bytes) = file::read(&path)? {
            bytes
        } else {
            let mut bytes = Zeroizing::new(vec![0; 32]);
            crate::sys::random(&mut bytes);
            file::private_dir(&dir)?;
            file::write(&path, &bytes)?;
            bytes
        };
        let root = hmac::Key::new(HMAC_SHA256, &secret);
        let derived = |purpose: &[u8]| hmac::sign(&root, purpose);
        let sealing = SealingKey::from_bytes(derived(b"coracle sealing keys 1").as_ref());
        Ok(Self {
            tokens: hmac::Key::new(HMAC_SHA256, derived(b"coracle join tokens 1").as_ref()),
            sealing: sealing
                .filter(|_| secret.len() == 32)
                .ok_or_else(|| FileError::malformed(&path, "does not hold 32 bytes"))?,
        })
    }

    /// A new token for the hub with this key.
    #[must_use]
    pub fn mint(&self, hub: Fingerprint) -> JoinToken {
        self.token(TokenId::generate(), hub)
    }

    /// The token with this id.
    #[must_use]
    pub fn token(&self, id: TokenId, hub: Fingerprint) -> JoinToken {
        let tag = hmac::sign(&self.tokens, id.as_str().as_bytes());
        let mut secret = [0; SECRET];
        secret.copy_from_slice(&tag.as_ref()[..SECRET]);
        JoinToken::new(id, secret, hub)
    }

    /// A box's sealing key as it is kept in the store.
    #[must_use]
    pub fn wrap(&self, device: &str, key: &SealingKey) -> String {
        STANDARD_NO_PAD.encode(self.sealing.seal(device.as_bytes(), key.expose()))
    }

    /// The other way round; none when it was changed or is of another box.
    #[must_use]
    pub fn unwrap(&self, device: &str, wrapped: &str) -> Option<SealingKey> {
        let sealed = STANDARD_NO_PAD.decode(wrapped).ok()?;
        SealingKey::from_bytes(&self.sealing.open(device.as_bytes(), &sealed).ok()?)
    }
}
