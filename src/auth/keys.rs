//! The access keys of this installation.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What every access key id begins with.
const ID_PREFIX: &str = "CORACLE";
/// Characters of an access key id after the prefix, 20 in all as AWS has it.
const ID_RANDOM: usize = 13;
/// Base 32 of RFC 4648.
const ID_ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// 64 characters that no shell treats specially.
const SECRET_ALPHABET: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Characters of a secret: 240 bits.
const SECRET_LENGTH: usize = 40;
/// A key file is some hundred bytes; more is not one.
const FILE_LIMIT: u64 = 64 * 1024;

/// An access key: the public id and the secret it goes with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessKey {
    /// `CORACLE…`, 20 characters.
    pub access_key_id: String,
    /// 40 characters.
    pub secret_access_key: String,
}

impl AccessKey {
    /// A new random key.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            access_key_id: format!("{ID_PREFIX}{}", random_text(ID_ALPHABET, ID_RANDOM)),
            secret_access_key: random_text(SECRET_ALPHABET, SECRET_LENGTH),
        }
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// `length` characters of `alphabet`, whose size divides 256 so that all are equally likely.
fn random_text(alphabet: &[u8], length: usize) -> String {
    let mut bytes = vec![0; length];
    crate::sys::random(&mut bytes);
    bytes.iter().map(|b| char::from(alphabet[usize::from(*b) % alphabet.len()])).collect()
}

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Reading or writing failed.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is not a key file. It is left alone: whoever holds the key it should contain would lose access.
    #[error("{path} is not a key file: {reason}; restore it, or remove it to have a new key made")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The keys that requests may be signed with: today the root key alone.
#[derive(Clone, Debug)]
pub struct Keys {
    root: AccessKey,
}

impl Keys {
    /// Reads `keys/root.json` in the state directory, or makes it at the first start. Blocks on the file system.
    ///
    /// # Errors
    /// [`KeysError`] when the file cannot be read, written, or understood.
    pub fn open(state_dir: &Path) -> Result<Self, KeysError> {
        let dir = &state_dir.join("keys");
        let path = dir.join("root.json");
        if let Some(root) = read(&path)? {
            return Ok(Self { root });
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("make", dir))?;
        let root = AccessKey::generate();
        write(dir, &path, &root)?;
        Ok(Self { root })
    }

    /// Keys with this root key, kept nowhere.
    #[must_use]
    pub fn with_root(root: AccessKey) -> Self {
        Self { root }
    }

    /// The root key.
    #[must_use]
    pub fn root(&self) -> &AccessKey {
        &self.root
    }

    /// The key with this id.
    #[must_use]
    pub fn find(&self, access_key_id: &str) -> Option<&AccessKey> {
        (self.root.access_key_id == access_key_id).then_some(&self.root)
    }
}

fn io_error<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> KeysError + 'a {
    move |source| KeysError::Io { doing, path: path.to_owned(), source }
}

/// The key in `path`; none when there is no such file.
fn read(path: &Path) -> Result<Option<AccessKey>, KeysError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("open", path)(e)),
    };
    let mode = file.metadata().map_err(io_error("look at", path))?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the key file was open to other users; closing it");
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(io_error("close", path))?;
    }
    let mut text = String::new();
    file.take(FILE_LIMIT).read_to_string(&mut text).map_err(io_error("read", path))?;
    let malformed = |reason: String| KeysError::Malformed { path: path.to_owned(), reason };
    let key: AccessKey = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    let plain = |text: &str| text.len() >= 16 && text.bytes().all(|b| b.is_ascii_graphic());
    if !plain(&key.access_key_id) || !plain(&key.secret_access_key) {
        return Err(malformed("a key has at least 16 printable characters".to_owned()));
    }
    Ok(Some(key))
}

/// Writes the file so that a power cut leaves either none or all of it.
fn write(dir: &Path, path: &Path, key: &AccessKey) -> Result<(), KeysError> {
    let temporary = dir.join("root.json.new");
    let mut text = serde_json::to_vec_pretty(key)
        .map_err(|e| KeysError::Malformed { path: path.to_owned(), reason: e.to_string() })?;
    text.push(b'\n');
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &temporary)(e));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io_error("make", &temporary))?;
    file.write_all(&text).map_err(io_error("write", &temporary))?;
    file.sync_all().map_err(io_error("sync", &temporary))?;
    fs::rename(&temporary, path).map_err(io_error("rename to", path))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(io_error("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(state: &tempfile::TempDir) -> Result<Keys, KeysError> {
        Keys::open(state.path())
    }

    #[test]
    fn the_key_is_made_once_and_kept_closed() {
        let state = tempfile::tempdir().unwrap();
        let first = open(&state).unwrap();
        let again = open(&state).unwrap();
        assert_eq!(first.root(), again.root());
        let file = state.path().join("keys/root.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(state.path().join("keys")).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let key = first.root();
        assert_eq!(key.access_key_id.len(), 20);
        assert!(key.access_key_id.starts_with("CORACLE"));
        assert_eq!(key.secret_access_key.len(), 40);
        assert_ne!(key, &AccessKey::generate());
        assert!(!format!("{key:?}").contains(&key.secret_access_key));
    }

    #[test]
    fn a_file_open_to_others_is_closed() {
        let state = tempfile::tempdir().unwrap();
        let key = open(&state).unwrap();
        let file = state.path().join("keys/root.json");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(open(&state).unwrap().root(), key.root());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_reported_and_kept() {
        let state = tempfile::tempdir().unwrap();
        open(&state).unwrap();
        let file = state.path().join("keys/root.json");
        for text in ["", "{", "{}", r#"{"accessKeyId":"CORACLE","secretAccessKey":"short"}"#] {
            fs::write(&file, text).unwrap();
            let error = open(&state).unwrap_err();
            assert!(matches!(error, KeysError::Malformed { .. }), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn what_a_crash_left_behind_is_in_nobodys_way() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("keys")).unwrap();
        fs::write(state.path().join("keys/root.json.new"), "half a").unwrap();
        open(&state).unwrap();
        assert!(!state.path().join("keys/root.json.new").exists());
    }
}
