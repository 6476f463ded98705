//! Where the rules of the model are asked: may this definition be registered, and can it run here.

use super::CommandError;
use crate::model::container_instance::Attribute;
use crate::model::task_definition::TaskDefinitionContent;
use crate::model::{Family, Tag};

/// An accepted definition.
pub(super) struct Registration {
    pub(super) family: Family,
    pub(super) content: TaskDefinitionContent,
    pub(super) requires_attributes: Vec<Attribute>,
    pub(super) compatibilities: Vec<String>,
}

/// Validates and normalises.
pub(super) fn register(
    mut content: TaskDefinitionContent,
    _tags: &[Tag],
) -> Result<Registration, CommandError> {
    let family =
        content.family.take().filter(|family| !family.is_empty()).ok_or_else(|| {
            CommandError::Client("Family should not be null or empty.".to_owned())
        })?;
    let family = Family::new(family)
        .map_err(|_| CommandError::Client("Family contains invalid characters.".to_owned()))?;
    if content.container_definitions.as_ref().is_none_or(Vec::is_empty) {
        return Err(CommandError::Client("Container list cannot be empty.".to_owned()));
    }
    Ok(Registration {
        family,
        content,
        requires_attributes: Vec::new(),
        compatibilities: vec!["EXTERNAL".to_owned(), "EC2".to_owned()],
    })
}

/// Refuses what is registered but cannot be run by this version, by the name of the member.
pub(super) fn runnable(content: &TaskDefinitionContent) -> Result<(), CommandError> {
    match content.network_mode.as_deref() {
        Some("host" | "none") => Ok(()),
        _ => Err(CommandError::Client(
            "networkMode is not supported here; set networkMode to host or none.".to_owned(),
        )),
    }
}
