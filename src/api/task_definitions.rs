//! Task definitions: families and their revisions.

use super::error::ApiError;
use super::pagination::{Order, PAGE, PageRequest};
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::model::task_definition::{TaskDefinitionContent, TaskDefinitionStatus};
use crate::model::{Failure, Family, Tag, TaskDefinition, TaskDefinitionRef};
use crate::plan::{Command, Reply, World};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Bound;

/// As many revisions can be deleted by one request.
const DELETE_LIMIT: usize = 10;

#[derive(Deserialize)]
struct RegisterTaskDefinition {
    #[serde(flatten)]
    content: TaskDefinitionContent,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// `RegisterTaskDefinition`.
pub(super) async fn register(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: RegisterTaskDefinition = input::read(input)?;
    let tagged = !input.tags.is_empty();
    let command = Command::RegisterTaskDefinition {
        content: Box::new(input.content),
        tags: input.tags,
        registered_by: Some(render::root_arn(&engine.settings().scope)),
    };
    let reply = engine.submit(command).await?;
    one(engine, reply, tagged)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeregisterTaskDefinition {
    task_definition: String,
}

/// `DeregisterTaskDefinition`: ACTIVE becomes INACTIVE; running tasks go on.
pub(super) async fn deregister(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DeregisterTaskDefinition = input::read(input)?;
    let reference = identifiers::task_definition_revision(&input.task_definition)?;
    let reply = engine.submit(Command::DeregisterTaskDefinition(reference)).await?;
    one(engine, reply, false)
}

fn one(engine: &Handle, reply: Reply, with_tags: bool) -> Result<Value, ApiError> {
    let Reply::TaskDefinition(reference) = reply else { return Err(render::unexpected_reply()) };
    engine.read(|world| {
        let definition = world.task_definitions.get(&reference).ok_or_else(unknown)?;
        Ok(shown(world, definition, with_tags))
    })
}

fn shown(world: &World, definition: &TaskDefinition, with_tags: bool) -> Value {
    let content = render::task_definition::task_definition(&world.settings.scope, definition);
    let mut answer = json!({ "taskDefinition": content });
    if with_tags {
        answer["tags"] = render::tags(&definition.tags);
    }
    answer
}

fn unknown() -> ApiError {
    ApiError::client("Unable to describe task definition.")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteTaskDefinitions {
    task_definitions: Vec<String>,
}

/// `DeleteTaskDefinitions`: inactive revisions, each on its own.
pub(super) async fn delete(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DeleteTaskDefinitions = input::read(input)?;
    if input.task_definitions.len() > DELETE_LIMIT {
        return Err(ApiError::invalid(format!(
            "Task definitions cannot have more than {DELETE_LIMIT} elements."
        )));
    }
    let scope = engine.settings().scope;
    let (mut references, mut named, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for text in &input.task_definitions {
        match identifiers::task_definition_revision(text) {
            Ok(reference) => {
                named.push((scope.task_definition(&reference), text));
                references.push(reference);
            }
            Err(_) => failures.push(Failure {
                arn: Some(identifiers::shorten(text)),
                reason: Some("The specified task definition identifier is invalid. Specify a valid name or ARN and try again.".to_owned()),
                detail: None,
            }),
        }
    }
    let mut deleted = Vec::new();
    if !references.is_empty() {
        let reply = engine.submit(Command::DeleteTaskDefinitions(references)).await?;
        let Reply::TaskDefinitions { deleted: done, failures: mut refused } = reply else {
            return Err(render::unexpected_reply());
        };
        // ECS names what failed as the request did.
        for failure in &mut refused {
            let of = named.iter().find(|(arn, _)| failure.arn.as_ref() == Some(arn));
            failure.arn = of.map(|(_, text)| (*text).clone());
        }
        failures.extend(refused);
        deleted = done;
    }
    let deleted: Vec<Value> =
        deleted.iter().map(|d| render::task_definition::task_definition(&scope, d)).collect();
    Ok(json!({ "taskDefinitions": deleted, "failures": failures }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescribeTaskDefinition {
    task_definition: String,
    #[serde(default)]
    include: Vec<String>,
}

/// `DescribeTaskDefinition`: a family alone means its newest active revision.
pub(super) fn describe(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: DescribeTaskDefinition = input::read(input)?;
    let (family, revision) =
        identifiers::task_definition(&input.task_definition).ok_or_else(unknown)?;
    let with_tags = input.include.iter().any(|i| i == "TAGS");
    engine.read(|world| {
        let definition = match revision {
            Some(revision) => world.task_definitions.get(&TaskDefinitionRef { family, revision }),
            None => {
                revisions(world, &family).rev().find(|d| d.status == TaskDefinitionStatus::Active)
            }
        };
        Ok(shown(world, definition.ok_or_else(unknown)?, with_tags))
    })
}

/// The revisions of a family, oldest first.
fn revisions<'w>(
    world: &'w World,
    family: &Family,
) -> impl DoubleEndedIterator<Item = &'w TaskDefinition> {
    use crate::model::Revision;
    let at = |revision| TaskDefinitionRef { family: family.clone(), revision: Revision(revision) };
    let range = (Bound::Included(at(0)), Bound::Included(at(u32::MAX)));
    world.task_definitions.range(range).map(|(_, definition)| definition)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListTaskDefinitions {
    family_prefix: Option<String>,
    status: Option<String>,
    sort: Option<String>,
    #[serde(flatten)]
    page: PageRequest,
}

/// `ListTaskDefinitions`: `familyPrefix` is a whole family here.
pub(super) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: ListTaskDefinitions = input::read(input)?;
    let status = input.status.as_deref().unwrap_or("ACTIVE");
    let order = match input.sort.as_deref() {
        Some("DESC") => Order::Descending,
        _ => Order::Ascending,
    };
    let family = input.family_prefix.as_deref().filter(|f| !f.is_empty());
    engine.read(|world| {
        let all = world.task_definitions.values();
        let references: Vec<TaskDefinitionRef> = all
            .filter(|d| d.status.as_str() == status)
            .filter(|d| family.is_none_or(|f| d.family.as_str() == f))
            .map(TaskDefinition::reference)
            .collect();
        let scope = ("ListTaskDefinitions", family, status, order == Order::Descending);
        let page = input.page.page(&scope, references, order, PAGE)?;
        let arns = page.keys.iter().map(|r| world.settings.scope.task_definition(r));
        Ok(render::page("taskDefinitionArns", arns, page.next_token))
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListTaskDefinitionFamilies {
    family_prefix: Option<String>,
    status: Option<String>,
    #[serde(flatten)]
    page: PageRequest,
}

/// `ListTaskDefinitionFamilies`: a family is active when one of its revisions is.
pub(super) fn list_families(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: ListTaskDefinitionFamilies = input::read(input)?;
    let prefix = input.family_prefix.as_deref().unwrap_or_default();
    let status = input.status.as_deref().unwrap_or("ALL");
    engine.read(|world| {
        let mut families: BTreeMap<&Family, bool> = BTreeMap::new();
        for definition in world.task_definitions.values() {
            match definition.status {
                TaskDefinitionStatus::Active => {
                    families.insert(&definition.family, true);
                }
                TaskDefinitionStatus::Inactive => {
                    families.entry(&definition.family).or_insert(false);
                }
                TaskDefinitionStatus::DeleteInProgress => {}
            }
        }
        let wanted = |active: bool| match status {
            "ACTIVE" => active,
            "INACTIVE" => !active,
            _ => true,
        };
        let names: Vec<Family> = families
            .into_iter()
            .filter(|(family, active)| family.as_str().starts_with(prefix) && wanted(*active))
            .map(|(family, _)| family.clone())
            .collect();
        let scope = ("ListTaskDefinitionFamilies", prefix, status);
        let page = input.page.page(&scope, names, Order::Ascending, PAGE)?;
        Ok(render::page("families", page.keys.iter(), page.next_token))
    })
}
