//! Documents, made of the committed world in the moment when they are sent. All of this blocks.

use super::{Fetched, Shared, lock};
use crate::auth::fleet::{Kind, SealingKey};
use crate::auth::secrets::SecretText;
use crate::fleet::link::Message;
use crate::fleet::message::{self, INLINE, Place, Pointer};
use crate::fleet::topic::Topic;
use crate::model::fleet::{Content, ContentHash, Desired, Position, VERSION};
use crate::model::{ClusterName, ContainerInstanceId, TaskDefinitionRef};
use crate::plan::World;
use crate::plan::fleet::content::{self, Bodies};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A document that is ready to be published.
pub(super) struct Document {
    pub(super) device: ContainerInstanceId,
    pub(super) cluster: ClusterName,
    pub(super) position: Position,
    /// The bodies that it refers to, to be published before it.
    pub(super) bodies: Vec<(TaskDefinitionRef, ContentHash)>,
    pub(super) message: Message,
}

struct Draft {
    document: Desired,
    key: Option<SealingKey>,
}

/// The documents of these boxes; none of one that is not what its record says, since a newer record is about to be.
pub(super) fn make(
    hub: &Shared,
    devices: &[ContainerInstanceId],
    bodies: &mut Bodies,
) -> Vec<Document> {
    let drafts: Vec<Draft> = hub.engine.read(|world| {
        devices.iter().filter_map(|device| draft(hub, world, device, bodies)).collect()
    });
    let mut values = Values::new();
    drafts.into_iter().filter_map(|draft| finish(hub, draft, &mut values)).collect()
}

fn draft(
    hub: &Shared,
    world: &World,
    id: &ContainerInstanceId,
    bodies: &mut Bodies,
) -> Option<Draft> {
    let device = world.devices.get(id).filter(|device| device.revoked_at.is_none())?;
    let document = Desired {
        v: VERSION,
        cluster: device.cluster.clone(),
        device: id.clone(),
        position: device.position,
        prev_hash: device.prev_hash.clone(),
        hash: device.hash.clone()?,
        content: content::of(world, id, bodies),
        sealed: BTreeMap::new(),
        next_key: hub.trust.keys.next().map(String::from),
    };
    let has_secrets = !document.content.secrets.is_empty();
    let key = if has_secrets { hub.desk.sealing_key(device) } else { None };
    Some(Draft { document, key })
}

fn finish(hub: &Shared, draft: Draft, values: &mut Values) -> Option<Document> {
    let Draft { mut document, key } = draft;
    if content::hash(&document.content) != document.hash {
        tracing::warn!(device = %document.device, position = %document.position, "a document is not sent: its content is not what its record says");
        return None;
    }
    document.sealed = seal(hub, &document, key.as_ref(), values)?;
    let bodies = referred(&document.content);
    let json = message::write(&document);
    let payload = if json.len() <= INLINE {
        hub.trust.keys.sign(Kind::Document, &json)
    } else {
        let known = hub.sealing_key(&document.cluster, &document.device);
        let Some(key) = key.or(known) else {
            tracing::error!(device = %document.device, "a document is not sent: the key that the hub shares with the box cannot be opened");
            return None;
        };
        pointer(hub, &document, &json, &key)
    };
    let Desired { device, cluster, position, .. } = document;
    let message = Message::retained(Topic::want(&cluster, &device), payload);
    Some(Document { device, cluster, position, bodies, message })
}

fn referred(content: &Content) -> Vec<(TaskDefinitionRef, ContentHash)> {
    let definitions = content.task_definitions.iter();
    definitions.map(|body| (body.task_definition.clone(), body.sha256.clone())).collect()
}

/// Keeps the document where the box can fetch it; what points to it, signed.
fn pointer(hub: &Shared, document: &Desired, json: &[u8], key: &SealingKey) -> Vec<u8> {
    let (device, position) = (document.device.clone(), document.position);
    let sealed = message::seal_document(key, &device, position, json);
    let sha256 = ContentHash::of(&sealed);
    let place = Place { sha256: sha256.clone(), size: sealed.len() as u64 };
    let fetched = Fetched { position, sha256, sealed: Arc::from(sealed) };
    lock(&hub.documents).insert(device.clone(), fetched);
    let cluster = document.cluster.clone();
    let next_key = document.next_key.clone();
    let pointer = Pointer { v: VERSION, cluster, device, position, pointer: place, next_key };
    hub.trust.keys.sign(Kind::Document, &message::write(&pointer))
}

/// Values that several boxes need are opened once, and wiped when the documents are made.
type Values = BTreeMap<(String, String), Option<SecretText>>;

/// The secrets of a document, sealed for its box. None when one of them has changed: a newer document is on its way.
fn seal(
    hub: &Shared,
    document: &Desired,
    key: Option<&SealingKey>,
    values: &mut Values,
) -> Option<BTreeMap<String, String>> {
    let mut sealed = BTreeMap::new();
    for secret in &document.content.secrets {
        let (name, version) = (&secret.name, &secret.version);
        let of = (name.clone(), version.clone());
        if !values.contains_key(&of) {
            match hub.engine.secrets().value_of(name, version) {
                Ok(None) => return None,
                Ok(value) => drop(values.insert(of.clone(), value)),
                Err(error) => {
                    tracing::error!(secret = name, %error, "boxes are sent documents without this secret");
                    values.insert(of.clone(), None);
                }
            }
        }
        let Some(key) = key else {
            tracing::error!(device = %document.device, "its secrets are not sent: the key that the hub shares with the box cannot be opened");
            break;
        };
        if let Some(Some(value)) = values.get(&of) {
            let device = &document.device;
            let value = message::seal_secret(key, device, name, version, value.expose());
            sealed.insert(name.clone(), value);
        }
    }
    Some(sealed)
}

/// A body, as it is published.
pub(super) fn body(hub: &Shared, definition: &TaskDefinitionRef) -> Option<Vec<u8>> {
    hub.engine.read(|world| world.task_definitions.get(definition).map(content::body))
}

/// What all documents refer to, by cluster.
pub(super) fn used(hub: &Shared, bodies: &mut Bodies) -> BTreeSet<(ClusterName, ContentHash)> {
    let mut used = BTreeSet::new();
    hub.engine.read(|world| {
        let referred = world.assignments.values().map(|a| (&a.cluster, &a.task_definition));
        for (cluster, definition) in referred.collect::<BTreeSet<_>>() {
            if let Some(hash) = content::reference(world, definition, bodies) {
                used.insert((cluster.clone(), hash));
            }
        }
        bodies.retain(|definition, _| world.task_definitions.contains_key(definition));
    });
    used
}
