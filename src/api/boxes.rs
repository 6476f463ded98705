//! The way from a hub to the local API of its boxes. The fleet has it; the API only asks for a connection.

use crate::model::{ContainerInstanceId, Timestamp};
use crate::runtime::logs::LogDirectory;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, whatever carries its bytes.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A box cannot be reached: why, in words that name it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// A connection that is being made.
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>, Unreachable>> + Send + 'a>>;

/// The boxes of a hub.
pub trait Boxes: fmt::Debug + Send + Sync {
    /// Connects to the local API of a box. What breaks the connection later is told by its reader, as an error.
    fn connect(&self, instance: &ContainerInstanceId) -> Connecting<'_>;

    /// Since when a box is not connected; none if it is.
    fn away_since(&self, instance: &ContainerInstanceId) -> Option<Timestamp>;

    /// What the hub stores of the logs of a box.
    fn logs(&self, instance: &ContainerInstanceId) -> LogDirectory;

    /// Messages of boxes that had no effect, by reason.
    fn refused(&self) -> BTreeMap<&'static str, u64>;
}
