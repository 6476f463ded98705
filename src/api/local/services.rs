//! Watching a service.

use super::query::Query;
use super::{Answer, Api, LocalError, lines, shorten};
use crate::api::identifiers;
use crate::api::manifest;
use crate::api::server::told_to_stop;
use hyper::StatusCode;
use serde_json::{Value, json};

/// The service as DescribeServices shows it, now and after every change of it, until it is INACTIVE or gone.
pub(super) async fn watch(api: &Api, query: &Query) -> Answer {
    query.only(&["cluster", "service"])?;
    let cluster = identifiers::cluster(query.get("cluster"))
        .map_err(|error| LocalError::bad(error.message))?;
    let Some(name) = query.get("service").map(str::to_owned) else {
        return Err(LocalError::bad("service is missing: name the service to watch"));
    };
    let engine = api.engine.clone();
    let input = json!({ "cluster": cluster, "services": [name] });
    let look = move || {
        let (engine, input) = (engine.clone(), input.clone());
        async move { manifest::call(&engine, "DescribeServices", input).await }
    };
    let first =
        look().await.map_err(|error| LocalError::new(StatusCode::BAD_REQUEST, error.message))?;
    if first["services"][0].is_null() {
        let text = format!("there is no service {} in the cluster {cluster}", shorten(&name));
        return Err(LocalError::missing(text));
    }
    let mut commits = api.engine.watch();
    let stopping = told_to_stop(api.stopping.clone());
    let (sender, response) = lines::answer();
    let watch = async move {
        let mut before = Value::Null;
        loop {
            commits.mark_unchanged();
            let Ok(mut answer) = look().await else { return };
            let now = manifest::first(&mut answer, "services");
            let over = now.is_null() || now["status"] == "INACTIVE";
            if !now.is_null() && now != before {
                if sender.send(&now).await.is_err() {
                    return;
                }
                before = now;
            }
            if over {
                return;
            }
            tokio::select! {
                changed = commits.changed() => if changed.is_err() { return },
                () = sender.gone() => return,
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = watch => {}
            () = stopping => {}
        }
    });
    Ok(response)
}
