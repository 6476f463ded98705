//! The secrets of a box: what AWS Secrets Manager and the SSM Parameter Store hold elsewhere, sealed in the local store.
//!
//! | part | what it is for |
//! | --- | --- |
//! | `name` | names of secrets and parameters, and what a `valueFrom` refers to |
//! | `record` | the versions of a secret and their stages |
//! | `key` | `STATE/secret.key`, which only root reads: 32 random bytes, made with the first secret |
//! | `seal` | ChaCha20-Poly1305 with that key; a value is bound to its name and version |
//! | `value` | a text that is never printed and is wiped when dropped |
//! | `travel` | what a hub sends its boxes of them, and what a box keeps |
//!
//! A value is in the clear only while it is set and while a container is started. The key is read whenever it is used
//! and not kept, so putting a lost one back needs no restart. All of this blocks.

mod key;
mod name;
mod record;
mod seal;
mod travel;
mod value;

pub use key::KeyError;
pub use name::{Kind, Name, NameError, Reference};
pub use value::SecretText;

use crate::model::Timestamp;
use crate::store::{Store, StoreError};
use key::KeyFile;
use record::{Record, Version};
use seal::Sealed;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The largest value, as in Secrets Manager.
pub const LARGEST: usize = 64 * 1024;

/// The stage that is meant when none is named.
pub const CURRENT: &str = "AWSCURRENT";

/// Why a secret could not be had or kept. No text here holds a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nobody set it.
    #[error("{what} is not in this box's store; set it with `coracle secret set {argument}`")]
    Missing {
        /// Kind and name.
        what: String,
        /// The argument that would set it.
        argument: String,
    },
    /// It has no such version.
    #[error("{name} has no version {wanted}; it has {known}")]
    NoVersion {
        /// The secret.
        name: Name,
        /// The stage or the id.
        wanted: String,
        /// The stages it has.
        known: String,
    },
    /// A version with that id is there.
    #[error("{name} has a version {id} already; give another --version-id, or none")]
    VersionExists {
        /// The secret.
        name: Name,
        /// The id.
        id: String,
    },
    /// A JSON key was asked for.
    #[error("the value of {name} is not a JSON object, so it has no json key {key}")]
    NotAnObject {
        /// The secret.
        name: Name,
        /// The key.
        key: String,
    },
    /// The object has no such member.
    #[error(
        "{name} did not contain json key {key}; set the whole object again with `coracle secret set`"
    )]
    NoMember {
        /// The secret.
        name: Name,
        /// The key.
        key: String,
    },
    /// The value is no registry login.
    #[error(
        "the value of {0} is not the JSON {{\"username\": \"…\", \"password\": \"…\"}} that a registry login is made of"
    )]
    NotALogin(Name),
    /// The value cannot be kept.
    #[error("the value {0}")]
    Value(&'static str),
    /// The stage or version id cannot be kept.
    #[error("{what} {value:?} is not valid: {rule}")]
    Argument {
        /// Which.
        what: &'static str,
        /// What was given.
        value: String,
        /// What would be.
        rule: &'static str,
    },
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The sealed value was changed.
    #[error("{0} is damaged in the store; set it again with `coracle secret set`")]
    Damaged(Name),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What may be known of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub name: Name,
    /// When it was first set.
    pub created_at: Timestamp,
    /// When it was last set.
    pub changed_at: Timestamp,
    /// Its versions, the newest first: id, stages, when it was set.
    pub versions: Vec<(String, Vec<String>, Timestamp)>,
}

/// A value to keep.
#[derive(Debug)]
pub struct NewValue {
    /// Of which secret.
    pub name: Name,
    /// The value.
    pub value: SecretText,
    /// The stage it gets; [`CURRENT`] unless given.
    pub stage: Option<String>,
    /// The version's id; minted unless given.
    pub version_id: Option<String>,
}

/// The secrets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Secrets {
    store: Store,
    key: Arc<KeyFile>,
    /// Held while something is read, changed and written.
    turn: Arc<Mutex<()>>,
    /// Changes with every secret that is set or removed.
    changes: Arc<watch::Sender<u64>>,
}

impl Secrets {
    /// The secrets in `store`, sealed with the key in `state_dir`; looks at neither yet.
    #[must_use]
    pub fn new(state_dir: &Path, store: Store) -> Self {
        let key = Arc::new(KeyFile::new(state_dir.join("secret.key")));
        Self { store, key, turn: Arc::default(), changes: Arc::default() }
    }

    /// Keeps a value as a new version, durably; answers the version's id.
    ///
    /// # Errors
    /// [`SecretError`]; then nothing has changed.
    pub fn set(
        &self,
        new: NewValue,
        now: Timestamp,
        mint: impl FnOnce() -> String,
    ) -> Result<String, SecretError> {
        let NewValue { name, value, stage, version_id } = new;
        check_value(&value)?;
        let stage = stage.map_or_else(|| Ok(CURRENT.to_owned()), |stage| check_stage(&name, stage));
        let (stage, id) = (stage?, version_id.map_or_else(|| Ok(mint()), check_version_id)?);
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = self.record(&name)?.unwrap_or_else(|| Record::new(name.clone(), now));
        if record.versions.iter().any(|version| version.id == id) {
            return Err(SecretError::VersionExists { name, id });
        }
        // A key is made only where nothing is sealed with another one that was lost.
        let ring = self.key.read_or_make(|| Ok(self.store.secrets()?.is_empty()))?;
        let sealed = Sealed::seal(ring.current(), &record::context(&name, &id), &value);
        record.put(Version { id: id.clone(), stages: Vec::new(), created_at: now, sealed }, stage);
        self.store.put_secrets(&[(name.key(), Some(record.encode()))])?;
        self.changed();
        Ok(id)
    }

    /// What is there, by kind and name; no values.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<Summary>, SecretError> {
        let records = self.store.secrets()?;
        records.into_iter().map(|value| Ok(Record::decode(value)?.summary())).collect()
    }

    /// Removes a secret with all its versions; needs no key.
    ///
    /// # Errors
    /// [`SecretError::Missing`] when there is none.
    pub fn remove(&self, name: &Name) -> Result<(), SecretError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.record(name)?.ok_or_else(|| missing(name))?;
        self.store.put_secrets(&[(name.key(), None)])?;
        self.changed();
        Ok(())
    }

    /// Changes after every secret that is set or removed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The value that `reference` means now.
    ///
    /// # Errors
    /// [`SecretError`], which names the secret and never the value.
    pub fn resolve(&self, reference: &Reference) -> Result<SecretText, SecretError> {
        for name in reference.names() {
            if let Some(record) = self.record(name)? {
                let value = self.unseal(&record, record.version(reference)?)?;
                return match reference.json_key() {
                    Some(key) => value::member(&value, name, key),
                    None => Ok(value),
                };
            }
        }
        Err(missing(reference.meant()))
    }

    /// User name and password out of the secret that `credentialsParameter` names.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn login(&self, parameter: &str) -> Result<(String, SecretText), SecretError> {
        let reference = Reference::parse(parameter, Kind::Secret)?;
        let value = self.resolve(&reference)?;
        value::login(&value).ok_or_else(|| SecretError::NotALogin(reference.meant().clone()))
    }

    /// Makes a new key and seals every value with it, in one transaction; answers how many values that were.
    ///
    /// # Errors
    /// [`SecretError`]; then everything can still be read.
    pub fn rotate_key(&self) -> Result<usize, SecretError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records =
            self.store.secrets()?.into_iter().map(Record::decode).collect::<Result<Vec<_>, _>>()?;
        // All of them must be readable, else the old keys would have to stay for ever.
        let mut values = Vec::new();
        for record in &records {
            for version in &record.versions {
                values.push(self.unseal(record, version)?);
            }
        }
        let ring = self.key.renew()?;
        let count = values.len();
        let mut values = values.into_iter();
        for record in &mut records {
            let name = record.name.clone();
            for (version, value) in record.versions.iter_mut().zip(&mut values) {
                let context = record::context(&name, &version.id);
                version.sealed = Sealed::seal(ring.current(), &context, &value);
            }
        }
        let rows: Vec<_> =
            records.iter().map(|record| (record.name.key(), Some(record.encode()))).collect();
        self.store.put_secrets(&rows)?;
        Ok(count)
    }

    fn record(&self, name: &Name) -> Result<Option<Record>, SecretError> {
        Ok(self.store.secret(&name.key())?.map(Record::decode).transpose()?)
    }

    fn unseal(&self, record: &Record, version: &Version) -> Result<SecretText, SecretError> {
        let ring = self.key.read()?;
        let key = ring.find(version.sealed.key_id()).ok_or_else(|| self.key.mismatch())?;
        version
            .sealed
            .open(key, &record::context(&record.name, &version.id))
            .ok_or_else(|| SecretError::Damaged(record.name.clone()))
    }
}

fn missing(name: &Name) -> SecretError {
    SecretError::Missing { what: name.to_string(), argument: name.argument() }
}

fn check_value(value: &SecretText) -> Result<(), SecretError> {
    let text = value.expose();
    if text.is_empty() {
        return Err(SecretError::Value("is empty"));
    }
    if text.len() > LARGEST {
        return Err(SecretError::Value("is larger than 65536 bytes"));
    }
    if text.contains('\0') {
        return Err(SecretError::Value("holds a NUL byte, which no environment variable can"));
    }
    Ok(())
}

fn check_stage(name: &Name, stage: String) -> Result<String, SecretError> {
    let what = "the version stage";
    if name.kind() == Kind::Parameter {
        let rule = "a parameter has no stages; leave --version-stage out";
        return Err(SecretError::Argument { what, value: stage, rule });
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    if (1..=256).contains(&stage.len()) && stage.chars().all(fits) {
        return Ok(stage);
    }
    let rule = "it has 1 to 256 letters, digits and / _ + = . @ -";
    Err(SecretError::Argument { what, value: stage.chars().take(64).collect(), rule })
}

fn check_version_id(id: String) -> Result<String, SecretError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if (32..=64).contains(&id.len()) && id.chars().all(fits) {
        return Ok(id);
    }
    Err(SecretError::Argument {
        what: "the version id",
        value: id.chars().take(80).collect(),
        rule: "it has 32 to 64 letters, digits and -",
    })
}

#[cfg(test)]
mod tests;
