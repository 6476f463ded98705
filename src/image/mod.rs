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
//! unpacked as hostile input. `collect` removes what nobody wants any more; who wants what it is told (`plan`). What this
//! module does not do: mount anything, decide when to pull.

pub mod archive;
mod builtin;
pub mod collect;
pub mod digest;
mod directory;
mod error;
pub mod layers;
pub mod layout;
pub mod manifest;
pub mod platform;
pub mod recipe;
pub mod reference;
pub mod registry;
pub mod save;
mod store;
pub mod unpack;

pub use collect::policy::{KeptImage, Rules};
pub use collect::usage::Origin;
pub use error::ImageError;
pub use reference::spellings;
pub use registry::{
    ClientCertificate, Login, LoginError, LoginSummary, Options, Overall, Phase, Progress,
};
pub use store::{
    Collection, ImageConfig, ImageSpace, ImageStore, ImageSummary, Saved, Space, Sweep, Swept,
    Unpacked,
};
