//! Images: listing, loading and pulling.

use super::{Answer, Api, LocalError, lines, text, whole};
use crate::api::server::told_to_stop;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::path::Path;

/// The images of the box.
pub(super) async fn list(api: &Api) -> Answer {
    let store = api.engine.images()?.clone();
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
            shown
        })
        .collect();
    Ok(whole(&json!({ "images": images })))
}

/// Loads the images of an archive on this box.
pub(super) async fn load(api: &Api, content: &Value) -> Answer {
    let path = Path::new(text(content, "path")?);
    if !path.is_absolute() {
        return Err(LocalError::bad(format!("the path {} is not absolute", path.display())));
    }
    let loaded =
        api.engine.images()?.load(path).await.map_err(|e| LocalError::bad(e.to_string()))?;
    let names: Vec<&str> = loaded.iter().map(|(name, _)| name.as_str()).collect();
    Ok(whole(&json!({ "images": names })))
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
            progress.offer(&json!({ "layer": p.layer, "done": p.done, "total": p.total }));
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
