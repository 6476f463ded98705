//! Pulls from a real registry (Debian's `docker-registry`) and through a front that misbehaves on purpose.
//!
//! Without the `docker-registry` binary the tests say so and pass; `tests/run` installs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod front;
mod images;
mod registry;
mod token;

mod access;
mod content;
mod faults;
