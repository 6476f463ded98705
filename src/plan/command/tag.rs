//! `TagResource` and `UntagResource`.

use super::{CommandError, INACTIVE_CLUSTER, Outcome, Reply, Resource};
use crate::model::service::ServiceStatus;
use crate::model::{AssignmentId, Tag};
use crate::plan::cluster::away;
use crate::plan::{Change, World};

/// How many tags a resource may have.
const TAGS_AT_MOST: usize = 50;

/// Refuses tags that ECS refuses.
pub(super) fn check_tags(tags: &[Tag]) -> Result<(), CommandError> {
    let invalid = |text: String| Err(CommandError::InvalidParameter(text));
    if tags.len() > TAGS_AT_MOST {
        return invalid(format!("A resource can have at most {TAGS_AT_MOST} tags."));
    }
    for (at, tag) in tags.iter().enumerate() {
        let key = tag.key.as_deref().unwrap_or_default();
        let value = tag.value.as_deref().unwrap_or_default();
        if !(1..=128).contains(&key.chars().count()) {
            return invalid(format!("The tag key {key:?} must have 1 to 128 characters."));
        }
        if value.chars().count() > 256 {
            return invalid(format!("The value of the tag {key:?} has more than 256 characters."));
        }
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            return invalid(format!("The tag key {key:?} begins with aws:, which is reserved."));
        }
        let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
        if !key.chars().chain(value.chars()).all(allowed) {
            return invalid(format!("The tag {key:?} has characters that are not allowed."));
        }
        if tags[..at].iter().any(|earlier| earlier.key == tag.key) {
            return invalid(format!("The tag key {key:?} is given twice."));
        }
    }
    away::check_tags(tags).map_err(CommandError::InvalidParameter)
}

/// `base` with `more` put over it, by key.
pub(super) fn merged(base: &[Tag], more: Vec<Tag>) -> Vec<Tag> {
    let mut tags: Vec<Tag> =
        base.iter().filter(|tag| !more.iter().any(|other| other.key == tag.key)).cloned().collect();
    tags.extend(more);
    tags
}

/// Adds tags, or changes the values of those that are there.
pub(super) fn tag(
    world: &World,
    resource: &Resource,
    tags: Vec<Tag>,
) -> Result<Outcome, CommandError> {
    check_tags(&tags)?;
    change(world, resource, |old| {
        let all = merged(old, tags);
        if all.len() > TAGS_AT_MOST {
            return Err(CommandError::LimitExceeded(format!(
                "A resource can have at most {TAGS_AT_MOST} tags."
            )));
        }
        Ok(all)
    })
}

/// Takes tags away; keys that are not there are ignored, as in ECS.
pub(super) fn untag(
    world: &World,
    resource: &Resource,
    keys: &[String],
) -> Result<Outcome, CommandError> {
    change(world, resource, |old| {
        Ok(old
            .iter()
            .filter(|tag| tag.key.as_ref().is_none_or(|key| !keys.contains(key)))
            .cloned()
            .collect())
    })
}

/// Puts the record of `resource` with the tags that `edit` makes of the old ones.
fn change(
    world: &World,
    resource: &Resource,
    edit: impl FnOnce(&[Tag]) -> Result<Vec<Tag>, CommandError>,
) -> Result<Outcome, CommandError> {
    let missing = || {
        CommandError::InvalidParameter(
            "The specified resource does not exist. Specify a valid ARN and try again.".to_owned(),
        )
    };
    let change = match resource {
        Resource::Cluster(name) => {
            if world.clusters.get(name).is_some_and(|cluster| !cluster.active) {
                return Err(CommandError::InvalidParameter(INACTIVE_CLUSTER.to_owned()));
            }
            let mut cluster = super::cluster::active(world, name)?.clone();
            cluster.tags = edit(&cluster.tags)?;
            Change::PutCluster(cluster)
        }
        Resource::Task(id) => {
            if let Some(task) = world.tasks.get(id) {
                let mut task = task.clone();
                task.tags = edit(&task.tags)?;
                task.version += 1;
                Change::PutTask(Box::new(task))
            } else {
                // Accepted a moment ago; the task will take its tags from here.
                let mut assignment =
                    world.assignments.get(&AssignmentId::of_task(id)).ok_or_else(missing)?.clone();
                assignment.tags = edit(&assignment.tags)?;
                assignment.generation = assignment.generation.next();
                Change::PutAssignment(Box::new(assignment))
            }
        }
        Resource::TaskDefinition(reference) => {
            let mut definition = world.task_definitions.get(reference).ok_or_else(missing)?.clone();
            definition.tags = edit(&definition.tags)?;
            Change::PutTaskDefinition(Box::new(definition))
        }
        Resource::ContainerInstance(id) => {
            let mut instance = world.container_instances.get(id).ok_or_else(missing)?.clone();
            instance.tags = edit(&instance.tags)?;
            instance.version += 1;
            Change::PutContainerInstance(Box::new(instance))
        }
        Resource::Service(key) => {
            let there = world.services.get(key).filter(|s| s.status != ServiceStatus::Inactive);
            let mut service = there.ok_or_else(missing)?.clone();
            service.tags = edit(&service.tags)?;
            Change::PutService(Box::new(service))
        }
    };
    Ok(Outcome::with(vec![change], Reply::Done))
}
