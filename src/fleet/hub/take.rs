//! One message of a box: opened, made a command, and answered when that is durable.
//!
//! Which box it is from the topic says, which the broker guards; that it is the box that speaks, and not the broker, its
//! sealing says. Whatever does not hold changes nothing, and is counted.

use super::publish::Told;
use super::{Shared, lock, logs};
use crate::auth::fleet::{Kind, SealingKey};
use crate::engine::SubmitError;
use crate::fleet::command::{Address, Purpose};
use crate::fleet::link::Message;
use crate::fleet::message::{
    self, EventBatch, EventsAck, LeaveWord, ReadError, RenewRequest, UP_LIMIT,
};
use crate::fleet::topic::{Channel, Part, Topic};
use crate::model::fleet::{Presence, Report, VERSION};
use crate::model::{ClusterName, ContainerInstanceId};
use crate::plan::fleet::{Answer, FleetCommand};
use crate::plan::{Command, Reply};
use crate::sys;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// Between attempts to write what a box said.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
/// A batch that is larger is inflated and parsed where that holds nobody up.
const LARGE: usize = 8 << 10;
/// A box is asked to tell of everything this often at most.
const ASKED_AGAIN: Duration = Duration::from_secs(30);

/// Whether `rpc/{id}` is something that a box asks of the hub, and no tunnel.
pub(super) fn is_of_hub(id: &Part) -> bool {
    [message::RENEW, message::LEAVE].contains(&id.as_str())
}

/// Who speaks, and with which key.
pub(super) struct Sender<'a> {
    pub(super) topic: &'a Topic,
    pub(super) cluster: &'a ClusterName,
    pub(super) device: &'a ContainerInstanceId,
    pub(super) key: SealingKey,
}

pub(super) async fn take(hub: &Arc<Shared>, topic: &Topic, payload: Vec<u8>) {
    let Topic::Device(cluster, device, channel) = topic else { return };
    let Some(key) = hub.sealing_key(cluster, device) else {
        // It left or was deregistered, perhaps before the broker heard of it; or was never one.
        if hub.was_member(device) && matches!(channel, Channel::Live | Channel::State) {
            hub.tell(Told::Left(topic.clone()));
        }
        return hub.refuse("stranger", topic);
    };
    let from = Sender { topic, cluster, device, key };
    let taken = match channel {
        Channel::Live => presence(hub, &from, &payload).await,
        Channel::State => report(hub, &from, &payload).await,
        Channel::Log(stream) if stream.as_str() == message::EVENTS => {
            events(hub, &from, payload).await
        }
        Channel::Log(_) => logs::take(hub, &from, payload).await,
        Channel::Rpc(id) if id.as_str() == message::RENEW => renew(hub, &from, &payload).await,
        Channel::Rpc(id) if id.as_str() == message::LEAVE => leave(hub, &from, &payload).await,
        _ => return hub.refuse("topic", topic),
    };
    if let Err(error) = taken {
        hub.refuse(error.counter(), topic);
        tracing::debug!(%topic, %error, "a message of a box has no effect");
    }
}

fn open<T: DeserializeOwned>(from: &Sender<'_>, payload: &[u8]) -> Result<T, ReadError> {
    message::read(&message::open_up(&from.key, from.topic, payload)?, UP_LIMIT)
}

async fn presence(hub: &Shared, from: &Sender<'_>, payload: &[u8]) -> Result<(), ReadError> {
    let presence: Presence = open(from, payload)?;
    submit(hub, from, FleetCommand::Presence(from.device.clone(), presence)).await;
    let session = hub.device(from.cluster, from.device, |device| {
        device.session.clone().filter(|_| device.connected)
    });
    hub.tunnels.session_changed(from.device, session.flatten().as_deref());
    Ok(())
}

async fn report(hub: &Shared, from: &Sender<'_>, payload: &[u8]) -> Result<(), ReadError> {
    let report: Report = open(from, payload)?;
    let (seen, log) = (report.progress.position, report.events.log.clone());
    let next = hub.trust.keys.next().map(|key| key.fingerprint().to_string());
    let has_moved = next.is_none() || report.hub_key == next;
    let session = report.session.clone();
    let command = FleetCommand::Report(from.device.clone(), Box::new(report));
    let Some(Reply::Report(answer)) = submit(hub, from, command).await else { return Ok(()) };
    let Answer { send_document, tell_again, bodies } = answer;
    if send_document || !has_moved {
        hub.tell(Told::Behind(from.device.clone()));
    } else {
        // It has what it was pointed to.
        lock(&hub.documents).retain(|device, it| device != from.device || it.position > seen);
    }
    if !bodies.is_empty() {
        hub.tell(Told::Missing(from.cluster.clone(), bodies));
    }
    if tell_again && may_ask(hub, from.device, &session) {
        acknowledge(hub, from, &log, Some(session)).await;
    }
    Ok(())
}

/// Whether the box was not asked just now: it needs a moment to tell.
fn may_ask(hub: &Shared, device: &ContainerInstanceId, session: &str) -> bool {
    let now = sys::uptime();
    let mut asked = lock(&hub.asked);
    asked.retain(|_, (_, at)| now.saturating_sub(*at) < ASKED_AGAIN);
    let free = asked.get(device).is_none_or(|(of, _)| of != session);
    if free {
        asked.insert(device.clone(), (session.to_owned(), now));
    }
    free
}

async fn events(hub: &Shared, from: &Sender<'_>, payload: Vec<u8>) -> Result<(), ReadError> {
    let batch = if payload.len() > LARGE {
        let (key, topic) = (from.key.clone(), from.topic.clone());
        let opened =
            tokio::task::spawn_blocking(move || EventBatch::open_up(&key, &topic, &payload));
        match opened.await {
            Ok(batch) => batch?,
            Err(_) => return Ok(()),
        }
    } else {
        EventBatch::open_up(&from.key, from.topic, &payload)?
    };
    let EventBatch { log, dropped, events, .. } = batch;
    let device = from.device.clone();
    let command = FleetCommand::Events { device, log: log.clone(), dropped, events };
    if submit(hub, from, command).await.is_some() {
        acknowledge(hub, from, &log, None).await;
    }
    Ok(())
}

/// Tells a box how far its events are durable here; in the session `tell_again` it is to tell of everything again.
async fn acknowledge(hub: &Shared, from: &Sender<'_>, log: &str, tell_again: Option<String>) {
    let known = hub.device(from.cluster, from.device, |device| {
        let taken = device.events.as_ref().filter(|taken| taken.log == log);
        (taken.map_or(0, |taken| taken.next), device.session.clone())
    });
    let Some((up_to, session)) = known else { return };
    let said = EventsAck {
        v: VERSION,
        device: from.device.clone(),
        tell_again: tell_again.is_some(),
        session: tell_again.or(session).unwrap_or_default(),
        stream: message::EVENTS.to_owned(),
        log: log.to_owned(),
        up_to,
    };
    say(hub, from, &said).await;
}

/// Tells a box how far the log of a container is stored here.
pub(super) async fn tell(hub: &Shared, from: &Sender<'_>, stream: String, log: &str, up_to: u64) {
    let said = EventsAck {
        v: VERSION,
        device: from.device.clone(),
        tell_again: false,
        session: String::new(),
        stream,
        log: log.to_owned(),
        up_to,
    };
    say(hub, from, &said).await;
}

async fn say(hub: &Shared, from: &Sender<'_>, said: &EventsAck) {
    let payload = hub.trust.keys.sign(Kind::Ack, &message::write(said));
    let topic = Topic::ack(from.cluster, from.device);
    // Without a connection there is no need: the box sends again what nobody acknowledged.
    hub.publish(Message::new(topic, payload)).await;
}

async fn renew(hub: &Shared, from: &Sender<'_>, payload: &[u8]) -> Result<(), ReadError> {
    let RenewRequest { session, request, .. } = open(from, payload)?;
    let certificate = match hub.desk.renew(from.device, &request).await {
        Ok(certificate) => certificate,
        Err(error) => {
            tracing::warn!(device = %from.device, %error, "a certificate is not renewed");
            return Ok(());
        }
    };
    let address = Address { cluster: from.cluster.clone(), device: from.device.clone(), session };
    if let Ok(id) = Part::new(message::RENEW) {
        // The link is closed: the hub ends.
        let _ = hub.commander.send(&address, Purpose::Certificate, &id, &certificate).await;
    }
    Ok(())
}

async fn leave(hub: &Shared, from: &Sender<'_>, payload: &[u8]) -> Result<(), ReadError> {
    let LeaveWord { session, .. } = open(from, payload)?;
    let current = hub.device(from.cluster, from.device, |device| device.session.clone());
    if current.flatten().as_ref() != Some(&session) {
        hub.refuse("replayed", from.topic);
        return Ok(());
    }
    tracing::info!(device = %from.device, "a box leaves the fleet");
    submit(hub, from, FleetCommand::Left(from.device.clone())).await;
    Ok(())
}

/// Carries the command out, however often it takes until it can be written. None when it is refused.
async fn submit(hub: &Shared, from: &Sender<'_>, command: FleetCommand) -> Option<Reply> {
    let command = Command::from(command);
    loop {
        match hub.engine.submit(command.clone()).await {
            Ok(reply) => return Some(reply),
            Err(SubmitError::Refused(error)) => {
                hub.refuse("refused", from.topic);
                tracing::debug!(topic = %from.topic, %error, "what a box says is refused");
                return None;
            }
            // The disk is full, or the hub ends, and this task with it.
            Err(SubmitError::Unavailable(why)) => {
                tracing::debug!(topic = %from.topic, why, "what a box says cannot be written yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
