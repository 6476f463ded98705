//! The keys that a hub signs with: the newest, and those that it has followed, for as long as somebody trusts one of them.
//!
//! ```text
//!  hub.pk8 = A ──► hub-A.pk8 = A ──► hub.pk8 = B ─── boxes move from A to B ──► hub-A.pk8 is gone
//!                  (a copy)          (replaced)      all is signed by A and B
//! ```
//!
//! Each step is one file that is there or not, so a hub that is killed in between is before the rotation or in the middle of
//! it, and goes on from there. A box trusts one key, and any message that this key has signed; one of them names the newest
//! key, which the box trusts from then on. So nothing hangs on who was told what, and when.

use super::file::{self, FileError, failed};
use super::jws::{self, FILE, Fingerprint, HubKey, Kind, VerifyingKey};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Keys at once. A box that is away takes part in none of the rotations meanwhile, and each message carries all signatures.
const MOST: usize = 4;

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// It cannot be kept.
    #[error(transparent)]
    File(#[from] FileError),
    /// The hub ends.
    #[error("the hub ends")]
    Interrupted,
    /// Rotations that have not ended.
    #[error(
        "the hub has {MOST} keys, and boxes or join tokens hang on the older ones: wait for the boxes, or deregister them; \
         remove the tokens"
    )]
    TooMany,
}

type Ring = Arc<[Arc<HubKey>]>;

/// See the module.
pub struct HubKeys {
    dir: PathBuf,
    /// The newest first.
    keys: watch::Sender<Ring>,
    /// One change of the files at a time.
    turn: Mutex<()>,
}

impl fmt::Debug for HubKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HubKeys").field(&self.all()).finish()
    }
}

/// `hub-FINGERPRINT.pk8`.
fn file_of(key: &VerifyingKey) -> String {
    format!("hub-{}.pk8", key.fingerprint())
}

impl HubKeys {
    /// Reads the keys, or makes the first.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(state_dir: &Path) -> Result<Self, FileError> {
        let newest = HubKey::open(state_dir)?;
        let dir = state_dir.join("keys");
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed("list", &dir))? {
            let name = entry.map_err(failed("list", &dir))?.file_name();
            names.extend(name.to_str().filter(|name| is_older(name)).map(str::to_owned));
        }
        names.sort();
        let mut keys = vec![Arc::new(newest)];
        for name in names {
            let path = dir.join(&name);
            let Some(pkcs8) = file::read(&path)? else { continue };
            let key = HubKey::parse(&pkcs8).filter(|key| file_of(&key.verifying_key()) == name);
            let key =
                key.ok_or_else(|| FileError::malformed(&path, "is not the key of its name"))?;
            if key.verifying_key() == keys[0].verifying_key() {
                // A rotation ended before the new key was there.
                file::remove(&path)?;
            } else {
                keys.push(Arc::new(key));
            }
        }
        Ok(Self { dir, keys: watch::Sender::new(keys.into()), turn: Mutex::default() })
    }

    /// A key that is kept nowhere.
    #[must_use]
    pub fn ephemeral() -> Self {
        let keys: Ring = Arc::new([Arc::new(HubKey::ephemeral())]);
        Self { dir: PathBuf::new(), keys: watch::Sender::new(keys), turn: Mutex::default() }
    }

    /// The newest key: boxes that join trust it.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.keys.borrow()[0].verifying_key()
    }

    /// All of them, the newest first.
    #[must_use]
    pub fn all(&self) -> Vec<VerifyingKey> {
        self.keys.borrow().iter().map(|key| key.verifying_key()).collect()
    }

    /// What boxes are to trust from now on, while some may trust an older one.
    #[must_use]
    pub fn next(&self) -> Option<VerifyingKey> {
        let keys = self.keys.borrow();
        (keys.len() > 1).then(|| keys[0].verifying_key())
    }

    /// Signs `payload` as a message of this kind, with all keys.
    #[must_use]
    pub fn sign(&self, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let keys = Arc::clone(&self.keys.borrow());
        jws::sign(keys.iter().map(|key| &**key), kind, payload)
    }

    /// The payload of a message that every box takes, whichever of the keys it trusts.
    #[must_use]
    pub fn read(&self, kind: Kind, message: &[u8], at_most: usize) -> Option<Vec<u8>> {
        let mut payload = None;
        for key in self.all() {
            payload = Some(key.verify(kind, message, at_most).ok()?);
        }
        payload
    }

    /// Changes whenever there is a new key, or an old one is gone.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<[Arc<HubKey>]>> {
        self.keys.subscribe()
    }

    /// Makes the key that follows, durably; all is signed by it too from now on. Blocks on the file system.
    ///
    /// # Errors
    /// [`RotateError`]; then the key before stays the newest.
    pub fn rotate(&self) -> Result<VerifyingKey, RotateError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Arc::clone(&self.keys.borrow());
        if before.len() >= MOST {
            return Err(RotateError::TooMany);
        }
        let path = self.dir.join(FILE);
        let malformed = || FileError::malformed(&path, "is not the key of a hub");
        let pkcs8 = file::read(&path)?.ok_or_else(malformed)?;
        file::write(&self.dir.join(file_of(&before[0].verifying_key())), &pkcs8)?;
        let pkcs8 = jws::generate();
        let key = HubKey::parse(&pkcs8).ok_or_else(malformed)?;
        file::write(&path, &pkcs8)?;
        let newest = key.verifying_key();
        let keys = std::iter::once(Arc::new(key)).chain(before.iter().cloned()).collect();
        self.keys.send_replace(keys);
        Ok(newest)
    }

    /// Gives up the older keys that nobody needs; how many those are. Blocks on the file system.
    ///
    /// # Errors
    /// [`FileError`]; then they stay.
    pub fn retire(&self, is_needed: impl Fn(&Fingerprint) -> bool) -> Result<usize, FileError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Arc::clone(&self.keys.borrow());
        let (kept, gone): (Vec<_>, Vec<_>) = before
            .iter()
            .cloned()
            .enumerate()
            .partition(|(at, key)| *at == 0 || is_needed(&key.verifying_key().fingerprint()));
        for (_, key) in &gone {
            let path = self.dir.join(file_of(&key.verifying_key()));
            file::remove(&path)?;
            file::sync_parent(&path)?;
        }
        if !gone.is_empty() {
            self.keys.send_replace(kept.into_iter().map(|(_, key)| key).collect());
        }
        Ok(gone.len())
    }
}

/// Whether it is the name of the file of an older key.
fn is_older(name: &str) -> bool {
    name.strip_prefix("hub-").is_some_and(|rest| rest.strip_suffix(".pk8").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::Document;

    fn names(state: &Path) -> Vec<String> {
        let entries = fs::read_dir(state.join("keys")).unwrap().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_key_is_followed_and_goes_when_nobody_needs_it() {
        let state = tempfile::tempdir().unwrap();
        let keys = HubKeys::open(state.path()).unwrap();
        let first = keys.verifying_key();
        assert_eq!(keys.next(), None);
        let alone = keys.sign(KIND, b"x");
        assert_eq!(keys.read(KIND, &alone, 4096).unwrap(), b"x");

        let changes = keys.changes();
        let second = keys.rotate().unwrap();
        assert!(second != first && changes.has_changed().unwrap());
        assert_eq!(keys.all(), [second, first]);
        assert_eq!(keys.next(), Some(second));
        let both = keys.sign(KIND, b"x");
        for key in [first, second] {
            assert_eq!(key.verify(KIND, &both, 4096).unwrap(), b"x");
            assert!(key.verify(Kind::Body, &both, 4096).is_err(), "of another kind");
        }
        assert!(HubKey::ephemeral().verifying_key().verify(KIND, &both, 4096).is_err());
        assert_eq!(keys.read(KIND, &alone, 4096), None, "who trusts the new key refuses it");
        let text = String::from_utf8(both).unwrap();
        for edited in [
            text.replacen(
                "\"signatures\":[",
                "\"signatures\":[{\"protected\":\"e30\",\"signature\":\"\"},",
                1,
            ),
            text.replacen('{', "{\"unknown\":1,", 1),
            text.replacen("\"payload\":\"eA\"", "\"payload\":\"eQ\"", 1),
            text.replacen("\"signatures\"", "\"protected\":\"e30\",\"signatures\"", 1),
        ] {
            let taken = second.verify(KIND, edited.as_bytes(), 4096);
            // A signature of somebody else beside ours takes nothing away.
            assert_eq!(taken.is_ok(), edited.contains("\"e30\",\"signature\":\"\""), "{edited}");
        }

        // Whatever is opened anew has both.
        let again = HubKeys::open(state.path()).unwrap();
        assert_eq!(again.all(), [second, first]);
        assert_eq!(again.retire(|_| true).unwrap(), 0);
        assert_eq!(again.retire(|key| *key != first.fingerprint()).unwrap(), 1);
        assert_eq!(again.all(), [second]);
        assert_eq!(names(state.path()), ["hub.pk8"]);
        assert_eq!(HubKeys::open(state.path()).unwrap().all(), [second]);
    }

    #[test]
    fn rotations_that_overlap_are_bounded() {
        let state = tempfile::tempdir().unwrap();
        let keys = HubKeys::open(state.path()).unwrap();
        let first = keys.verifying_key();
        for _ in 1..MOST {
            keys.rotate().unwrap();
        }
        assert!(matches!(keys.rotate(), Err(RotateError::TooMany)));
        let message = keys.sign(KIND, b"x");
        assert!(keys.all().iter().all(|key| key.verify(KIND, &message, 4096).is_ok()));
        assert!(keys.all().contains(&first));
        keys.retire(|key| *key == first.fingerprint()).unwrap();
        assert_eq!(keys.all().len(), 2);
        keys.rotate().unwrap();
    }

    #[test]
    fn who_is_killed_in_between_is_before_the_rotation_or_in_it() {
        let state = tempfile::tempdir().unwrap();
        let keys = HubKeys::open(state.path()).unwrap();
        let first = keys.verifying_key();
        let dir = state.path().join("keys");
        // The copy is there, the new key is not; or half of either.
        let copy = dir.join(file_of(&first));
        fs::copy(dir.join(FILE), &copy).unwrap();
        fs::write(copy.with_added_extension("new"), b"half").unwrap();
        fs::write(dir.join("hub.pk8.new"), b"half").unwrap();
        let keys = HubKeys::open(state.path()).unwrap();
        assert_eq!(keys.all(), [first]);
        assert!(!copy.exists());
        let second = keys.rotate().unwrap();
        // One that was changed is not given up silently: boxes may hang on it.
        assert_eq!(HubKeys::open(state.path()).unwrap().all(), [second, first]);
        fs::write(&copy, b"short").unwrap();
        let error = HubKeys::open(state.path()).unwrap_err().to_string();
        assert!(error.contains("is not the key of its name"), "{error}");
    }
}
