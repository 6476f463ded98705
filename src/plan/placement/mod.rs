//! Where tasks go: what they need, what boxes have left, which box is meant and which is best.
//!
//! ```text
//!  needs ──────────────┐
//!  constraints, pool ──┼──► Search over the fleet's index ──► a box (and its room is claimed), or what each box lacks
//!  strategy ───────────┘
//! ```
//!
//! * [`needs`]: CPU, memory and host ports of a task;
//! * [`room`], [`rooms`]: what is taken of each box, and boxes in order of what is free, kept by
//!   [`World::apply`](crate::plan::World::apply);
//! * [`fit`], [`constraint`], [`expression`]: whether a box may have the task; [`lack`]: why not, in ECS's words;
//! * [`strategy`], [`search`]: which of those that may; [`claims`]: what one plan has given away so far;
//! * [`pools`]: capacity providers, pools of boxes with base and weight.
//!
//! RunTask, StartTask and the cluster planner all place through [`Search`].

mod claims;
mod constraint;
mod expression;
mod fit;
mod lack;
mod needs;
mod order;
mod pools;
mod room;
mod rooms;
mod search;
mod shortlist;
mod slots;
mod spread;
mod strategy;

pub(crate) use claims::Claims;
pub(crate) use constraint::{Constraints, Filter};
pub(crate) use fit::is_connected;
pub(crate) use lack::{Lack, closest};
pub(crate) use needs::{HostPort, Needs};
pub(crate) use pools::next_pool;
pub(crate) use room::Room;
pub(crate) use rooms::Rooms;
pub(crate) use search::{Search, Wish};
pub(crate) use strategy::{Rank, ranks};
