//! What a document of a box says: derived from the hub's records, the same bytes for the same records.

use crate::model::fleet::{BodyRef, Content, ContentHash, MemberSettings, SecretVersion};
use crate::model::task_definition::TaskDefinitionStatus;
use crate::model::{ContainerInstanceId, TaskDefinition, TaskDefinitionRef};
use crate::plan::World;
use std::collections::{BTreeMap, BTreeSet};

/// A task definition as boxes get it, in bytes: whether it is still active is none of their business.
#[must_use]
pub fn body(definition: &TaskDefinition) -> Vec<u8> {
    let carried = TaskDefinition {
        status: TaskDefinitionStatus::Active,
        deregistered_at: None,
        delete_requested_at: None,
        tags: Vec::new(),
        ..definition.clone()
    };
    serde_json::to_vec(&carried).unwrap_or_default()
}

/// Bodies that were hashed already.
pub type Bodies = BTreeMap<TaskDefinitionRef, BodyRef>;

/// What the box is to be like.
pub fn of(world: &World, device: &ContainerInstanceId, bodies: &mut Bodies) -> Content {
    let mut content = Content::default();
    let mut references = BTreeSet::new();
    let mut secrets = BTreeSet::new();
    for assignment in world.assignments_on(device) {
        references.insert(&assignment.task_definition);
        content.assignments.push(assignment.clone());
        for task in world.live(&assignment.id) {
            if let Some(until) = task.protected_until {
                content.settings.protected.insert(task.id.clone(), until);
            }
        }
    }
    for reference in references {
        let Some(definition) = world.task_definitions.get(reference) else { continue };
        content.task_definitions.push(referred(reference, definition, bodies).clone());
        secrets.extend(secrets_of(world, definition));
    }
    content.secrets = secrets.into_iter().collect();
    let draining = world.container_instances.get(device).is_some_and(|instance| instance.draining);
    content.settings = MemberSettings { draining, ..content.settings };
    content
}

fn referred<'a>(
    reference: &TaskDefinitionRef,
    definition: &TaskDefinition,
    bodies: &'a mut Bodies,
) -> &'a BodyRef {
    bodies.entry(reference.clone()).or_insert_with(|| {
        let bytes = body(definition);
        let size = bytes.len() as u64;
        BodyRef { task_definition: reference.clone(), sha256: ContentHash::of(&bytes), size }
    })
}

/// The hash of the body of a task definition that is known.
pub fn reference(
    world: &World,
    definition: &TaskDefinitionRef,
    bodies: &mut Bodies,
) -> Option<ContentHash> {
    let known = world.task_definitions.get(definition)?;
    Some(referred(definition, known, bodies).sha256.clone())
}

/// The hash of a content.
#[must_use]
pub fn hash(content: &Content) -> ContentHash {
    ContentHash::of(&serde_json::to_vec(content).unwrap_or_default())
}

/// The secrets that the definition's containers are given and its registries ask for, as far as the hub has them.
fn secrets_of<'a>(
    world: &'a World,
    definition: &'a TaskDefinition,
) -> impl Iterator<Item = SecretVersion> + 'a {
    let names = definition.containers().iter().flat_map(|container| {
        let secrets = container.secrets.iter().flatten();
        let of_logs = container.log_configuration.iter();
        let of_logs = of_logs.flat_map(|logs| logs.secret_options.iter().flatten());
        let values = secrets.chain(of_logs).filter_map(|secret| secret.value_from.clone());
        let registry = container.repository_credentials.iter();
        values.chain(registry.filter_map(|registry| registry.credentials_parameter.clone()))
    });
    names.filter_map(|value_from| {
        let (name, version) = world.observed.secret_versions.iter().find(|(name, _)| {
            // Kept by `kind/name`; a `valueFrom` is a name, or an ARN that ends with it.
            let bare = name.split_once('/').map_or(name.as_str(), |(_, bare)| bare);
            names_secret(&value_from, bare)
        })?;
        Some(SecretVersion { name: name.clone(), version: version.clone() })
    })
}

/// Whether a `valueFrom` means the secret or parameter called `name`: it is the name, or an ARN of it. Secrets Manager puts
/// a hyphen and six characters behind the name, and a key, a stage and a version may follow.
fn names_secret(value_from: &str, name: &str) -> bool {
    if value_from == name {
        return true;
    }
    if let Some((_, parameter)) = value_from.split_once(":parameter/") {
        return parameter == name.trim_start_matches('/');
    }
    let Some((_, secret)) = value_from.split_once(":secret:") else { return false };
    let secret = secret.split(':').next().unwrap_or_default();
    let suffix = secret.strip_prefix(name);
    suffix.is_some_and(|s| s.is_empty() || (s.len() == 7 && s.starts_with('-')))
}
