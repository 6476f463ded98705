//! The pure core: facts and time go in, decisions and reasons come out.
//!
//! No I/O, no clock, no randomness, no async, no hash-ordered iteration; `tests/architecture.rs` checks the imports.
//!
//! * [`World`] is all that is known: what the store holds, and what was observed since the start of the program.
//! * [`command::apply`] turns a [`Command`] (anybody's wish, or an observation) into [`Change`]s.
//! * [`cluster::plan`] says how many tasks of which service each box is to run;
//! * `placement` finds the box for a task, over the index of what is free.
//! * [`instance::plan`] looks at the world and says what to do next for the tasks of this box.
//! * [`simulate::plan`] does the same for boxes that are made up, and makes up what they observe.
//! * [`fleet`] is what hub and boxes of a fleet make of what they tell each other.
//! * [`names::find`] says who of it has a name.
//! * [`check::check`] states what must hold in every world.
//!
//! The engine commits a round's changes in one transaction before it runs the round's actions.

pub mod action;
pub mod agenda;
pub mod change;
pub mod check;
pub mod cluster;
pub mod command;
pub mod connection;
pub(crate) mod effective;
pub mod fleet;
pub(crate) mod health;
pub mod ids;
pub mod index;
pub mod instance;
pub mod names;
pub mod observation;
pub(crate) mod placement;
pub mod reason;
pub mod simulate;
pub mod why;
pub mod world;

pub use action::{Action, ActionKey, StartContainer};
pub use agenda::{Agenda, Settled};
pub use change::Change;
pub use command::{Command, CommandError, Reply};
pub use connection::Connection;
pub use ids::Ids;
pub use observation::{Connected, Observation};
pub use reason::Reason;
pub use world::{Observed, Settings, World};

use crate::model::{AssignmentId, Timestamp};

/// What a planner decided.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Plan {
    /// Committed in one transaction before any action runs.
    pub changes: Vec<Change>,
    /// To be carried out, concurrently; each idempotent, with nothing left to choose.
    pub actions: Vec<Action>,
    /// Why; they become `stoppedReason`, log lines and `coracle why`.
    pub reasons: Vec<Reason>,
    /// Services that were looked at.
    pub settled: Vec<Settled>,
    /// Assignments that were looked at on behalf of boxes that are not here.
    pub settled_assignments: Vec<AssignmentId>,
    /// Plan again then, if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// True when there is nothing to change and nothing to do.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.changes.is_empty() && self.actions.is_empty()
    }

    /// Asks to plan again at `at` at the latest.
    pub fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}
