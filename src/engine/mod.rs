//! Stub of `engine`.
