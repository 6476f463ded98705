//! What a box keeps: its own key, and of its membership what the hub said when it joined.
//!
//! | file | |
//! | --- | --- |
//! | `STATE/keys/device.pk8` | the box's key, made before the first join and kept for good: who comes back with it is the same box |
//! | `STATE/fleet/enrolment.json` | the hub's key, certificates, addresses; replaced whole when a certificate is renewed |
//! | `STATE/fleet/sealing.key` | the key that the box shares with the hub |
//!
//! `STATE/fleet` is made under another name, synced and renamed: a box is a member or it is not, wherever the power went.
//! To leave is to rename it; `STATE/fleet.old` stays until all else has followed.

use super::authority::open_key;
use super::certificate::Certificate;
use super::file::{self, FileError, failed};
use super::jws::VerifyingKey;
use super::request::PrivateKey;
use super::sealing::SealingKey;
use crate::model::fleet::Position;
use crate::model::{ClusterName, ContainerInstanceId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What the hub says when a box joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolment {
    /// The box's id: of its container instance, and its name at the broker.
    pub device: ContainerInstanceId,
    /// The cluster that it is in.
    pub cluster: ClusterName,
    /// Region and account of the hub's ARNs.
    pub scope: Scope,
    /// The key that the hub signs with.
    pub hub_key: VerifyingKey,
    /// Where the hub's API is.
    pub hub: String,
    /// Where the broker is: `mqtts://HOST:PORT` or `mqtt://HOST:PORT`.
    pub broker: String,
    /// Where else it is, to be tried in turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_brokers: Vec<String>,
    /// The authorities that the broker's certificate comes from, in PEM; none for the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_authorities: Option<String>,
    /// The box's certificate.
    pub certificate: Certificate,
    /// What the box was sent before it joined, if it was here before: that and older documents count no more.
    #[serde(flatten)]
    pub position: Position,
    /// Attributes that were given when it joined; no value is an empty one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// A box's own key.
#[derive(Debug)]
pub struct DeviceKey;

impl DeviceKey {
    /// Reads the key, or makes it.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(state_dir: &Path) -> Result<PrivateKey, FileError> {
        let dir = state_dir.join("keys");
        open_key(&dir, &dir.join("device.pk8"))
    }

    /// Reads the key, which must be there, and leaves the file as it is.
    ///
    /// # Errors
    /// [`FileError`].
    fn look(state_dir: &Path) -> Result<PrivateKey, FileError> {
        let path = state_dir.join("keys/device.pk8");
        let key = file::look(&path)?.and_then(|pkcs8| PrivateKey::from_pkcs8(&pkcs8));
        key.ok_or_else(|| FileError::malformed(&path, "is missing, or no P-256 key in PKCS #8"))
    }
}

/// A box that is a member of a fleet.
#[derive(Debug, Clone)]
pub struct DeviceIdentity {
    state_dir: PathBuf,
    key: PrivateKey,
    sealing: SealingKey,
    enrolment: Enrolment,
    certified_at: Timestamp,
}

const ENROLMENT: &str = "enrolment.json";
const SEALING: &str = "sealing.key";

fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("fleet")
}

/// Reads a file that need not be there.
type ReadFile = fn(&Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError>;

impl DeviceIdentity {
    /// The identity in this state directory; none when the box is no member.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(state_dir: &Path) -> Result<Option<Self>, FileError> {
        // Left over from a join that was cut short.
        remove_dir(&state_dir.join("fleet.new"))?;
        Self::read(state_dir, file::read, DeviceKey::open)
    }

    /// The same, and nothing on the disk is changed.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn look(state_dir: &Path) -> Result<Option<Self>, FileError> {
        Self::read(state_dir, file::look, DeviceKey::look)
    }

    fn read(
        state_dir: &Path,
        read: ReadFile,
        key: fn(&Path) -> Result<PrivateKey, FileError>,
    ) -> Result<Option<Self>, FileError> {
        let dir = dir(state_dir);
        let path = dir.join(ENROLMENT);
        let Some(text) = read(&path)? else { return Ok(None) };
        let malformed = |what| FileError::malformed(&path, what);
        let enrolment: Enrolment = serde_json::from_slice(&text)
            .map_err(|_| malformed("is not what a hub says to a box that joins"))?;
        let key = key(state_dir)?;
        if enrolment.certificate.info().key != key.public().fingerprint() {
            return Err(malformed("has a certificate for another key than keys/device.pk8"));
        }
        let path = dir.join(SEALING);
        let sealing = read(&path)?.and_then(|bytes| SealingKey::from_bytes(&bytes));
        let sealing = sealing
            .ok_or_else(|| FileError::malformed(&path, "does not hold the 32 bytes of a key"))?;
        let certified_at = written_at(&dir.join(ENROLMENT));
        Ok(Some(Self { state_dir: state_dir.to_owned(), key, sealing, enrolment, certified_at }))
    }

    /// Makes this box a member, durably.
    ///
    /// # Errors
    /// [`FileError`]; then it is none.
    pub fn create(
        state_dir: &Path,
        enrolment: &Enrolment,
        sealing: &SealingKey,
    ) -> Result<(), FileError> {
        let new = state_dir.join("fleet.new");
        remove_dir(&new)?;
        file::private_dir(&new)?;
        file::write(&new.join(ENROLMENT), &encode(enrolment))?;
        file::write(&new.join(SEALING), sealing.expose())?;
        let dir = dir(state_dir);
        fs::rename(&new, &dir).map_err(failed("make", &dir))?;
        file::sync_parent(&dir)
    }

    /// Ends the membership, durably; the box's own key stays. [`Self::forget`] is to follow.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn leave(state_dir: &Path) -> Result<(), FileError> {
        let (dir, old) = (dir(state_dir), state_dir.join("fleet.old"));
        if !dir.exists() {
            return Ok(());
        }
        remove_dir(&old)?;
        fs::rename(&dir, &old).map_err(failed("rename", &dir))?;
        file::sync_parent(&dir)
    }

    /// Whether the box left, and what it ran for its fleet may still be there.
    #[must_use]
    pub fn is_leaving(state_dir: &Path) -> bool {
        state_dir.join("fleet.old").exists() && !dir(state_dir).exists()
    }

    /// Removes what is left of a membership that ended.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn forget(state_dir: &Path) -> Result<(), FileError> {
        remove_dir(&state_dir.join("fleet.old"))
    }

    /// The box's key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The key that it shares with the hub.
    #[must_use]
    pub fn sealing(&self) -> &SealingKey {
        &self.sealing
    }

    /// What the hub said.
    #[must_use]
    pub fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// Takes a renewed certificate, durably; false when it is not for this box's key.
    ///
    /// # Errors
    /// [`FileError`]; then the one before stays.
    pub fn renew(&mut self, certificate: Certificate) -> Result<bool, FileError> {
        if certificate.info().key != self.key.public().fingerprint() {
            return Ok(false);
        }
        self.replace(Enrolment { certificate, ..self.enrolment.clone() })?;
        Ok(true)
    }

    /// Takes the key that the hub signs with from now on, durably.
    ///
    /// # Errors
    /// [`FileError`]; then the one before stays.
    pub fn repin(&mut self, hub_key: VerifyingKey) -> Result<(), FileError> {
        self.replace(Enrolment { hub_key, ..self.enrolment.clone() })
    }

    /// Since when the box has its certificate, by the clock of then; a key that was taken since counts as well.
    #[must_use]
    pub fn certified_at(&self) -> Timestamp {
        self.certified_at
    }

    fn replace(&mut self, enrolment: Enrolment) -> Result<(), FileError> {
        let path = dir(&self.state_dir).join(ENROLMENT);
        file::write(&path, &encode(&enrolment))?;
        self.enrolment = enrolment;
        self.certified_at = written_at(&path);
        Ok(())
    }
}

/// When the file was written; 1970 if nobody knows.
fn written_at(path: &Path) -> Timestamp {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let since = modified.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0)))
}

fn encode(enrolment: &Enrolment) -> Vec<u8> {
    // Plain data of texts and numbers.
    serde_json::to_vec_pretty(enrolment).unwrap_or_default()
}

fn remove_dir(dir: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(e)),
        _ => Ok(()),
    }
}
