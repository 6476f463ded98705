//! Why an image was not pulled, worded as the ECS agent passes on what Docker says.

use super::address::{Url, UrlError};
use super::auth::AuthError;
use super::transfer::TransferError;
use crate::image::layout::LayoutError;
use crate::image::manifest::DocumentError;
use crate::image::platform::PlatformError;
use std::io;

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
            _ => Self::Store(error),
        }
    }
}

impl PullError {
    /// True when trying again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Transfer { source, .. }
            | Self::Auth { source: AuthError::Transfer(source), .. } => source.is_transient(),
            Self::Auth { source: AuthError::Refused { status, .. }, .. }
            | Self::Status { status, .. } => {
                matches!(status, 408 | 429 | 500..=599)
            }
            _ => false,
        }
    }

    /// True when a mirror's failure says nothing about the registry itself.
    pub(super) fn is_of_the_remote(&self) -> bool {
        !matches!(self, Self::NoSpace(_) | Self::Platform { .. } | Self::Abandoned)
            && !matches!(self, Self::Store(LayoutError::Io { .. }))
    }
}
