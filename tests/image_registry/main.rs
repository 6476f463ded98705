//! Pulls from a real registry (Debian's `docker-registry`) and through a front that misbehaves on purpose.
//!
//! Without the `docker-registry` binary the tests say so and pass; `tests/run` installs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "../agent/mod.rs"]
mod agent;
mod certificates;
mod front;
mod images;
mod proxy_server;
mod registry;
mod token;

mod access;
mod content;
mod faults;
mod login;
mod platforms;
mod proxy;
mod resume;
mod share;
mod tls;
