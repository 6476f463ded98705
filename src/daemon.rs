//! Stub of `daemon`.
