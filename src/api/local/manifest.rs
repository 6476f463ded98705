//! Declared objects: applying files, and writing what is there as files.

use super::query::Query;
use super::{Answer, Api, LocalError, whole};
use crate::api::error::{ApiError, Exception};
use crate::api::identifiers;
use crate::api::manifest::{self, Format, Source, Wish};
use crate::model::ClusterName;
use serde::Deserialize;
use serde_json::{Value, json};

/// What all files of one apply may have together, as JSON.
pub(super) const LIMIT: usize = 8 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    sources: Vec<Source>,
    cluster: Option<String>,
    set: Option<String>,
    #[serde(default)]
    prune: bool,
    #[serde(default)]
    dry_run: bool,
}

/// Makes the world what the files say, or tells what that would change.
pub(super) async fn apply(api: &Api, content: Value) -> Answer {
    let wanted: Wanted = serde_json::from_value(content)
        .map_err(|e| LocalError::bad(format!("these are no manifests: {e}")))?;
    let wish = Wish {
        sources: wanted.sources,
        cluster: cluster(wanted.cluster.as_deref())?.unwrap_or_else(ClusterName::default_cluster),
        set: wanted.set.filter(|set| !set.is_empty()),
        prune: wanted.prune,
        dry_run: wanted.dry_run,
    };
    match manifest::apply(&api.engine, wish).await {
        Ok(done) => Ok(whole(&json!(done))),
        Err(errors) => {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(LocalError::bad(texts.join("\n")))
        }
    }
}

/// What is there as a file.
pub(super) async fn export(api: &Api, query: &Query) -> Answer {
    query.only(&["cluster", "format"])?;
    let format = match query.get("format") {
        Some("json") => Format::Json,
        None | Some("yaml") => Format::Yaml,
        Some(_) => return Err(LocalError::bad("format must be yaml or json")),
    };
    let only = cluster(query.get("cluster"))?;
    let exported = manifest::export(&api.engine, only.as_ref(), format).await;
    let exported = exported.map_err(|error| refused(&error))?;
    Ok(whole(&json!({ "text": exported.text, "warnings": exported.warnings })))
}

fn cluster(text: Option<&str>) -> Result<Option<ClusterName>, LocalError> {
    text.map(|text| identifiers::cluster(Some(text))).transpose().map_err(|error| refused(&error))
}

fn refused(error: &ApiError) -> LocalError {
    let message = match error.exception {
        Exception::ClusterNotFound => {
            "there is no such cluster: `aws ecs list-clusters` lists them".to_owned()
        }
        _ => error.message.clone(),
    };
    LocalError::new(error.exception.status(), message)
}
