//! What hub and boxes trust each other by.
//!
//! | part | what it is for |
//! | --- | --- |
//! | `jws` | [`HubKey`]: the hub's Ed25519 key, and what it signs; [`VerifyingKey`]: the half that boxes pin |
//! | `keys` | [`HubKeys`]: that key and those that it has followed, for as long as boxes trust them |
//! | `authority` | [`Authority`]: the small CA of a hub; certificates of broker, hub and boxes |
//! | `certificate`, `request`, `der` | X.509 and PKCS#10, as much of them as that takes |
//! | `device` | [`DeviceKey`]: a box's own key; [`DeviceIdentity`]: what a box keeps of its membership |
//! | `sealing` | [`SealingKey`]: shared by hub and one box; [`Exchange`] agrees on it |
//! | `token` | [`JoinToken`]: the text that lets a box join; [`Proof`]: how it is shown without being sent |
//! | `vault` | [`Vault`]: the hub's own secret, from which the secrets of tokens come |
//! | `file` | private files that a power cut leaves whole |
//!
//! TLS guards the way to the broker, so that nobody on the network reads or speaks for another; it needs certificates,
//! and those P-256, as every broker takes it. What a box *does* hangs on the hub's signature alone, which no broker can
//! make; and what only a box may read is sealed for it.
//!
//! Nothing here knows MQTT, HTTP or the store. All that opens or makes a key blocks on the file system.

mod authority;
mod certificate;
mod der;
mod device;
mod file;
mod jws;
mod keys;
mod request;
mod sealing;
mod token;
mod vault;

pub use authority::{Authority, BROKER_NAME, DEVICE_LIFETIME, Subject};
pub use certificate::{Certificate, CertificateInfo, PLAUSIBLE, pem};
pub use device::{DeviceIdentity, DeviceKey, Enrolment};
pub use file::FileError;
pub use jws::{Fingerprint, HubKey, JwsError, Kind, VerifyingKey};
pub use keys::{HubKeys, RotateError};
pub use request::{CertifiedKey, PrivateKey, RequestError};
pub use sealing::{Exchange, SealError, SealingKey};
pub use token::{JoinToken, Proof, TokenError, TokenId};
pub use vault::Vault;

use crate::model::Timestamp;
use std::path::Path;
use std::sync::Arc;

/// All that a hub is trusted by, in `STATE/keys`.
#[derive(Debug)]
pub struct HubTrust {
    /// What it signs with.
    pub keys: Arc<HubKeys>,
    /// What certificates come from.
    pub authority: Authority,
    /// Its own secret.
    pub vault: Vault,
}

impl HubTrust {
    /// Reads what is there, and makes what is not. Blocks on the file system.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(state_dir: &Path, now: Timestamp) -> Result<Self, FileError> {
        Ok(Self {
            keys: Arc::new(HubKeys::open(state_dir)?),
            authority: Authority::open(state_dir, now)?,
            vault: Vault::open(state_dir)?,
        })
    }
}

#[cfg(test)]
mod tests;
