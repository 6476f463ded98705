//! `coracle hub backup` and `restore`: the store and the keys of a hub in one file.
//!
//! A backup of a hub that runs is consistent: the store is copied in one transaction, and the keys, which do not change,
//! after it. Whoever has the file is the hub: it is made for its owner's eyes only.
//!
//! A restored hub does not know what it has told its boxes since. It gets a higher epoch, so that all it says counts as
//! newer than that; boxes then report what they run, and the hub takes it from there.

use super::{FLEET, SIMULATION};
use crate::config::HubConfig;
use crate::model::Timestamp;
use crate::store::{self, Store};
use crate::sys;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The key under which the store counts restorations: the epoch of documents.
pub(super) const EPOCH: &str = "epoch";
/// The first file of a backup, which says what it is.
const LABEL: &str = "coracle-hub-backup";
const FORMAT: u64 = 1;
/// Where the store's data is, in a backup and in a state directory.
const DATA: &str = "store/data.mdb";
/// More than the keys of a hub, and less than what a hostile file could fill a disk with by names alone.
const FILES: usize = 64;

/// The epoch of a hub.
pub(super) fn epoch(store: &Store) -> anyhow::Result<u64> {
    Ok(store.get_meta(EPOCH)?.and_then(|epoch| epoch.as_u64()).unwrap_or_default())
}

/// Writes a backup of the hub with this store into a new file.
///
/// # Errors
/// When it cannot be written, or is there already; then there is none.
pub(in crate::daemon) fn write(
    store: &Store,
    state_dir: &Path,
    path: &Path,
) -> anyhow::Result<Value> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let written = fill(store, state_dir, file);
    if written.is_err() {
        // Half a backup is worse than none.
        let _ = fs::remove_file(path);
    }
    let files = written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(json!({ "file": path, "files": files, "epoch": epoch(store)? }))
}

fn fill(store: &Store, state_dir: &Path, file: File) -> anyhow::Result<Vec<String>> {
    let copy = state_dir.join("backup.mdb.new");
    remove(&copy)?;
    store.copy_to(&copy)?;
    let mut names = vec![DATA.to_owned()];
    let mut tar = tar::Builder::new(file);
    let label = json!({
        "format": FORMAT, "version": env!("CARGO_PKG_VERSION"), "at": sys::now(),
    })
    .to_string();
    append(&mut tar, LABEL, label.as_bytes())?;
    let copied = File::open(&copy).and_then(|mut data| {
        let mut header = header(data.metadata()?.len());
        tar.append_data(&mut header, DATA, &mut data)
    });
    remove(&copy)?;
    copied?;
    // After the store: a key that is renewed keeps those before it. And the newest before it is looked which those are: one
    // that is made meanwhile has its predecessor's copy made first.
    let newest = PathBuf::from("keys/hub.pk8");
    for key in [PathBuf::from("secret.key"), newest.clone()] {
        names.extend(keep(&mut tar, state_dir, &key)?);
    }
    let mut keys = Vec::new();
    for entry in fs::read_dir(state_dir.join("keys"))? {
        keys.push(Path::new("keys").join(entry?.file_name()));
    }
    keys.sort();
    for key in keys.iter().filter(|key| **key != newest) {
        names.extend(keep(&mut tar, state_dir, key)?);
    }
    tar.into_inner()?.sync_all()?;
    Ok(names)
}

/// Adds a key, if it is there and whole; its name.
fn keep(
    tar: &mut tar::Builder<File>,
    state_dir: &Path,
    key: &Path,
) -> std::io::Result<Option<String>> {
    let half = key.extension().is_some_and(|extension| extension == "new");
    let path = state_dir.join(key);
    if half || !path.is_file() {
        return Ok(None);
    }
    let bytes = match fs::read(&path) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        // Nobody needed it any more.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let name = key.to_string_lossy().into_owned();
    append(tar, &name, &bytes)?;
    Ok(Some(name))
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header
}

fn append(tar: &mut tar::Builder<File>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), name, bytes)
}

/// A backup of a hub that does not run.
///
/// # Errors
/// As [`write`], and when the hub runs.
pub(in crate::daemon) fn of_stopped(config: &HubConfig, path: &Path) -> anyhow::Result<Value> {
    if !config.store_dir().exists() {
        bail!("there is no hub in {}; name its --state-dir", config.state_dir.display());
    }
    let store = Store::open(&config.store_dir(), store::Options::default())?;
    if store.get_meta(FLEET)?.is_none() {
        bail!("the state in {} is not that of a hub", config.state_dir.display());
    }
    write(&store, &config.state_dir, path)
}

/// Makes the state directory of a hub out of a backup.
///
/// # Errors
/// When there is a hub in it already, or the file is no backup; then nothing has changed.
pub(in crate::daemon) fn restore(config: &HubConfig, path: &Path) -> anyhow::Result<Value> {
    let state = &config.state_dir;
    if fs::read_dir(state).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is not empty; restore into another --state-dir, or move this one away",
            state.display()
        );
    }
    let parent = state.parent().context("the state directory cannot be /")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let mut aside = state.clone().into_os_string();
    aside.push(".restoring");
    let aside = PathBuf::from(aside);
    remove_dir(&aside)?;
    let restored = unpack(path, &aside).and_then(|at| Ok((at, begin_epoch(&aside)?)));
    let (at, epoch) = match restored {
        Ok(restored) => restored,
        Err(error) => {
            remove_dir(&aside)?;
            return Err(error.context(format!("cannot restore {}", path.display())));
        }
    };
    if state.exists() {
        fs::remove_dir(state).with_context(|| format!("cannot replace {}", state.display()))?;
    }
    fs::rename(&aside, state).with_context(|| format!("cannot make {}", state.display()))?;
    File::open(parent)?.sync_all()?;
    Ok(json!({ "stateDir": state, "at": at, "epoch": epoch }))
}

/// When the backup was made. Everything is written and synced below `dir`.
fn unpack(path: &Path, dir: &Path) -> anyhow::Result<Timestamp> {
    let mut tar = tar::Archive::new(File::open(path)?);
    let mut entries = tar.entries()?;
    let mut label = Vec::new();
    let first = entries.next().context("it is empty")??;
    if first.path()? != Path::new(LABEL) {
        bail!("it is not the backup of a hub");
    }
    first.take(4096).read_to_end(&mut label)?;
    let label: Value = serde_json::from_slice(&label).context("it is not the backup of a hub")?;
    if label["format"] != FORMAT {
        bail!("it was made by another version of coracle: {}", label["version"]);
    }
    // The broker, a user of its own, has to get through.
    fs::DirBuilder::new().mode(0o711).create(dir)?;
    for sub in [dir.join("store"), dir.join("keys")] {
        fs::DirBuilder::new().mode(0o700).create(sub)?;
    }
    let mut store = false;
    for (number, entry) in entries.enumerate() {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        let known = match name.to_str() {
            Some(DATA) => {
                store = true;
                true
            }
            Some("secret.key") => true,
            Some(text) => text.strip_prefix("keys/").is_some_and(is_plain),
            None => false,
        };
        if !known || number >= FILES || !entry.header().entry_type().is_file() {
            bail!("it has {} in it, which no hub put there", name.display());
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(dir.join(&name))
            .with_context(|| format!("cannot make {}", name.display()))?;
        std::io::copy(&mut entry, &mut file)?;
        file.sync_all()?;
    }
    if !store {
        bail!("it is not whole: there is no store in it");
    }
    for sub in [dir.join("store"), dir.join("keys"), dir.to_owned()] {
        File::open(sub)?.sync_all()?;
    }
    Ok(serde_json::from_value(label["at"].clone())?)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !name.starts_with('.')
}

/// Above every epoch that this hub had before, also when the same backup was restored once already: the clock makes the
/// difference there.
fn begin_epoch(state_dir: &Path) -> anyhow::Result<u64> {
    let store = Store::open(&state_dir.join("store"), store::Options::default())?;
    if store.get_meta(FLEET)?.is_none() || store.get_meta(SIMULATION)?.is_some() {
        bail!("its store is not that of a hub");
    }
    let seconds = u64::try_from(sys::now().millis() / 1000).unwrap_or_default();
    let epoch = (epoch(&store)? + 1).max(seconds);
    store.put_meta(EPOCH, &json!(epoch))?;
    Ok(epoch)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_dir(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fleet::HubTrust;

    fn hub(dir: &Path) -> (HubConfig, Store) {
        let config = HubConfig { state_dir: dir.join("state"), ..HubConfig::default() };
        fs::create_dir(&config.state_dir).unwrap();
        let store = Store::open(&config.store_dir(), store::Options::default()).unwrap();
        store.put_meta(FLEET, &json!({})).unwrap();
        store.put_meta("something", &json!(7)).unwrap();
        (config, store)
    }

    #[test]
    fn a_hub_comes_back_with_its_keys_and_a_higher_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let (config, store) = hub(dir.path());
        let key = HubTrust::open(&config.state_dir, sys::now()).unwrap().keys.rotate().unwrap();
        let file = dir.path().join("backup.tar");
        let said = write(&store, &config.state_dir, &file).unwrap();
        assert!(said["files"].to_string().contains("keys/hub.pk8"), "{said}");
        assert!(write(&store, &config.state_dir, &file).is_err(), "nothing is overwritten");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        store.put_meta("something", &json!(8)).unwrap();
        assert!(restore(&config, &file).is_err(), "a hub is there");

        let mut last = 0;
        for name in ["first", "second"] {
            let other = HubConfig { state_dir: dir.path().join(name), ..HubConfig::default() };
            restore(&other, &file).unwrap();
            let store = Store::open(&other.store_dir(), store::Options::default()).unwrap();
            assert_eq!(store.get_meta("something").unwrap(), Some(json!(7)));
            assert!(epoch(&store).unwrap() > 0 && epoch(&store).unwrap() >= last);
            last = epoch(&store).unwrap();
            let trust = HubTrust::open(&other.state_dir, sys::now()).unwrap();
            assert_eq!(trust.keys.verifying_key(), key);
            assert_eq!(trust.keys.all().len(), 2, "boxes may trust the one before");
            drop(store);
            // And once more, from that one.
            let again = dir.path().join(format!("{name}.tar"));
            of_stopped(&other, &again).unwrap();
            let third = dir.path().join(format!("{name}-again"));
            let third = HubConfig { state_dir: third, ..HubConfig::default() };
            restore(&third, &again).unwrap();
            let store = Store::open(&third.store_dir(), store::Options::default()).unwrap();
            assert!(epoch(&store).unwrap() > last);
        }
    }

    #[test]
    fn what_is_no_backup_makes_no_hub() {
        let dir = tempfile::tempdir().unwrap();
        let (config, store) = hub(dir.path());
        HubTrust::open(&config.state_dir, sys::now()).unwrap();
        let file = dir.path().join("backup.tar");
        write(&store, &config.state_dir, &file).unwrap();
        let whole = fs::read(&file).unwrap();
        let other = HubConfig { state_dir: dir.path().join("other"), ..HubConfig::default() };
        let refused = |bytes: &[u8]| {
            let bad = dir.path().join("bad.tar");
            fs::write(&bad, bytes).unwrap();
            assert!(restore(&other, &bad).is_err());
            assert!(!other.state_dir.exists() && !dir.path().join("other.restoring").exists());
        };
        refused(b"");
        refused(&[7; 2048]);
        refused(&whole[..whole.len() / 2]);
        // Something that would end up elsewhere.
        let mut tar = tar::Builder::new(Vec::new());
        let label = json!({ "format": FORMAT, "at": 1 }).to_string();
        tar.append_data(&mut header(label.len() as u64), LABEL, label.as_bytes()).unwrap();
        let mut evil = header(1);
        evil.as_gnu_mut().unwrap().name[..12].copy_from_slice(b"keys/../evil");
        evil.set_cksum();
        tar.append(&evil, &b"x"[..]).unwrap();
        refused(&tar.into_inner().unwrap());
        assert!(!dir.path().join("evil").exists());
        restore(&other, &file).unwrap();
    }
}
