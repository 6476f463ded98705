//! `STATE/secret.key`: the keys that values are sealed with.
//!
//! 32 random bytes, or several times that after a rotation: the first key seals, the others open what they sealed (older
//! copies of the store, and values whose rotation was cut short). Readable by root only; replaced by rename, durably.

use super::SecretError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, ZeroizeOnDrop};

const LENGTH: usize = 32;
/// The current key and those it replaced.
const KEPT: usize = 4;

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none, but there are secrets.
    #[error(
        "the key {0} is missing, and secrets are sealed with it; put it back from a backup, or remove the secrets with `coracle secret rm` and set them again"
    )]
    Missing(PathBuf),
    /// Sealed with a key that is not here.
    #[error(
        "the key {0} is not the one that this secret was sealed with; put the right one back from a backup, or set the secret again with `coracle secret set`"
    )]
    Mismatch(PathBuf),
    /// The file is no key.
    #[error(
        "{0} is not a key file: it must hold 32 bytes, or a few times that; put it back from a backup, or remove it together with the secrets (`coracle secret rm`)"
    )]
    Malformed(PathBuf),
    /// The file.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// One key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct SealingKey([u8; LENGTH]);

/// Tells keys apart and says nothing else about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId([u8; Self::LENGTH]);

impl KeyId {
    pub(super) const LENGTH: usize = 8;

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Of a slice that is too short: the id that no key has.
    pub(super) fn from_slice(bytes: &[u8]) -> Self {
        Self(bytes.try_into().unwrap_or_default())
    }
}

impl SealingKey {
    fn generate() -> Self {
        let mut bytes = [0; LENGTH];
        crate::sys::random(&mut bytes);
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn id(&self) -> KeyId {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(b"coracle secret key id\0");
        context.update(&self.0);
        KeyId::from_slice(&context.finish().as_ref()[..KeyId::LENGTH])
    }
}

/// The keys of the file.
#[derive(Clone)]
pub(super) struct KeyRing {
    current: SealingKey,
    older: Vec<SealingKey>,
}

impl KeyRing {
    pub(super) fn current(&self) -> &SealingKey {
        &self.current
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&SealingKey> {
        std::iter::once(&self.current).chain(&self.older).find(|key| key.id() == id)
    }
}

/// Where the keys are.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn mismatch(&self) -> SecretError {
        KeyError::Mismatch(self.path.clone()).into()
    }

    /// The keys, which must be there.
    pub(super) fn read(&self) -> Result<KeyRing, KeyError> {
        self.read_if_there()?.ok_or_else(|| KeyError::Missing(self.path.clone()))
    }

    /// The keys; made where there are none, if nothing was sealed before.
    pub(super) fn read_or_make(
        &self,
        nothing_sealed: impl FnOnce() -> Result<bool, SecretError>,
    ) -> Result<KeyRing, SecretError> {
        if let Some(ring) = self.read_if_there()? {
            return Ok(ring);
        }
        if !nothing_sealed()? {
            return Err(KeyError::Missing(self.path.clone()).into());
        }
        let ring = KeyRing { current: SealingKey::generate(), older: Vec::new() };
        self.write(&ring)?;
        Ok(ring)
    }

    /// Puts a new key before those that are there.
    pub(super) fn renew(&self) -> Result<KeyRing, KeyError> {
        let older = match self.read_if_there()? {
            Some(KeyRing { current, mut older }) => {
                older.insert(0, current);
                older.truncate(KEPT - 1);
                older
            }
            None => Vec::new(),
        };
        let ring = KeyRing { current: SealingKey::generate(), older };
        self.write(&ring)?;
        Ok(ring)
    }

    fn read_if_there(&self) -> Result<Option<KeyRing>, KeyError> {
        let path = &self.path;
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", path)(error)),
        };
        let mode = file.metadata().map_err(failed("look at", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "the key of the secrets was open to other users; closing it");
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .map_err(failed("close", path))?;
        }
        let mut bytes = Vec::with_capacity(LENGTH * KEPT + 1);
        let limit = (LENGTH * KEPT + 1) as u64;
        let read = file.take(limit).read_to_end(&mut bytes).map_err(failed("read", path));
        let mut keys: Vec<SealingKey> = bytes
            .chunks_exact(LENGTH)
            .filter_map(|key| key.try_into().ok().map(SealingKey))
            .collect();
        let whole = bytes.len() % LENGTH == 0 && !keys.is_empty();
        bytes.zeroize();
        read?;
        if !whole {
            return Err(KeyError::Malformed(path.clone()));
        }
        let older = keys.split_off(1);
        Ok(keys.pop().map(|current| KeyRing { current, older }))
    }

    /// Replaces the file, so that a power cut leaves the old one or the new one.
    fn write(&self, ring: &KeyRing) -> Result<(), KeyError> {
        let new = self.path.with_extension("key.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &new)(error));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed("make", &new))?;
        for key in std::iter::once(&ring.current).chain(&ring.older) {
            file.write_all(&key.0).map_err(failed("write", &new))?;
        }
        file.sync_all().map_err(failed("sync", &new))?;
        fs::rename(&new, &self.path).map_err(failed("make", &self.path))?;
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
    }
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> KeyError + 'a {
    move |source| KeyError::Io { doing, path: path.to_owned(), source }
}
