//! Task definitions.

use super::put;
use crate::model::{Scope, TaskDefinition};
use serde_json::{Map, Value, json};

/// A revision as DescribeTaskDefinition shows it; its tags stand beside it, not in it.
pub(crate) fn task_definition(scope: &Scope, definition: &TaskDefinition) -> Value {
    let mut object = match serde_json::to_value(&definition.content) {
        Ok(Value::Object(object)) => object,
        // A structure with text keys always becomes an object.
        _ => Map::new(),
    };
    object
        .insert("taskDefinitionArn".into(), json!(scope.task_definition(&definition.reference())));
    object.insert("family".into(), json!(definition.family));
    object.insert("revision".into(), json!(definition.revision));
    object.insert("status".into(), json!(definition.status.as_str()));
    object.insert("registeredAt".into(), json!(definition.registered_at));
    if !definition.requires_attributes.is_empty() {
        object.insert("requiresAttributes".into(), json!(definition.requires_attributes));
    }
    object.insert("compatibilities".into(), json!(definition.compatibilities));
    put(&mut object, "registeredBy", definition.registered_by.as_ref());
    put(&mut object, "deregisteredAt", definition.deregistered_at);
    put(&mut object, "deleteRequestedAt", definition.delete_requested_at);
    Value::Object(object)
}
