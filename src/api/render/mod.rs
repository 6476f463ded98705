//! Records as ECS shows them: `camelCase`, times as epoch seconds, members absent rather than null.

pub(super) mod cluster;
pub(super) mod container_instance;
pub(super) mod service;
pub(super) mod service_deployment;
pub(super) mod service_revision;
pub(super) mod task;
pub(super) mod task_definition;

use super::error::{ApiError, Exception};
use crate::model::{Scope, Tag};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One page of a list: the items under `member`, and the token if there are more.
pub(super) fn page<T: Serialize>(
    member: &str,
    items: impl Iterator<Item = T>,
    next_token: Option<String>,
) -> Value {
    let items: Vec<T> = items.collect();
    let mut answer = json!({ member: items });
    if let Some(token) = next_token {
        answer["nextToken"] = Value::String(token);
    }
    answer
}

/// Tags as a list, empty when there are none.
pub(super) fn tags(tags: &[Tag]) -> Value {
    json!(tags)
}

/// The only principal there is, the account's root.
pub(super) fn root_arn(scope: &Scope) -> String {
    format!("arn:aws:iam::{}:root", scope.account)
}

/// The engine answered a command with a reply of another command.
pub(super) fn unexpected_reply() -> ApiError {
    ApiError::new(Exception::Server, "The engine gave an answer that does not fit the request.")
}

/// Adds a member if there is a value for it.
pub(super) fn put(object: &mut Map<String, Value>, name: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), json!(value));
    }
}
