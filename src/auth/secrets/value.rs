//! A text that is never printed and is wiped when dropped.

use super::SecretError;
use super::name::Name;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The value of a secret.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

/// The member `key` of the JSON object in `value`: texts as they are, everything else as JSON has it.
pub(super) fn member(
    value: &SecretText,
    name: &Name,
    key: &str,
) -> Result<SecretText, SecretError> {
    let not_an_object = || SecretError::NotAnObject { name: name.clone(), key: key.to_owned() };
    let object: Value = serde_json::from_str(value.expose()).map_err(|_| not_an_object())?;
    let Value::Object(mut members) = object else { return Err(not_an_object()) };
    let found = match members.remove(key) {
        None | Some(Value::Null) => {
            return Err(SecretError::NoMember { name: name.clone(), key: key.to_owned() });
        }
        Some(Value::String(text)) => SecretText(text),
        Some(other) => SecretText(other.to_string()),
    };
    for member in members.values_mut() {
        wipe(member);
    }
    Ok(found)
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `{"username", "password"}`.
pub(super) fn login(value: &SecretText) -> Option<(String, SecretText)> {
    #[derive(Deserialize)]
    struct Login {
        username: String,
        password: String,
    }
    let Login { username, password } = serde_json::from_str(value.expose()).ok()?;
    Some((username, SecretText(password)))
}
