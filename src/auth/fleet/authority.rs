//! The small CA of a hub: its key and certificate are in `STATE/keys`, made at the first start.
//!
//! | certificate | subject | for | ends |
//! | --- | --- | --- | --- |
//! | the authority's own | `CN=coracle hub XXXXXXXX` | | after 20 years |
//! | the broker's | `CN=coracle broker`, its names and addresses | a server | after 20 years |
//! | the hub's | `CN=hub` | a client | after 20 years |
//! | a box's | `O=CLUSTER, CN=DEVICE` | a client | after 90 days, unless set |
//!
//! All of them are valid since 2020, so that a box whose clock stands still can use them; and none ends before the clock
//! of the hub could have been set.

use super::certificate::{Certificate, Draft, PLAUSIBLE, Purpose, from_hex, pem, revocation_list};
use super::file::{self, FileError};
use super::request::{CertifiedKey, PrivateKey};
use crate::model::{ClusterName, ContainerInstanceId, Timestamp};
use std::path::Path;
use std::time::Duration;

/// A name that every broker of a hub has, however it is reached: its authority vouches for nobody else's broker, so a box
/// that knows the authority need not know the name.
pub const BROKER_NAME: &str = "broker.coracle.internal";

/// How long a box's certificate is valid unless set.
pub const DEVICE_LIFETIME: Duration = Duration::from_hours(90 * 24);
const LONG: Duration = Duration::from_hours(20 * 365 * 24);

/// Who a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The broker, under these names and addresses.
    Broker(Vec<String>),
    /// The hub, as a client of the broker; its name there is `hub`.
    Hub,
    /// A box, as a client of the broker; its name there is its id.
    Device {
        /// Its id.
        id: ContainerInstanceId,
        /// Its cluster.
        cluster: ClusterName,
        /// How long the certificate is to be valid.
        lifetime: Duration,
    },
}

/// The CA.
#[derive(Debug)]
pub struct Authority {
    key: PrivateKey,
    name: String,
    certificate: Certificate,
}

impl Authority {
    /// Reads key and certificate, or makes them.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(state_dir: &Path, now: Timestamp) -> Result<Self, FileError> {
        let dir = state_dir.join("keys");
        let key = open_key(&dir, &dir.join("ca.pk8"))?;
        let path = dir.join("ca.der");
        let name = format!("coracle hub {}", &key.public().fingerprint()[..8]);
        let certificate = if let Some(bytes) = file::read(&path)? {
            let read = Certificate::read(&bytes);
            read.filter(|(_, info)| info.key == key.public().fingerprint())
                .map(|(certificate, _)| certificate)
                .ok_or_else(|| FileError::malformed(&path, "is not the certificate of ca.pk8"))?
        } else {
            // Nothing was issued yet: that follows the certificate.
            let certificate = Draft {
                common_name: &name,
                organization: None,
                purpose: Purpose::Authority,
                key: key.public(),
                not_after: end(now, LONG),
            }
            .issue(&name, &key);
            file::write(&path, certificate.der())?;
            certificate
        };
        Ok(Self { key, name, certificate })
    }

    /// The certificate that clients and servers trust.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A certificate for `key`.
    #[must_use]
    pub fn issue(&self, subject: &Subject, key: &CertifiedKey, now: Timestamp) -> Certificate {
        let (common_name, organization, purpose, lifetime) = match subject {
            Subject::Broker(names) => {
                let own = names.iter().cloned().chain([BROKER_NAME.to_owned()]);
                ("coracle broker", None, Purpose::Server(own.collect()), LONG)
            }
            Subject::Hub => ("hub", None, Purpose::Client, LONG),
            Subject::Device { id, cluster, lifetime } => {
                (id.as_str(), Some(cluster.as_str()), Purpose::Client, *lifetime)
            }
        };
        let not_after = end(now, lifetime);
        Draft { common_name, organization, purpose, key, not_after }.issue(&self.name, &self.key)
    }

    /// The signed list of certificates that are refused although they have not ended, in PEM; by serial numbers as
    /// [`super::CertificateInfo`] has them. What is no serial number is left out.
    #[must_use]
    pub fn revocation_list<'a>(
        &self,
        serials: impl IntoIterator<Item = &'a str>,
        now: Timestamp,
    ) -> String {
        let serials = serials.into_iter().filter_map(from_hex);
        let list = revocation_list(&self.name, &self.key, serials, now, end(now, LONG));
        pem("X509 CRL", &list)
    }
}

fn end(now: Timestamp, lifetime: Duration) -> Timestamp {
    now.max(PLAUSIBLE).plus(lifetime)
}

/// Reads a key, or makes it.
pub(super) fn open_key(dir: &Path, path: &Path) -> Result<PrivateKey, FileError> {
    if let Some(pkcs8) = file::read(path)? {
        return PrivateKey::from_pkcs8(&pkcs8)
            .ok_or_else(|| FileError::malformed(path, "is not a P-256 key in PKCS #8"));
    }
    file::private_dir(dir)?;
    let key = PrivateKey::generate();
    file::write(path, key.pkcs8())?;
    Ok(key)
}
