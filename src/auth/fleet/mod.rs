//! What hub and boxes trust each other by.
//!
//! | part | what it is for |
//! | --- | --- |
//! | `jws` | [`HubKey`]: the hub's Ed25519 key, and what it signs; [`VerifyingKey`]: the half that boxes pin |
//! | `authority` | [`Authority`]: the small CA of a hub; certificates of broker, hub and boxes |
//! | `certificate`, `request`, `revocation`, `der` | X.509, its revocation lists and PKCS#10, as much of them as that takes |
//! | `device` | [`DeviceKey`]: a box's own key; [`DeviceIdentity`]: what a box keeps of its membership |
//! | `sealing` | [`SealingKey`]: shared by hub and one box; [`Exchange`] agrees on it |
//! | `token` | [`JoinToken`]: the text that lets a box join; [`Proof`]: how it is shown without being sent |
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
mod request;
mod revocation;
mod sealing;
mod token;

pub use authority::{Authority, DEVICE_LIFETIME, Subject};
pub use certificate::{Certificate, CertificateInfo, PLAUSIBLE, pem};
pub use device::{DeviceIdentity, DeviceKey, Enrolment};
pub use file::FileError;
pub use jws::{Fingerprint, HubKey, JwsError, Kind, VerifyingKey};
pub use request::{CertifiedKey, PrivateKey, RequestError};
pub use sealing::{Exchange, SealError, SealingKey};
pub use token::{JoinToken, Proof, TokenError, TokenId};

#[cfg(test)]
mod tests;
