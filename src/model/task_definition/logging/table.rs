//! The options of each log driver.

const JSON_FILE: &[&str] = &[
    "compress",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "max-file",
    "max-size",
    "mode",
    "tag",
];

const AWSLOGS: &[&str] = &[
    "awslogs-create-group",
    "awslogs-credentials-endpoint",
    "awslogs-datetime-format",
    "awslogs-endpoint",
    "awslogs-force-flush-interval-seconds",
    "awslogs-format",
    "awslogs-group",
    "awslogs-max-buffered-events",
    "awslogs-multiline-pattern",
    "awslogs-region",
    "awslogs-stream",
    "awslogs-stream-prefix",
    "max-buffer-size",
    "mode",
    "tag",
];

const SYSLOG: &[&str] = &[
    "cache-compress",
    "cache-disabled",
    "cache-max-file",
    "cache-max-size",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "mode",
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "tag",
];

const JOURNALD: &[&str] = &[
    "cache-compress",
    "cache-disabled",
    "cache-max-file",
    "cache-max-size",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "mode",
    "tag",
];

const FLUENTD: &[&str] = &[
    "cache-compress",
    "cache-disabled",
    "cache-max-file",
    "cache-max-size",
    "env",
    "env-regex",
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-connect",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "mode",
    "tag",
];

const GELF: &[&str] = &[
    "cache-compress",
    "cache-disabled",
    "cache-max-file",
    "cache-max-size",
    "env",
    "env-regex",
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "mode",
    "tag",
];

/// The supported drivers.
pub const DRIVERS: &[(&str, &[&str])] = &[
    ("json-file", JSON_FILE),
    ("awslogs", AWSLOGS),
    ("syslog", SYSLOG),
    ("journald", JOURNALD),
    ("fluentd", FLUENTD),
    ("gelf", GELF),
    ("none", &["max-buffer-size", "mode"]),
];

/// Options that Docker has and we do not, with what to do instead.
pub const REFUSED: &[(&str, &str)] = &[
    ("syslog-tls-ca-cert", "TLS is not supported: use tcp:// and leave it out"),
    ("syslog-tls-cert", "TLS is not supported: use tcp:// and leave it out"),
    ("syslog-tls-key", "TLS is not supported: use tcp:// and leave it out"),
    ("syslog-tls-skip-verify", "TLS is not supported: use tcp:// and leave it out"),
];

/// The options of a driver; none when it is not supported.
#[must_use]
pub fn options(driver: &str) -> Option<&'static [&'static str]> {
    DRIVERS.iter().find(|(name, _)| *name == driver).map(|(_, options)| *options)
}

/// The names of the supported drivers, for an error.
pub(super) fn names() -> String {
    DRIVERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
