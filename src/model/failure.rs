//! `failures[]`: what a batch operation could not do, item by item.

use serde::{Deserialize, Serialize};

/// One failed item (ECS `Failure`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The item, as an ARN where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub arn: Option<String>,
    /// For example `MISSING`, `RESOURCE:MEMORY`, `ATTRIBUTE`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// More, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

impl Failure {
    /// The object does not exist.
    #[must_use]
    pub fn missing(arn: impl Into<String>) -> Self {
        Self { arn: Some(arn.into()), reason: Some("MISSING".to_owned()), detail: None }
    }
}
