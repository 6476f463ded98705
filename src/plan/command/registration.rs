//! Where the rules of the model are asked: may this definition be registered, and can it run here.

use super::CommandError;
use crate::model::Tag;
use crate::model::task::ContainerOverride;
use crate::model::task_definition::{
    self, ContainerDefinition, Registration, RegistrationError, TaskDefinitionContent,
};

/// Validates and normalises.
pub(super) fn register(
    content: TaskDefinitionContent,
    tags: &[Tag],
) -> Result<Registration, CommandError> {
    task_definition::register(content, tags).map_err(refusal)
}

/// Checks the variables and environment files of an override as registration does those of a definition.
pub(super) fn overridable(
    definition: &ContainerDefinition,
    change: &ContainerOverride,
) -> Result<(), CommandError> {
    let checked = task_definition::check_environment(
        definition,
        change.environment.as_deref().unwrap_or_default(),
        change.environment_files.as_deref().unwrap_or_default(),
    );
    checked.map_err(refusal)
}

fn refusal(error: RegistrationError) -> CommandError {
    match error {
        RegistrationError::Client(message) => CommandError::Client(message),
        RegistrationError::InvalidParameter(message) => CommandError::InvalidParameter(message),
    }
}

/// Refuses what is registered but cannot be run by this version, by the name of the member.
pub(super) fn runnable(content: &TaskDefinitionContent) -> Result<(), CommandError> {
    let unsupported = task_definition::support::unsupported(content);
    if unsupported.is_empty() {
        return Ok(());
    }
    let texts: Vec<_> = unsupported
        .iter()
        .map(|found| format!("{} is not supported yet: {}", found.field, found.remedy))
        .collect();
    Err(CommandError::Client(texts.join("; ")))
}
