//! Images: names, the content store, registries, archives, recipes, unpacked layers.
//!
//! ```text
//!  registry ─┐                                   ┌─► config: entrypoint, env, user, …
//!  archive ──┼─► blobs by digest ─► name ─► manifest
//!  built-in ─┘   STATE/images                    └─► layers ─► STATE/layers/<chain id> ─► overlayfs (runtime)
//! ```
//!
//! [`ImageStore`] is the only thing that other modules use. An image is known by the digest of its manifest for this
//! box's platform. Everything from outside is verified against its digest before it has a name in the store, and
//! unpacked as hostile input. What this module does not do: mount anything, decide when to pull, collect garbage.

pub mod archive;
mod builtin;
pub mod digest;
mod error;
pub mod layers;
pub mod layout;
pub mod manifest;
pub mod platform;
pub mod recipe;
pub mod reference;
pub mod registry;
mod store;
pub mod unpack;

pub use error::ImageError;
pub use registry::{Login, Options, Progress};
pub use store::{ImageConfig, ImageStore, ImageSummary, Unpacked};
