//! Why an image was not pulled, worded as the ECS agent passes on what Docker says.

use super::address::{Url, UrlError};
use super::auth::AuthError;
use crate::image::layers::LayerError;
use crate::image::layout::LayoutError;
use crate::image::manifest::DocumentError;
use crate::image::platform::PlatformError;
use crate::image::unpack::UnpackError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The name has no address.
    #[error("lookup {host}: no such host ({source})")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("dial {host}: {source}")]
    Connect {
        /// Host and port.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {host} broke: {source}")]
    Broken {
        /// Host and port.
        host: String,
        /// How.
        source: hyper::Error,
    },
    /// Nothing came for too long.
    #[error("{host} did not answer in time ({phase})")]
    Timeout {
        /// Host and port.
        host: String,
        /// What was waited for.
        phase: &'static str,
    },
    /// A redirect that is not followed.
    #[error("{from} redirects {reason}")]
    Redirect {
        /// Who redirects.
        from: Url,
        /// Why it is not followed.
        reason: &'static str,
    },
    /// A redirect to something that is no URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The body is larger than it may be.
    #[error("{url} sends more than {limit} bytes")]
    Large {
        /// What was asked for.
        url: Url,
        /// The bound.
        limit: u64,
    },
    /// The request cannot be made.
    #[error("the request to {0} is not valid HTTP")]
    Request(Url),
    /// The proxy does not do what it is for.
    #[error("the proxy {proxy} answers {status}{hint}")]
    Proxy {
        /// Its host and port.
        proxy: String,
        /// Its status.
        status: u16,
        /// What may help.
        hint: &'static str,
    },
    /// The certificate is not to be trusted.
    #[error("the certificate of {host} cannot be trusted: {reason}")]
    Certificate {
        /// Host and port.
        host: String,
        /// Why not, and what to do.
        reason: String,
        /// This box has no right time yet; that is set soon.
        clock_is_wrong: bool,
    },
    /// The other side does not speak TLS.
    #[error(
        "{host} does not speak TLS; if it is a registry without, set insecure = true for it in agent.toml"
    )]
    NotTls {
        /// Host and port.
        host: String,
    },
    /// The two sides did not agree on TLS.
    #[error("the TLS handshake with {host} failed: {source}")]
    Handshake {
        /// Host and port.
        host: String,
        /// Why.
        source: rustls::Error,
    },
    /// A file of certificates or keys that the settings name is of no use.
    #[error("{what} {}: {reason}", path.display())]
    File {
        /// The setting.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The program ends.
    #[error("the program is ending")]
    Ending,
    /// The TLS provider refuses to start.
    #[error("TLS cannot be used: {0}")]
    Tls(rustls::Error),
}

impl TransferError {
    /// True when trying again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            // A name or bytes that no connection can be made with stay so.
            Self::Connect { source, .. } => {
                !matches!(source.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
            }
            Self::Broken { .. } | Self::Timeout { .. } => true,
            Self::Resolve { source, .. } => !is_final(source),
            Self::Proxy { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Certificate { clock_is_wrong, .. } => *clock_is_wrong,
            Self::Redirect { .. }
            | Self::Url(_)
            | Self::Large { .. }
            | Self::Request(_)
            | Self::NotTls { .. }
            | Self::Handshake { .. }
            | Self::File { .. }
            | Self::Ending
            | Self::Tls(_) => false,
        }
    }
}

/// True when the resolver says that the name does not exist, in the words of glibc or musl; without a network it says
/// that it cannot tell.
fn is_final(error: &io::Error) -> bool {
    let said = error.to_string();
    ["Name or service not known", "No address associated with hostname", "Name does not resolve"]
        .iter()
        .any(|text| said.contains(text))
}

/// Why an image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not have it.
    #[error("manifest for {image} not found: manifest unknown")]
    NotFound {
        /// The image.
        image: String,
    },
    /// The registry does not have the blob its manifest names.
    #[error("{registry} does not have blob {digest} of {image}")]
    NoBlob {
        /// Who was asked.
        registry: String,
        /// The blob.
        digest: String,
        /// The image.
        image: String,
    },
    /// Credentials are missing, wrong, or not allowed.
    #[error(
        "pull access denied for {image}, repository does not exist or may require authentication: {reason}"
    )]
    Denied {
        /// The image.
        image: String,
        /// What the registry says.
        reason: String,
    },
    /// Authentication did not come to an end.
    #[error("pull of {image}: {source}")]
    Auth {
        /// The image.
        image: String,
        /// What went wrong.
        source: AuthError,
    },
    /// No answer.
    #[error("failed to resolve ref {image}: {source}")]
    Transfer {
        /// The image.
        image: String,
        /// What went wrong.
        source: TransferError,
    },
    /// An answer that is no help.
    #[error("{url} answers {status}: {reason}")]
    Status {
        /// What was asked for.
        url: Url,
        /// The status.
        status: u16,
        /// What the registry says.
        reason: String,
    },
    /// The registry sent something else than asked for.
    #[error("{image}: {source}")]
    Document {
        /// The image.
        image: String,
        /// What is wrong.
        source: DocumentError,
    },
    /// Indexes point to indexes.
    #[error("{image}: indexes are nested too deep")]
    Nested {
        /// The image.
        image: String,
    },
    /// The image does not exist for this box.
    #[error("{image}: {source}")]
    Platform {
        /// The image.
        image: String,
        /// What exists.
        source: PlatformError,
    },
    /// A mirror's address makes no sense.
    #[error("the address of a registry or mirror: {0}")]
    Address(#[from] UrlError),
    /// The disk is full.
    #[error("failed to register layer: no space left on device: {0}")]
    NoSpace(LayoutError),
    /// The store failed, or bytes are not what their digest says.
    #[error(transparent)]
    Store(LayoutError),
    /// A layer was not unpacked.
    #[error("failed to register layer: {0}")]
    Layer(LayerError),
    /// What happened to another pull that wanted the same blob.
    #[error(transparent)]
    Shared(Arc<PullError>),
    /// The pull was given up because the program ends.
    #[error("the pull was abandoned")]
    Abandoned,
}

impl From<LayoutError> for PullError {
    fn from(error: LayoutError) -> Self {
        match &error {
            LayoutError::Io { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Self::NoSpace(error)
            }
            LayoutError::Room { .. } => Self::NoSpace(error),
            _ => Self::Store(error),
        }
    }
}

impl From<LayerError> for PullError {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Store(error) => error.into(),
            LayerError::Unpack { source: UnpackError::Kernel { action, path, source }, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Self::NoSpace(LayoutError::Io { action, path: path.into(), source })
            }
            LayerError::Ending => Self::Abandoned,
            other => Self::Layer(other),
        }
    }
}

impl PullError {
    /// True when trying again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Transfer { source, .. }
            | Self::Auth { source: AuthError::Transfer(source), .. } => source.is_transient(),
            Self::Auth { source: AuthError::Helper { transient, .. }, .. } => *transient,
            Self::Auth { source: AuthError::Refused { status, .. }, .. }
            | Self::Status { status, .. } => {
                matches!(status, 408 | 429 | 500..=599)
            }
            Self::Shared(error) => error.is_transient(),
            _ => false,
        }
    }

    /// True when the disk is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace(_) => true,
            Self::Shared(error) => error.is_no_space(),
            _ => false,
        }
    }

    /// True when whoever asks the same registry for the same blob need not try it as well, whatever its login.
    pub(super) fn concerns_everybody(&self) -> bool {
        match self {
            Self::Shared(error) => error.concerns_everybody(),
            Self::Transfer { .. } | Self::NoSpace(_) | Self::Store(_) => true,
            _ => self.is_transient(),
        }
    }

    /// True when a mirror's failure says nothing about the registry itself.
    pub(super) fn is_of_the_remote(&self) -> bool {
        if let Self::Shared(error) = self {
            return error.is_of_the_remote();
        }
        !matches!(self, Self::NoSpace(_) | Self::Platform { .. } | Self::Abandoned)
            && !matches!(self, Self::Store(LayoutError::Io { .. }))
    }
}

/// Why a login is not kept.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No registry's name.
    #[error("{0:?} is not a registry: HOST or HOST:PORT is, as in the names of images")]
    Name(String),
    /// Wrong user or password.
    #[error("{registry} does not accept this user and password ({reason})")]
    Refused {
        /// Who.
        registry: String,
        /// What it says.
        reason: String,
    },
    /// It cannot be asked.
    #[error("{registry} cannot be asked: {source}")]
    Transfer {
        /// Who.
        registry: String,
        /// Why not.
        source: TransferError,
    },
    /// The authentication did not come to an end.
    #[error("login at {registry}: {source}")]
    Auth {
        /// Who.
        registry: String,
        /// What went wrong.
        source: AuthError,
    },
    /// Who answers there is no registry.
    #[error("{url} answers {status}, which no registry does")]
    NoRegistry {
        /// What was asked for.
        url: Url,
        /// The status.
        status: u16,
    },
    /// The file of logins is of no use.
    #[error(transparent)]
    Stored(#[from] AuthError),
    /// The program ends.
    #[error("the program is ending")]
    Ending,
}
