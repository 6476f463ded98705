//! A secret as it is stored: its versions and their stages, as in Secrets Manager.
//!
//! A stage belongs to one version. A new `AWSCURRENT` makes the one before it `AWSPREVIOUS`; a version that has lost its
//! last stage is forgotten. A parameter has one version.

use super::name::{Kind, Name, Reference};
use super::seal::Sealed;
use super::{CURRENT, SecretError, Summary};
use crate::model::Timestamp;
use crate::store::{StoreError, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const PREVIOUS: &str = "AWSPREVIOUS";
/// Versions with stages of their own, as many as Secrets Manager allows.
const VERSIONS: usize = 20;

/// A stored secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// The format of this record.
    v: u64,
    pub(super) name: Name,
    created_at: Timestamp,
    changed_at: Timestamp,
    /// The newest first.
    pub(super) versions: Vec<Version>,
}

/// One value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) stages: Vec<String>,
    pub(super) created_at: Timestamp,
    pub(super) sealed: Sealed,
}

/// What a version's value is bound to.
pub(super) fn context(name: &Name, version: &str) -> String {
    format!("coracle secret\0{}\0{version}", name.key())
}

impl Record {
    pub(super) fn new(name: Name, now: Timestamp) -> Self {
        Self { v: 1, name, created_at: now, changed_at: now, versions: Vec::new() }
    }

    /// Adds a version that has `stage` from now on.
    pub(super) fn put(&mut self, mut version: Version, stage: String) {
        self.changed_at = version.created_at;
        let before = self.take_stage(&stage);
        if self.name.kind() == Kind::Parameter {
            self.versions.clear();
        } else if let Some(before) = before.filter(|_| stage == CURRENT) {
            self.take_stage(PREVIOUS);
            self.versions[before].stages.push(PREVIOUS.to_owned());
        }
        version.stages = vec![stage];
        self.versions.insert(0, version);
        self.versions.retain(|version| !version.stages.is_empty());
        self.versions.truncate(VERSIONS);
    }

    /// Takes a stage from the version that has it.
    fn take_stage(&mut self, stage: &str) -> Option<usize> {
        let holds = |version: &Version| version.stages.iter().any(|s| s == stage);
        let at = self.versions.iter().position(holds)?;
        self.versions[at].stages.retain(|s| s != stage);
        Some(at)
    }

    /// The version that `reference` means; both its stage and its id must fit.
    pub(super) fn version(&self, reference: &Reference) -> Result<&Version, SecretError> {
        let stage = match (reference.stage(), reference.version_id()) {
            (None, None) => Some(CURRENT),
            (stage, _) => stage,
        };
        let fits = |version: &&Version| {
            stage.is_none_or(|stage| version.stages.iter().any(|s| s == stage))
                && reference.version_id().is_none_or(|id| version.id == id)
        };
        self.versions.iter().find(fits).ok_or_else(|| {
            let wanted: Vec<&str> = stage.into_iter().chain(reference.version_id()).collect();
            let known: Vec<&str> =
                self.versions.iter().flat_map(|v| &v.stages).map(String::as_str).collect();
            SecretError::NoVersion {
                name: self.name.clone(),
                wanted: wanted.join(" with the id "),
                known: known.join(", "),
            }
        })
    }

    pub(super) fn summary(self) -> Summary {
        let versions = self.versions.into_iter().map(|v| (v.id, v.stages, v.created_at));
        Summary {
            name: self.name,
            created_at: self.created_at,
            changed_at: self.changed_at,
            versions: versions.collect(),
        }
    }

    pub(super) fn encode(&self) -> Value {
        // Texts and numbers only: there is nothing that JSON could not hold.
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(super) fn decode(value: Value) -> Result<Self, StoreError> {
        let key = value["name"].to_string();
        serde_json::from_value(value).map_err(|source| StoreError::Record {
            table: Table::Secrets,
            key,
            source,
        })
    }
}
