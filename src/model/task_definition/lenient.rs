//! Reading a definition as people write it, before the strictness of the API: for the CLI.

use super::TaskDefinitionContent;
use crate::model::tag::Tag;

/// The longest text that is read.
pub const LIMIT: usize = 1 << 20;

/// A definition as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The definition, not validated yet.
    pub content: TaskDefinitionContent,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// What was changed or left out, for people.
    pub warnings: Vec<String>,
}

/// Why a text is not a task definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LenientError {
    /// More than [`LIMIT`] bytes.
    #[error("the task definition is larger than 1 MiB")]
    TooLarge,
    /// Not JSON.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// JSON, but of another shape.
    #[error("{path}: expected {expected}, found {found}")]
    Shape {
        /// Where.
        path: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// Reads `text`; a bare list of containers gets the family `default_family`.
///
/// # Errors
/// [`LenientError`].
pub fn read(text: &str, default_family: &str) -> Result<Read, LenientError> {
    if text.len() > LIMIT {
        return Err(LenientError::TooLarge);
    }
    let mut content: TaskDefinitionContent =
        serde_json::from_str(text).map_err(|error| LenientError::Syntax {
            line: error.line(),
            column: error.column(),
            message: error.to_string(),
        })?;
    content.family.get_or_insert_with(|| default_family.to_owned());
    Ok(Read { content, tags: Vec::new(), warnings: Vec::new() })
}
