//! Stub of `api`.
