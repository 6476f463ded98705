//! Stub of `auth`.
