//! Images ready to be run: their layers unpacked, and what containers of them run by default.

use super::{ImageStore, Inner, blocking};
use crate::image::collect::pins::Grip;
use crate::image::digest::Digest;
use crate::image::error::ImageError;
use crate::image::layers::Stack;
use crate::image::manifest::{Configuration, Manifest};
use crate::model::ImageDigest;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// An image ready to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The lower directories for overlayfs, top first.
    pub layers: Vec<PathBuf>,
    /// What a container of it runs by default.
    pub config: ImageConfig,
}

/// An image's defaults for containers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// USER: name or id, with an optional group; empty for root.
    pub user: String,
    /// WORKDIR; empty for `/`.
    pub working_dir: String,
    /// STOPSIGNAL.
    pub stop_signal: Option<String>,
    /// LABEL.
    pub labels: BTreeMap<String, String>,
    /// EXPOSE: `80/tcp`.
    pub exposed_ports: Vec<String>,
}

impl ImageStore {
    /// Unpacks what is not unpacked yet and returns the image ready to be mounted.
    pub async fn unpacked(&self, digest: &ImageDigest) -> Result<Unpacked, ImageError> {
        match self.unpack(digest).await {
            Err(ImageError::Layer(error)) if error.is_no_space() && self.make_room().await => {
                self.unpack(digest).await
            }
            other => other,
        }
    }

    async fn unpack(&self, digest: &ImageDigest) -> Result<Unpacked, ImageError> {
        let (inner, digest) = (self.0.clone(), digest.clone());
        // Held to the end.
        let grip = Arc::new(inner.layout.grip());
        let pins = grip.clone();
        let (manifest, config, layers) = blocking(move || inner.to_unpack(&digest, &pins)).await?;
        if let Some(layers) = layers {
            drop(grip);
            return Ok(Unpacked { layers, config: config.into() });
        }
        let mut stack = Stack::new(self.0.layers.clone());
        let contents = manifest.layers.iter().zip(&config.rootfs.diff_ids);
        for (chain_id, (layer, diff_id)) in config.chain_ids().into_iter().zip(contents) {
            let Some(turn) = stack.turn(chain_id).await? else { continue };
            let (inner, blob) = (self.0.clone(), layer.digest);
            let archive = blocking(move || Ok(inner.layout.blob(&blob)?)).await?;
            match stack.unpack(turn, *diff_id, archive).await {
                Ok(fresh) => stack.push(fresh, layer.size).await?,
                Err(error) => {
                    // Storage that forgets is the likelier reason than an image that lies.
                    let inner = self.0.clone();
                    blocking(move || Ok(inner.layout.verify(&blob)?)).await?;
                    return Err(error.into());
                }
            }
        }
        let layers = stack.finish().await?;
        drop(grip);
        Ok(Unpacked { layers, config: config.into() })
    }
}

impl Inner {
    /// What an image consists of, and its layers, top first, if all are there. The built-in one is written now.
    fn to_unpack(
        &self,
        digest: &ImageDigest,
        grip: &Grip,
    ) -> Result<(Manifest, Configuration, Option<Vec<PathBuf>>), ImageError> {
        let digest = Digest::from(digest);
        grip.pin(&digest);
        self.touch(&digest);
        if digest == self.hello.descriptor.digest {
            self.put_hello()?;
        }
        let (manifest, config) = self.image(&digest)?;
        for layer in &manifest.layers {
            grip.pin(&layer.digest);
        }
        let chain_ids = config.chain_ids();
        for chain_id in &chain_ids {
            grip.pin(chain_id);
        }
        let all = chain_ids.iter().all(|chain_id| self.layers.has(chain_id));
        let layers = all.then(|| chain_ids.iter().rev().map(|id| self.layers.path(id)).collect());
        Ok((manifest, config, layers))
    }
}

impl From<Configuration> for ImageConfig {
    fn from(configuration: Configuration) -> Self {
        let defaults = configuration.config;
        Self {
            env: defaults.env,
            entrypoint: defaults.entrypoint,
            cmd: defaults.cmd,
            user: defaults.user,
            working_dir: defaults.working_dir,
            stop_signal: defaults.stop_signal,
            labels: defaults.labels,
            exposed_ports: defaults.exposed_ports.into_keys().collect(),
        }
    }
}
