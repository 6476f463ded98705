//! Unpacks layers that are made here: ordinary ones, held against GNU tar and overlayfs, and hostile ones, which must
//! change nothing outside their directory. Needs root, as unpacking does.

mod archive;
mod content;
mod evil;
mod target;
