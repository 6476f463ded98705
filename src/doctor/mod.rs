//! `coracle doctor`: looks over a box or a hub, and says of each finding what to do about it.
//!
//! ```text
//! Subject (where to look, settings) ──► check ─┐
//!                                   ──► check ─┼─► Finding (ok, warning, error or skipped; what; remedy) ──► Report
//!                                   ──► check ─┘      one thread each, all of them within a time
//! ```
//!
//! * [`check`] has one file per check, and [`check::ALL`] the table of them; `docs/doctor.md` shows the same table.
//! * A check reads, and judges what it has read with a pure function. Paths of the system are below [`Subject::path`], so that
//!   tests give it a box of their own.
//! * **Nothing is changed**: no directory is made, no module loaded, no lock taken, no session of the broker's ended. The store is
//!   read without LMDB ([`crate::store::inspect::read`]), whether an agent has it open or not.
//! * Nothing hangs: a check that has not ended within its time is an error that says so, and the others go on.
//!
//! It stands beside the daemon, which it does not know: it must be able to say what is wrong when that does not start.

pub mod check;
mod connect;
mod feature;
mod finding;
mod mount;
mod program;
mod report;
mod run;
mod socket;
mod subject;

pub use finding::{Finding, Status};
pub use report::Report;
pub use run::examine;
pub use subject::{Role, Subject, Where};
