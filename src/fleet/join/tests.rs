//! Both halves against each other, over the hub's real engine and store, without a network in between.

use super::device::{self, Applicant, JoinError, Pending};
use super::http::HubUrl;
use super::hub::{Broker, Refused, Registrar, TokenRequest};
use super::{Answer, refused_serials};
use crate::auth::Secrets;
use crate::auth::fleet::{
    DEVICE_LIFETIME, DeviceIdentity, DeviceKey, HubTrust, JoinToken, PrivateKey,
};
use crate::engine::{self, Ground, Handle, Parts};
use crate::model::container_instance::{Attribute, Capacity};
use crate::model::fleet::AgentInformation;
use crate::model::{ClusterName, ContainerInstanceId};
use crate::plan::command::CreateCluster;
use crate::plan::fleet::FleetCommand;
use crate::plan::{Command, Settings};
use crate::store::{Options, Store};
use crate::sys;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const BOX: &str = "0123456789abcdef0123456789abcdef";

struct Hub {
    engine: Handle,
    desk: Registrar,
    dir: tempfile::TempDir,
}

impl Hub {
    async fn new() -> Self {
        Self::with_lifetime(DEVICE_LIFETIME).await
    }

    async fn with_lifetime(lifetime: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = start(dir.path());
        let edge = CreateCluster::named(ClusterName::new("edge").unwrap());
        engine.submit(Command::CreateCluster(Box::new(edge))).await.unwrap();
        let desk = desk(dir.path(), engine.clone(), lifetime);
        Self { engine, desk, dir }
    }

    async fn token(&self, uses: Option<u32>, lasts: Option<Duration>) -> JoinToken {
        let attributes = vec![Attribute { name: "site".to_owned(), value: Some("a".to_owned()) }];
        let cluster = ClusterName::new("edge").unwrap();
        let request = TokenRequest { cluster, uses, lasts, attributes };
        self.desk.create_token(request).await.unwrap().parse().unwrap()
    }

    /// Sends a request and takes the answer as the box does.
    async fn join(&self, token: &JoinToken, applicant: Applicant<'_>) -> Result<Taken, Refused> {
        let (body, pending) = device::begin(&url(), token, applicant);
        let answer = self.desk.join(body.as_bytes()).await?;
        Ok(Taken { body, answer: serde_json::from_value(answer).unwrap(), pending })
    }
}

fn start(dir: &Path) -> Handle {
    let options = Options { flushes: false, ..Options::default() };
    let store = Store::open(&dir.join("store"), options).unwrap();
    let secrets = Secrets::new(dir, store.clone());
    engine::start(Parts { store, settings: Settings::default(), secrets, ground: Ground::Fleet })
        .unwrap()
}

fn desk(dir: &Path, engine: Handle, lifetime: Duration) -> Registrar {
    let trust = Arc::new(HubTrust::open(dir, sys::now()).unwrap());
    let authorities = Some(trust.authority.certificate().pem());
    Registrar::new(
        engine,
        trust,
        Broker { urls: Vec::new(), port: 8883, authorities, own: None },
        lifetime,
    )
}

struct Taken {
    body: String,
    answer: Answer,
    pending: Pending,
}

fn url() -> HubUrl {
    "http://hub.example:51678".parse().unwrap()
}

fn id() -> ContainerInstanceId {
    ContainerInstanceId::new(BOX).unwrap()
}

fn applicant(key: &PrivateKey, attempt: u64) -> Applicant<'_> {
    let agent = AgentInformation {
        version: "1".to_owned(),
        capacity: Capacity { cpu: 1024, memory: 512, ..Capacity::default() },
        attributes: vec![Attribute::flag("lid")],
    };
    Applicant { device: id(), key, attempt, agent }
}

fn denied(result: Result<Taken, Refused>, word: &str) {
    let why = result.map(|_| ()).unwrap_err().to_string();
    assert!(why.contains(word), "{why}");
}

#[tokio::test]
async fn a_box_joins_and_both_have_the_same_key() {
    let hub = Hub::new().await;
    let state = tempfile::tempdir().unwrap();
    let key = DeviceKey::open(state.path()).unwrap();
    let token = hub.token(Some(1), None).await;
    let joined = hub.join(&token, applicant(&key, 1)).await.unwrap();
    let (enrolment, sealing) = joined.pending.finish(&token, &joined.answer).unwrap();
    assert_eq!(enrolment.broker, "mqtts://hub.example:8883");
    assert_eq!((enrolment.device.as_str(), enrolment.cluster.as_str()), (BOX, "edge"));
    let device = hub.engine.read(|world| world.devices[&id()].clone());
    assert_eq!(hub.desk.sealing_key(&device).unwrap().expose(), sealing.expose());
    // The key is not in the store as it is.
    assert!(!format!("{device:?}").contains(&format!("{:?}", sealing.expose())));
    let instance = hub.engine.read(|world| world.container_instances[&id()].clone());
    assert_eq!(instance.attribute("site").unwrap().value.as_deref(), Some("a"));
    assert!(instance.attribute("lid").is_some());
    DeviceIdentity::create(state.path(), &enrolment, &sealing).unwrap();

    // The answer was lost: the same request is answered with the same key and certificate, and costs no use.
    let again: Answer =
        serde_json::from_value(hub.desk.join(joined.body.as_bytes()).await.unwrap()).unwrap();
    assert_eq!(again.answer, joined.answer.answer);
    let device = hub.engine.read(|world| world.devices[&id()].clone());
    assert_eq!(hub.desk.sealing_key(&device).unwrap().expose(), sealing.expose());
    // Another box has no use of it left.
    let other = PrivateKey::generate();
    let stranger =
        Applicant { device: ContainerInstanceId::new("b").unwrap(), ..applicant(&other, 1) };
    denied(hub.join(&token, stranger).await, "as often as it may be");
}

#[tokio::test]
async fn the_same_box_may_come_again_and_nobody_in_its_place() {
    let hub = Hub::new().await;
    let (key, thief) = (PrivateKey::generate(), PrivateKey::generate());
    let token = hub.token(Some(2), None).await;
    let first = hub.join(&token, applicant(&key, 5)).await.unwrap();
    // Its power went before it wrote the answer.
    let second = hub.join(&token, applicant(&key, 6)).await.unwrap();
    let (enrolment, sealing) = second.pending.finish(&token, &second.answer).unwrap();
    let device = hub.engine.read(|world| world.devices[&id()].clone());
    assert_eq!(hub.desk.sealing_key(&device).unwrap().expose(), sealing.expose());
    assert_eq!(hub.desk.tokens()[0].uses_left, Some(1), "it is one box");
    // What was recorded on the network changes nothing.
    let why = hub.desk.join(first.body.as_bytes()).await.unwrap_err();
    assert!(why.to_string().contains("old one"), "{why}");
    assert_eq!(hub.engine.read(|world| world.devices[&id()].clone()), device);
    denied(hub.join(&token, applicant(&thief, 7)).await, "with another key");

    // Once deregistered, nothing that was sent before lets it in again, nor does the token that it had.
    hub.engine.submit(FleetCommand::Left(id()).into()).await.unwrap();
    hub.engine.wait_until(|world| world.devices[&id()].revoked_at.is_some()).await.unwrap();
    let refused = hub.engine.read(refused_serials);
    assert!(refused.contains(&enrolment.certificate.info().serial), "{refused:?}");
    let why = hub.desk.join(second.body.as_bytes()).await.unwrap_err();
    assert!(why.to_string().contains("old one"), "{why}");
    denied(hub.join(&token, applicant(&key, 8)).await, "was deregistered");
    assert!(hub.desk.renew(&id(), &csr(&key)).await.is_err());
    let new = hub.token(None, None).await;
    let back = hub.join(&new, applicant(&key, 9)).await.unwrap();
    let (renewed, _) = back.pending.finish(&new, &back.answer).unwrap();
    assert_ne!(renewed.certificate, enrolment.certificate);
    // The certificate from before stays refused, the new one is good.
    assert_eq!(hub.engine.read(refused_serials), refused);
}

fn csr(key: &PrivateKey) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.request())
}

#[tokio::test]
async fn tokens_end_and_are_of_one_hub() {
    let (hub, other) = (Hub::new().await, Hub::new().await);
    let key = PrivateKey::generate();
    let foreign = other.token(None, None).await;
    denied(hub.join(&foreign, applicant(&key, 1)).await, "does not know the token");
    let expired = hub.token(None, Some(Duration::ZERO)).await;
    denied(hub.join(&expired, applicant(&key, 1)).await, "expired");
    let removed = hub.token(None, None).await;
    hub.desk.remove_token(removed.id().to_string()).await.unwrap();
    denied(hub.join(&removed, applicant(&key, 1)).await, "does not know the token");
    assert!(hub.desk.remove_token(removed.id().to_string()).await.is_err());

    // Somebody who knows the id of a token alone.
    let token = hub.token(None, None).await;
    let (body, _) = device::begin(&url(), &token, applicant(&key, 1));
    let mut guessed: serde_json::Value = serde_json::from_str(&body).unwrap();
    guessed["proof"] = "AAAA".into();
    let why = hub.desk.join(guessed.to_string().as_bytes()).await.unwrap_err();
    assert_eq!(why.status(), 403, "{why}");
    let mut changed: serde_json::Value = serde_json::from_str(&body).unwrap();
    changed["request"] = changed["request"].as_str().unwrap().replace("512", "513").into();
    assert_eq!(hub.desk.join(changed.to_string().as_bytes()).await.unwrap_err().status(), 403);
    for malformed in ["", "{}", "[[[[", &"x".repeat(70_000)] {
        assert_eq!(hub.desk.join(malformed.as_bytes()).await.unwrap_err().status(), 400);
    }
    assert!(hub.engine.read(|world| world.devices.is_empty()));
    hub.join(&token, applicant(&key, 1)).await.unwrap();
}

#[tokio::test]
async fn a_box_takes_the_answer_of_its_hub_to_its_request_alone() {
    let (hub, other) = (Hub::new().await, Hub::new().await);
    let key = PrivateKey::generate();
    let token = hub.token(None, None).await;
    let first = hub.join(&token, applicant(&key, 1)).await.unwrap();
    let second = hub.join(&token, applicant(&key, 2)).await.unwrap();
    let error = second.pending.finish(&token, &first.answer).unwrap_err();
    assert!(matches!(error, JoinError::Another(_)), "{error}");

    // Another hub that answers in between, whatever it says.
    let theirs = other.token(None, None).await;
    let answer = other.join(&theirs, applicant(&key, 3)).await.unwrap().answer;
    let (_, pending) = device::begin(&url(), &token, applicant(&key, 3));
    let error = pending.finish(&token, &answer).unwrap_err();
    assert!(matches!(error, JoinError::WrongHub(_)), "{error}");
    let (_, pending) = device::begin(&url(), &token, applicant(&key, 3));
    let forged = Answer { hub_key: first.answer.hub_key, answer: answer.answer };
    let error = pending.finish(&token, &forged).unwrap_err();
    assert!(matches!(error, JoinError::Forged { .. }), "{error}");
}

#[tokio::test]
async fn certificates_are_renewed_when_half_of_their_time_is_over() {
    let hub = Hub::new().await;
    let state = tempfile::tempdir().unwrap();
    let key = DeviceKey::open(state.path()).unwrap();
    let token = hub.token(None, None).await;
    let joined = hub.join(&token, applicant(&key, 1)).await.unwrap();
    let (enrolment, sealing) = joined.pending.finish(&token, &joined.answer).unwrap();
    DeviceIdentity::create(state.path(), &enrolment, &sealing).unwrap();
    let identity = DeviceIdentity::open(state.path()).unwrap().unwrap();
    let request = device::renewal_request(&identity);
    let answer = hub.desk.renew(&id(), &request).await.unwrap();
    let same = device::renewed(&identity, &answer).unwrap();
    assert_eq!(same, enrolment.certificate, "it is young");

    // A hub that issues for ten times as long finds it old.
    let patient = desk(hub.dir.path(), hub.engine.clone(), DEVICE_LIFETIME * 10);
    let answer = patient.renew(&id(), &request).await.unwrap();
    let renewed = device::renewed(&identity, &answer).unwrap();
    assert!(renewed.info().not_after > enrolment.certificate.info().not_after);
    assert!(hub.engine.read(refused_serials).is_empty(), "both are good until they end");
    // Nobody else gets one for this box, and this box takes none of another hub's.
    assert!(hub.desk.renew(&id(), &csr(&PrivateKey::generate())).await.is_err());
    let other = Hub::new().await;
    let theirs = other.token(None, None).await;
    other.join(&theirs, applicant(&key, 1)).await.unwrap();
    let answer = other.desk.renew(&id(), &request).await.unwrap();
    assert!(matches!(device::renewed(&identity, &answer), Err(JoinError::Forged { .. })));
}

#[tokio::test]
async fn a_box_says_that_it_leaves_and_nobody_in_its_place() {
    let hub = Hub::new().await;
    let state = tempfile::tempdir().unwrap();
    let key = DeviceKey::open(state.path()).unwrap();
    let token = hub.token(None, None).await;
    let joined = hub.join(&token, applicant(&key, 1)).await.unwrap();
    let (enrolment, sealing) = joined.pending.finish(&token, &joined.answer).unwrap();
    DeviceIdentity::create(state.path(), &enrolment, &sealing).unwrap();
    let identity = DeviceIdentity::open(state.path()).unwrap().unwrap();
    let gone = || hub.engine.read(|world| world.devices[&id()].revoked_at.is_some());
    let leaving = device::farewell(&identity, 2);
    // With another key, an old number, or nothing but the request for a certificate.
    let mut stolen: serde_json::Value = serde_json::from_str(&leaving).unwrap();
    stolen["csr"] = csr(&PrivateKey::generate()).into();
    let mut unsigned: serde_json::Value = serde_json::from_str(&leaving).unwrap();
    unsigned["signature"] = "AAAA".into();
    for hostile in [stolen.to_string(), unsigned.to_string(), device::farewell(&identity, 1)] {
        assert_eq!(hub.desk.left(hostile.as_bytes()).await.unwrap_err().status(), 403);
        assert!(!gone());
    }
    hub.desk.left(leaving.as_bytes()).await.unwrap();
    hub.engine.wait_until(|world| world.devices[&id()].revoked_at.is_some()).await.unwrap();
    // Sent again after the box has come back, it changes nothing.
    let new = hub.token(None, None).await;
    hub.join(&new, applicant(&key, 3)).await.unwrap();
    assert_eq!(hub.desk.left(leaving.as_bytes()).await.unwrap_err().status(), 403);
    assert!(!gone());
}

#[tokio::test]
async fn a_flood_is_turned_away() {
    let hub = Hub::new().await;
    let mut busy = 0;
    for _ in 0..400 {
        busy += usize::from(hub.desk.join(b"").await == Err(Refused::Busy));
    }
    assert!(busy > 0);
}
