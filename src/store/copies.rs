//! Verified copies, and going back to one.

use super::environment::{DATA, DirectoryLock, Environment, prepare_directory, sync_directory};
use super::error::StoreError;
use super::{Options, Result, inspect};
use heed::{CompactionOption, Env, WithoutTls};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const COPIES: &str = "copies";
const LAST_GOOD: &str = "last-good.mdb";

/// Copies `environment` to `path`, which must not exist.
pub(super) fn copy(environment: &Environment, path: &Path) -> Result<()> {
    copy_env(environment.env(), environment.path(), path)
}

fn copy_env(env: &Env<WithoutTls>, from: &Path, path: &Path) -> Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io("make", path))?;
    let copied = env
        .copy_to_file(&mut file, CompactionOption::Enabled)
        .map_err(|error| match error {
            heed::Error::Io(error) => StoreError::io("write", path)(error),
            error => StoreError::lmdb(from, error),
        })
        .and_then(|()| file.sync_all().map_err(StoreError::io("sync", path)))
        .and_then(|()| inspect::verify(path).map(drop))
        .and_then(|()| path.parent().map_or(Ok(()), sync_directory));
    if copied.is_err() {
        // Half a copy is worse than none; the error that is returned says what happened.
        let _ = fs::remove_file(path);
    }
    copied
}

fn replace(env: &Env<WithoutTls>, dir: &Path, name: &str) -> Result<()> {
    let copies = dir.join(COPIES);
    prepare_directory(&copies)?;
    let aside = copies.join(format!("{name}.new"));
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", &aside)(error));
        }
        _ => {}
    }
    copy_env(env, &dir.join(DATA), &aside)?;
    let path = copies.join(name);
    fs::rename(&aside, &path).map_err(StoreError::io("make", &path))?;
    sync_directory(&copies)
}

/// Keeps the copy that a restore goes back to.
pub(super) fn keep_last_good(environment: &Environment, dir: &Path) -> Result<()> {
    replace(environment.env(), dir, LAST_GOOD)
}

/// Keeps a copy of a store of the older schema `schema`.
pub(super) fn keep_before_migration(env: &Env<WithoutTls>, dir: &Path, schema: u64) -> Result<()> {
    replace(env, dir, &format!("schema-{schema}.mdb"))
}

/// What to do about the damaged store at `path`.
pub(super) fn remedy(path: &Path) -> String {
    let data = path.display();
    let copy = path.with_file_name(COPIES).join(LAST_GOOD);
    if copy.is_file() {
        format!(
            "stop the agent, then go back to the last good copy: mv {data} {data}.damaged && cp {} {data}",
            copy.display()
        )
    } else {
        format!(
            "there is no good copy of it; to start with an empty one, stop the agent and: mv {data} {data}.damaged"
        )
    }
}

/// What [`restore`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where the damaged file is now; none when there was no file.
    pub damaged: Option<PathBuf>,
    /// The copy that took its place.
    pub copy: PathBuf,
}

/// Goes back to the last good copy of the store in `dir`; only on an operator's word, since what was acknowledged after
/// it is lost. The damaged file is kept beside. The change feed leaps ahead, so its readers start over.
pub fn restore(dir: &Path) -> Result<Restored> {
    let copy = dir.join(COPIES).join(LAST_GOOD);
    if !copy.is_file() {
        return Err(StoreError::NoCopy(copy));
    }
    let _lock = DirectoryLock::take(dir)?;
    inspect::verify(&copy)?;

    // Made ready aside, so that a crash at any moment leaves one whole file or the other.
    let aside = dir.join("restored");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", &aside)(error));
        }
        _ => {}
    }
    prepare_directory(&aside)?;
    let data = aside.join(DATA);
    fs::copy(&copy, &data).map_err(StoreError::io("write", &data))?;
    let environment = Environment::open(&aside, &Options::default())?;
    environment.leap_now()?;
    environment.close();

    let path = dir.join(DATA);
    let mut damaged = None;
    if path.exists() {
        let kept = (1..1000)
            .map(|n| dir.join(format!("{DATA}.damaged-{n}")))
            .find(|kept| !kept.exists())
            .unwrap_or_else(|| dir.join(format!("{DATA}.damaged")));
        fs::hard_link(&path, &kept).map_err(StoreError::io("keep", &path))?;
        damaged = Some(kept);
    }
    fs::rename(&data, &path).map_err(StoreError::io("replace", &path))?;
    fs::remove_dir_all(&aside).map_err(StoreError::io("remove", &aside))?;
    sync_directory(dir)?;
    Ok(Restored { damaged, copy })
}
