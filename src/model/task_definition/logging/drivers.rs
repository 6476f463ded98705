//! The drivers and what each is told.

use super::LogProblem;
use super::address::Address;
use super::tag::Tag;
use super::values::{Values, problem};

/// Where output goes, besides the local store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Nowhere else: `json-file` and `awslogs`. The tag is part of each line when there is one.
    Local(Option<Tag>),
    /// Nowhere at all.
    None,
    /// A syslog daemon.
    Syslog(Syslog),
    /// The journal of this box.
    Journald(Tag),
    /// Fluentd or Fluent Bit.
    Fluentd(Fluentd),
    /// Graylog and others.
    Gelf(Gelf),
}

/// What `syslog` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// The daemon.
    pub address: Address,
    /// `syslog-facility`, as its number.
    pub facility: u8,
    /// `syslog-format`.
    pub format: SyslogFormat,
    /// `tag`.
    pub tag: Tag,
}

/// `syslog-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogFormat {
    /// As programs of the box write to their daemon: without a host.
    Local,
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424 with seconds.
    Rfc5424,
    /// RFC 5424 with microseconds.
    Rfc5424Micro,
}

/// What `fluentd` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fluentd {
    /// The daemon.
    pub address: Address,
    /// `tag`.
    pub tag: Tag,
    /// `fluentd-sub-second-precision`.
    pub sub_second: bool,
    /// `fluentd-retry-wait`: the shortest pause between attempts, in milliseconds.
    pub retry_wait: u64,
}

/// What `gelf` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gelf {
    /// The receiver.
    pub address: Address,
    /// `tag`.
    pub tag: Tag,
    /// `gelf-compression-type`; over UDP only.
    pub compression: Compression,
    /// `gelf-compression-level`, 0 to 9; the library's own without one.
    pub level: Option<u32>,
    /// `gelf-tcp-reconnect-delay`: the shortest pause between attempts, in milliseconds.
    pub retry_wait: u64,
}

/// `gelf-compression-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// `gzip`
    Gzip,
    /// `zlib`
    Zlib,
    /// `none`
    None,
}

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

impl Driver {
    pub(super) fn read(name: &str, values: &Values<'_>) -> Result<Self, LogProblem> {
        Ok(match name {
            "none" => Self::None,
            "syslog" => Self::Syslog(syslog(values)?),
            "journald" => Self::Journald(Tag::read(values)?),
            "fluentd" => Self::Fluentd(fluentd(values)?),
            "gelf" => Self::Gelf(gelf(values)?),
            _ => {
                awslogs(values)?;
                let tag = Tag::read(values)?;
                Self::Local(values.text("tag").map(|_| tag))
            }
        })
    }

    /// The receiver, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Local(_) | Self::None => None,
            Self::Syslog(syslog) => Some(syslog.address.clone()),
            Self::Journald(_) => {
                Some(Address::UnixDatagram(vec!["/run/systemd/journal/socket".to_owned()]))
            }
            Self::Fluentd(fluentd) => Some(fluentd.address.clone()),
            Self::Gelf(gelf) => Some(gelf.address.clone()),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Local(_) => "json-file",
            Self::None => "none",
            Self::Syslog(_) => "syslog",
            Self::Journald(_) => "journald",
            Self::Fluentd(_) => "fluentd",
            Self::Gelf(_) => "gelf",
        }
    }
}

/// Nothing is sent to AWS from here, but a slip must not wait for the day that something is.
fn awslogs(values: &Values<'_>) -> Result<(), LogProblem> {
    values.flag("awslogs-create-group")?;
    values.regex("awslogs-multiline-pattern")?;
    values.number("awslogs-force-flush-interval-seconds")?;
    values.number("awslogs-max-buffered-events")?;
    values.one_of("awslogs-format", &["json/emf"])?;
    let both = ["awslogs-datetime-format", "awslogs-multiline-pattern"];
    if both.iter().all(|name| values.text(name).is_some()) {
        return Err(problem(both[0], format!("it excludes {}: leave one of them out", both[1])));
    }
    Ok(())
}

fn syslog(values: &Values<'_>) -> Result<Syslog, LogProblem> {
    let schemes = ["udp", "tcp", "unix", "unixgram"];
    let given = values.text("syslog-address");
    if given.is_some_and(|text| !text.contains("://")) {
        return Err(problem(
            "syslog-address",
            "it must begin with udp://, tcp://, unix:// or unixgram://",
        ));
    }
    // Where daemons listen on a box.
    let local = || ["/dev/log", "/var/run/syslog", "/var/run/log"].map(str::to_owned).to_vec();
    let address = Address::read(values, "syslog-address", &schemes, Some(514))?
        .unwrap_or_else(|| Address::UnixDatagram(local()));
    let formats = ["rfc3164", "rfc5424", "rfc5424micro"];
    Ok(Syslog {
        address,
        facility: facility(values)?,
        format: match values.one_of("syslog-format", &formats)? {
            Some("rfc3164") => SyslogFormat::Rfc3164,
            Some("rfc5424") => SyslogFormat::Rfc5424,
            Some(_) => SyslogFormat::Rfc5424Micro,
            None => SyslogFormat::Local,
        },
        tag: Tag::read(values)?,
    })
}

fn facility(values: &Values<'_>) -> Result<u8, LogProblem> {
    let Some(text) = values.text("syslog-facility") else { return Ok(3) };
    let named = FACILITIES.iter().position(|name| *name == text);
    named
        .and_then(|at| u8::try_from(at).ok())
        .or_else(|| text.parse().ok().filter(|number| *number < 24))
        .ok_or_else(|| problem("syslog-facility", "it must be a facility such as daemon or local0"))
}

fn fluentd(values: &Values<'_>) -> Result<Fluentd, LogProblem> {
    // Nothing here ever waits for the daemon, so asking for that changes nothing.
    values.flag("fluentd-async")?;
    values.flag("fluentd-async-connect")?;
    values.duration("fluentd-async-reconnect-interval", 1)?;
    values.size("fluentd-buffer-limit")?;
    values.number("fluentd-max-retries")?;
    values.duration("fluentd-write-timeout", 1)?;
    if values.flag("fluentd-request-ack")? == Some(true) {
        return Err(problem(
            "fluentd-request-ack",
            "acknowledgements are not supported: set it to false",
        ));
    }
    let address = Address::read(values, "fluentd-address", &["tcp", "unix"], Some(24224))?;
    Ok(Fluentd {
        address: address.unwrap_or_else(|| Address::Tcp("127.0.0.1".to_owned(), 24224)),
        tag: Tag::read(values)?,
        sub_second: values.flag("fluentd-sub-second-precision")?.unwrap_or(false),
        retry_wait: values.duration("fluentd-retry-wait", 1)?.unwrap_or(1000),
    })
}

fn gelf(values: &Values<'_>) -> Result<Gelf, LogProblem> {
    let address = match Address::read(values, "gelf-address", &["udp", "tcp"], Some(12201))? {
        Some(address) => address,
        // Known when the task starts.
        None if values.is_open("gelf-address") => Address::Udp("localhost".to_owned(), 12201),
        None => return Err(problem("gelf-address", "gelf needs it: set it to udp://HOST:PORT")),
    };
    let level = values.text("gelf-compression-level").map(str::parse::<i32>);
    let level = match level {
        None | Some(Ok(-1)) => None,
        Some(Ok(level)) if (0..=9).contains(&level) => u32::try_from(level).ok(),
        Some(_) => return Err(problem("gelf-compression-level", "it must be from -1 to 9")),
    };
    let kind = values.one_of("gelf-compression-type", &["gzip", "zlib", "none"])?;
    // An address that is not known yet is judged when it is.
    let (foreign, only) = match &address {
        _ if values.is_open("gelf-address") => ([""; 2], ""),
        Address::Udp(..) => (["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"], "tcp"),
        _ => (["gelf-compression-type", "gelf-compression-level"], "udp"),
    };
    if let Some(name) = foreign.into_iter().find(|name| values.text(name).is_some()) {
        return Err(problem(name, format!("it is for {only} only: leave it out")));
    }
    values.number("gelf-tcp-max-reconnect")?;
    Ok(Gelf {
        address,
        tag: Tag::read(values)?,
        compression: match kind {
            Some("zlib") => Compression::Zlib,
            Some("none") => Compression::None,
            _ => Compression::Gzip,
        },
        level,
        retry_wait: values.duration("gelf-tcp-reconnect-delay", 1000)?.unwrap_or(1000),
    })
}
