use super::*;
use crate::auth::fleet::HubKey;
use crate::fleet::message::Place;
use crate::model::fleet::{BodyRef, Content, Position, Progress, VERSION};
use crate::model::{ClusterName, ContainerInstanceId, Timestamp};
use serde_json::json;

fn device() -> ContainerInstanceId {
    ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap()
}

fn document(generation: u64) -> Desired {
    let content = Content::default();
    Desired {
        v: VERSION,
        cluster: ClusterName::default_cluster(),
        device: device(),
        position: Position { epoch: 1, generation },
        prev_hash: None,
        hash: content::hash(&content),
        content,
        sealed: BTreeMap::new(),
        next_key: None,
    }
}

fn membership(seen: u64) -> Membership {
    let document = document(seen);
    Membership {
        cluster: document.cluster,
        device: document.device,
        hub: "http://hub:1".to_owned(),
        joined_at: Timestamp(0),
        progress: Progress {
            position: document.position,
            hash: Some(document.hash),
            ..Progress::none()
        },
        assignments: BTreeSet::new(),
        bodies: BTreeMap::new(),
        secrets: BTreeSet::new(),
        events: "log".to_owned(),
        dropped: None,
    }
}

fn definition(text: &str) -> TaskDefinition {
    serde_json::from_value(json!({
        "family": "web", "revision": 1, "status": "ACTIVE", "registeredAt": 0,
        "containerDefinitions": [{"name": text, "image": "i"}],
    }))
    .unwrap()
}

#[test]
fn only_a_newer_document_of_this_box_counts() {
    let hub = HubKey::ephemeral();
    let judge = |message: &[u8]| judge(&membership(7), &hub.verifying_key(), message);
    let sign = |desired: &Desired| hub.sign(Kind::Document, &message::write(desired));
    assert_eq!(judge(&sign(&document(8))), Judged::Newer(Box::new(document(8))));
    assert_eq!(judge(&sign(&document(7))), Judged::Known(Box::new(document(7))));
    assert_eq!(judge(&sign(&document(6))), Judged::Refused("replayed"));
    let later_epoch = Desired { position: Position { epoch: 2, generation: 1 }, ..document(1) };
    assert!(matches!(judge(&sign(&later_epoch)), Judged::Newer(_)));
    let other = ContainerInstanceId::new("f".repeat(32)).unwrap();
    let foreign = Desired { device: other, ..document(8) };
    assert_eq!(judge(&sign(&foreign)), Judged::Refused("foreign"));
    let mut changed = document(7);
    changed.content.settings.draining = true;
    changed.hash = content::hash(&changed.content);
    assert_eq!(judge(&sign(&changed)), Judged::Refused("replayed"), "one position, one content");
    assert_eq!(judge(&message::write(&document(8))), Judged::Refused("unsigned"));
    let stranger = HubKey::ephemeral().sign(Kind::Document, &message::write(&document(8)));
    assert_eq!(judge(&stranger), Judged::Refused("signature"));
    let command = hub.sign(Kind::Command, &message::write(&document(8)));
    assert_eq!(judge(&command), Judged::Refused("signature"));
    let large = hub.sign(Kind::Document, &vec![b' '; 10 * message::INLINE]);
    assert_eq!(judge(&large), Judged::Refused("oversized"));
    assert!(matches!(judge(&hub.sign(Kind::Document, b"{\"v\":2}")), Judged::Unsupported(_)));
}

#[test]
fn a_pointer_counts_as_the_document_that_it_is_of() {
    let hub = HubKey::ephemeral();
    let pointer = |generation| Pointer {
        v: VERSION,
        cluster: ClusterName::default_cluster(),
        device: device(),
        position: Position { epoch: 1, generation },
        pointer: Place { sha256: ContentHash::of(b"sealed"), size: 6 },
        next_key: None,
    };
    let judge = |pointer: &Pointer| {
        let message = hub.sign(Kind::Document, &message::write(pointer));
        judge(&membership(7), &hub.verifying_key(), &message)
    };
    assert_eq!(judge(&pointer(8)), Judged::Pointer(Box::new(pointer(8))));
    assert_eq!(judge(&pointer(7)), Judged::KnownPointer(Box::new(pointer(7))));
    assert_eq!(judge(&pointer(6)), Judged::Refused("replayed"));
    let cluster = ClusterName::new("other").unwrap();
    assert_eq!(judge(&Pointer { cluster, ..pointer(8) }), Judged::Refused("foreign"));
}

#[test]
fn bodies_are_waited_for_unless_the_same_are_here() {
    let mut desired = document(8);
    let (first, second) = (definition("first"), definition("second"));
    let body = |definition: &TaskDefinition| {
        let bytes = content::body(definition);
        let sha256 = ContentHash::of(&bytes);
        let size = bytes.len() as u64;
        BodyRef { task_definition: definition.reference(), sha256, size }
    };
    desired.content.task_definitions = vec![body(&first)];
    let (mut world, mut brought) = (World::default(), BTreeMap::new());
    let hash = body(&first).sha256;
    let look = |world: &World, brought: &_| at_hand(world, &membership(7), &desired, brought);
    assert_eq!(look(&world, &brought), (Vec::new(), BTreeSet::from([hash.clone()])));
    brought.insert(hash, first.clone());
    assert_eq!(look(&world, &brought), (vec![first.clone()], BTreeSet::new()));
    // Of the same name, and another.
    brought.clear();
    world.task_definitions.insert(second.reference(), second);
    assert_eq!(look(&world, &brought).1.len(), 1);
    world.task_definitions.insert(first.reference(), first.clone());
    assert_eq!(look(&world, &brought), (vec![first], BTreeSet::new()));
}

#[test]
fn a_body_is_what_its_topic_says() {
    let hub = HubKey::ephemeral();
    let bytes = content::body(&definition("web"));
    let hash = BodyHash::new(ContentHash::of(&bytes).as_str()).unwrap();
    let read = |message: &[u8]| read_body(&hub.verifying_key(), &hash, message);
    assert_eq!(read(&hub.sign(Kind::Body, &bytes)), Ok(definition("web")));
    assert_eq!(read(&bytes), Err("unsigned"));
    assert_eq!(read(&hub.sign(Kind::Body, &content::body(&definition("x")))), Err("foreign"));
    assert_eq!(read(&hub.sign(Kind::Document, &bytes)), Err("signature"));
}
