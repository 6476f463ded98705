//! The instance planner: from assignments to tasks to containers, on one box.

use super::{Ids, Plan, World};
use crate::model::Timestamp;

/// What to do next for the tasks of `world.settings.this_instance`.
#[must_use]
pub fn plan(_world: &World, _now: Timestamp, _ids: &mut Ids) -> Plan {
    Plan::default()
}
