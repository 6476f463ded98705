//! Stub of `image`.
