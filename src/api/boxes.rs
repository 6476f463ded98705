//! The way from a hub to the local API of its boxes. The fleet has it; the API only asks for a connection.

use crate::model::ContainerInstanceId;
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
}
