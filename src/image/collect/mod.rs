//! What stays on the disk and what goes.
//!
//! ```text
//! plan: wanted images ─┐
//! usage: ages, origin ─┼─► policy: which images go ─► their names leave the index ─► sweep: what no name reaches
//! pins: at this moment ┘
//! ```
//!
//! First the name goes, durably, then what it named: a power cut in between leaves garbage that the next sweep takes, and
//! never a name without its blobs. The engine drives it ([`crate::engine::Handle::collect_images`]), because it knows who
//! wants what; [`super::ImageStore`] carries it out.
//!
//! * [`pins`]: what is being brought here or about to be used, and stays;
//! * [`usage`]: what is remembered of images; [`policy`]: which go; [`disk`]: how full it is;
//! * [`lock`]: nothing is collected while another process has the store.

pub mod disk;
pub mod lock;
pub mod pins;
pub mod policy;
pub mod usage;
