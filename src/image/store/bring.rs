//! How images come here: from a registry, or from an archive of the images directory.

use super::{ImageStore, blocking};
use crate::image::collect::usage::Origin;
use crate::image::digest::Digest;
use crate::image::directory::Directory;
use crate::image::error::ImageError;
use crate::image::reference::Reference;
use crate::image::registry::{Login, LoginError, LoginSummary, Progress};
use crate::model::ImageDigest;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

impl ImageStore {
    /// Brings the image here and unpacks it, for somebody who asked for it, from its registry unless it is built in.
    /// Concurrent pulls of one image are one download, and so are those of a layer that several images have.
    pub async fn pull(
        &self,
        name: &str,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<ImageDigest, ImageError> {
        let digest = self.bring(name, None, progress).await?;
        self.brought(vec![digest.clone()], Origin::Hand).await?;
        Ok(digest)
    }

    /// The same for a task, with a login for the image's registry, instead of what the files of credentials say. The
    /// registry is asked for the manifest with that login, whatever is here: what it names is then shared with everybody
    /// else's pulls.
    pub async fn pull_as(
        &self,
        name: &str,
        login: Option<Login>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<ImageDigest, ImageError> {
        let digest = self.bring(name, login, progress).await?;
        self.brought(vec![digest.clone()], Origin::Task).await?;
        Ok(digest)
    }

    async fn bring(
        &self,
        name: &str,
        login: Option<Login>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<ImageDigest, ImageError> {
        // An image without a name is only ever here.
        if let (Ok(_), Some(digest)) = (name.parse::<Digest>(), self.resolve_to_use(name)) {
            return Ok(digest);
        }
        let reference: Reference = name.parse()?;
        let built_in = self.0.hello.descriptor.digest.into();
        if self.resolve(name).as_ref() == Some(&built_in) {
            return Ok(built_in);
        }
        // What somebody put on this box is meant, whatever a registry has, and whether or not there is one.
        if let Some(directory) = self.0.directory.get()
            && directory.bring(&reference, || self.resolve(name).is_some()).await
            && let Some(digest) = self.resolve(name)
        {
            return Ok(digest);
        }
        let progress = Arc::new(progress);
        let pull = || {
            let progress = progress.clone();
            self.0.pulls.pull(reference.clone(), login.clone(), move |p| progress(p))
        };
        match pull().await {
            Err(error) if error.is_no_space() && self.make_room().await => pull().await,
            other => other,
        }
        .map(ImageDigest::from)
        .map_err(ImageError::Pull)
    }

    pub(super) async fn brought(
        &self,
        images: Vec<ImageDigest>,
        by: Origin,
    ) -> Result<(), ImageError> {
        let store = self.clone();
        blocking(move || {
            for digest in &images {
                store.note_origin(digest, by.clone());
            }
            Ok(())
        })
        .await
    }

    /// Who is to make room when the disk is full. The first who says so is asked.
    pub fn ask_for_room(&self, collector: mpsc::Sender<oneshot::Sender<()>>) {
        let _ = self.0.collector.set(collector);
    }

    /// Has room made on a full disk; false when nobody does that, or nobody can.
    pub(super) async fn make_room(&self) -> bool {
        let Some(collector) = self.0.collector.get() else { return false };
        let (done, made) = oneshot::channel();
        collector.send(done).await.is_ok() && made.await.is_ok()
    }

    /// From now on images are looked for in the archives of this directory, too: pulls wait until [`ImageStore::keep_directory`]
    /// has looked into it. Only the first directory counts.
    pub fn use_directory(&self, path: PathBuf) {
        let _ = self.0.directory.set(Directory::new(path, self.0.layout.clone()));
    }

    /// Loads what is new in the images directory, for as long as it is polled.
    pub async fn keep_directory(&self) {
        if let Some(directory) = self.0.directory.get() {
            directory.keep(self).await;
        }
    }

    /// Has the images directory looked into once more.
    pub fn look_into_directory(&self) {
        if let Some(directory) = self.0.directory.get() {
            directory.look_again();
        }
    }

    /// Has a registry confirm a login, and keeps it for pulls; returns the registry's name.
    pub async fn log_in(&self, registry: &str, login: Login) -> Result<String, LoginError> {
        self.0.access.log_in(registry, login).await
    }

    /// Forgets the login for a registry; its name, and whether there was one.
    pub async fn log_out(&self, registry: &str) -> Result<(String, bool), LoginError> {
        self.0.access.log_out(registry).await
    }

    /// The logins that are kept, by registry.
    pub async fn logins(&self) -> Result<Vec<LoginSummary>, LoginError> {
        self.0.access.logins().await
    }
}
