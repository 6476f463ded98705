//! Stub of `config`.
