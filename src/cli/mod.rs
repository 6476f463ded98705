//! Stub of `cli`.
