//! One membership: the loop between link, engine and clock. `line` has what comes over the link, `certificate` how that stays
//! possible.

mod certificate;
mod line;

use super::documents::Documents;
use super::fetch::random;
use super::outbox::Outbox;
use super::refusals::Refusals;
use super::register::Register;
use super::renewal::Renewal;
use super::{Accept, Parts, blocking, logs};
use crate::auth::fleet::{Certificate, DeviceIdentity, VerifyingKey};
use crate::engine::Handle;
use crate::fleet::command::{Acceptor, Outgoing};
use crate::fleet::join::JoinError;
use crate::fleet::link::{
    self, BrokerUrlError, Credentials, Event, Events, Link, Message, SessionId, Settings, Ticket,
};
use crate::fleet::message::{self, EventBatch, LeaveWord};
use crate::fleet::topic::{Channel, Filter, Part, Topic};
use crate::fleet::tunnel::DeviceEnd;
use crate::model::fleet::{AgentInformation, LinkStatus, Membership, Presence, VERSION};
use crate::model::{ClusterName, ContainerInstanceId};
use crate::plan::fleet::progress;
use crate::sys;
use certificate::{answered, renewal, tls};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The longest wait between two attempts to connect, unless the hub says otherwise.
const CAP: Duration = Duration::from_mins(5);
/// The document is compared with the broker's so often, and a third more at most.
const COMPARE: Duration = Duration::from_hours(6);
/// How long a good-bye may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// Between two attempts to send what the link did not take.
const CROWDED: Duration = Duration::from_secs(1);
/// Messages of tunnels on their way to the link.
const TUNNELLED: usize = 16;

pub(super) struct Member {
    pub(super) engine: Handle,
    pub(super) identity: DeviceIdentity,
    pub(super) cluster: ClusterName,
    pub(super) device: ContainerInstanceId,
    pub(super) link: Link,
    pub(super) refusals: Refusals,
    pub(super) register: Register,
    pub(super) documents: Documents,
    events: Option<Events>,
    status: watch::Sender<LinkStatus>,
    session: Option<SessionId>,
    outbox: Outbox,
    /// Of the report that is under way.
    reported: Option<Ticket>,
    renewal: Renewal,
    /// Over HTTP: the broker no longer takes the certificate.
    renewing: Option<JoinHandle<Result<Certificate, JoinError>>>,
    /// When it was asked for that way.
    asked_over_http: Option<Duration>,
    acceptor: Acceptor,
    tunnels: DeviceEnd,
    outgoing: Option<mpsc::Receiver<Outgoing>>,
    /// To whoever forwards logs. What is told is little: connections, and answers of the hub.
    forwarder: mpsc::UnboundedSender<logs::Word>,
    forwarding: Option<(logs::Forwarder, mpsc::UnboundedReceiver<logs::Word>)>,
    authorities: Option<Vec<u8>>,
    /// As the hub or the default has it.
    cap: Duration,
    hub_is_up: bool,
    /// The broker's refusal was told of.
    refused: bool,
    compare_at: Duration,
    told_again_at: Option<Duration>,
    /// Nothing is published before: the link had no room.
    crowded_until: Duration,
}

impl Member {
    pub(super) fn new(
        parts: &Parts,
        identity: DeviceIdentity,
        credentials: Option<Credentials>,
        authorities: Option<Vec<u8>>,
    ) -> Result<Self, BrokerUrlError> {
        let enrolment = identity.enrolment();
        let (cluster, device) = (enrolment.cluster.clone(), enrolment.device.clone());
        let mut settings = Settings::new(enrolment.broker.parse()?, device.as_str());
        for other in &enrolment.more_brokers {
            settings.others.push(other.parse()?);
        }
        settings.credentials = credentials;
        settings.tls = tls(&identity, authorities.as_deref());
        settings.version = parts.link.version;
        settings.keep_alive = parts.link.keep_alive.unwrap_or(settings.keep_alive);
        settings.back_off_cap = CAP;
        let (live, sealing) = (Topic::live(&cluster, &device), identity.sealing().clone());
        settings.will = Some(Arc::new(move |session| {
            let down = presence(session, false, None);
            Message::retained(&live, message::seal_up(&sealing, &live, &down))
        }));
        let (link, events) = Link::start(settings);
        let own = |topic| Filter::exact(&topic);
        link.subscribe([
            own(Topic::want(&cluster, &device)),
            own(Topic::cmd(&cluster, &device)),
            own(Topic::ack(&cluster, &device)),
            own(Topic::Hub(cluster.clone())),
        ]);
        let (outgoing_in, outgoing) = mpsc::channel(TUNNELLED);
        let accept: Accept = Arc::clone(&parts.accept);
        let sealing = identity.sealing().clone();
        let tunnels =
            DeviceEnd::new(cluster.clone(), device.clone(), sealing, outgoing_in, move |stream| {
                accept(stream)
            });
        let (forwarder, words) = mpsc::unbounded_channel();
        let forwarding = logs::Forwarder {
            engine: parts.engine.clone(),
            link: link.clone(),
            cluster: cluster.clone(),
            device: device.clone(),
            key: identity.sealing().clone(),
            settings: parts.logs,
        };
        let renewal = renewal(&identity);
        let acceptor = Acceptor::new(enrolment.hub_key, device.clone());
        Ok(Self {
            engine: parts.engine.clone(),
            status: parts.status.clone(),
            cluster,
            device,
            link,
            events: Some(events),
            refusals: Refusals::default(),
            register: Register::default(),
            documents: Documents::default(),
            session: None,
            outbox: Outbox::default(),
            reported: None,
            renewal,
            renewing: None,
            asked_over_http: None,
            acceptor,
            tunnels,
            outgoing: Some(outgoing),
            forwarder,
            forwarding: Some((forwarding, words)),
            authorities,
            cap: CAP,
            hub_is_up: true,
            refused: false,
            compare_at: Duration::MAX,
            told_again_at: None,
            crowded_until: Duration::ZERO,
            identity,
        })
    }

    /// Goes on until the box leaves, or the engine ends.
    pub(super) async fn run(mut self) {
        let (Some(mut events), Some(outgoing)) = (self.events.take(), self.outgoing.take()) else {
            return;
        };
        let enrolment = self.identity.enrolment();
        let all = std::iter::once(&enrolment.broker).chain(&enrolment.more_brokers);
        let broker = all.map(String::as_str).collect::<Vec<_>>().join(", ");
        self.status.send_modify(|status| status.broker = Some(broker));
        let tunnelling = tokio::spawn(tunnel_messages(self.link.clone(), outgoing));
        let forwarding = self.forwarding.take();
        let forwarding = forwarding.map(|(parts, words)| tokio::spawn(logs::forward(parts, words)));
        let mut commits = self.engine.watch();
        let mut last = self.membership();
        loop {
            let now = sys::uptime();
            self.tend(now).await;
            let pause = self.due().saturating_sub(now);
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.happened(event).await,
                    None => break,
                },
                answer = answered(&mut self.renewing) => self.renewed_over_http(answer).await,
                desired = self.documents.fetched() => self.take_fetched(desired).await,
                changed = commits.changed() => {
                    let Some(membership) = self.membership().filter(|_| changed.is_ok()) else {
                        if changed.is_ok() {
                            self.leave(&mut events, last).await;
                        }
                        break;
                    };
                    let news = last.as_ref().is_none_or(|last| last.progress != membership.progress);
                    last = Some(membership);
                    self.register.changed();
                    if news {
                        self.prune_secrets().await;
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
        tunnelling.abort();
        self.link.close().await;
        // It ends with who tells it.
        let (logs, is_member) = (self.engine.logs(), self.membership().is_some());
        drop(self);
        if let Some(forwarding) = forwarding {
            let _ = forwarding.await;
        }
        if let (Ok(logs), false) = (logs, is_member) {
            logs::end(logs).await;
        }
    }

    /// Tells whoever forwards logs; it ends with this loop.
    fn tell_forwarder(&self, word: logs::Word) {
        let _ = self.forwarder.send(word);
    }

    pub(super) fn membership(&self) -> Option<Membership> {
        let mine = |m: &&Membership| m.device == self.device && m.cluster == self.cluster;
        self.engine.read(|world| world.membership.as_ref().filter(mine).cloned())
    }

    pub(super) fn key(&self) -> VerifyingKey {
        self.identity.enrolment().hub_key
    }

    /// Something came that has no effect.
    pub(super) fn refuse(&mut self, topic: &'static str, why: &'static str) {
        self.refusals.count(topic, why);
        self.register.changed();
        let refused = self.refusals.all();
        self.status.send_modify(|status| status.refused = refused);
    }

    /// When there is something to do, though nothing comes.
    fn due(&self) -> Duration {
        let mut due = self.documents.due().unwrap_or(Duration::MAX);
        if self.session.is_some() {
            let stored = self.engine.read(|world| world.events.clone());
            let publish =
                self.register.due().min(self.outbox.due(&stored).unwrap_or(Duration::MAX));
            due = due.min(publish.max(self.crowded_until)).min(self.compare_at);
            due = due.min(self.renewal.due());
        }
        // A timer has its bounds.
        due.min(sys::uptime() + Duration::from_hours(24))
    }

    async fn tend(&mut self, now: Duration) {
        self.tend_documents(now).await;
        let Some(session) = self.session.clone() else { return };
        if now >= self.compare_at {
            self.compare_at = now + COMPARE + (COMPARE / 3).mul_f64(random());
            // What the broker retains comes again.
            self.link.subscribe([Filter::exact(&Topic::want(&self.cluster, &self.device))]);
        }
        if self.renewal.wants(now, sys::now()) {
            self.ask_for_certificate(&session);
        }
        if now < self.crowded_until {
            return;
        }
        self.report(&session, now);
        self.tell_events(&session, now).await;
    }

    /// Seals a message and publishes it; none when the link does not take it now.
    fn say(
        &mut self,
        session: &SessionId,
        topic: &Topic,
        payload: &[u8],
        now: Duration,
    ) -> Option<Ticket> {
        let sealed = message::seal_up(self.identity.sealing(), topic, payload);
        self.publish(session, topic, sealed, now)
    }

    fn publish(
        &mut self,
        session: &SessionId,
        topic: &Topic,
        sealed: Vec<u8>,
        now: Duration,
    ) -> Option<Ticket> {
        let mut message = Message::new(topic, sealed);
        message.retain = matches!(topic, Topic::Device(.., Channel::State | Channel::Live));
        let ticket = self.link.publish(message.only_in(session)).ok();
        if ticket.is_none() {
            // Offline is told by an event; whatever it is, it is no reason to try at once.
            self.crowded_until = now + CROWDED;
        }
        ticket
    }

    fn report(&mut self, session: &SessionId, now: Duration) {
        let (engine, documents, refusals) = (&self.engine, &self.documents, &self.refusals);
        let key = self.key();
        let report = self.register.next(now, random(), |seq| {
            let mut report = engine.read(|world| {
                let mut report = progress::report(world, session.as_str(), seq)?;
                report.missing = documents.missing(world);
                Some(report)
            })?;
            report.refused = refusals.all();
            report.hub_key = Some(key.fingerprint().to_string());
            Some(report)
        });
        let Some(mut report) = report else { return };
        for (why, count) in self.tunnels.refused() {
            report.refused.insert(why.to_owned(), count);
        }
        let topic = Topic::state(&self.cluster, &self.device);
        self.reported = self.say(session, &topic, &message::write(&report), now);
        if self.reported.is_none() {
            self.register.lost();
        }
    }

    async fn tell_events(&mut self, session: &SessionId, now: Duration) {
        let stored = self.engine.read(|world| world.events.clone());
        let Some(next) = self.outbox.next(&stored, now) else { return };
        let events = match self.engine.events(next.from, message::BATCH).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "events for the hub cannot be read");
                return self.outbox.sent(next.from, now);
            }
        };
        let Some(membership) = self.membership() else { return };
        let end = events.last().map_or(next.from, |event| event.offset + 1);
        let batch = EventBatch {
            v: VERSION,
            log: membership.events,
            dropped: membership.dropped.max(next.gone),
            events,
        };
        let Ok(stream) = Part::new(message::EVENTS) else { return };
        let topic = Topic::log(&self.cluster, &self.device, stream);
        let sealed = batch.seal_up(self.identity.sealing(), &topic);
        if self.publish(session, &topic, sealed, now).is_some() {
            self.outbox.sent(end, now);
        }
    }

    /// Says good-bye, if somebody hears it; what came with documents goes.
    async fn leave(&mut self, events: &mut Events, last: Option<Membership>) {
        if let (Some(session), Ok(id)) = (self.session.clone(), Part::new(message::LEAVE)) {
            let word = LeaveWord { v: VERSION, session: session.to_string() };
            let topic = Topic::rpc(&self.cluster, &self.device, id);
            let live = Topic::live(&self.cluster, &self.device);
            let now = sys::uptime();
            self.say(&session, &topic, &message::write(&word), now);
            let last = self.say(&session, &live, &presence(&session, false, None), now);
            let said = async {
                while let Some(event) = events.next().await {
                    match event {
                        Event::Published { ticket, .. } if Some(ticket) == last => break,
                        Event::Disconnected { .. } => break,
                        _ => {}
                    }
                }
            };
            let _ = tokio::time::timeout(FAREWELL, said).await;
        }
        let names: Vec<String> =
            last.into_iter().flat_map(|m| m.secrets).map(|secret| secret.name).collect();
        let store = self.engine.secrets().clone();
        blocking(move || super::secrets::forget(&store, &names)).await;
    }
}

/// Publishes what tunnels say, in order; waits for room, which the loop above must not.
async fn tunnel_messages(link: Link, mut outgoing: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { topic, payload, session }) = outgoing.recv().await {
        let mut message = Message::new(topic, payload);
        message.only_in = link.session().filter(|now| now.as_str() == session);
        if message.only_in.is_none() {
            // Of a connection that is over: nobody waits for it.
            continue;
        }
        loop {
            match link.publish(message.clone()) {
                Err(link::PublishError::Full) if link.ready().await.is_ok() => {}
                _ => break,
            }
        }
    }
}

fn presence(session: &SessionId, up: bool, agent: Option<Box<AgentInformation>>) -> Vec<u8> {
    message::write(&Presence { v: VERSION, session: session.to_string(), up, agent })
}
