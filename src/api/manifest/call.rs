//! The operations of the API, called as a client calls them.

use crate::api::error::{ApiError, Exception};
use crate::api::operations;
use crate::api::shapes::{self, Operation};
use crate::engine::Handle;
use serde_json::Value;

/// Calls the operation `name`.
pub(in crate::api) async fn call(
    engine: &Handle,
    name: &str,
    mut input: Value,
) -> Result<Value, ApiError> {
    let operation = Operation::find(name).ok_or_else(|| {
        ApiError::new(Exception::UnknownOperation, format!("There is no operation {name}."))
    })?;
    shapes::check(operation, &mut input)?;
    operations::call(engine, None, operation, input).await
}

/// The first item of a list of an answer; null when there is none.
pub(in crate::api) fn first(answer: &mut Value, member: &str) -> Value {
    answer.get_mut(member).and_then(|list| list.get_mut(0)).map(Value::take).unwrap_or_default()
}

/// Calls an operation of lists until its last page; the items of `member`.
pub(super) async fn pages(
    engine: &Handle,
    name: &str,
    mut input: Value,
    member: &str,
) -> Result<Vec<Value>, ApiError> {
    let mut items = Vec::new();
    loop {
        let mut page = call(engine, name, input.clone()).await?;
        if let Value::Array(more) = page[member].take() {
            items.extend(more);
        }
        match page["nextToken"].take() {
            Value::String(token) => input["nextToken"] = token.into(),
            _ => return Ok(items),
        }
    }
}
