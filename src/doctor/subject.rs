//! What is looked over: where the system's files are, the settings, and what several checks read.

use super::feature;
use super::socket::{self, Answer};
use crate::auth::fleet::{DeviceIdentity, FileError};
use crate::config::{Config, HubConfig};
use crate::model::Timestamp;
use crate::plan::World;
use crate::store::{self, StoreError, inspect};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The largest file of the system that is read.
const LARGEST: u64 = 4 << 20;
/// For the agent's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is looked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A box and its agent.
    Box,
    /// A hub.
    Hub,
}

/// The settings of a box or a hub.
#[derive(Debug, Clone)]
pub enum Where {
    /// An agent's.
    Box(Box<Config>),
    /// A hub's.
    Hub(Box<HubConfig>),
}

/// What is looked over.
#[derive(Debug)]
pub struct Subject {
    root: PathBuf,
    settings: Where,
    /// The file of the settings, and what is wrong with them.
    pub(super) file: PathBuf,
    pub(super) fault: Option<String>,
    is_root: bool,
    store: OnceLock<Stored>,
    identity: OnceLock<Result<Option<DeviceIdentity>, FileError>>,
    version: OnceLock<Answer>,
    symbols: OnceLock<Option<BTreeSet<&'static str>>>,
}

/// What is in the store.
#[derive(Debug)]
pub(super) enum Stored {
    /// There is none.
    Missing,
    /// It may not be read.
    Private,
    /// It cannot be read.
    Broken(StoreError),
    /// It holds a schema that this version does not read: the number.
    OtherSchema(u64),
    /// It holds this.
    Whole(Box<World>, inspect::Summary),
}

impl Subject {
    /// This machine, by settings from `file`. Settings that were refused (`fault`) are those of the directories alone.
    #[must_use]
    pub fn new(settings: Where, file: PathBuf, fault: Option<String>) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Self::with(PathBuf::from("/"), settings, file, fault, is_root)
    }

    fn with(
        root: PathBuf,
        settings: Where,
        file: PathBuf,
        fault: Option<String>,
        is_root: bool,
    ) -> Self {
        let (store, identity) = (OnceLock::new(), OnceLock::new());
        let (version, symbols) = (OnceLock::new(), OnceLock::new());
        Self { root, settings, file, fault, is_root, store, identity, version, symbols }
    }

    /// A box whose files are below `root`, for tests.
    #[cfg(test)]
    pub(super) fn at(root: impl Into<PathBuf>) -> Self {
        let root: PathBuf = root.into();
        let config = Config {
            state_dir: root.join("var/lib/coracle"),
            run_dir: root.join("run/coracle"),
            ..Config::default()
        };
        Self::with(root, Where::Box(Box::new(config)), "agent.toml".into(), None, false)
    }

    /// The same with other settings, for tests.
    #[cfg(test)]
    pub(super) fn configured(mut self, change: impl FnOnce(&mut Config)) -> Self {
        if let Where::Box(config) = &mut self.settings {
            change(config);
        }
        self
    }

    /// What it is.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.settings {
            Where::Box(_) => Role::Box,
            Where::Hub(_) => Role::Hub,
        }
    }

    /// Whether this is root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.is_root
    }

    /// A path of the system.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file of the system; none when it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        text(&self.path(path))
    }

    /// What the kernel's symbols say of its modules.
    pub(super) fn symbols(&self) -> Option<&BTreeSet<&'static str>> {
        self.symbols.get_or_init(|| feature::symbols(self)).as_ref()
    }

    /// The names in a directory of the system, sorted.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        names(&self.path(path))
    }

    /// The first of these that there is.
    pub(super) fn first<'a>(&self, paths: &[&'a str]) -> Option<&'a str> {
        paths.iter().copied().find(|path| self.path(path).exists())
    }

    /// The settings of an agent; none of a hub.
    pub(super) fn config(&self) -> Option<&Config> {
        match &self.settings {
            Where::Box(config) => Some(config),
            Where::Hub(_) => None,
        }
    }

    /// The settings of a hub.
    pub(super) fn hub(&self) -> Option<&HubConfig> {
        match &self.settings {
            Where::Hub(config) => Some(config),
            Where::Box(_) => None,
        }
    }

    pub(super) fn state_dir(&self) -> &Path {
        match &self.settings {
            Where::Box(config) => &config.state_dir,
            Where::Hub(config) => &config.state_dir,
        }
    }

    pub(super) fn run_dir(&self) -> &Path {
        match &self.settings {
            Where::Box(config) => &config.run_dir,
            Where::Hub(config) => &config.run_dir,
        }
    }

    pub(super) fn listen(&self) -> SocketAddr {
        match &self.settings {
            Where::Box(config) => config.listen,
            Where::Hub(config) => config.listen,
        }
    }

    /// `coracle` or `coracle-hub`: the systemd unit.
    pub(super) fn unit(&self) -> &'static str {
        match self.role() {
            Role::Box => "coracle",
            Role::Hub => "coracle-hub",
        }
    }

    /// `agent` or `hub`.
    pub(super) fn who(&self) -> &'static str {
        match self.role() {
            Role::Box => "agent",
            Role::Hub => "hub",
        }
    }

    /// What answers a request to the unix socket.
    pub(super) fn ask(&self, request: &str, body: &str) -> Answer {
        socket::ask(&crate::config::socket(self.run_dir()), request, body, PATIENCE)
    }

    /// What the agent says of its version.
    pub(super) fn version(&self) -> &Answer {
        self.version.get_or_init(|| self.ask("GET /coracle/v1/version", ""))
    }

    /// Whether there is no agent: one that is stuck is there.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.version(), Answer::Nobody)
    }

    /// What is in the store.
    pub(super) fn store(&self) -> &Stored {
        self.store.get_or_init(|| self.read_store())
    }

    /// The stored world, if it can be read.
    pub(super) fn world(&self) -> Option<&World> {
        match self.store() {
            Stored::Whole(world, _) => Some(world),
            _ => None,
        }
    }

    fn read_store(&self) -> Stored {
        let dir = self.state_dir().join("store");
        match inspect::read(&dir) {
            Ok(None) => Stored::Missing,
            Ok(Some(read)) if read.schema != store::schema::CURRENT => {
                Stored::OtherSchema(read.schema)
            }
            Ok(Some(read)) => {
                let mut world = read.world;
                if self.role() == Role::Box {
                    let this = read.meta.get("containerInstance");
                    world.settings.this_instance =
                        this.and_then(|id| serde_json::from_value(id.clone()).ok());
                }
                Stored::Whole(Box::new(world), read.summary)
            }
            Err(StoreError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Stored::Private
            }
            Err(error) => Stored::Broken(error),
        }
    }

    /// The box's membership of a fleet, as its files have it.
    pub(super) fn identity(&self) -> &Result<Option<DeviceIdentity>, FileError> {
        self.identity.get_or_init(|| DeviceIdentity::look(self.state_dir()))
    }

    /// What the clock says.
    pub(super) fn now() -> Timestamp {
        crate::sys::now()
    }
}

/// The text of a file; none when it cannot be read.
pub(super) fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names in a directory, sorted.
pub(super) fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Makes files below a directory, for tests: `(path, text)`.
#[cfg(test)]
pub(super) fn a_box(files: &[(&str, &str)]) -> (tempfile::TempDir, Subject) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let subject = Subject::at(dir.path());
    (dir, subject)
}
