//! The sockets that the server listens on.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Bound sockets, not yet served.
#[derive(Debug)]
pub struct Listeners {
    pub(super) tcp: Option<TcpListener>,
    pub(super) unix: Option<UnixListener>,
}

/// What `sockaddr_un` holds, without the NUL at its end.
const MAX_PATH: usize = 107;

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address.
    #[error("cannot listen on {address}: {source}; set another address with --listen")]
    Address {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The path of the unix socket.
    #[error("cannot listen on {path}: {source}")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The path does not fit into a socket's address.
    #[error(
        "the path {0} is longer than the {MAX_PATH} bytes that a unix socket's may have; use a shorter --run-dir"
    )]
    TooLong(PathBuf),
    /// Another agent answers there.
    #[error("another agent answers on {0}; use another --run-dir to run a second one")]
    Taken(PathBuf),
}

impl Listeners {
    /// Binds the unix socket at `path`, and TCP on `address` if one is given.
    ///
    /// A socket file that nobody answers on is left over from an agent that was killed, and is replaced. Only the
    /// owner of the process may connect: the file has mode 0600, and peers are asked for their uid besides.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(
        address: impl Into<Option<SocketAddr>>,
        path: &Path,
    ) -> Result<Self, ListenError> {
        if path.as_os_str().len() > MAX_PATH {
            return Err(ListenError::TooLong(path.to_owned()));
        }
        let at_path = |source| ListenError::Path { path: path.to_owned(), source };
        match UnixStream::connect(path).await {
            Ok(_) => return Err(ListenError::Taken(path.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                tokio::fs::remove_file(path).await.map_err(at_path)?;
            }
            // Nothing is there; what else may be wrong, `bind` will tell.
            Err(_) => {}
        }
        let unix = UnixListener::bind(path).map_err(at_path)?;
        let private = std::fs::Permissions::from_mode(0o600);
        tokio::fs::set_permissions(path, private).await.map_err(at_path)?;
        let tcp = match address.into() {
            None => None,
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|source| ListenError::Address { address, source })?,
            ),
        };
        Ok(Self { tcp, unix: Some(unix) })
    }

    /// Where TCP is bound; the port is known even when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let first = Listeners::bind(any, &path).await.unwrap();
        assert_ne!(first.address().unwrap().port(), 0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Listeners::bind(None, &path).await, Err(ListenError::Taken(_))));
        let taken = Listeners::bind(first.address(), &dir.path().join("other.sock")).await;
        assert!(matches!(taken, Err(ListenError::Address { .. })));
        drop(first);
        Listeners::bind(None, &path).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/api.sock");
        assert!(matches!(Listeners::bind(None, &path).await, Err(ListenError::Path { .. })));
    }
}
