//! A validated input on its way to its type.

use super::error::{ApiError, Exception};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a validated body as `T`. A failure means that `T` and the model disagree, or that a member was too deep.
pub(super) fn read<T: DeserializeOwned>(input: Value) -> Result<T, ApiError> {
    serde_json::from_value(input)
        .map_err(|e| ApiError::new(Exception::Serialization, e.to_string()))
}
