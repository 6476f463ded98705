//! What a container must not be able to do.
