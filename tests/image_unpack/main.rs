//! Unpacks layers that are made here: ordinary ones, held against GNU tar and overlayfs, and hostile ones, which must
//! change nothing outside their directory. Needs root, as unpacking does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test fails by panicking"
)]

mod archive;
mod content;
mod corpus;
mod evil;
mod found;
mod overlay;
mod target;
