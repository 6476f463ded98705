//! What the hub notes of the certificates and requests of a box, in its record of the box.

use crate::auth::fleet::{Certificate, CertificateInfo};
use crate::model::Timestamp;
use crate::model::fleet::Device;
use crate::plan::World;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Certificates of one box that have not ended; one that needs more of them is up to something.
pub(super) const CERTIFICATES: usize = 16;

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// Of the newest certificate.
    #[serde(flatten)]
    pub(super) info: CertificateInfo,
    /// The certificate itself, for who asks twice.
    pub(super) certificate: Certificate,
    /// Certificates before this one, which are valid as well.
    #[serde(default)]
    before: Vec<Issued>,
    /// Certificates from before the box was deregistered.
    #[serde(default)]
    refused: Vec<Issued>,
    /// The number of the newest request to join.
    pub(super) attempt: u64,
    /// The SHA-256 of that request.
    pub(super) request: String,
    /// The hub's half of the agreement that the answer had.
    pub(super) exchange: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    serial: String,
    not_after: Timestamp,
}

impl From<CertificateInfo> for Issued {
    fn from(info: CertificateInfo) -> Self {
        Self { serial: info.serial, not_after: info.not_after }
    }
}

impl Record {
    /// Of a box that has had no certificate.
    pub(super) fn new(certificate: Certificate, request: Joined) -> Self {
        let Joined { attempt, request, exchange } = request;
        let (before, refused, info) = (Vec::new(), Vec::new(), certificate.info());
        Self { info, certificate, before, refused, attempt, request, exchange }
    }

    /// The record of a box that the hub knows.
    pub(super) fn of(device: &Device) -> Option<Self> {
        serde_json::from_value(device.certificate.clone()?).ok()
    }

    pub(super) fn encode(&self) -> serde_json::Value {
        // Plain data of texts and numbers.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Another certificate takes the place of the one there is; none when there were too many.
    pub(super) fn replace(mut self, certificate: Certificate, now: Timestamp) -> Option<Self> {
        if certificate != self.certificate {
            self.before.push(self.info.into());
        }
        self.before.retain(|issued| issued.not_after > now);
        self.info = certificate.info();
        self.certificate = certificate;
        (self.before.len() < CERTIFICATES).then_some(self)
    }

    /// As [`Self::replace`], of a box that was deregistered: what it had stays refused.
    pub(super) fn begin_anew(mut self, certificate: Certificate, now: Timestamp) -> Option<Self> {
        self.refused.append(&mut self.before);
        self.refused.push(self.info.into());
        self.refused.retain(|issued| issued.not_after > now);
        self.info = certificate.info();
        self.certificate = certificate;
        (self.refused.len() < CERTIFICATES).then_some(self)
    }

    /// The box joined with another request.
    pub(super) fn joined(self, request: Joined) -> Self {
        let Joined { attempt, request, exchange } = request;
        Self { attempt, request, exchange, ..self }
    }

    fn serials(self, revoked: bool) -> impl Iterator<Item = String> {
        let valid = revoked.then(|| {
            let current = Issued::from(self.info);
            self.before.into_iter().chain([current])
        });
        let refused = self.refused.into_iter().chain(valid.into_iter().flatten());
        refused.map(|issued| issued.serial)
    }
}

/// A request to join that was answered.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) attempt: u64,
    pub(super) request: String,
    pub(super) exchange: String,
}

/// The serial numbers of all certificates that the broker has to refuse: those of boxes that were deregistered.
#[must_use]
pub fn refused_serials(world: &World) -> BTreeSet<String> {
    let records = world.devices.values().filter_map(|d| Some((d, Record::of(d)?)));
    records.flat_map(|(device, record)| record.serials(device.revoked_at.is_some())).collect()
}
