//! The directory of manifests: applied once the box is registered, and again at every SIGHUP.
//!
//! SIGHUP has the images directory looked into as well. What is stored goes on meanwhile, whatever is wrong with a file. Nothing is asked of the network.

use crate::api;
use crate::engine::Handle;
use crate::model::ClusterName;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// Goes on for as long as it is polled.
pub(super) async fn keep(handle: Handle, directory: PathBuf, cluster: ClusterName) {
    // First of all: without a handler SIGHUP would end the agent.
    let hangups = signal(SignalKind::hangup());
    api::apply_directory(&handle, &directory, &cluster).await;
    let mut hangups = match hangups {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::error!(%error, "cannot wait for SIGHUP; the manifests are not looked at again");
            return;
        }
    };
    while hangups.recv().await.is_some() {
        // First, so that what the manifests start finds its images.
        if let Ok(images) = handle.images() {
            images.look_into_directory();
        }
        tracing::info!(directory = %directory.display(), "applying the manifests");
        api::apply_directory(&handle, &directory, &cluster).await;
    }
}
