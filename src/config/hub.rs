//! The settings of a hub: flags, then the configuration file, then defaults. `configs/hub.toml` is the commented file
//! that equals the defaults. There are no variables: those of `CORACLE_*` are an agent's, and both may be on one machine.

use super::remote_broker::{broker_hosts, broker_url};
use super::value::{
    Given, account_id, address, at_least, kept_for, log, pool, region_name, size, total,
};
use super::{BrokerHost, RemoteBroker};
use super::{ConfigError, ContainerLog, parse, socket};
use crate::model::Scope;
use crate::plan::Settings;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct HubConfig {
    /// Where everything is kept that must survive a reboot.
    pub state_dir: PathBuf,
    /// Where the socket is.
    pub run_dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where boxes connect to the broker that the hub starts.
    pub mqtt_listen: SocketAddr,
    /// The names and addresses in the broker's certificate beside those of the machine; boxes are told the first.
    pub mqtt_advertise: Vec<BrokerHost>,
    /// How long certificates of boxes are valid; at least an hour.
    pub certificate_lifetime: Duration,
    /// A broker that runs elsewhere, and is used instead of one of our own.
    pub broker: Option<RemoteBroker>,
    /// Region and account of ARNs.
    pub scope: Scope,
    /// How long stopped tasks stay describable; at least an hour.
    pub stopped_task_retention: Duration,
    /// How many stopped tasks are kept at most.
    pub stopped_tasks_kept: usize,
    /// Capacity providers that are there without any box.
    pub capacity_providers: BTreeSet<String>,
    /// The file of the faults that simulated tasks meet.
    pub faults: Option<PathBuf>,
    /// How much is stored of the logs of boxes.
    pub container_log: ContainerLog,
    /// Bytes of the logs of one box; zero is any number.
    pub container_log_max_total_of_box: u64,
    /// What is logged.
    pub log: Targets,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/coracle-hub".into(),
            run_dir: "/run/coracle-hub".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 51678)),
            mqtt_listen: SocketAddr::from(([0, 0, 0, 0], 8883)),
            mqtt_advertise: Vec::new(),
            certificate_lifetime: Duration::from_hours(90 * 24),
            broker: None,
            scope: Scope::default(),
            stopped_task_retention: Duration::from_hours(3),
            stopped_tasks_kept: 10_000,
            capacity_providers: BTreeSet::new(),
            faults: None,
            container_log: ContainerLog {
                max_size: 10 << 20,
                max_file: 3,
                max_age: Duration::from_hours(30 * 24),
                max_total: 10 << 30,
            },
            container_log_max_total_of_box: 256 << 20,
            log: Targets::new().with_default(LevelFilter::INFO),
        }
    }
}

/// What the command line sets; each wins over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubOverrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--run-dir`.
    pub run_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--mqtt-listen`.
    pub mqtt_listen: Option<SocketAddr>,
    /// `--mqtt-advertise`, each.
    pub mqtt_advertise: Vec<String>,
    /// `--broker`.
    pub broker: Option<String>,
    /// `--broker-credentials`.
    pub broker_credentials: Option<PathBuf>,
    /// `--broker-ca`.
    pub broker_ca: Option<PathBuf>,
    /// `--region`.
    pub region: Option<String>,
    /// `--account`.
    pub account: Option<String>,
    /// `--faults`.
    pub faults: Option<PathBuf>,
    /// `--log`.
    pub log: Option<String>,
}

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "/etc/coracle/hub.toml";

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    state_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    listen: Option<String>,
    mqtt_listen: Option<String>,
    mqtt_advertise: Option<Vec<String>>,
    certificate_lifetime: Option<String>,
    broker: Option<String>,
    broker_credentials: Option<PathBuf>,
    broker_ca: Option<PathBuf>,
    region: Option<String>,
    account: Option<String>,
    stopped_task_retention: Option<String>,
    stopped_tasks_kept: Option<usize>,
    capacity_providers: Option<BTreeSet<String>>,
    faults: Option<PathBuf>,
    container_log_max_size: Option<String>,
    container_log_max_file: Option<u32>,
    container_log_max_age: Option<String>,
    container_log_max_total: Option<String>,
    container_log_max_total_of_box: Option<String>,
    log: Option<String>,
}

impl HubConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(overrides: &HubOverrides) -> Result<Self, ConfigError> {
        let path = Self::file(overrides);
        let written = match parse::read_file::<Written>(&path) {
            Err(ConfigError::Unreadable { source, .. })
                if overrides.config.is_none() && source.kind() == std::io::ErrorKind::NotFound =>
            {
                Written::default()
            }
            read => read?,
        };
        merge(overrides, written, &path)
    }

    /// The file that [`HubConfig::load`] reads, whether or not it is there.
    #[must_use]
    pub fn file(overrides: &HubOverrides) -> PathBuf {
        overrides.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
    }

    /// What the planners need of it, in a simulation.
    #[must_use]
    pub fn simulation(&self) -> Settings {
        Settings { simulated: true, ..self.settings(0) }
    }

    /// What the planners need of it, after this many restorations.
    #[must_use]
    pub fn settings(&self, epoch: u64) -> Settings {
        Settings {
            scope: self.scope.clone(),
            epoch,
            stopped_task_retention: self.stopped_task_retention,
            stopped_tasks_kept: self.stopped_tasks_kept,
            capacity_providers: self.capacity_providers.clone(),
            ..Settings::default()
        }
    }

    /// The API's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(&self.run_dir)
    }

    /// The store's directory.
    #[must_use]
    pub fn store_dir(&self) -> PathBuf {
        self.state_dir.join("store")
    }
}

fn merge(overrides: &HubOverrides, file: Written, path: &Path) -> Result<HubConfig, ConfigError> {
    let default = HubConfig::default();
    let origin = |key: &str| format!("`{key}` in {}", path.display());
    let given = |key: &str, flag: &Option<String>, file: Option<String>| match (flag, file) {
        (Some(value), _) => Some(Given { value: value.clone(), origin: format!("--{key}") }),
        (None, Some(value)) => Some(Given { value, origin: origin(key) }),
        (None, None) => None,
    };
    let dir = |key: &str, flag: &Option<PathBuf>, file: Option<PathBuf>| {
        let Some(given) = flag.clone().or(file) else { return Ok(None) };
        std::path::absolute(&given).map(Some).map_err(|_| ConfigError::Invalid {
            origin: origin(key),
            value: given.display().to_string(),
            rule: "it must be a path".to_owned(),
        })
    };
    let listen = match overrides.listen {
        Some(listen) => listen,
        None => address(given("listen", &None, file.listen), default.listen)?,
    };
    let mqtt_listen = match overrides.mqtt_listen {
        Some(listen) => listen,
        None => address(given("mqtt_listen", &None, file.mqtt_listen), default.mqtt_listen)?,
    };
    let advertised = match (&overrides.mqtt_advertise, file.mqtt_advertise.unwrap_or_default()) {
        (flags, hosts) if flags.is_empty() => (hosts, origin("mqtt_advertise")),
        (flags, _) => (flags.clone(), "--mqtt-advertise".to_owned()),
    };
    let mqtt_advertise = broker_hosts(advertised.0, &advertised.1)?;
    let credentials =
        dir("broker_credentials", &overrides.broker_credentials, file.broker_credentials)?;
    let ca = dir("broker_ca", &overrides.broker_ca, file.broker_ca)?;
    let broker = if let Some(url) = given("broker", &overrides.broker, file.broker) {
        Some(RemoteBroker { url: broker_url(&url)?, credentials, ca })
    } else {
        let alone = [("broker_credentials", credentials), ("broker_ca", ca)];
        if let Some((key, Some(path))) = alone.into_iter().find(|(_, path)| path.is_some()) {
            let value = path.display().to_string();
            let rule = "it goes with a broker that runs elsewhere (broker, --broker)".to_owned();
            return Err(ConfigError::Invalid { origin: origin(key), value, rule });
        }
        None
    };
    let region = given("region", &overrides.region, file.region).as_ref().map(region_name);
    let account = given("account", &overrides.account, file.account).as_ref().map(account_id);
    let retention = given("stopped_task_retention", &None, file.stopped_task_retention)
        .as_ref()
        .map(|given| at_least(given, Duration::from_hours(1), "1h"));
    let lifetime = given("certificate_lifetime", &None, file.certificate_lifetime)
        .as_ref()
        .map(|given| at_least(given, Duration::from_mins(1), "1m"));
    let bytes = |key: &str, text: Option<String>, default: u64| {
        given(key, &None, text).as_ref().map_or(Ok(default), total)
    };
    let logs = default.container_log;
    let max_age = given("container_log_max_age", &None, file.container_log_max_age);
    let container_log = ContainerLog {
        max_size: given("container_log_max_size", &None, file.container_log_max_size)
            .as_ref()
            .map_or(Ok(logs.max_size), size)?,
        max_file: file.container_log_max_file.unwrap_or(logs.max_file),
        max_age: max_age.as_ref().map_or(Ok(logs.max_age), kept_for)?,
        max_total: bytes("container_log_max_total", file.container_log_max_total, logs.max_total)?,
    };
    if container_log.max_file == 0 {
        let rule = "it must be at least 1".to_owned();
        let origin = origin("container_log_max_file");
        return Err(ConfigError::Invalid { origin, value: "0".to_owned(), rule });
    }
    let of_box = bytes(
        "container_log_max_total_of_box",
        file.container_log_max_total_of_box,
        default.container_log_max_total_of_box,
    )?;
    let levels = given("log", &overrides.log, file.log).as_ref().map(log);
    let pools = file.capacity_providers.unwrap_or_default();
    for name in &pools {
        pool(&Given { value: name.clone(), origin: origin("capacity_providers") })?;
    }
    Ok(HubConfig {
        state_dir: dir("state_dir", &overrides.state_dir, file.state_dir)?
            .unwrap_or(default.state_dir),
        run_dir: dir("run_dir", &overrides.run_dir, file.run_dir)?.unwrap_or(default.run_dir),
        listen,
        mqtt_listen,
        mqtt_advertise,
        certificate_lifetime: lifetime.transpose()?.unwrap_or(default.certificate_lifetime),
        broker,
        scope: Scope {
            region: region.transpose()?.unwrap_or(default.scope.region),
            account: account.transpose()?.unwrap_or(default.scope.account),
        },
        stopped_task_retention: retention.transpose()?.unwrap_or(default.stopped_task_retention),
        stopped_tasks_kept: file.stopped_tasks_kept.unwrap_or(default.stopped_tasks_kept),
        capacity_providers: pools,
        faults: dir("faults", &overrides.faults, file.faults)?,
        container_log,
        container_log_max_total_of_box: of_box,
        log: levels.transpose()?.unwrap_or(default.log),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn load(text: &str, mut overrides: HubOverrides) -> Result<HubConfig, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        overrides.config = Some(file.path().to_owned());
        HubConfig::load(&overrides)
    }

    #[test]
    fn the_file_that_is_shipped_equals_the_defaults() {
        let text = include_str!("../../configs/hub.toml");
        assert_eq!(load(text, HubOverrides::default()).unwrap(), HubConfig::default());
        assert_eq!(load("", HubOverrides::default()).unwrap(), HubConfig::default());
    }

    #[test]
    fn flags_win_and_what_is_wrong_is_named() {
        let flags = HubOverrides {
            listen: Some("127.0.0.1:1".parse().unwrap()),
            region: Some("eu-west-1".to_owned()),
            ..HubOverrides::default()
        };
        let config = load("region = 'file'\naccount = '123456789012'", flags).unwrap();
        assert_eq!((config.listen.port(), config.scope.region.as_str()), (1, "eu-west-1"));
        assert_eq!(config.scope.account, "123456789012");
        let text = "broker = 'mqtt://[::1]'\nbroker_credentials = '/etc/user'\nmqtt_advertise = ['hub.example:443']";
        let config = load(text, HubOverrides::default()).unwrap();
        let broker = config.broker.unwrap();
        assert_eq!((broker.url.as_str(), broker.ca), ("mqtt://[::1]", None));
        assert_eq!(broker.credentials, Some("/etc/user".into()));
        assert_eq!(config.mqtt_advertise[0].to_string(), "hub.example:443");
        for (text, named) in [
            ("account = '1'", "twelve digits"),
            ("stopped_task_retention = '1m'", "at least 1h"),
            ("listen = 'here'", "ADDRESS:PORT"),
            ("certificate_lifetime = '1s'", "at least 1m"),
            ("cluster = 'x'", "cluster"),
            ("capacity_providers = ['ecs-x']", "capacity_providers"),
            ("mqtt_listen = '8883'", "ADDRESS:PORT"),
            ("mqtt_advertise = ['hub.example']", "HOST:PORT"),
            ("broker = 'https://broker'", "mqtts://"),
            ("broker_ca = '/ca.pem'", "--broker"),
            ("log = 'loud'", "loud"),
            ("container_log_max_size = '1'", "container_log_max_size"),
            ("container_log_max_file = 0", "container_log_max_file"),
            ("container_log_max_age = '1s'", "container_log_max_age"),
            ("container_log_max_total_of_box = '1'", "container_log_max_total_of_box"),
        ] {
            let error = load(text, HubOverrides::default()).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
