//! What is kept of images and what goes; what they say of themselves.

use crate::api::local::query::Query;
use crate::api::local::{Answer, Api, LocalError, whole};
use crate::engine::{CollectError, Collected};
use crate::image::{ImageError, ImageStore, KeptImage, Origin};
use crate::model::ImageDigest;
use crate::sys;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Most images that are removed with one request.
const REMOVED_AT_ONCE: usize = 1000;

/// Adds who wants an image, and since when nobody has.
pub(super) fn show_use(kept: &KeptImage, shown: &mut Value) {
    let users: Vec<String> = kept.users.iter().map(ToString::to_string).collect();
    shown["inUse"] = users.len().into();
    shown["usedBy"] = users.into();
    if !kept.built_in {
        let unused = i64::try_from(kept.unused.as_millis()).unwrap_or(i64::MAX);
        // In the box's own time: what it was off does not count.
        let last = crate::model::Timestamp(sys::now().millis().saturating_sub(unused));
        shown["lastUsed"] = json!(last);
        shown["unusedSeconds"] = kept.unused.as_secs().into();
        shown["origin"] = match &kept.origin {
            Origin::Task => "task".into(),
            Origin::Hand => "hand".into(),
            Origin::Directory(archive) => json!(archive.path),
        };
    }
}

/// One image, as `docker image inspect` shows it.
pub(in crate::api::local) async fn inspect(api: &Api, query: &Query) -> Answer {
    let shown = of_image(api, query, ImageStore::inspect).await?;
    Ok(whole(&json!({ "images": [shown] })))
}

/// How an image was made.
pub(in crate::api::local) async fn history(api: &Api, query: &Query) -> Answer {
    let steps = of_image(api, query, ImageStore::history).await?;
    Ok(whole(&json!({ "history": steps })))
}

/// What all of it takes.
pub(in crate::api::local) async fn space(api: &Api) -> Answer {
    let space = api.engine.image_space().await.map_err(refused)?;
    Ok(whole(&json!(space)))
}

/// What is to be removed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Removal {
    images: Vec<String>,
    #[serde(default)]
    force: bool,
}

/// Removes images by name or digest.
pub(in crate::api::local) async fn remove(api: &Api, content: Value) -> Answer {
    let wanted: Removal = parse(content)?;
    if !(1..=REMOVED_AT_ONCE).contains(&wanted.images.len()) {
        let text = format!("images must name 1 to {REMOVED_AT_ONCE} images");
        return Err(LocalError::bad(text));
    }
    let engine = api.engine.clone();
    let work = async move { engine.remove_images(&wanted.images, wanted.force).await };
    let removed = to_its_end(work).await?;
    Ok(whole(&show(&removed)))
}

/// Which images nobody uses are to go.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Prune {
    #[serde(default)]
    all: bool,
    #[serde(default)]
    older_than_seconds: u64,
    #[serde(default)]
    dry_run: bool,
}

/// Removes images that nobody uses.
pub(in crate::api::local) async fn prune(api: &Api, content: Value) -> Answer {
    let Prune { all, older_than_seconds, dry_run } = parse(content)?;
    let unused_for = Duration::from_secs(older_than_seconds);
    let engine = api.engine.clone();
    let work = async move { engine.prune_images(all, unused_for, dry_run).await };
    let removed = to_its_end(work).await?;
    Ok(whole(&show(&removed)))
}

/// What has begun goes on when whoever asked for it goes away: a name without its blobs is not left behind for a day.
async fn to_its_end(
    work: impl Future<Output = Result<Collected, CollectError>> + Send + 'static,
) -> Result<Collected, LocalError> {
    let done = tokio::spawn(work).await;
    done.unwrap_or(Err(CollectError::Ending)).map_err(refused)
}

fn show(collected: &Collected) -> Value {
    let images: Vec<Value> = collected
        .images
        .iter()
        .map(|(digest, names)| json!({ "digest": digest, "names": names }))
        .collect();
    let swept = collected.swept;
    json!({ "images": images, "blobs": swept.blobs, "layers": swept.layers, "bytes": swept.bytes })
}

fn parse<T: for<'de> Deserialize<'de>>(content: Value) -> Result<T, LocalError> {
    serde_json::from_value(content).map_err(|e| LocalError::bad(e.to_string()))
}

/// Asks the store about the image in `query`.
async fn of_image<T: Send + 'static>(
    api: &Api,
    query: &Query,
    ask: impl FnOnce(&ImageStore, &ImageDigest) -> Result<T, ImageError> + Send + 'static,
) -> Result<T, LocalError> {
    query.only(&["image"])?;
    let missing = || LocalError::bad("the parameter image is missing");
    let image = query.get("image").ok_or_else(missing)?.to_owned();
    let store = api.engine.images()?.clone();
    let asked = tokio::task::spawn_blocking(move || match store.look_up(&image)? {
        Some((_, digest, _)) => Ok(ask(&store, &digest)?),
        None => Err(CollectError::Unknown(image.chars().take(256).collect())),
    });
    asked
        .await
        .map_err(|e| LocalError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?
        .map_err(refused)
}

#[expect(clippy::needless_pass_by_value, reason = "errors are mapped with it")]
pub(super) fn refused(error: CollectError) -> LocalError {
    let status = match &error {
        CollectError::NoBox(_) | CollectError::Unknown(_) => StatusCode::NOT_FOUND,
        CollectError::InUse { .. }
        | CollectError::Held(_)
        | CollectError::BuiltIn(_)
        | CollectError::Shared => StatusCode::CONFLICT,
        CollectError::Image(ImageError::Ambiguous(_)) => StatusCode::BAD_REQUEST,
        CollectError::Submit(_) | CollectError::Ending => StatusCode::SERVICE_UNAVAILABLE,
        CollectError::Image(_) | CollectError::Mounted(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    LocalError::new(status, error.to_string())
}
