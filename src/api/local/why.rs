//! Why a task or a service is as it is.

use super::query::Query;
use super::{Answer, Api, LocalError, remote, whole};
use crate::api::identifiers;
use crate::plan::why;
use crate::sys;
use serde_json::json;

/// The chain of reasons of what `of` names; of a hub with what the boxes add.
pub(super) async fn answer(api: &Api, query: &Query) -> Answer {
    query.only(&["of", "cluster"])?;
    let of = query
        .get("of")
        .ok_or_else(|| LocalError::bad("of is missing: name a task or a service"))?;
    let cluster = query
        .get("cluster")
        .map(|text| identifiers::cluster(Some(text)))
        .transpose()
        .map_err(|error| LocalError::bad(error.message))?;
    let now = sys::now();
    let (subject, mut finding) = api.engine.read(|world| {
        let subject = why::find(world, of, cluster.as_ref())
            .map_err(|error| LocalError::missing(error.to_string()))?;
        let finding = why::explain(world, now, &subject)
            .ok_or_else(|| LocalError::missing(format!("{of} is not there any more")))?;
        Ok::<_, LocalError>((subject, finding))
    })?;
    if let Some(boxes) = &api.boxes {
        remote::ask_reason(boxes, &api.engine, &subject, &mut finding).await;
    }
    Ok(whole(&json!(finding)))
}
