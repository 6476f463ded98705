//! The cluster planner: from services to assignments, over the boxes of a cluster.
//!
//! ```text
//! services ──► tally (who serves) ──► circuit breaker ──► placing, rollout ──► counts of assignments
//!    ▲                                     │                                         │
//!    └── events, deployments, state ◄──────┘                 boxes carry them out ◄──┘
//! ```
//!
//! It moves counts and waits for what boxes report; which task stops, and that one that died is replaced, is the boxes'
//! own affair. Only services on the [agenda](super::agenda) are looked at, so what a round costs grows with what changed.
//!
//! * `tally`: what a service has; `rollout`: the arithmetic of replacing tasks within bounds;
//! * `away`: boxes that are not connected; `placing`: boxes for new tasks; `service`: one service, one step;
//! * `circuit_breaker`, `deployment`: the state of roll-outs; `event`: their words;
//! * `retention`: what is forgotten, and when.
//!
//! The life of a service: `ACTIVE ──DeleteService──► DRAINING ──its last task has stopped──► INACTIVE ──an hour──► forgotten`.

pub(crate) mod away;
pub(crate) mod circuit_breaker;
pub(crate) mod deployment;
mod event;
mod placing;
pub(crate) mod retention;
mod rollout;
mod service;
mod tally;

use super::placement::Claims;
use super::{Ids, Plan, Settled, World};
use crate::model::Timestamp;

/// What to do next for the services that are due, or for the first of them: when many boxes have been given something, the
/// others stay due and are planned on top of that.
#[must_use]
pub fn plan(world: &World, now: Timestamp, ids: &mut Ids) -> Plan {
    let mut plan = Plan::default();
    if world.observed.stopping {
        return plan;
    }
    // Of the room that there is each service leaves the rest to those after it.
    let mut claims = Claims::default();
    for key in world.agenda.due(now) {
        if claims.are_many() {
            break;
        }
        let Some(service) = world.services.get(key) else {
            plan.settled.push(Settled::quiet(key.clone(), now));
            continue;
        };
        let settled = service::step(world, service, now, ids, &mut claims, &mut plan);
        plan.settled.push(settled);
    }
    plan
}
