//! Boxes of a fleet that are not connected: what a service does about its tasks there.
//!
//! ```text
//! connected ──► away ──longer than the policy says──► gone: its tasks no longer count, others take their place
//!     ▲           │                                     │ as soon as as many others serve, its own are wanted no longer
//!     └───────────┴──────────────── returns ────────────┘
//! ```
//!
//! What runs on a box that is away goes on running, and is taken to. A box that returns before others took its place keeps
//! its tasks, and the newcomers that do not serve yet go; one that returns later stops them, as its next document says. So
//! there are never fewer that serve than without the absence.
//!
//! A DAEMON service has its task on each box, away or not; a roll-out does not wait for those that are away.
//! The policy is a tag of the service, [`TAG`]: `keep`, `replace` or `replace-after=10m`.

use crate::model::service::SchedulingStrategy;
use crate::model::{ContainerInstance, Service, Tag, Timestamp};
use crate::plan::World;
use crate::plan::simulate::Span;
use std::time::Duration;

/// The tag of a service that says what becomes of its tasks on boxes that are not connected.
pub(crate) const TAG: &str = "coracle.when-disconnected";

/// How long a box of a REPLICA service is waited for unless its tag says otherwise.
const WAIT: Duration = Duration::from_mins(15);

/// What becomes of the tasks of a service on a box that is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// They count, however long.
    Keep,
    /// They are replaced elsewhere after this time.
    ReplaceAfter(Duration),
}

impl Policy {
    /// What the service's tag says, or what is usual for its kind.
    pub(crate) fn of(service: &Service) -> Self {
        if service.scheduling_strategy == SchedulingStrategy::Daemon {
            return Self::Keep;
        }
        let tag = service.tags.iter().find(|tag| tag.key.as_deref() == Some(TAG));
        let value = tag.and_then(|tag| tag.value.as_deref());
        value.and_then(|value| Self::parse(value).ok()).unwrap_or(Self::ReplaceAfter(WAIT))
    }

    fn parse(value: &str) -> Result<Self, String> {
        let after = match value {
            "keep" => return Ok(Self::Keep),
            "replace" => return Ok(Self::ReplaceAfter(WAIT)),
            other => other.strip_prefix("replace-after=").map(str::parse),
        };
        match after {
            Some(Ok(Span::Lasts(after))) => Ok(Self::ReplaceAfter(after)),
            _ => Err(format!(
                "The tag {TAG} is keep, replace or replace-after= and a time such as 10m or 2h, not {value:?}."
            )),
        }
    }
}

/// Refuses a value of [`TAG`] that says nothing.
pub(crate) fn check_tags(tags: &[Tag]) -> Result<(), String> {
    let mut policies = tags.iter().filter(|tag| tag.key.as_deref() == Some(TAG));
    policies.try_for_each(|tag| Policy::parse(tag.value.as_deref().unwrap_or_default()).map(drop))
}

/// Since when the box is not connected; none for one that is, or that is no box of a fleet.
pub(crate) fn since(world: &World, instance: &ContainerInstance) -> Option<Timestamp> {
    let device = world.devices.get(&instance.id).filter(|device| !device.connected)?;
    Some(device.connected_changed_at)
}

/// When a box that is away counts as gone.
pub(crate) fn gone_from(
    world: &World,
    policy: Policy,
    instance: &ContainerInstance,
) -> Option<Timestamp> {
    let Policy::ReplaceAfter(wait) = policy else { return None };
    Some(since(world, instance)?.plus(wait))
}
