use super::*;
use crate::fleet::topic::Part;
use crate::model::fleet::Content;
use crate::plan::fleet::content;
use proptest::prelude::*;
use serde_json::json;

fn device() -> ContainerInstanceId {
    ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap()
}

fn document() -> Desired {
    let content = Content::default();
    Desired {
        v: VERSION,
        cluster: ClusterName::default_cluster(),
        device: device(),
        position: Position { epoch: 1, generation: 7 },
        prev_hash: None,
        hash: content::hash(&content),
        content,
        sealed: std::collections::BTreeMap::new(),
        next_key: None,
    }
}

fn pointer(sealed: &[u8]) -> Pointer {
    Pointer {
        v: VERSION,
        cluster: ClusterName::default_cluster(),
        device: device(),
        position: document().position,
        sha256: ContentHash::of(sealed),
        size: sealed.len(),
    }
}

fn key() -> SealingKey {
    SealingKey::from_bytes(&[7; 32]).unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, MessageError>) -> &'static str {
    result.unwrap_err().counter()
}

#[test]
fn documents_and_pointers_are_told_apart_and_strange_members_are_passed_over() {
    let hub = HubKey::ephemeral();
    let read = |bytes: &[u8]| verify::<Wanted>(&hub.verifying_key(), Kind::Document, bytes);
    let signed = sign(&hub, Kind::Document, &document());
    assert_eq!(read(&signed), Ok(Wanted::Document(Box::new(document()))));
    let signed = sign(&hub, Kind::Document, &pointer(b"sealed"));
    assert_eq!(read(&signed), Ok(Wanted::Pointer(pointer(b"sealed"))));
    let mut later = serde_json::to_value(document()).unwrap();
    later["of another time"] = json!({"a": [1, 2]});
    assert_eq!(
        read(&sign(&hub, Kind::Document, &later)),
        Ok(Wanted::Document(Box::new(document())))
    );
    later["v"] = json!(2);
    let unknown = read(&sign(&hub, Kind::Document, &later)).unwrap_err();
    assert_eq!(unknown, MessageError::Version { v: 2, position: Some(document().position) });
}

#[test]
fn what_the_hub_did_not_sign_so_is_refused_by_its_name() {
    let hub = HubKey::ephemeral();
    let read =
        |bytes: &[u8]| refused(verify::<Wanted>(&hub.verifying_key(), Kind::Document, bytes));
    assert_eq!(read(&serde_json::to_vec(&document()).unwrap()), "unsigned");
    assert_eq!(read(b"no JSON"), "malformed");
    assert_eq!(read(&[b'['; 100_000]), "oversized");
    assert_eq!(read(&[b'['; 90_000]), "nested");
    assert_eq!(read(&sign(&HubKey::ephemeral(), Kind::Document, &document())), "signature");
    assert_eq!(read(&sign(&hub, Kind::Command, &document())), "signature");
    let mut changed = sign(&hub, Kind::Document, &document());
    changed[20] ^= 1;
    assert!(["signature", "malformed"].contains(&read(&changed)));
    // Signed, and hostile all the same.
    let deep = format!("{{\"v\":1,\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
    assert_eq!(read(&hub.sign(Kind::Document, deep.as_bytes())), "nested");
    assert_eq!(read(&hub.sign(Kind::Document, b"{\"v\":1}")), "malformed");
    assert_eq!(read(&hub.sign(Kind::Document, b"")), "malformed");
}

#[test]
fn brackets_in_texts_are_not_deep() {
    assert_eq!(depth(br#"{"a":"[[[\"[[","b":[{}]}"#), 3);
    assert_eq!(depth(b"]]]]["), 1);
}

#[test]
fn a_fetched_document_is_the_one_that_was_pointed_at() {
    let sealed = seal_document(&key(), &document());
    assert_eq!(open_document(&key(), &pointer(&sealed), &sealed), Ok(document()));
    let mut changed = sealed.clone();
    changed[30] ^= 1;
    assert_eq!(refused(open_document(&key(), &pointer(&sealed), &changed)), "hash");
    assert_eq!(refused(open_document(&key(), &pointer(&changed), &changed)), "signature");
    let mut later = pointer(&sealed);
    later.position.generation += 1;
    assert_eq!(refused(open_document(&key(), &later, &sealed)), "signature");
}

#[test]
fn what_a_box_says_counts_on_its_topic_only() {
    let (cluster, device) = (ClusterName::default_cluster(), device());
    let leave = Topic::rpc(&cluster, &device, Part::new(LEAVE).unwrap());
    let said = Leaving { v: VERSION, session: "s".to_owned() };
    let sealed = seal(&key(), &leave, &said);
    assert_eq!(open(&key(), &leave, &sealed), Ok(said));
    let state = Topic::state(&cluster, &device);
    assert_eq!(refused(open::<Leaving>(&key(), &state, &sealed)), "signature");
    let other = ContainerInstanceId::new("f".repeat(32)).unwrap();
    let other = Topic::rpc(&cluster, &other, Part::new(LEAVE).unwrap());
    assert_eq!(refused(open::<Leaving>(&key(), &other, &sealed)), "signature");
    assert_eq!(refused(open::<Leaving>(&key(), &leave, &vec![1; SEALED_LIMIT + 1])), "oversized");
}

#[test]
fn a_batch_is_bounded_whatever_it_expands_to() {
    let topic = Topic::log(&ClusterName::default_cluster(), &device(), Part::new(EVENTS).unwrap());
    let batch =
        EventBatch { v: VERSION, log: "l".to_owned(), dropped: Some(3), events: Vec::new() };
    let sealed = seal_batch(&key(), &topic, &batch);
    assert_eq!(open_batch(&key(), &topic, &sealed), Ok(batch));
    let mut bomb = ZlibEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 64 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < SEALED_LIMIT);
    let sealed = key().seal(&up_context(&topic), &bomb);
    assert_eq!(refused(open_batch(&key(), &topic, &sealed)), "oversized");
    let sealed = key().seal(&up_context(&topic), b"no zlib");
    assert_eq!(refused(open_batch(&key(), &topic, &sealed)), "malformed");
}

proptest! {
    #[test]
    fn hostile_bytes_are_an_error_and_nothing_else(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let hub = HubKey::ephemeral();
        prop_assert!(verify::<Wanted>(&hub.verifying_key(), Kind::Document, &bytes).is_err());
        let topic = Topic::state(&ClusterName::default_cluster(), &device());
        prop_assert!(open::<Leaving>(&key(), &topic, &bytes).is_err());
        // Signed and sealed hostility is bounded as well.
        let _ = verify::<Wanted>(&hub.verifying_key(), Kind::Document, &hub.sign(Kind::Document, &bytes));
        let _ = open_batch(&key(), &topic, &key().seal(&up_context(&topic), &bytes));
    }
}
