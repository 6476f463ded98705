//! Stub of `telemetry`.
