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
    /// Whether a group may connect to the unix socket as well.
    pub(super) shared: bool,
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
    /// The group of the unix socket cannot be told.
    #[error(
        "the group {group} (setting socket_group) is not in /etc/group; `groupadd --system {group}` makes it"
    )]
    UnknownGroup {
        /// Which.
        group: String,
    },
    /// Another agent answers there.
    #[error("another agent answers on {0}; use another --run-dir to run a second one")]
    Taken(PathBuf),
}

impl Listeners {
    /// Binds the unix socket at `path`, and TCP on `address` if one is given.
    ///
    /// A socket file that nobody answers on is left over from an agent that was killed, and is replaced. Only the
    /// owner of the process may connect: the file has mode 0600, and peers are asked for their uid besides. With a
    /// `group` its members may as well: the file is the group's, with mode 0660.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn bind(
        address: impl Into<Option<SocketAddr>>,
        path: &Path,
        group: Option<&str>,
    ) -> Result<Self, ListenError> {
        let group = group.map(group_id).transpose()?;
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
        // Group first: until the mode says so, nobody but the owner may write, which is to connect.
        if group.is_some() {
            std::os::unix::fs::chown(path, None, group).map_err(at_path)?;
        }
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        let permissions = std::fs::Permissions::from_mode(mode);
        tokio::fs::set_permissions(path, permissions).await.map_err(at_path)?;
        let tcp = match address.into() {
            None => None,
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .map_err(|source| ListenError::Address { address, source })?,
            ),
        };
        Ok(Self { tcp, unix: Some(unix), shared: group.is_some() })
    }

    /// Where TCP is bound; the port is known even when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }
}

/// The number of a group of this box. Its names are those of `/etc/group`: a static program has no other source.
fn group_id(group: &str) -> Result<u32, ListenError> {
    let number = group.parse().ok().or_else(|| {
        let groups = std::fs::read_to_string("/etc/group").ok()?;
        number_in(&groups, group)
    });
    number.ok_or_else(|| ListenError::UnknownGroup { group: group.to_owned() })
}

/// The number of `group` in a text of the form of `/etc/group`.
fn number_in(groups: &str, group: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut members = line.split(':');
        (members.next() == Some(group)).then(|| members.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let first = Listeners::bind(any, &path, None).await.unwrap();
        assert_ne!(first.address().unwrap().port(), 0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Listeners::bind(None, &path, None).await, Err(ListenError::Taken(_))));
        let taken = Listeners::bind(first.address(), &dir.path().join("other.sock"), None).await;
        assert!(matches!(taken, Err(ListenError::Address { .. })));
        // A program that another test starts may hold a copy until it is executed.
        rustix::net::shutdown(first.unix.unwrap(), rustix::net::Shutdown::Both).unwrap();
        Listeners::bind(None, &path, None).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/api.sock");
        assert!(matches!(Listeners::bind(None, &path, None).await, Err(ListenError::Path { .. })));
    }

    #[tokio::test]
    async fn a_group_may_share_the_socket_and_an_unknown_one_is_refused_by_name() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let refused = Listeners::bind(None, &path, Some("no-such-crew")).await.unwrap_err();
        assert!(refused.to_string().starts_with("the group no-such-crew (setting socket_group)"));
        assert!(!path.exists());
        // One that whoever runs the tests is in.
        let own = std::fs::metadata(dir.path()).unwrap().gid();
        let shared = Listeners::bind(None, &path, Some(&own.to_string())).await.unwrap();
        assert!(shared.shared);
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!((made.mode() & 0o777, made.gid()), (0o660, own));
    }

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let groups = "root:x:0:\ncoracle-old:x:7:\nbroken\ncoracle:x:994:ada,ben\n";
        assert_eq!(number_in(groups, "coracle"), Some(994));
        assert_eq!(number_in(groups, "broken"), None);
        assert_eq!(number_in(groups, "x"), None);
    }
}
