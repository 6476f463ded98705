//! Task definitions: a revision is registered when the newest that is ACTIVE is another.

use super::call::call;
use super::difference;
use super::object::{ManifestError, Object};
use super::step::{Action, Step};
use super::tags;
use crate::engine::Handle;
use crate::model::Family;
use crate::model::task_definition::lenient::Read;
use crate::model::task_definition::{self, TaskDefinitionContent, TaskDefinitionStatus};
use crate::model::{TaskDefinition, TaskDefinitionRef};
use crate::plan::World;
use serde_json::{Value, json};

/// Makes the newest revision of the family what `read` says.
pub(super) async fn carry_out(
    engine: &Handle,
    object: &Object,
    read: &Read,
) -> Result<Step, ManifestError> {
    let refused = |error: &dyn std::fmt::Display| ManifestError::refused(object, error);
    let registration = task_definition::register(read.content.clone(), &read.tags)
        .map_err(|error| refused(&error))?;
    let newest = engine.read(|world| newest(world, &registration.family).cloned());
    let wanted = as_json(&registration.content);
    let Some(newest) = newest else {
        let differences = difference::between(&json!({}), &bare(&wanted));
        let result = register(engine, read).await.map_err(|error| refused(&error.message))?;
        return Ok(Step::new(object, Action::Create, differences, result));
    };
    if newest.content != registration.content {
        let differences = difference::between(&as_json(&newest.content), &wanted);
        let result = register(engine, read).await.map_err(|error| refused(&error.message))?;
        return Ok(Step::new(object, Action::Update, differences, result));
    }
    let arn = json!(engine.settings().scope.task_definition(&newest.reference()));
    let current = tags::by_key(&json!(newest.tags));
    let declared = (!read.tags.is_empty()).then(|| json!(read.tags));
    let wanted = tags::wanted(&current, declared.as_ref(), None);
    let differences = tags::differences(&current, &wanted);
    let action = if differences.is_empty() { Action::Nothing } else { Action::Update };
    tags::change(engine, &arn, &current, &wanted).await.map_err(|error| refused(&error.message))?;
    Ok(Step::new(object, action, differences, json!({ "taskDefinitionArn": arn })))
}

async fn register(engine: &Handle, read: &Read) -> Result<Value, crate::api::ApiError> {
    let mut input = as_json(&read.content);
    if !read.tags.is_empty() {
        input["tags"] = json!(read.tags);
    }
    let answer = call(engine, "RegisterTaskDefinition", input).await?;
    Ok(json!({ "taskDefinitionArn": answer["taskDefinition"]["taskDefinitionArn"] }))
}

/// The newest revision of `family` that is ACTIVE.
pub(super) fn newest<'w>(world: &'w World, family: &Family) -> Option<&'w TaskDefinition> {
    let at = |revision| TaskDefinitionRef {
        family: family.clone(),
        revision: crate::model::Revision(revision),
    };
    let range = world.task_definitions.range(at(0)..=at(u32::MAX));
    range.rev().map(|(_, d)| d).find(|d| d.status == TaskDefinitionStatus::Active)
}

/// A structure with text keys always becomes an object.
pub(super) fn as_json(content: &TaskDefinitionContent) -> Value {
    serde_json::to_value(content).unwrap_or_default()
}

/// Without the empty lists that registration fills in.
pub(super) fn bare(content: &Value) -> Value {
    match content {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.as_array().is_some_and(Vec::is_empty))
            .map(|(name, value)| (name.clone(), bare(value)))
            .collect(),
        Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}
