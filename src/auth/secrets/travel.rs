//! Secrets on their way from a hub to the boxes that need them: which there are, and the value of one version.

use super::name::{Kind, Name};
use super::record::{self, Record, Version};
use super::seal::Sealed;
use super::{CURRENT, SecretError, SecretText, Secrets, check_value, check_version_id};
use crate::model::Timestamp;
use std::collections::BTreeMap;
use std::sync::PoisonError;

impl Secrets {
    /// The current version of each, by `secret/NAME` or `parameter/NAME`. One that has no current version is left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn versions(&self) -> Result<BTreeMap<String, String>, SecretError> {
        let mut versions = BTreeMap::new();
        for summary in self.list()? {
            let current = |(_, stages, _): &&(String, Vec<String>, Timestamp)| {
                stages.iter().any(|stage| stage == CURRENT)
            };
            if let Some((id, ..)) = summary.versions.iter().find(current) {
                versions.insert(path(&summary.name), id.clone());
            }
        }
        Ok(versions)
    }

    /// The value of a version by the name that [`Self::versions`] has for it; none when it is not there any more.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn value_of(&self, path: &str, version: &str) -> Result<Option<SecretText>, SecretError> {
        let Some(record) = self.record(&name(path)?)? else { return Ok(None) };
        let Some(version) = record.versions.iter().find(|known| known.id == version) else {
            return Ok(None);
        };
        self.unseal(&record, version).map(Some)
    }

    /// Keeps a value that came from a hub, durably, in the place of all versions that there were; nothing happens when it
    /// is there.
    ///
    /// # Errors
    /// [`SecretError`]; then nothing has changed.
    pub fn keep(
        &self,
        path: &str,
        version: &str,
        value: &SecretText,
        now: Timestamp,
    ) -> Result<(), SecretError> {
        check_value(value)?;
        let (name, id) = (name(path)?, check_version_id(version.to_owned())?);
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.record(&name)?;
        if old.is_some_and(|old| old.versions.len() == 1 && old.versions[0].id == id) {
            return Ok(());
        }
        let ring = self.key.read_or_make(|| Ok(self.store.secrets()?.is_empty()))?;
        let sealed = Sealed::seal(ring.current(), &record::context(&name, &id), value);
        let mut record = Record::new(name.clone(), now);
        let version = Version { id, stages: Vec::new(), created_at: now, sealed };
        record.put(version, CURRENT.to_owned());
        Ok(self.store.put_secrets(&[(name.key(), Some(record.encode()))])?)
    }

    /// Removes a secret that came from a hub; one that is not there is none the less removed.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn drop_kept(&self, path: &str) -> Result<(), SecretError> {
        match self.remove(&name(path)?) {
            Err(SecretError::Missing { .. }) => Ok(()),
            removed => removed,
        }
    }
}

fn path(name: &Name) -> String {
    let kind = if name.kind() == Kind::Secret { "secret" } else { "parameter" };
    format!("{kind}/{}", name.as_str())
}

fn name(path: &str) -> Result<Name, SecretError> {
    let (kind, name) = path.split_once('/').unwrap_or(("", path));
    let kind = if kind == "parameter" { Kind::Parameter } else { Kind::Secret };
    Ok(Name::new(kind, name)?)
}
