//! Stands in for the crate `regex` in the dependencies of Coracle (`[patch.crates-io]` in `Cargo.toml`).
//!
//! libcontainer and oci-spec check a handful of short patterns over ASCII (`execCPUAffinity`, a schema of Intel's RDT, an image
//! reference). The full engine with its Unicode tables is half a megabyte of the binary; `regex-lite`, by the same
//! authors, has the same interface and matches these patterns alike. A dependency that needs more fails to compile.

pub use regex_lite::*;
