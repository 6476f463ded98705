//! `RegisterTaskDefinition`, `DeregisterTaskDefinition`, `DeleteTaskDefinitions`.

use super::registration;
use super::{CommandError, Outcome, Reply};
use crate::model::task_definition::{TaskDefinitionContent, TaskDefinitionStatus};
use crate::model::{Failure, Revision, Tag, TaskDefinition, TaskDefinitionRef, Timestamp};
use crate::plan::{Change, World};

/// How many revisions one `DeleteTaskDefinitions` may name.
const DELETE_AT_MOST: usize = 10;

/// Makes the next revision of the family. Numbers are never used again, not even those of deleted revisions.
pub(super) fn register(
    world: &World,
    content: TaskDefinitionContent,
    tags: Vec<Tag>,
    registered_by: Option<String>,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    super::tag::check_tags(&tags)?;
    if world.settings.simulated {
        crate::plan::simulate::check_labels(&content)
            .map_err(|error| CommandError::Client(error.to_string()))?;
    }
    let registration = registration::register(content, &tags)?;
    let last = world.revisions.get(&registration.family).map_or(0, |revision| revision.0);
    let revision = Revision(last.checked_add(1).ok_or_else(|| {
        CommandError::LimitExceeded("The family has no revision numbers left.".to_owned())
    })?);
    let definition = TaskDefinition {
        family: registration.family.clone(),
        revision,
        status: TaskDefinitionStatus::Active,
        content: registration.content,
        requires_attributes: registration.requires_attributes,
        compatibilities: registration.compatibilities,
        registered_at: now,
        registered_by,
        deregistered_at: None,
        delete_requested_at: None,
        tags,
    };
    let reply = Reply::TaskDefinition(definition.reference());
    let changes = vec![
        Change::PutRevision(registration.family, revision),
        Change::PutTaskDefinition(Box::new(definition)),
    ];
    Ok(Outcome::with(changes, reply))
}

/// Makes the revision `INACTIVE`: running tasks go on, new ones are refused. Doing it again changes nothing.
pub(super) fn deregister(
    world: &World,
    reference: &TaskDefinitionRef,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    let definition = world
        .task_definitions
        .get(reference)
        .ok_or_else(|| CommandError::Client("Unable to describe task definition.".to_owned()))?;
    let reply = Reply::TaskDefinition(reference.clone());
    if definition.status != TaskDefinitionStatus::Active {
        return Ok(Outcome::with(Vec::new(), reply));
    }
    let definition = TaskDefinition {
        status: TaskDefinitionStatus::Inactive,
        deregistered_at: Some(now),
        ..definition.clone()
    };
    Ok(Outcome::with(vec![Change::PutTaskDefinition(Box::new(definition))], reply))
}

/// Asks for revisions to be removed; the planner does it once nothing refers to them.
pub(super) fn delete(
    world: &World,
    references: &[TaskDefinitionRef],
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    if references.is_empty() || references.len() > DELETE_AT_MOST {
        return Err(CommandError::InvalidParameter(format!(
            "Specify 1 to {DELETE_AT_MOST} task definitions."
        )));
    }
    let mut changes = Vec::new();
    let mut deleted: Vec<TaskDefinition> = Vec::new();
    let mut failures = Vec::new();
    for reference in references {
        if deleted.iter().any(|definition| &definition.reference() == reference) {
            continue;
        }
        let fail = |reason: &str| Failure {
            arn: Some(world.settings.scope.task_definition(reference)),
            reason: Some(reason.to_owned()),
            detail: None,
        };
        match world.task_definitions.get(reference) {
            None => failures.push(fail(
                "The specified task definition does not exist. Specify a valid account, family, revision and try again.",
            )),
            Some(definition) => match definition.status {
                TaskDefinitionStatus::Active => failures.push(fail(
                    "The specified task definition is still in ACTIVE status. Please deregister the target and try again.",
                )),
                TaskDefinitionStatus::Inactive => {
                    let definition = TaskDefinition {
                        status: TaskDefinitionStatus::DeleteInProgress,
                        delete_requested_at: Some(now),
                        ..definition.clone()
                    };
                    changes.push(Change::PutTaskDefinition(Box::new(definition.clone())));
                    deleted.push(definition);
                }
                TaskDefinitionStatus::DeleteInProgress => deleted.push(definition.clone()),
            },
        }
    }
    Ok(Outcome::with(changes, Reply::TaskDefinitions { deleted, failures }))
}
