//! Coracle: a small edge runtime that runs Amazon ECS task definitions through libcontainer.
//!
//! This is the map. A module uses only what stands **below** it in the table; `tests/architecture.rs`
//! enforces that. To understand the program, read [`plan`] first (it decides), then [`engine`] (it
//! carries out), then [`runtime`] (it talks to the kernel).
//!
//! | layer | module | what it is for |
//! | --- | --- | --- |
//! | L8 | [`cli`] | the commands, one file per verb |
//! | L7 | [`doctor`] | looks over a box or a hub: one file per check, each finding with its remedy |
//! | L7 | [`daemon`] | wiring: opens the store, starts the engine and the servers, owns shutdown order |
//! | L6 | [`metadata`] | what ECS's agent answers to containers: metadata, credentials, protection; introspection |
//! | L6 | [`api`] | the ECS server: protocol, shapes, one file per operation family |
//! | L6 | [`fleet`] | boxes that sync with a hub over MQTT |
//! | L5 | [`engine`] | the shell: observe → plan → commit → act; the single writer |
//! | L4 | [`runtime`] | shim, OCI spec, cgroups, seccomp, logs |
//! | L4 | [`net`] | bridge, links, addresses, published ports, `hosts` and `resolv.conf` |
//! | L4 | [`image`] | registry client, content store, unpack, archives, recipes, garbage collection |
//! | L3 | [`auth`] | access keys, SigV4 verification, sealed secrets |
//! | L2 | [`store`] | LMDB environment, typed tables, migrations, change feed |
//! | L1 | [`plan`] | the pure core: world, commands, placement, the planners of the cluster and of a box, boxes that are made up, `check`, `why` |
//! | L0 | [`model`] | plain data: the ECS nouns, ids and ARNs, validation |
//! | leaf | [`config`], [`telemetry`], [`sys`] | settings; logging; clock, random, memory and locks on files |
//!
//! `runtime`, `image` and `net` do not know each other: `engine` joins them. `api` sees the engine only through its
//! handle, and `cli` is a client of the API's socket. Nothing below `cli` prints. `plan` has no I/O, no clock, no randomness, no async.
//!
//! The flow of one request: `api` turns bytes into a [`plan::Command`]; the engine applies it to the
//! [`plan::World`] (pure), plans (pure), commits the changes in one LMDB transaction, answers, and only then
//! runs the actions; what they observe comes back as commands as well.

pub mod api;
pub mod auth;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod engine;
pub mod fleet;
pub mod image;
pub mod metadata;
pub mod model;
pub mod net;
pub mod plan;
pub mod runtime;
pub mod store;
pub mod sys;
pub mod telemetry;
