//! Images: listing and pulling.

mod keep;

pub(super) use keep::{history, inspect, prune, remove, space};

use super::{Answer, Api, LocalError, lines, text, whole};
use crate::api::server::told_to_stop;
use hyper::StatusCode;
use serde_json::{Value, json};

/// The images of the box.
pub(super) async fn list(api: &Api) -> Answer {
    let store = api.engine.images()?.clone();
    let kept = api.engine.survey_images().await.map_err(keep::refused)?;
    let broken = |why: String| LocalError::new(StatusCode::INTERNAL_SERVER_ERROR, why);
    let images = tokio::task::spawn_blocking(move || store.list())
        .await
        .map_err(|e| broken(e.to_string()))?
        .map_err(|e| broken(e.to_string()))?;
    let images: Vec<Value> = images
        .iter()
        .map(|image| {
            let mut shown = json!({
                "name": image.name, "digest": image.digest, "size": image.size,
                "platform": image.platform,
            });
            if let Some(created) = &image.created {
                shown["created"] = json!(created);
            }
            if let Some(kept) = kept.iter().find(|kept| kept.digest == image.digest) {
                keep::show_use(kept, &mut shown);
            }
            shown
        })
        .collect();
    Ok(whole(&json!({ "images": images })))
}

/// Pulls an image; what fails is told by the last line. It goes on when the client leaves: the next one waits less.
pub(super) fn pull(api: &Api, content: &Value) -> Answer {
    let image = text(content, "image")?.to_owned();
    let store = api.engine.images()?.clone();
    let stopping = told_to_stop(api.stopping.clone());
    let (sender, response) = lines::answer();
    let progress = sender.clone();
    let pulled = async move {
        let told = store.pull(&image, move |p| {
            progress.offer(&json!({
                "layer": p.layer, "phase": p.phase, "done": p.done, "total": p.total,
                "resumed": p.resumed,
            }));
        });
        match told.await {
            Ok(digest) => json!({ "image": image, "digest": digest }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            last = pulled => drop(sender.send(&last).await),
            () = stopping => {}
        }
    });
    Ok(response)
}
