//! The box's secrets: set, listed and removed, never shown.

use super::{Answer, Api, LocalError, whole};
use crate::auth::SecretError;
use crate::auth::secrets::{Kind, Name, NewValue, SecretText, Summary};
use crate::model::Scope;
use crate::plan::Ids;
use crate::sys;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroize;

/// Which secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Named {
    name: String,
    /// The name is that of a parameter, whatever it begins with.
    #[serde(default)]
    parameter: bool,
}

/// A value to keep.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Set {
    name: String,
    #[serde(default)]
    parameter: bool,
    value: String,
    version_stage: Option<String>,
    version_id: Option<String>,
}

/// Names, kinds, versions and dates.
pub(super) async fn list(api: &Api) -> Answer {
    let secrets = api.engine.secrets().clone();
    let all = blocking(move || secrets.list()).await?;
    let scope = api.engine.settings().scope;
    let all: Vec<Value> = all.iter().map(|summary| shown(summary, &scope)).collect();
    Ok(whole(&json!({ "secrets": all })))
}

/// Keeps a value. What was sent is wiped: it is not needed any more.
pub(super) async fn set(api: &Api, mut bytes: Vec<u8>) -> Answer {
    // No word of the parser's: it may quote the value.
    let parsed = serde_json::from_slice(&bytes).map_err(|_| {
        LocalError::bad(
            r#"the body of the request must be {"name", "value"}, and may have "parameter", "versionStage" and "versionId""#,
        )
    });
    bytes.zeroize();
    let Set { name, parameter, value, version_stage, version_id } = parsed?;
    let value = SecretText::new(value);
    let name = named(&name, parameter)?;
    let (secrets, told) = (api.engine.secrets().clone(), name.clone());
    let new = NewValue { name, value, stage: version_stage, version_id };
    let id = blocking(move || secrets.set(new, sys::now(), || Ids::from_seed(sys::seed()).uuid()))
        .await?;
    Ok(whole(&json!({ "name": told.as_str(), "kind": told.kind(), "versionId": id })))
}

/// Removes a secret with all its versions.
pub(super) async fn remove(api: &Api, content: Value) -> Answer {
    let Named { name, parameter } = serde_json::from_value(content).map_err(|error| {
        LocalError::bad(format!("the body of the request is not as expected: {error}"))
    })?;
    let name = named(&name, parameter)?;
    let (secrets, told) = (api.engine.secrets().clone(), name.clone());
    blocking(move || secrets.remove(&name)).await?;
    Ok(whole(&json!({ "name": told.as_str(), "kind": told.kind() })))
}

/// Seals everything with a new key.
pub(super) async fn rotate_key(api: &Api) -> Answer {
    let secrets = api.engine.secrets().clone();
    let count = blocking(move || secrets.rotate_key()).await?;
    Ok(whole(&json!({ "values": count })))
}

fn named(name: &str, parameter: bool) -> Result<Name, LocalError> {
    Name::parse(name, parameter).map_err(|error| LocalError::bad(error.to_string()))
}

fn shown(summary: &Summary, scope: &Scope) -> Value {
    let (service, resource) = summary.name.arn_parts();
    let arn = format!("arn:aws:{service}:{}:{}:{resource}", scope.region, scope.account);
    let mut shown = json!({
        "name": summary.name.as_str(), "kind": summary.name.kind(), "arn": arn,
        "createdDate": summary.created_at, "lastChangedDate": summary.changed_at,
    });
    // A parameter has one value and no stages.
    if summary.name.kind() == Kind::Secret {
        let version = |(id, stages, at): &(String, Vec<String>, _)| json!({ "versionId": id, "versionStages": stages, "createdDate": at });
        shown["versions"] = summary.versions.iter().map(version).collect();
    }
    shown
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
) -> Result<T, LocalError> {
    let broken = |why: String| LocalError::new(StatusCode::INTERNAL_SERVER_ERROR, why);
    let done = tokio::task::spawn_blocking(work).await.map_err(|e| broken(e.to_string()))?;
    done.map_err(|error| match error {
        SecretError::Missing { what, .. } => LocalError::missing(format!("there is no {what}")),
        SecretError::Store(_) | SecretError::Key(_) | SecretError::Damaged(_) => {
            broken(error.to_string())
        }
        _ => LocalError::bad(error.to_string()),
    })
}
