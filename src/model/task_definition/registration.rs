//! Registration: what `RegisterTaskDefinition` does to a definition before a revision is made of it.
//!
//! ```text
//! content as asked ── blanks made absent ── validated as ECS does ── defaults as ECS returns them ──► Registration
//! ```
//!
//! Pure: no clock, no store. The number of the revision, times and the status are the planner's. Registering what came
//! out once more changes nothing.

use super::TaskDefinitionContent;
use super::attributes::requires_attributes;
use super::launch_type::compatibilities;
use super::{normalise, validate};
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
    validate::whole_numbers(&content)?;
    let mut content = normalise::without_blanks(content);
    let family = validate::family(content.family.take().as_deref())?;
    validate::tags(tags)?;
    validate::content(&content)?;
    normalise::with_defaults(&mut content);
    validate::size(&content)?;
    Ok(Registration {
        family,
        requires_attributes: requires_attributes(&content),
        compatibilities: compatibilities(&content),
        content,
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
