//! The directories of the broker, and how its files get there.
//!
//! What the hub writes belongs to the hub, and the broker's user may read it; what the broker writes, its database and its
//! socket, is in directories of the broker's own. So a broker that was broken into cannot rewrite its rules.

use super::configuration::{self, Paths};
use super::program::Account;
use super::{BrokerError, Door, HUB, Roster, Serial, Settings, io_error};
use crate::sys;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown,
};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Prepared directories.
#[derive(Debug, Clone)]
pub(super) struct Place {
    dir: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    reader: Option<Account>,
    /// What has been written, so that a file that would stay the same is left alone.
    written: BTreeMap<&'static str, Zeroizing<String>>,
    /// What the revocation list says; no two lists of the same are the same bytes.
    revoked: Option<BTreeSet<Serial>>,
}

impl Place {
    /// Makes the directories.
    pub(super) fn prepare(
        settings: &Settings,
        user: Option<&Account>,
    ) -> Result<Self, BrokerError> {
        let dir = settings.run_dir.clone();
        let door = dir.join("door");
        directory(&dir, 0o750, None, user)?;
        directory(&door, 0o700, user, user)?;
        directory(&settings.data_dir, 0o700, user, user)?;
        for made in [&dir, &settings.data_dir] {
            reachable(made, user)?;
        }
        Ok(Self {
            socket: door.join("hub.sock"),
            data: settings.data_dir.clone(),
            reader: user.cloned(),
            dir,
            written: BTreeMap::new(),
            revoked: None,
        })
    }

    /// The main file.
    pub(super) fn configuration(&self) -> PathBuf {
        self.dir.join("mosquitto.conf")
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.data.join("mosquitto.db")
    }

    /// A new password for the hub's own way in.
    pub(super) fn door(&self) -> Door {
        let mut secret = Zeroizing::new([0; 32]);
        sys::random(&mut *secret);
        let password = secret.iter().fold(Zeroizing::new(String::new()), |mut text, byte| {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        });
        Door { socket: self.socket.clone(), user: HUB, password }
    }

    /// Writes what does not change while the hub runs.
    pub(super) fn write_fixed(
        &mut self,
        settings: &Settings,
        listen: SocketAddr,
        door: &Door,
    ) -> Result<(), BrokerError> {
        let paths = Paths { dir: &self.dir, socket: &self.socket, data: &self.data };
        let main = configuration::settings(paths, listen, settings.memory);
        let mut salt = [0; 12];
        sys::random(&mut salt);
        self.write("mosquitto.conf", main.into())?;
        self.write("passwords", configuration::passwords(&door.password, salt).into())?;
        self.write("authority.pem", settings.tls.authority.clone().into())?;
        self.write("broker.pem", settings.tls.certificate.clone().into())?;
        self.write("broker.key", settings.tls.key.clone())
    }

    /// Writes the rules and the revocation list; false when they are what they were.
    pub(super) fn write_roster(
        &mut self,
        settings: &Settings,
        roster: &Roster,
    ) -> Result<bool, BrokerError> {
        let before = self.written.get("acl").cloned();
        self.write("acl", configuration::rules(roster).into())?;
        let changed = self.written.get("acl") != before.as_ref();
        if self.revoked.as_ref() == Some(&roster.revoked) {
            return Ok(changed);
        }
        self.write("revoked.pem", (settings.tls.revocation_list)(&roster.revoked).into())?;
        self.revoked = Some(roster.revoked.clone());
        Ok(true)
    }

    /// Replaces a file as a whole: a broker that reloads in this moment reads the old or the new.
    fn write(&mut self, name: &'static str, text: Zeroizing<String>) -> Result<(), BrokerError> {
        if self.written.get(name) == Some(&text) {
            return Ok(());
        }
        let path = self.dir.join(name);
        let new = self.dir.join(format!("{name}.new"));
        let make = || -> std::io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o640)
                .open(&new)?;
            file.set_permissions(Permissions::from_mode(0o640))?;
            if let Some(reader) = &self.reader {
                fchown(&file, None, Some(reader.gid.as_raw()))?;
            }
            file.write_all(text.as_bytes())?;
            std::fs::rename(&new, &path)
        };
        make().map_err(io_error("write", &path))?;
        self.written.insert(name, text);
        Ok(())
    }

    /// Moves a database away that mosquitto cannot read, so that it starts without.
    pub(super) fn set_database_aside(&self) -> Result<PathBuf, BrokerError> {
        let database = self.database();
        let aside = database.with_extension("db.unreadable");
        std::fs::rename(&database, &aside).map_err(io_error("move away", &database))?;
        // The name is what matters after a power cut; the broker may write a new one at any time.
        if let Ok(dir) = File::open(&self.data) {
            let _ = dir.sync_all();
        }
        Ok(aside)
    }
}

fn directory(
    path: &Path,
    mode: u32,
    owner: Option<&Account>,
    group: Option<&Account>,
) -> Result<(), BrokerError> {
    let make = || -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(mode).create(path)?;
        if owner.is_some() || group.is_some() {
            let owner = owner.map(|account| account.uid.as_raw());
            chown(path, owner, group.map(|account| account.gid.as_raw()))?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(mode))
    };
    make().map_err(io_error("make the directory", path))
}

/// Whether the user gets to the directory through those above it.
fn reachable(path: &Path, user: Option<&Account>) -> Result<(), BrokerError> {
    let Some(user) = user else { return Ok(()) };
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let Ok(found) = above.metadata() else { continue };
        let needed = if found.uid() == user.uid.as_raw() {
            0o100
        } else if found.gid() == user.gid.as_raw() {
            0o010
        } else {
            0o001
        };
        if found.mode() & needed == 0 {
            let directory = above.to_owned();
            return Err(BrokerError::Unreachable { user: user.name.clone(), directory });
        }
    }
    Ok(())
}
