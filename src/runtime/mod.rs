//! Stub of `runtime`.
