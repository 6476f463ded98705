//! Why a task or a service is as it is.

use super::query::Query;
use super::{Answer, Api, LocalError, whole};
use crate::api::identifiers;
use crate::plan::why;
use crate::sys;
use serde_json::json;

/// The chain of reasons of what `of` names.
pub(super) fn answer(api: &Api, query: &Query) -> Answer {
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
    let finding = api.engine.read(|world| {
        let subject = why::find(world, of, cluster.as_ref())
            .map_err(|error| LocalError::missing(error.to_string()))?;
        Ok::<_, LocalError>(why::explain(world, now, &subject))
    })?;
    Ok(whole(&json!(finding)))
}
