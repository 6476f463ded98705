//! A fleet, purely: what a hub sends its boxes, what a box makes of it, and what the hub makes of what boxes report.
//!
//! ```text
//! hub:  assignments change ─► [`hub::plan`]: content, hash, next position (one transaction with the change) ─► sent by the shell
//! box:  document ─► [`FleetCommand::Accept`]: newer? ─► assignments, definitions, position (one transaction) ─► instance planner
//!                   [`progress`]: SEEN ─► APPLYING ─► APPLIED | FAILED (reason)
//!       task changes ─► [`events`]: kept in the same transaction, until the hub has them
//! hub:  events, reports, presence ─► the hub's records of tasks and boxes
//! ```
//!
//! * `command`: the commands of both sides; `content`: what a document says; `hub`, `take`: the hub; `member`, `progress`,
//!   `events`: a box.
//!
//! A position only grows, on both sides, and no clock decides what counts: a message that is lost, doubled, late or from
//! before a restart changes nothing that is newer. What is signed, sealed and carried how is the shell's.

mod command;
pub mod content;
pub mod events;
pub mod hub;
mod member;
pub mod progress;
mod take;

pub use command::{Acceptance, Answer, Enrol, FleetCommand, NewMember};
pub(super) use command::{allowed, apply};
pub use member::free;

#[cfg(test)]
mod tests;
