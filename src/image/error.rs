//! Why an image operation failed, in the words that ECS uses.

use super::archive::ArchiveError;
use super::layers::LayerError;
use super::layout::LayoutError;
use super::manifest::DocumentError;
use super::recipe::RecipeError;
use super::reference::ReferenceError;
use super::registry::PullError;
use super::save::SaveError;
use crate::model::ImageDigest;
use std::sync::Arc;

/// An image operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image could not be had. Shared, because several callers may wait for one download.
    #[error("CannotPullContainerError: {0}")]
    Pull(Arc<PullError>),
    /// The archive was not loaded.
    #[error("cannot load the image archive: {0}")]
    Load(#[from] ArchiveError),
    /// The images were not saved.
    #[error("cannot save the images: {0}")]
    Save(#[from] SaveError),
    /// The image is not in the store.
    #[error("image {0} is not in the local store")]
    Absent(ImageDigest),
    /// The image in the store makes no sense.
    #[error("image {digest}: {source}")]
    Document {
        /// Which image.
        digest: ImageDigest,
        /// What is wrong.
        source: DocumentError,
    },
    /// A layer was not unpacked.
    #[error("CannotPullContainerError: failed to register layer: {0}")]
    Layer(#[from] LayerError),
    /// The built-in image cannot be built.
    #[error("the built-in image: {0}")]
    BuiltIn(#[from] RecipeError),
    /// The name is not one.
    #[error("CannotPullContainerError: {0}")]
    Reference(#[from] ReferenceError),
    /// The store failed.
    #[error("the image store: {0}")]
    Store(#[from] LayoutError),
    /// Nothing is collected while it is not known what belongs to an image.
    #[error("{source}; nothing is collected until {name} is pulled or loaded again, or removed")]
    Damaged {
        /// The image.
        name: String,
        /// What is wrong with it.
        source: Box<ImageError>,
    },
    /// The beginning of a digest is not enough.
    #[error("more than one image begins with {0}: give more of the digest")]
    Ambiguous(String),
    /// Blocking work was given up because the program ends.
    #[error("the program is ending")]
    Ending,
}
