//! The images of this box: who wants them, and what goes.
//!
//! A name goes in steps, so that no task can come to want it in between: it is hidden from the planner, the planner looks
//! at what is there, those that want images are counted again, and only what nobody wants leaves the index. What it named
//! is swept then.

use super::handle::{Handle, NoBox, SubmitError};
use crate::image::collect::pins::Patience;
use crate::image::collect::policy::{KeptImage, Occasion, Rules, choose};
use crate::image::{Collection, ImageError, Space, Sweep, Swept};
use crate::model::ImageDigest;
use crate::plan::instance::images::{self, ImageUser, WantedImages};
use crate::plan::{Command, Observation};
use crate::sys;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long what belongs to no image is kept for the pull that may go on.
const LOOSE_FOR: Duration = Duration::from_hours(24);

/// Why images were not removed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The engine has no box.
    #[error(transparent)]
    NoBox(#[from] NoBox),
    /// The store failed, or the image is not there.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The engine did not answer.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// What containers have mounted is not known.
    #[error("cannot read which layers containers have mounted: {0}")]
    Mounted(#[source] io::Error),
    /// Somebody wants it.
    #[error("image {image} is in use by {user}")]
    InUse {
        /// As named by the caller.
        image: String,
        /// One of them.
        user: ImageUser,
    },
    /// It is being brought here or started.
    #[error("image {0} is being pulled, loaded or started; try again when that is done")]
    Held(String),
    /// It is part of the program.
    #[error("image {0} is part of coracle and stays")]
    BuiltIn(String),
    /// There is none.
    #[error("there is no image {0}")]
    Unknown(String),
    /// Another process has the store open.
    #[error(
        "another coracle has the image store open (coracle run?); nothing is removed meanwhile"
    )]
    Shared,
    /// The program ends.
    #[error("the program is ending")]
    Ending,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The images, with the names that they had.
    pub images: Vec<(ImageDigest, Vec<String>)>,
    /// Their blobs and layers, and those of no image.
    pub swept: Swept,
}

impl Collected {
    /// True when nothing went.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.swept == Swept::default()
    }
}

impl Handle {
    /// The images with who wants them, how long nobody has, and who brought them.
    ///
    /// # Errors
    /// On a hub, or when the store cannot be read.
    pub async fn survey_images(&self) -> Result<Vec<KeptImage>, CollectError> {
        let (store, wanted) = (self.images()?.clone(), self.wanted_images());
        blocking(move || Ok(store.survey(&wanted)?)).await
    }

    /// What images, layers and the rest take. Reads every directory of every layer.
    ///
    /// # Errors
    /// On a hub, or when the store cannot be read.
    pub async fn image_space(&self) -> Result<Space, CollectError> {
        let (store, wanted) = (self.images()?.clone(), self.wanted_images());
        blocking(move || Ok(store.space(&store.survey(&wanted)?)?)).await
    }

    /// Removes what goes by itself: by age, or, when the disk is too full or `full` says that it is, until there is room.
    ///
    /// # Errors
    /// [`CollectError::Shared`] while another process has the store; when the store cannot be written.
    pub async fn collect_images(
        &self,
        rules: &Rules,
        full: bool,
    ) -> Result<Collected, CollectError> {
        let store = self.images()?.clone();
        let looked = blocking({
            let store = store.clone();
            move || Ok(store.disk()?)
        });
        let pressure = full || looked.await?.fill > rules.high;
        let round = self.begin().await?;
        let sweep = Sweep {
            patience: Patience::Lingering,
            loose_for: if pressure { Duration::ZERO } else { LOOSE_FOR },
            though_damaged: pressure,
        };
        let mut collected = Collected::default();
        if pressure {
            collected.swept.bytes += drop_unfinished(&round).await?;
        }
        // Before any name goes: if it is not known what belongs to what, nothing does.
        collected.swept += self.sweep(&round, sweep).await?;
        let occasion = if pressure { Occasion::Pressure } else { Occasion::Cycle };
        let images = self.survey_images().await?;
        let chosen: Vec<KeptImage> =
            choose(&images, rules, occasion).into_iter().cloned().collect();
        if !pressure {
            if self.unname(&round, &chosen, &mut collected).await? {
                collected.swept += self.sweep(&round, sweep).await?;
            }
            return Ok(collected);
        }
        for image in chosen {
            let store = store.clone();
            let disk = blocking(move || Ok(store.disk()?)).await?;
            if disk.fill <= rules.low && !(full && collected.is_empty()) {
                break;
            }
            if self.unname(&round, &[image], &mut collected).await? {
                collected.swept += self.sweep(&round, sweep).await?;
            }
        }
        Ok(collected)
    }

    /// Removes what nobody wants, as somebody has asked for; with `dry_run` only says what would go.
    ///
    /// # Errors
    /// As [`Handle::collect_images`].
    pub async fn prune_images(
        &self,
        all: bool,
        unused_for: Duration,
        dry_run: bool,
    ) -> Result<Collected, CollectError> {
        let occasion = Occasion::Asked { all, unused_for };
        let chosen = |images: &[KeptImage]| -> Vec<KeptImage> {
            choose(images, &Rules::default(), occasion).into_iter().cloned().collect()
        };
        let mut collected = Collected::default();
        if dry_run {
            let images = chosen(&self.survey_images().await?);
            collected.images = images.into_iter().map(|i| (i.digest, i.names)).collect();
            return Ok(collected);
        }
        let round = self.begin().await?;
        // With a bound on age, a download that broke off less long ago is left to go on.
        let loose_for = if unused_for.is_zero() { Duration::ZERO } else { LOOSE_FOR };
        if unused_for.is_zero() {
            collected.swept.bytes += drop_unfinished(&round).await?;
        }
        let sweep = Sweep { patience: Patience::Lingering, loose_for, though_damaged: false };
        collected.swept += self.sweep(&round, sweep).await?;
        let images = chosen(&self.survey_images().await?);
        if self.unname(&round, &images, &mut collected).await? {
            collected.swept += self.sweep(&round, sweep).await?;
        }
        Ok(collected)
    }

    /// Removes images by name, digest or the beginning of one. With `force` the name of what is in use goes as well; what
    /// it named stays until it is not.
    ///
    /// # Errors
    /// The first that cannot be removed; then none is.
    pub async fn remove_images(
        &self,
        names: &[String],
        force: bool,
    ) -> Result<Collected, CollectError> {
        let store = self.images()?.clone();
        let round = self.begin().await?;
        let mut targets = Vec::new();
        for text in names {
            let (store, text) = (store.clone(), text.clone());
            targets.push(
                blocking(move || {
                    let found = store.look_up(&text)?;
                    let (names, digest, by_name) = found
                        .ok_or_else(|| CollectError::Unknown(text.chars().take(256).collect()))?;
                    Ok(Target { text, names, digest, by_name })
                })
                .await?,
            );
        }
        round.0.leave(targets.iter().flat_map(|target| target.names.clone()));
        self.submit(Command::Observe(Observation::ImagesChanged)).await?;
        let wanted = self.wanted_images();
        let collected = blocking({
            let round = Arc::clone(&round.0);
            move || {
                let images = store.survey(&wanted)?;
                for target in &targets {
                    target.may_go(&images, &targets, force, &wanted)?;
                }
                let mut collected = Collected::default();
                for target in targets {
                    for name in target.names {
                        if !round.remove(&target.digest, Some(&name), Patience::Held)? {
                            return Err(CollectError::Held(target.text));
                        }
                        match collected.images.iter_mut().find(|(d, _)| *d == target.digest) {
                            Some((_, names)) => names.push(name),
                            None => collected.images.push((target.digest.clone(), vec![name])),
                        }
                    }
                }
                Ok(collected)
            }
        });
        let mut collected = collected.await?;
        let sweep = Sweep { patience: Patience::Held, loose_for: LOOSE_FOR, though_damaged: false };
        match self.sweep(&round, sweep).await {
            // The names are gone; another image is the reason that nothing else is.
            Err(CollectError::Image(error @ ImageError::Damaged { .. })) => {
                tracing::warn!(%error, "image cleanup");
            }
            swept => collected.swept += swept?,
        }
        Ok(collected)
    }

    fn wanted_images(&self) -> WantedImages {
        self.read(|world| images::wanted(world, sys::now()))
    }

    async fn begin(&self) -> Result<Round, CollectError> {
        let collection = self.images()?.collection().await?.ok_or(CollectError::Shared)?;
        Ok(Round(Arc::new(collection)))
    }

    /// Takes the names of images off the index that still nobody wants; false when none went.
    async fn unname(
        &self,
        round: &Round,
        chosen: &[KeptImage],
        collected: &mut Collected,
    ) -> Result<bool, CollectError> {
        if chosen.is_empty() {
            return Ok(false);
        }
        round.0.leave(chosen.iter().flat_map(|image| image.names.clone()));
        self.submit(Command::Observe(Observation::ImagesChanged)).await?;
        let still = self.survey_images().await?;
        let (round, chosen) = (Arc::clone(&round.0), chosen.to_vec());
        let gone = blocking(move || {
            let mut gone = Vec::new();
            for image in chosen {
                let unwanted = still.iter().any(|i| i.digest == image.digest && i.may_go());
                if unwanted && round.remove(&image.digest, None, Patience::Lingering)? {
                    gone.push((image.digest, image.names));
                }
            }
            Ok(gone)
        });
        let gone = gone.await?;
        let some = !gone.is_empty();
        collected.images.extend(gone);
        Ok(some)
    }

    async fn sweep(&self, round: &Round, how: Sweep) -> Result<Swept, CollectError> {
        // The planner has to have looked at the names that there are: what it wants from then on has one.
        self.submit(Command::Observe(Observation::ImagesChanged)).await?;
        let (round, runtime, wanted) =
            (Arc::clone(&round.0), self.runtime()?.clone(), self.wanted_images());
        blocking(move || {
            let mounted: BTreeSet<PathBuf> =
                runtime.mounted_layers().map_err(CollectError::Mounted)?;
            Ok(round.sweep(&wanted, &mounted, how)?)
        })
        .await
    }
}

/// A collection that goes on until this is dropped.
struct Round(Arc<Collection>);

/// What is to be removed by hand.
struct Target {
    text: String,
    names: Vec<String>,
    digest: ImageDigest,
    by_name: bool,
}

impl Target {
    /// Whether it may go together with all `targets`.
    fn may_go(
        &self,
        images: &[KeptImage],
        targets: &[Self],
        force: bool,
        wanted: &WantedImages,
    ) -> Result<(), CollectError> {
        let Some(image) = images.iter().find(|image| image.digest == self.digest) else {
            return Err(CollectError::Unknown(self.text.clone()));
        };
        if image.built_in {
            return Err(CollectError::BuiltIn(self.text.clone()));
        }
        if force {
            return Ok(());
        }
        let goes = |name: &String| {
            targets.iter().any(|t| t.digest == self.digest && t.names.contains(name))
        };
        // One of several names may go, unless somebody asks for it by that name.
        let user = if self.by_name && !image.names.iter().all(goes) {
            let asked = |name: &&String| {
                self.names.iter().any(|own| {
                    name == &own || crate::image::spellings(own).iter().any(|s| s == *name)
                })
            };
            wanted.names.iter().filter(|(name, _)| asked(name)).find_map(|(_, users)| users.first())
        } else {
            image.users.first()
        };
        match user {
            Some(user) => Err(CollectError::InUse { image: self.text.clone(), user: user.clone() }),
            None => Ok(()),
        }
    }
}

async fn drop_unfinished(round: &Round) -> Result<u64, CollectError> {
    let round = Arc::clone(&round.0);
    blocking(move || Ok(round.drop_unfinished()?)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CollectError> + Send + 'static,
) -> Result<T, CollectError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(CollectError::Ending),
    }
}
