//! `[fleet]`: how a box speaks to its hub's broker, as far as the hub does not say.

use super::ConfigError;
use super::value::{Given, at_least, total};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How a box speaks to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// Silence after which each end asks whether the other is still there; none for the usual.
    pub keep_alive: Option<Duration>,
    /// What is spoken.
    pub mqtt_version: MqttVersion,
    /// A file with one line `USER:PASSWORD`.
    pub broker_credentials: Option<PathBuf>,
    /// The authorities of the broker's certificate, in PEM, in place of those that the hub names.
    pub broker_ca: Option<PathBuf>,
    /// Which logs of containers the hub gets.
    pub forward_logs: ForwardLogs,
    /// How many bytes of them a second, at most; zero is any number.
    pub forward_logs_rate: u64,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            keep_alive: None,
            mqtt_version: MqttVersion::Auto,
            broker_credentials: None,
            broker_ca: None,
            forward_logs: ForwardLogs::Labelled,
            forward_logs_rate: 64 << 10,
        }
    }
}

/// Which logs of containers the hub gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardLogs {
    /// None.
    Off,
    /// Those of containers with the label `coracle.forward-logs`.
    Labelled,
    /// All, but those of containers whose label says `false`.
    All,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// 5, and 3.1.1 with a broker that does not know 5.
    #[default]
    Auto,
    /// 5.
    V5,
    /// 3.1.1.
    V311,
}

/// The section as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenFleet {
    keep_alive: Option<String>,
    mqtt_version: Option<String>,
    broker_credentials: Option<PathBuf>,
    broker_ca: Option<PathBuf>,
    forward_logs: Option<String>,
    forward_logs_rate: Option<String>,
}

impl WrittenFleet {
    /// Checked; `origin` says where a key stands.
    pub(super) fn settings(
        self,
        origin: impl Fn(&str) -> String,
    ) -> Result<FleetSettings, ConfigError> {
        let given = |key: &str, value: String| Given { value, origin: origin(key) };
        let keep_alive = self.keep_alive.map(|text| {
            let given = given("fleet.keep_alive", text);
            let keep_alive = at_least(&given, Duration::from_secs(5), "5s")?;
            if keep_alive > Duration::from_secs(65_535) {
                return Err(given.invalid("it must be 65535s or less, as MQTT has it"));
            }
            Ok(keep_alive)
        });
        let version = self.mqtt_version.map(|text| match text.as_str() {
            "auto" => Ok(MqttVersion::Auto),
            "5" => Ok(MqttVersion::V5),
            "3.1.1" => Ok(MqttVersion::V311),
            _ => Err(given("fleet.mqtt_version", text).invalid("it must be auto, 5 or 3.1.1")),
        });
        let default = FleetSettings::default();
        let forward_logs = self.forward_logs.map(|text| match text.as_str() {
            "off" => Ok(ForwardLogs::Off),
            "labelled" => Ok(ForwardLogs::Labelled),
            "all" => Ok(ForwardLogs::All),
            _ => {
                let given = given("fleet.forward_logs", text);
                Err(given.invalid("it must be off, labelled or all"))
            }
        });
        let rate =
            self.forward_logs_rate.map(|text| total(&given("fleet.forward_logs_rate", text)));
        let path = |key: &str, path: Option<PathBuf>| match path {
            Some(path) if !path.is_absolute() => {
                Err(given(key, path.display().to_string()).invalid("it must be an absolute path"))
            }
            path => Ok(path),
        };
        Ok(FleetSettings {
            keep_alive: keep_alive.transpose()?,
            mqtt_version: version.transpose()?.unwrap_or_default(),
            broker_credentials: path("fleet.broker_credentials", self.broker_credentials)?,
            broker_ca: path("fleet.broker_ca", self.broker_ca)?,
            forward_logs: forward_logs.transpose()?.unwrap_or(default.forward_logs),
            forward_logs_rate: rate.transpose()?.unwrap_or(default.forward_logs_rate),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FleetSettings, String> {
        let written: WrittenFleet = toml::from_str(text).map_err(|error| error.to_string())?;
        written.settings(ToOwned::to_owned).map_err(|error| error.to_string())
    }

    #[test]
    fn the_section_is_checked_key_by_key() {
        assert_eq!(read(""), Ok(FleetSettings::default()));
        let text = "keep_alive = \"30s\"\nmqtt_version = \"3.1.1\"\nbroker_ca = \"/ca.pem\"\nforward_logs = \"all\"\nforward_logs_rate = \"0\"";
        let settings = read(text).unwrap();
        assert_eq!(settings.keep_alive, Some(Duration::from_secs(30)));
        assert_eq!(settings.mqtt_version, MqttVersion::V311);
        assert_eq!((settings.forward_logs, settings.forward_logs_rate), (ForwardLogs::All, 0));
        for (text, key) in [
            ("keep_alive = \"1s\"", "fleet.keep_alive"),
            ("keep_alive = \"30h\"", "fleet.keep_alive"),
            ("mqtt_version = \"4\"", "fleet.mqtt_version"),
            ("broker_ca = \"ca.pem\"", "fleet.broker_ca"),
            ("broker = \"x\"", "broker"),
            ("forward_logs = \"some\"", "fleet.forward_logs"),
            ("forward_logs_rate = \"1\"", "fleet.forward_logs_rate"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
