//! Why a box cannot have a task, in the words of ECS.

use super::needs::HostPort;
use crate::model::{ContainerInstanceId, Failure};
use std::fmt::{self, Display, Formatter};

/// What keeps a task from one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lack {
    /// The box.
    pub(crate) instance: ContainerInstanceId,
    /// What it is.
    pub(crate) missing: Missing,
}

/// What is missing; those that a box comes to first stand first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is draining.
    Draining,
    /// Its agent is not connected.
    Agent,
    /// It is not what the definition asks for: the text says how.
    Attribute(String),
    /// It is not what a `memberOf` constraint asks for, which is this one.
    MemberOf(String),
    /// A task of this group is there already.
    DistinctInstance(String),
    /// CPU units that are needed, and that are left.
    Cpu { needed: u64, left: u64 },
    /// MiB that are needed, and that are left.
    Memory { needed: u64, left: u64 },
    /// A host port in use or reserved.
    Port(HostPort),
}

impl Missing {
    /// ECS's `reason` of a failure.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Draining => "INACTIVE",
            Self::Agent => "AGENT",
            Self::Attribute(_) => "ATTRIBUTE",
            Self::MemberOf(_) => "MemberOf placement constraint unsatisfied.",
            Self::DistinctInstance(_) => "DistinctInstance placement constraint unsatisfied.",
            Self::Cpu { .. } => "RESOURCE:CPU",
            Self::Memory { .. } => "RESOURCE:MEMORY",
            Self::Port(_) => "RESOURCE:PORTS",
        }
    }

    /// Whether the box is one for the task all the same, once others have gone.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Cpu { .. } | Self::Memory { .. } | Self::Port(_) | Self::Agent)
    }

    /// How far a box came in the checks, for finding the closest one.
    const fn distance(&self) -> u8 {
        match self {
            Self::Port(_) => 0,
            Self::Memory { .. } => 1,
            Self::Cpu { .. } => 2,
            Self::DistinctInstance(_) => 3,
            Self::MemberOf(_) => 4,
            Self::Attribute(_) => 5,
            Self::Agent => 6,
            Self::Draining => 7,
        }
    }
}

/// For people: the `detail` of a failure.
impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("the container instance is draining"),
            Self::Agent => f.write_str("the agent of the container instance is not connected"),
            Self::Attribute(how) => f.write_str(how),
            Self::MemberOf(expression) => write!(f, "memberOf: {expression} does not hold"),
            Self::DistinctInstance(group) => {
                write!(f, "distinctInstance: a task of {group} is there already")
            }
            Self::Cpu { needed, left } => write!(f, "needs {needed} CPU units, {left} are left"),
            Self::Memory { needed, left } => {
                write!(f, "needs {needed} MiB of memory, {left} are left")
            }
            Self::Port((port, udp)) => {
                let protocol = if *udp { "UDP" } else { "TCP" };
                write!(f, "{protocol} port {port} of the box is in use or reserved")
            }
        }
    }
}

impl Lack {
    /// As an item of `failures[]`; `arn` is that of the box.
    pub(crate) fn failure(&self, arn: String) -> Failure {
        Failure {
            arn: Some(arn),
            reason: Some(self.missing.reason().to_owned()),
            detail: Some(self.missing.to_string()),
        }
    }

    /// What a service event tells after "The closest matching (container-instance ID) ".
    pub(crate) fn event(&self) -> String {
        match &self.missing {
            Missing::Cpu { .. } => "has insufficient CPU units available".to_owned(),
            Missing::Memory { .. } => "has insufficient memory available".to_owned(),
            Missing::Port(_) => "is already using a port required by your task".to_owned(),
            Missing::Attribute(_) => "is missing an attribute required by your task".to_owned(),
            other => format!("encountered error \"{}\"", other.reason()),
        }
    }
}

/// The box that came closest to having the task; of several the first.
pub(crate) fn closest(lacks: &[Lack]) -> Option<&Lack> {
    lacks.iter().min_by_key(|lack| lack.missing.distance())
}
