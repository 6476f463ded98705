//! Secrets on their way from a hub to the boxes that need them: which there are, and the value of one version.

use super::name::{Kind, Name};
use super::{CURRENT, NewValue, Record, SecretError, SecretText, Secrets};
use crate::model::Timestamp;
use std::collections::BTreeMap;

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

    /// Keeps a value that came from a hub as the current one, durably; nothing happens when that version is there.
    ///
    /// # Errors
    /// [`SecretError`]; then nothing has changed.
    pub fn keep(
        &self,
        path: &str,
        version: &str,
        value: SecretText,
        now: Timestamp,
    ) -> Result<(), SecretError> {
        let (name, id) = (name(path)?, version.to_owned());
        let new = NewValue { name, value, stage: None, version_id: Some(id) };
        match self.set(new, now, String::new) {
            Err(SecretError::VersionExists { .. }) => Ok(()),
            kept => kept.map(drop),
        }
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
    Ok(Name::parse(name, kind == "parameter")?)
}
