//! One link to one broker: a real mosquitto, over MQTT 5 and 3.1.1, with TLS and rules, through a proxy that breaks
//! connections at every byte; and a broker of a few lines that says what a real one does not say on demand.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and shows what it saw"
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
