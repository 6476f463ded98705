//! The cluster planner: from services to assignments, over the boxes of a cluster.

pub(crate) mod circuit_breaker;
pub(crate) mod deployment;
mod event;
