//! One link to one broker: a real mosquitto, over MQTT 5 and 3.1.1, with TLS and rules, through a proxy that breaks
//! connections at every byte; and a broker of a few lines that says what a real one does not say on demand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, shows what it saw, and asks its environment where it runs"
)]

#[path = "../fault_proxy/mod.rs"]
mod fault_proxy;
#[path = "../mosquitto/mod.rs"]
mod mosquitto;

mod client;
mod cuts;
mod exchange;
mod faults;
mod footprint;
mod scripted;
mod trust;
