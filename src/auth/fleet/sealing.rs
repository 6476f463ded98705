//! The key that hub and one box share, and how they agree on it.
//!
//! Both make an X25519 key for one join, and exchange the public halves inside messages that prove where they come from:
//! the request by the token, the answer by the hub's signature. The private halves are gone when the key is there, so
//! who later steals the token, the hub's signing key and a recording of the join cannot compute it.
//!
//! ```text
//! sealed = 1 | nonce (12) | ChaCha20-Poly1305(key, nonce, context, bytes)
//! ```

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::SystemRandom;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const FORMAT: u8 = 1;
const TAG: usize = 16;

/// Why sealed bytes do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not what [`SealingKey::seal`] makes.
    #[error("these bytes are not sealed, or by a newer version")]
    Malformed,
    /// Sealed with another key or for another purpose, or changed.
    #[error("these bytes were sealed with another key or for another purpose, or were changed")]
    Mismatch,
}

/// A key that hub and box share.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealingKey([u8; 32]);

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey").finish_non_exhaustive()
    }
}

impl SealingKey {
    /// The key out of its bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes, to be kept where nobody else reads.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.0).ok().map(LessSafeKey::new)
    }

    /// Seals `bytes` so that they open with the same `context` only: the box, the name and the version.
    ///
    /// Nonces are random: a key seals 2^32 times before two of the same become a thought.
    #[must_use]
    pub fn seal(&self, context: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        crate::sys::random(&mut nonce);
        let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() + TAG));
        text.extend_from_slice(bytes);
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + bytes.len() + TAG);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        let nonce = Nonce::assume_unique_for_key(nonce);
        // Fails for 256 GiB only; what comes out then does not open.
        if let Some(cipher) = self.cipher()
            && cipher.seal_in_place_append_tag(nonce, Aad::from(context), &mut *text).is_ok()
        {
            sealed.extend_from_slice(&text);
        }
        sealed
    }

    /// What was sealed for this `context`.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (header, text) = sealed.split_at_checked(1 + NONCE_LEN).ok_or(SealError::Malformed)?;
        if header[0] != FORMAT {
            return Err(SealError::Malformed);
        }
        let nonce =
            Nonce::try_assume_unique_for_key(&header[1..]).map_err(|_| SealError::Malformed)?;
        let mut text = Zeroizing::new(text.to_vec());
        let cipher = self.cipher().ok_or(SealError::Mismatch)?;
        let length = cipher
            .open_in_place(nonce, Aad::from(context), &mut text)
            .map_err(|_| SealError::Mismatch)?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

/// One side of an agreement.
#[derive(Debug)]
pub struct Exchange {
    private: EphemeralPrivateKey,
    public: [u8; 32],
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    /// A new key for one agreement.
    ///
    /// # Panics
    /// When the kernel has no random source, which on Linux does not happen.
    #[must_use]
    #[expect(clippy::expect_used, reason = "nothing can go on without randomness")]
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let private = EphemeralPrivateKey::generate(&X25519, &random).expect("getrandom(2) works");
        let mut public = [0; 32];
        let computed = private.compute_public_key().expect("every X25519 key has a public half");
        public.copy_from_slice(computed.as_ref());
        Self { private, public }
    }

    /// What the other side needs.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The key; the same on both sides for the same `context`. None when the other side's half is no proper one.
    #[must_use]
    pub fn agree(self, theirs: &[u8], context: &[u8]) -> Option<SealingKey> {
        let theirs = UnparsedPublicKey::new(&X25519, theirs);
        agree_ephemeral(self.private, &theirs, |shared| {
            let secret = Salt::new(HKDF_SHA256, b"coracle sealing key 1").extract(shared);
            let mut key = [0; 32];
            secret.expand(&[context], Length).ok()?.fill(&mut key).ok()?;
            Some(SealingKey(key))
        })
        .ok()
        .flatten()
    }
}
