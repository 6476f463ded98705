//! Pulls from a real registry (Debian's `docker-registry`) and through a front that misbehaves on purpose.
//!
//! Without the `docker-registry` binary the tests say so and pass; `tests/run` installs it.

mod front;
mod images;
mod registry;
mod token;

mod access;
mod content;
mod faults;
