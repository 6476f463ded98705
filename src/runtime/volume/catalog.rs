//! The shared volumes of the box.
//!
//! ```text
//! VOLUMES/<name>/_data          what is in it, or where its file system is mounted by those who use it
//! VOLUMES/<name>/volume.json    what it is
//! VOLUMES/<name>/copying        there while an image's content is copied into it
//! VOLUMES/.use/<name>/lock      held while it is made, made ready or removed
//! VOLUMES/.use/<name>/tasks/    who uses it
//! VOLUMES/.new/, .gone/         half made, half removed: nobody's, removed when next met
//! ```
//!
//! A volume is there once its directory has its name, which is one rename: never half of it. Names hold no dots.

use super::error::{VolumeError, file};
use super::holder::{self, Holder};
use super::lock::Lock;
use crate::model::task_definition::LocalVolume;
use crate::model::{TaskId, Timestamp, ids::is_name};
use crate::runtime::{layout, record};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A shared volume, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedVolume {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Options of the driver `local`.
    #[serde(default)]
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The shared volumes in a directory; cheap to clone. All that it does blocks.
#[derive(Debug, Clone)]
pub struct Volumes {
    root: PathBuf,
}

/// The most entries that are counted for the size of a volume.
const MOST_ENTRIES: u64 = 5_000_000;

impl Volumes {
    /// Those in `root`, which is made with the first of them.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<SharedVolume>, VolumeError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(file(&self.root))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(file(&self.root))?.file_name();
            if let Some(name) = name.to_str().filter(|name| is_name(name)) {
                found.extend(self.find(name)?);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The volume of that name, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<SharedVolume>, VolumeError> {
        let name = checked(name)?;
        let path = self.root.join(name).join("volume.json");
        match record::read(&path) {
            // Not one of this name: a directory that somebody put there.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            found => found.map_err(file(&path)),
        }
    }

    /// Where the content of a volume is.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.root.join(name).join("_data")
    }

    /// Makes a volume; one that is there already, just so, is fine.
    ///
    /// # Errors
    /// When it is there with other options, or the options are not honoured.
    pub fn create(
        &self,
        name: &str,
        driver_opts: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Result<SharedVolume, VolumeError> {
        // Nothing is left of what cannot be.
        LocalVolume::parse(driver_opts).map_err(|error| VolumeError::Unsupported {
            volume: name.to_owned(),
            reason: error.to_string(),
        })?;
        let _lock = self.lock(name)?;
        self.create_locked(name, driver_opts, labels)
    }

    /// As [`Volumes::create`], by the holder of the volume's lock, with options that have been checked.
    pub(super) fn create_locked(
        &self,
        name: &str,
        driver_opts: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Result<SharedVolume, VolumeError> {
        if let Some(known) = self.find(name)? {
            let differs = |what| VolumeError::Differs {
                volume: name.to_owned(),
                what,
                remedy: "use those (`coracle volume inspect`), another name, or remove it (`coracle volume rm`)",
            };
            if known.driver_opts != *driver_opts {
                return Err(differs("driverOpts"));
            }
            if known.labels != *labels {
                return Err(differs("labels"));
            }
            return Ok(known);
        }
        let volume = SharedVolume {
            name: name.to_owned(),
            created_at: sys::now(),
            driver_opts: driver_opts.clone(),
            labels: labels.clone(),
        };
        let half = self.aside(".new", name)?;
        make_private(&half)?;
        let data = half.join("_data");
        fs::create_dir(&data).map_err(file(&data))?;
        // Whatever the umask of the agent is.
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).map_err(file(&data))?;
        let path = half.join("volume.json");
        record::write(&path, &volume).map_err(file(&path))?;
        sync_directory(&half)?;
        let path = self.root.join(name);
        fs::rename(&half, &path).map_err(file(&path))?;
        sync_directory(&self.root)?;
        Ok(volume)
    }

    /// Removes a volume that no task uses.
    ///
    /// # Errors
    /// When there is none, or it is in use.
    pub fn remove(&self, name: &str) -> Result<(), VolumeError> {
        let path = self.root.join(checked(name)?);
        // Without a lock file for whatever names people try.
        if self.find(name)?.is_none() {
            return Err(VolumeError::Unknown(name.to_owned()));
        }
        let lock = self.make_use_of(name, Lock::attempt)?;
        let Some(_lock) = lock else { return Err(VolumeError::Busy(name.to_owned())) };
        if self.find(name)?.is_none() {
            return Err(VolumeError::Unknown(name.to_owned()));
        }
        if let Some(task) = self.users(name)?.into_iter().next() {
            return Err(VolumeError::InUse { volume: name.to_owned(), task });
        }
        let gone = self.aside(".gone", name)?;
        fs::rename(&path, &gone).map_err(file(&path))?;
        sync_directory(&self.root)?;
        layout::remove_tree(&gone).map_err(file(&gone))?;
        let of_use = self.of_use(name);
        layout::remove_tree(&of_use).map_err(file(&of_use))
    }

    /// The tasks that use a volume now.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn users(&self, name: &str) -> Result<Vec<TaskId>, VolumeError> {
        Ok(self.holders(name)?.into_iter().map(|(task, _)| task).collect())
    }

    /// The bytes that the content of a volume takes on this box.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn size(&self, name: &str) -> Result<u64, VolumeError> {
        let mut left = MOST_ENTRIES;
        let mut bytes = 0;
        let mut directories = vec![self.data(checked(name)?)];
        while let Some(directory) = directories.pop() {
            let entries = match fs::read_dir(&directory) {
                // Containers may be at work in it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(file(&directory))?,
            };
            for entry in entries.filter_map(Result::ok) {
                left = left.saturating_sub(1);
                let Ok(metadata) = entry.metadata() else { continue };
                bytes += metadata.blocks() * 512;
                if metadata.is_dir() && left > 0 {
                    directories.push(entry.path());
                }
            }
        }
        Ok(bytes)
    }

    /// Waits for the lock of a volume, which may not be there yet.
    pub(super) fn lock(&self, name: &str) -> Result<Lock, VolumeError> {
        self.make_use_of(checked(name)?, |path| Lock::wait(path).map(Some))?
            .ok_or_else(|| VolumeError::Busy(name.to_owned()))
    }

    fn make_use_of(
        &self,
        name: &str,
        take: impl Fn(&Path) -> io::Result<Option<Lock>>,
    ) -> Result<Option<Lock>, VolumeError> {
        let directory = self.of_use(name);
        let path = directory.join("lock");
        loop {
            make_private(&directory)?;
            match take(&path) {
                // Removed with the volume, between the two.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                taken => return taken.map_err(file(&path)),
            }
        }
    }

    /// Notes that `task`, whose shim is `holder`, uses the volume; by the holder of its lock.
    pub(super) fn hold(
        &self,
        name: &str,
        task: &TaskId,
        holder: Holder,
    ) -> Result<(), VolumeError> {
        let directory = self.of_use(name).join("tasks");
        make_private(&directory)?;
        holder.note(&directory, task).map_err(file(&directory))
    }

    pub(super) fn holders(&self, name: &str) -> Result<Vec<(TaskId, Holder)>, VolumeError> {
        let directory = self.of_use(checked(name)?).join("tasks");
        holder::living(&directory).map_err(file(&directory))
    }

    /// Forgets what a task without a shim has used.
    pub(crate) fn release(&self, task: &TaskId) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(".use")).into_iter().flatten() {
            layout::remove_file(&entry?.path().join("tasks").join(task.as_str()))?;
        }
        Ok(())
    }

    /// The marker that an image's content is being copied into a volume.
    pub(super) fn copying(&self, name: &str) -> PathBuf {
        self.root.join(name).join("copying")
    }

    fn of_use(&self, name: &str) -> PathBuf {
        self.root.join(".use").join(name)
    }

    /// A place that is nobody's, for the holder of the volume's lock.
    fn aside(&self, place: &str, name: &str) -> Result<PathBuf, VolumeError> {
        let place = self.root.join(place);
        make_private(&place)?;
        let path = place.join(name);
        layout::remove_tree(&path).map_err(file(&path))?;
        Ok(path)
    }
}

fn checked(name: &str) -> Result<&str, VolumeError> {
    if is_name(name) { Ok(name) } else { Err(VolumeError::Name(name.chars().take(256).collect())) }
}

fn make_private(path: &Path) -> Result<(), VolumeError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file(path))
}

fn sync_directory(path: &Path) -> Result<(), VolumeError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_volume_is_made_once_and_removed_with_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path().join("volumes"));
        assert_eq!(volumes.list().unwrap(), []);
        let labels = options(&[("a", "b")]);
        let made = volumes.create("data", &options(&[]), &labels).unwrap();
        assert_eq!(volumes.create("data", &options(&[]), &labels).unwrap(), made);
        let error = volumes.create("data", &options(&[("type", "tmpfs")]), &labels).unwrap_err();
        assert!(error.to_string().contains("exists with other driverOpts"), "{error}");
        let error = volumes.create("data", &options(&[]), &options(&[])).unwrap_err();
        assert!(error.to_string().contains("exists with other labels"), "{error}");
        fs::write(volumes.data("data").join("f"), [0; 8192]).unwrap();
        assert_eq!(volumes.size("data").unwrap(), 8192);
        volumes.create("another", &options(&[]), &options(&[])).unwrap();
        let names: Vec<_> = volumes.list().unwrap().into_iter().map(|v| v.name).collect();
        assert_eq!(names, ["another", "data"]);
        volumes.remove("data").unwrap();
        assert!(!dir.path().join("volumes/data").exists());
        assert!(!dir.path().join("volumes/.use/data").exists());
        assert_eq!(volumes.remove("data").unwrap_err().to_string(), "there is no volume data");
        assert!(!dir.path().join("volumes/.use/data").exists());
    }

    #[test]
    fn one_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path().to_owned());
        volumes.create("data", &options(&[]), &options(&[])).unwrap();
        let own = Holder::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let task = TaskId::new("t1").unwrap();
        volumes.hold("data", &task, own).unwrap();
        let error = volumes.remove("data").unwrap_err().to_string();
        assert_eq!(error, "volume data is in use by task t1");
        volumes.release(&task).unwrap();
        let lock = volumes.lock("data").unwrap();
        assert!(matches!(volumes.remove("data"), Err(VolumeError::Busy(_))));
        drop(lock);
        volumes.remove("data").unwrap();
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path().join("volumes"));
        for name in ["", ".", "..", ".use", "../x", "a/b", "a b", "\u{e4}"] {
            assert!(matches!(volumes.remove(name), Err(VolumeError::Name(_))), "{name}");
            let made = volumes.create(name, &options(&[]), &options(&[]));
            assert!(matches!(made, Err(VolumeError::Name(_))), "{name}");
        }
        let longest = "x".repeat(255);
        volumes.create(&longest, &options(&[]), &options(&[])).unwrap();
        volumes.remove(&longest).unwrap();
    }

    /// A power cut between any two steps leaves no volume, or all of it.
    #[test]
    fn what_was_half_made_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path().to_owned());
        fs::create_dir_all(dir.path().join(".new/data/_data")).unwrap();
        fs::create_dir_all(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(volumes.list().unwrap(), []);
        volumes.create("data", &options(&[]), &options(&[])).unwrap();
        assert_eq!(volumes.list().unwrap().len(), 1);
        assert!(!dir.path().join(".new/data").exists());
    }
}
