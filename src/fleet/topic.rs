//! The topics of the fleet, version 1, and the filters that each side subscribes to.
//!
//! ```text
//! coracle/1/{cluster}/{device}/want          hub → device, retained
//! coracle/1/{cluster}/{device}/cmd           hub → device
//! coracle/1/{cluster}/{device}/ack           hub → device
//! coracle/1/{cluster}/{device}/state         device → hub, retained
//! coracle/1/{cluster}/{device}/live          device → hub, retained, and the device's last will
//! coracle/1/{cluster}/{device}/log/{stream}  device → hub
//! coracle/1/{cluster}/{device}/rpc/{id}      device → hub
//! coracle/1/{cluster}/hub                    hub → all, retained, and the hub's last will
//! coracle/1/{cluster}/doc/{sha256}           hub → all, retained
//! ```
//!
//! A topic comes from outside like any other byte: [`Topic::parse`] takes only what [`Topic`] itself would write. The
//! names in it have no `/`, `+` or `#` ([`ClusterName`], [`ContainerInstanceId`], [`Part`]), so that no name can reach
//! into the place of another. `hub` and `doc` are no devices: a device's id is 32 digits where it is made.

use crate::model::{ClusterName, ContainerInstanceId};
use std::fmt;

/// What all topics of this version begin with.
pub const ROOT: &str = "coracle/1";
/// Two names of 255, a part and the words between.
const LONGEST: usize = 640;
/// The longest [`Part`].
const LONGEST_PART: usize = 64;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Something between the hub and one device.
    Device(ClusterName, ContainerInstanceId, Channel),
    /// The hub itself, to all devices of a cluster.
    Hub(ClusterName),
    /// A signed body that several devices share.
    Doc(ClusterName, BodyHash),
}

/// What is said between the hub and one device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The desired document; down, retained.
    Want,
    /// Commands; down.
    Cmd,
    /// Up to where a stream of the outbox has arrived; down.
    Ack,
    /// The reported state; up, retained.
    State,
    /// Whether the device is connected; up, retained, and the last will.
    Live,
    /// A batch of a stream of the outbox; up.
    Log(Part),
    /// Answers of commands, and requests; up.
    Rpc(Part),
}

/// Why a topic was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Longer than any of ours.
    #[error("the topic has {0} bytes, and none of ours has more than {LONGEST}")]
    Long(usize),
    /// Another application's, another version's, or nothing we know.
    #[error("{0:?} is not a topic of this version")]
    Unknown(String),
    /// A stream's name or the id of an answer.
    #[error(
        "{0:?} is not valid in a topic: 1 to {LONGEST_PART} letters, numbers, hyphens and underscores are"
    )]
    Part(String),
    /// The hash of a body.
    #[error("{0:?} is not a SHA-256 in 64 hexadecimal digits in lower case")]
    Hash(String),
}

/// One level of a topic that is neither a cluster nor a device: a stream's name, or the id of an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part(String);

impl Part {
    /// Parses and checks it.
    ///
    /// # Errors
    /// [`TopicError::Part`] when it is no single level of a topic.
    pub fn new(part: impl Into<String>) -> Result<Self, TopicError> {
        let part = part.into();
        let fits = (1..=LONGEST_PART).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits { Ok(Self(part)) } else { Err(TopicError::Part(shortened(&part))) }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of a shared body, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyHash(String);

impl BodyHash {
    /// Parses and checks it.
    ///
    /// # Errors
    /// [`TopicError::Hash`] when it is anything else.
    pub fn new(hash: impl Into<String>) -> Result<Self, TopicError> {
        let hash = hash.into();
        let fits = hash.len() == 64
            && hash.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        if fits { Ok(Self(hash)) } else { Err(TopicError::Hash(shortened(&hash))) }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What came from outside, cut for a message.
fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}

impl Topic {
    /// The desired document of a device.
    #[must_use]
    pub fn want(cluster: &ClusterName, device: &ContainerInstanceId) -> Self {
        Self::Device(cluster.clone(), device.clone(), Channel::Want)
    }

    /// The commands of a device.
    #[must_use]
    pub fn cmd(cluster: &ClusterName, device: &ContainerInstanceId) -> Self {
        Self::Device(cluster.clone(), device.clone(), Channel::Cmd)
    }

    /// How far the streams of a device have arrived.
    #[must_use]
    pub fn ack(cluster: &ClusterName, device: &ContainerInstanceId) -> Self {
        Self::Device(cluster.clone(), device.clone(), Channel::Ack)
    }

    /// The reported state of a device.
    #[must_use]
    pub fn state(cluster: &ClusterName, device: &ContainerInstanceId) -> Self {
        Self::Device(cluster.clone(), device.clone(), Channel::State)
    }

    /// Whether a device is connected.
    #[must_use]
    pub fn live(cluster: &ClusterName, device: &ContainerInstanceId) -> Self {
        Self::Device(cluster.clone(), device.clone(), Channel::Live)
    }

    /// A stream of a device.
    #[must_use]
    pub fn log(cluster: &ClusterName, device: &ContainerInstanceId, stream: Part) -> Self {
        Self::Device(cluster.clone(), device.clone(), Channel::Log(stream))
    }

    /// An answer.
    #[must_use]
    pub fn rpc(cluster: &ClusterName, device: &ContainerInstanceId, id: Part) -> Self {
        Self::Device(cluster.clone(), device.clone(), Channel::Rpc(id))
    }

    /// Reads a topic as it came with a message.
    ///
    /// # Errors
    /// [`TopicError`] for whatever this version would not write.
    pub fn parse(topic: &str) -> Result<Self, TopicError> {
        if topic.len() > LONGEST {
            return Err(TopicError::Long(topic.len()));
        }
        let unknown = || TopicError::Unknown(shortened(topic));
        let levels = topic.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/'));
        let mut levels = levels.ok_or_else(unknown)?.split('/');
        let cluster = levels.next().ok_or_else(unknown)?;
        let cluster = ClusterName::new(cluster).map_err(|_| unknown())?;
        let device = |id: &str| ContainerInstanceId::new(id).map_err(|_| unknown());
        match (levels.next(), levels.next(), levels.next(), levels.next()) {
            (Some("hub"), None, None, None) => Ok(Self::Hub(cluster)),
            (Some("doc"), Some(hash), None, None) => Ok(Self::Doc(cluster, BodyHash::new(hash)?)),
            (Some("hub" | "doc"), ..) => Err(unknown()),
            (Some(id), Some(word), None, None) => {
                let channel = match word {
                    "want" => Channel::Want,
                    "cmd" => Channel::Cmd,
                    "ack" => Channel::Ack,
                    "state" => Channel::State,
                    "live" => Channel::Live,
                    _ => return Err(unknown()),
                };
                Ok(Self::Device(cluster, device(id)?, channel))
            }
            (Some(id), Some(word), Some(part), None) => {
                let channel: fn(Part) -> Channel = match word {
                    "log" => Channel::Log,
                    "rpc" => Channel::Rpc,
                    _ => return Err(unknown()),
                };
                Ok(Self::Device(cluster, device(id)?, channel(Part::new(part)?)))
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(cluster) => write!(f, "{ROOT}/{cluster}/hub"),
            Self::Doc(cluster, hash) => write!(f, "{ROOT}/{cluster}/doc/{hash}"),
            Self::Device(cluster, device, channel) => {
                write!(f, "{ROOT}/{cluster}/{device}/{channel}")
            }
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Want => f.write_str("want"),
            Self::Cmd => f.write_str("cmd"),
            Self::Ack => f.write_str("ack"),
            Self::State => f.write_str("state"),
            Self::Live => f.write_str("live"),
            Self::Log(stream) => write!(f, "log/{stream}"),
            Self::Rpc(id) => write!(f, "rpc/{id}"),
        }
    }
}

/// What to subscribe to: a topic, perhaps with wildcards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(String);

impl Filter {
    /// A filter of another making: for tests, and for what is not in the table.
    #[must_use]
    pub fn raw(filter: impl Into<String>) -> Self {
        Self(filter.into())
    }

    /// One topic.
    #[must_use]
    pub fn exact(topic: &Topic) -> Self {
        Self(topic.to_string())
    }

    /// All that a device listens to: its own, the hub, and the bodies it shares with others.
    #[must_use]
    pub fn of_device(cluster: &ClusterName, device: &ContainerInstanceId) -> Vec<Self> {
        let own = |word: &str| Self(format!("{ROOT}/{cluster}/{device}/{word}"));
        vec![
            own("want"),
            own("cmd"),
            own("ack"),
            Self::exact(&Topic::Hub(cluster.clone())),
            Self(format!("{ROOT}/{cluster}/doc/+")),
        ]
    }

    /// All that devices of all clusters say. These are no shared subscriptions: those bring no retained messages, and
    /// the hub wants the states that were reported while it was away.
    #[must_use]
    pub fn of_hub() -> Vec<Self> {
        // Presence first: a state of a session that is not known yet says nothing.
        ["live", "state", "log/+", "rpc/+"]
            .into_iter()
            .map(|word| Self(format!("{ROOT}/+/+/{word}")))
            .collect()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEVICE: &str = "0123456789abcdef0123456789abcdef";

    fn all() -> Vec<(String, Topic)> {
        let (cluster, device) =
            (ClusterName::new("edge").unwrap(), ContainerInstanceId::new(DEVICE).unwrap());
        let part = Part::new("events").unwrap();
        let hash = "ab".repeat(32);
        vec![
            (format!("coracle/1/edge/{DEVICE}/want"), Topic::want(&cluster, &device)),
            (format!("coracle/1/edge/{DEVICE}/cmd"), Topic::cmd(&cluster, &device)),
            (format!("coracle/1/edge/{DEVICE}/ack"), Topic::ack(&cluster, &device)),
            (format!("coracle/1/edge/{DEVICE}/state"), Topic::state(&cluster, &device)),
            (format!("coracle/1/edge/{DEVICE}/live"), Topic::live(&cluster, &device)),
            (
                format!("coracle/1/edge/{DEVICE}/log/events"),
                Topic::log(&cluster, &device, part.clone()),
            ),
            (format!("coracle/1/edge/{DEVICE}/rpc/events"), Topic::rpc(&cluster, &device, part)),
            ("coracle/1/edge/hub".to_owned(), Topic::Hub(cluster.clone())),
            (
                format!("coracle/1/edge/doc/{hash}"),
                Topic::Doc(cluster, BodyHash::new(hash).unwrap()),
            ),
        ]
    }

    #[test]
    fn every_topic_of_the_table_is_written_and_read() {
        for (text, topic) in all() {
            assert_eq!(topic.to_string(), text);
            assert_eq!(Topic::parse(&text), Ok(topic));
            // AWS IoT Core takes seven slashes at most.
            assert!(text.matches('/').count() <= 6, "{text}");
        }
    }

    #[test]
    fn whatever_else_is_refused() {
        for topic in [
            "",
            "/",
            "coracle/1",
            "coracle/1/",
            "coracle/1/edge",
            "coracle/1/edge/",
            "coracle/2/edge/hub",
            "/coracle/1/edge/hub",
            "coracle/1/edge/hub/",
            "coracle/1/edge/hub/want",
            "coracle/1/edge/doc",
            "coracle/1/edge/doc/AB",
            "coracle/1/edge/doc/want",
            "coracle/1/edge/box",
            "coracle/1/edge/box/",
            "coracle/1/edge/box/wants",
            "coracle/1/edge/box/want/",
            "coracle/1/edge/box/want/x",
            "coracle/1/edge/box/log",
            "coracle/1/edge/box/log/",
            "coracle/1/edge/box/log/a/b",
            "coracle/1/edge/box/log/+",
            "coracle/1/+/box/want",
            "coracle/1/edge/#",
            "coracle/1//box/want",
            "coracle/1/edge//want",
            "coracle/1/edge/b\u{f6}x/want",
            "coracle/1/edge/box/log/a\0b",
        ] {
            assert!(Topic::parse(topic).is_err(), "{topic:?}");
        }
        assert_eq!(Topic::parse(&"x".repeat(700)), Err(TopicError::Long(700)));
        let long = format!("coracle/1/edge/box/log/{}", "x".repeat(65));
        assert!(matches!(Topic::parse(&long), Err(TopicError::Part(_))));
    }

    #[test]
    fn filters_meet_the_topics_of_the_other_side() {
        let (cluster, device) =
            (ClusterName::new("edge").unwrap(), ContainerInstanceId::new(DEVICE).unwrap());
        let (down, up) = (Filter::of_device(&cluster, &device), Filter::of_hub());
        for (text, topic) in all() {
            let heard = |filters: &[Filter]| filters.iter().any(|f| meets(f.as_str(), &text));
            let (to_device, to_hub) = match &topic {
                Topic::Hub(_) | Topic::Doc(..) => (true, false),
                Topic::Device(.., channel) => match channel {
                    Channel::Want | Channel::Cmd | Channel::Ack => (true, false),
                    Channel::State | Channel::Live | Channel::Log(_) | Channel::Rpc(_) => {
                        (false, true)
                    }
                },
            };
            assert_eq!((heard(&down), heard(&up)), (to_device, to_hub), "{text}");
        }
    }

    /// The rule of MQTT for `+`; none of ours has a `#`.
    fn meets(filter: &str, topic: &str) -> bool {
        let (filter, topic) = (filter.split('/'), topic.split('/'));
        filter.clone().count() == topic.clone().count()
            && filter.zip(topic).all(|(filter, level)| filter == "+" || filter == level)
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(topic in "(coracle/1/)?[a-z0-9/+#_.-]{0,40}(hub|want|log/[a-z]{0,3})?") {
            if let Ok(read) = Topic::parse(&topic) {
                prop_assert_eq!(read.to_string(), topic);
            }
        }
    }
}
