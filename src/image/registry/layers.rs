//! The layers of one image: several are downloaded at a time, and unpacked from the lowest upwards as their bytes come.
//!
//! ```text
//!  download 1 ══════► whole                     a few at a time, in order
//!  download 2 ═══════════► whole
//!  unpack     1 ─► 2 ─► 3 …  sync, names        behind the downloads
//! ```
//!
//! A layer joins the others only when its blob is verified and its content is what the configuration promises.

use super::blob::Kind;
use super::error::PullError;
use super::progress::{Phase, Progress};
use super::pull::{Pull, blocking};
use super::share::{End, Following, Stand, Watch};
use crate::image::digest::Digest;
use crate::image::layers::{Stack, Turn};
use crate::image::layout::{Layout, LayoutError};
use crate::image::manifest::{Configuration, Descriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

/// How long a pull that failed waits for what it was unpacking to be gone.
const CLEARING_UP: Duration = Duration::from_secs(2);

/// Where the news of a layer's download comes from; none before it has begun.
type Told = watch::Receiver<Option<Watch>>;

/// How one try to unpack a layer ended.
enum Tried {
    /// It is there, by us or by another pull.
    Stacked,
    /// Its bytes were not the right ones, or stopped coming: there will be others.
    Again,
}

impl Pull {
    /// Brings the layers and unpacks them; the first failure ends everything.
    pub(super) async fn layers(
        &self,
        layers: &[Descriptor],
        config: &Configuration,
    ) -> Result<(), PullError> {
        let chain: Vec<(Digest, Digest)> =
            config.chain_ids().into_iter().zip(config.rootfs.diff_ids.iter().copied()).collect();
        let (missing, finished) = self.survey(layers, &chain).await?;
        let mut told = BTreeMap::new();
        let mut wanted = Vec::new();
        for layer in missing {
            let (tell, hear) = watch::channel(None);
            told.insert(layer.digest, hear);
            wanted.push((layer, tell));
        }
        let download = self.download(wanted);
        let unpack = self.unpack(layers, &chain, told, finished);
        tokio::pin!(download, unpack);
        tokio::select! {
            downloaded = &mut download => match downloaded {
                Ok(()) => unpack.await,
                Err(error) => {
                    // Its thread hears of that soon, unless it follows somebody else's download, and clears up.
                    let _ = timeout(CLEARING_UP, unpack).await;
                    Err(error)
                }
            },
            unpacked = &mut unpack => match unpacked {
                // The one who gave up knows why.
                Ok(()) | Err(PullError::Abandoned) => {
                    download.await?;
                    unpacked
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Reports every layer; returns those that must be downloaded, if there is room for them, and those that need nothing.
    async fn survey(
        &self,
        layers: &[Descriptor],
        chain: &[(Digest, Digest)],
    ) -> Result<(Vec<Descriptor>, BTreeSet<Digest>), PullError> {
        let mut known = BTreeSet::new();
        let layers: Vec<(Descriptor, Digest)> = layers
            .iter()
            .zip(chain)
            .filter(|(layer, _)| known.insert(layer.digest))
            .map(|(layer, (chain_id, _))| (layer.clone(), *chain_id))
            .collect();
        let (shared, report, grip) = (self.shared.clone(), self.report.clone(), self.grip.clone());
        let names: Vec<Digest> = chain.iter().map(|(chain_id, _)| *chain_id).collect();
        blocking(move || {
            for digest in names.iter().chain(layers.iter().map(|(layer, _)| &layer.digest)) {
                grip.pin(digest);
            }
            let begun = shared.layout.unfinished()?;
            let begun: BTreeMap<Digest, u64> = begun.iter().map(|u| (u.digest, u.size)).collect();
            let (mut missing, mut finished) = (Vec::new(), BTreeSet::new());
            let mut needed = 0_u64;
            for (layer, chain_id) in layers {
                let here = shared.layout.has(&layer);
                let resumed = begun.get(&layer.digest).copied().unwrap_or(0).min(layer.size);
                let (phase, done) = match (here, shared.layers.has(&chain_id)) {
                    (true, true) => (Phase::Here, layer.size),
                    (true, false) => (Phase::Unpacking, layer.size),
                    (false, _) => (Phase::Waiting, resumed),
                };
                report(Progress {
                    layer: layer.digest.to_string(),
                    phase,
                    done,
                    total: layer.size,
                    resumed: if here { 0 } else { resumed },
                });
                if !here {
                    needed = needed.saturating_add(layer.size - resumed);
                    missing.push(layer);
                } else if phase == Phase::Here {
                    finished.insert(layer.digest);
                }
            }
            // Better told now than after an hour.
            has_room(&shared.layout, needed)?;
            Ok((missing, finished))
        })
        .await
    }

    /// Downloads layers, the lowest first.
    async fn download(
        &self,
        wanted: Vec<(Descriptor, watch::Sender<Option<Watch>>)>,
    ) -> Result<(), PullError> {
        let mut downloads = JoinSet::new();
        for (layer, tell) in wanted {
            let place = if self.shared.downloads.runs(&layer.digest) {
                None
            } else {
                let place = self.place();
                tokio::pin!(place);
                loop {
                    tokio::select! {
                        place = &mut place => break Some(place?),
                        Some(ended) = downloads.join_next() => landed(ended)?,
                    }
                }
            };
            let pull = self.clone();
            downloads.spawn(async move {
                let digest = layer.digest.to_string();
                let report = |stand: &Stand| {
                    let phase = if stand.written == layer.size {
                        Phase::Unpacking
                    } else {
                        Phase::Downloading
                    };
                    (pull.report)(Progress {
                        layer: digest.clone(),
                        phase,
                        done: stand.written,
                        total: layer.size,
                        resumed: stand.resumed,
                    });
                };
                pull.blob(&layer, Kind::Layer, place, Some(&tell), &report).await
            });
        }
        while let Some(ended) = downloads.join_next().await {
            landed(ended)?;
        }
        Ok(())
    }

    /// Unpacks the layers, the lowest first, those that are still to come as they come.
    async fn unpack(
        &self,
        layers: &[Descriptor],
        chain: &[(Digest, Digest)],
        mut told: BTreeMap<Digest, Told>,
        finished: BTreeSet<Digest>,
    ) -> Result<(), PullError> {
        let mut stack = Stack::new(self.shared.layers.clone());
        for (layer, ids) in layers.iter().zip(chain) {
            let mut told = told.get_mut(&layer.digest);
            while let Tried::Again =
                self.unpack_one(&mut stack, layer, *ids, told.as_deref_mut()).await?
            {}
            if let Some(told) = told {
                whole(told).await?;
            }
            if !finished.contains(&layer.digest) {
                (self.report)(Progress {
                    layer: layer.digest.to_string(),
                    phase: Phase::Done,
                    done: layer.size,
                    total: layer.size,
                    resumed: 0,
                });
            }
        }
        stack.finish().await?;
        Ok(())
    }

    async fn unpack_one(
        &self,
        stack: &mut Stack,
        layer: &Descriptor,
        (chain_id, diff_id): (Digest, Digest),
        told: Option<&mut Told>,
    ) -> Result<Tried, PullError> {
        let Some(turn) = stack.turn(chain_id).await? else { return Ok(Tried::Stacked) };
        let Some(told) = told else {
            return self.unpack_blob(stack, turn, layer, diff_id).await;
        };
        let mut download = news(told).await?;
        let begun = download.wait_for(|stand| stand.file.is_some() || stand.end.is_some()).await;
        match begun.map(|stand| matches!(stand.end, Some(End::Whole))) {
            Ok(true) => return self.unpack_blob(stack, turn, layer, diff_id).await,
            Ok(false) => {}
            Err(_) => return other(told).await,
        }
        let Some((following, begun)) = Following::new(download.clone(), layer.size) else {
            return other(told).await;
        };
        let place = self.shared.followers.acquire().await.map_err(|_| PullError::Abandoned)?;
        let unpacked = stack.unpack(turn, diff_id, following).await;
        drop(place);
        // The network can do nothing about that.
        if let Err(error) = &unpacked
            && error.is_no_space()
        {
            return Ok(unpacked.map(|_| Tried::Again)?);
        }
        // Whatever it was: it counts only with the right bytes.
        let end = download.wait_for(|stand| stand.end.is_some()).await;
        match end.map(|stand| (stand.end.clone(), stand.turn)) {
            Ok((Some(End::Whole), turn)) if turn == begun => {
                stack.push(unpacked?, layer.size).await?;
                Ok(Tried::Stacked)
            }
            Ok((Some(End::Whole), _)) => Ok(Tried::Again),
            _ => other(told).await,
        }
    }

    /// Unpacks a layer whose blob is here.
    async fn unpack_blob(
        &self,
        stack: &mut Stack,
        turn: Turn,
        layer: &Descriptor,
        diff_id: Digest,
    ) -> Result<Tried, PullError> {
        let (shared, digest) = (self.shared.clone(), layer.digest);
        let archive = blocking(move || Ok(shared.layout.blob(&digest)?)).await?;
        match stack.unpack(turn, diff_id, archive).await {
            Ok(fresh) => {
                stack.push(fresh, layer.size).await?;
                Ok(Tried::Stacked)
            }
            Err(error) if error.is_no_space() => Err(error.into()),
            Err(error) => {
                // Storage that forgets is the likelier reason than an image that lies.
                let shared = self.shared.clone();
                blocking(move || Ok(shared.layout.verify(&digest)?)).await?;
                Err(error.into())
            }
        }
    }
}

/// The download of a layer, from when it has begun.
async fn news(told: &mut Told) -> Result<Watch, PullError> {
    let download = told.wait_for(Option::is_some).await.map(|download| download.clone());
    download.ok().flatten().ok_or(PullError::Abandoned)
}

/// Waits until the download that failed or was given up has a successor.
async fn other(told: &mut Told) -> Result<Tried, PullError> {
    told.changed().await.map_err(|_| PullError::Abandoned)?;
    Ok(Tried::Again)
}

/// Waits until the blob is in the store.
async fn whole(told: &mut Told) -> Result<(), PullError> {
    loop {
        let mut download = news(told).await?;
        let end = download.wait_for(|stand| stand.end.is_some()).await;
        if end.is_ok_and(|stand| matches!(stand.end, Some(End::Whole))) {
            return Ok(());
        }
        other(told).await?;
    }
}

/// What became of a task.
fn landed(ended: Result<Result<(), PullError>, JoinError>) -> Result<(), PullError> {
    match ended {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(PullError::Abandoned),
    }
}

/// Refuses what cannot be finished for want of room, unpacked files not counted.
fn has_room(layout: &Layout, needed: u64) -> Result<(), LayoutError> {
    let room = layout.room()?;
    if needed > room {
        return Err(LayoutError::Room { needed, room });
    }
    Ok(())
}
