//! Keys that certificates are for (P-256), and the PKCS#10 request that asks for one.
//!
//! Of a request the key is taken, once its signature proves that the sender has the private half. What it wants to be
//! called is not looked at: who gets which name is the hub's to say.

use super::der::{self, Reader};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use zeroize::Zeroizing;

/// id-ecPublicKey.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// prime256v1.
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// ecdsa-with-SHA256.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// An uncompressed point.
const POINT: usize = 65;
/// A request has some 200 bytes.
const LARGEST: usize = 4096;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too large, or not PKCS#10.
    #[error("the certificate request is not PKCS#10")]
    Malformed,
    /// Another kind of key.
    #[error("the certificate request is not for a P-256 key, signed with SHA-256")]
    Algorithm,
    /// The sender does not have the key.
    #[error("the certificate request is not signed by the key that it is for")]
    Signature,
}

/// The public key that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey([u8; POINT]);

impl CertifiedKey {
    fn new(point: &[u8]) -> Option<Self> {
        point.try_into().ok().map(Self).filter(|key: &Self| key.0[0] == 4)
    }

    /// SubjectPublicKeyInfo.
    pub(super) fn info(&self) -> Vec<u8> {
        let algorithm = [der::value(der::OID, EC_PUBLIC_KEY), der::value(der::OID, P256)];
        der::of(der::SEQUENCE, &[der::of(der::SEQUENCE, &algorithm), der::bits(&self.0)])
    }

    /// Reads SubjectPublicKeyInfo: it must be the one that [`Self::info`] writes.
    pub(super) fn read(info: &[u8]) -> Option<Self> {
        let key = Self::new(info.get(info.len().checked_sub(POINT)?..)?)?;
        (key.info() == info).then_some(key)
    }

    /// What tells it apart, as certificates have it.
    pub(super) fn id(&self) -> Vec<u8> {
        digest(&SHA256, &self.info()).as_ref()[..20].to_vec()
    }

    /// The SHA-256 of SubjectPublicKeyInfo, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        super::certificate::hex(digest(&SHA256, &self.info()).as_ref())
    }

    /// Whether the owner of the key has signed `bytes`.
    #[must_use]
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).verify(bytes, signature).is_ok()
    }

    /// The key that the PKCS#10 `request` is for, and signed by.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn of_request(request: &[u8]) -> Result<Self, RequestError> {
        let Parts { signed, info, algorithm, signature } =
            read(request).ok_or(RequestError::Malformed)?;
        if algorithm != signature_algorithm() {
            return Err(RequestError::Algorithm);
        }
        let key = Self::read(info).ok_or(RequestError::Algorithm)?;
        if key.verify(signed, signature) { Ok(key) } else { Err(RequestError::Signature) }
    }
}

/// The parts of a request.
struct Parts<'a> {
    signed: &'a [u8],
    /// SubjectPublicKeyInfo.
    info: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn read(request: &[u8]) -> Option<Parts<'_>> {
    let mut outside = Reader::new(request.get(..request.len().min(LARGEST))?);
    let mut parts = outside.enter(der::SEQUENCE).filter(|_| outside.is_empty())?;
    let (tag, content, signed) = parts.next()?;
    let (algorithm_tag, _, algorithm) = parts.next()?;
    let signature = parts.bits()?;
    let mut body = Reader::new(content);
    let version = body.take(der::INTEGER)?;
    body.take(der::SEQUENCE)?;
    let (_, _, info) = body.next()?;
    // Attributes are there, be they none.
    body.take(der::context_of(0))?;
    let fits = tag == der::SEQUENCE
        && algorithm_tag == der::SEQUENCE
        && version == [0]
        && body.is_empty()
        && parts.is_empty();
    fits.then_some(Parts { signed, info, algorithm, signature })
}

/// The algorithm of all signatures that are made here.
pub(super) fn signature_algorithm() -> Vec<u8> {
    der::of(der::SEQUENCE, &[der::value(der::OID, ECDSA_SHA256)])
}

/// A private key: P-256, which every broker takes.
#[derive(Clone)]
pub struct PrivateKey {
    pair: std::sync::Arc<EcdsaKeyPair>,
    pkcs8: Zeroizing<Vec<u8>>,
    public: CertifiedKey,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Panics
    /// When the kernel has no random source, which on Linux does not happen.
    #[must_use]
    #[expect(clippy::expect_used, reason = "nothing can go on without randomness")]
    pub fn generate() -> Self {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .expect("getrandom(2) works");
        Self::from_pkcs8(made.as_ref()).expect("ring reads what it writes")
    }

    /// Reads a key.
    #[must_use]
    pub fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new()).ok()?;
        let public = CertifiedKey::new(pair.public_key().as_ref())?;
        let pair = std::sync::Arc::new(pair);
        Some(Self { pair, pkcs8: Zeroizing::new(pkcs8.to_vec()), public })
    }

    /// PKCS #8, as TLS takes it.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The same as PEM, as brokers read it.
    #[must_use]
    pub fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(super::certificate::pem("PRIVATE KEY", &self.pkcs8))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &CertifiedKey {
        &self.public
    }

    /// Signs with ECDSA and SHA-256, for [`CertifiedKey::verify`].
    ///
    /// # Panics
    /// When the kernel has no random source, which on Linux does not happen.
    #[must_use]
    #[expect(clippy::expect_used, reason = "it fails without randomness only")]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), bytes).expect("getrandom(2) works");
        signature.as_ref().to_vec()
    }

    /// `bytes` with the signature over them, as X.509 and PKCS#10 have it.
    pub(super) fn signed(&self, bytes: Vec<u8>) -> Vec<u8> {
        let signature = der::bits(&self.sign(&bytes));
        der::of(der::SEQUENCE, &[bytes, signature_algorithm(), signature])
    }

    /// A PKCS#10 request for a certificate of this key.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let version = der::value(der::INTEGER, &[0]);
        let nobody = der::value(der::SEQUENCE, &[]);
        let no_attributes = der::value(der::context_of(0), &[]);
        let body = [version, nobody, self.public.info(), no_attributes];
        self.signed(der::of(der::SEQUENCE, &body))
    }
}
