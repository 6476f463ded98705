//! One membership: the loop between link, engine and clock.

use super::documents::Documents;
use super::fetch::random;
use super::outbox::Outbox;
use super::refusals::{self, Refusals};
use super::register::Register;
use super::renewal::Renewal;
use super::{Accept, Parts, blocking};
use crate::auth::fleet::{Certificate, DeviceIdentity, FileError, Kind, VerifyingKey};
use crate::engine::Handle;
use crate::fleet::command::{Acceptor, Outgoing, Purpose};
use crate::fleet::join::{self, JoinError};
use crate::fleet::link::{
    self, BrokerUrlError, Credentials, Event, Events, Link, LinkError, Message, Outcome, Received,
    SessionId, Settings, Ticket, Tls,
};
use crate::fleet::message::{self, EventBatch, EventsAck, HubWord, LeaveWord, RenewRequest};
use crate::fleet::topic::{Channel, Filter, Part, Topic};
use crate::fleet::tunnel::DeviceEnd;
use crate::model::fleet::{AgentInformation, LinkStatus, Membership, Presence, VERSION};
use crate::model::{ClusterName, ContainerInstanceId};
use crate::plan::fleet::{FleetCommand, progress};
use crate::sys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// The longest wait between two attempts to connect, unless the hub says otherwise.
const CAP: Duration = Duration::from_mins(5);
/// What the hub may say.
const SHORTEST_CAP: Duration = Duration::from_secs(2);
const LONGEST_CAP: Duration = Duration::from_hours(1);
/// The longest wait of a box that the broker refuses: it will not change its mind soon.
const REFUSED_CAP: Duration = Duration::from_mins(30);
/// The document is compared with the broker's so often, and a third more at most.
const COMPARE: Duration = Duration::from_hours(6);
/// Between two rounds of telling of everything again.
const TELL_AGAIN: Duration = Duration::from_secs(10);
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
    acceptor: Acceptor,
    tunnels: DeviceEnd,
    outgoing: Option<mpsc::Receiver<Outgoing>>,
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
            acceptor,
            tunnels,
            outgoing: Some(outgoing),
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
        let broker = self.identity.enrolment().broker.clone();
        self.status.send_modify(|status| status.broker = Some(broker));
        let tunnelling = tokio::spawn(tunnel_messages(self.link.clone(), outgoing));
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
        let report = self.register.next(now, random(), |seq| {
            let mut report = engine.read(|world| {
                let mut report = progress::report(world, session.as_str(), seq)?;
                report.missing = documents.missing(world);
                Some(report)
            })?;
            report.refused = refusals.all();
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

    async fn happened(&mut self, event: Event) {
        let now = sys::uptime();
        match event {
            Event::Connected { session, session_present } => {
                tracing::info!(session = %session, session_present, "connected to the hub's broker");
                self.connected(session, now);
            }
            Event::Disconnected { why, next_attempt_in } => {
                self.disconnected(&why, next_attempt_in);
            }
            Event::Received(received) => self.received(received).await,
            Event::Oversized { topic, size } => {
                tracing::debug!(topic, size, "a message is too large");
                self.refuse("a packet", "oversized");
            }
            Event::Published { ticket, outcome } => self.published(ticket, &outcome),
            Event::SubscribeRefused { filter, reason } => {
                tracing::error!(filter, %reason, "the broker does not let this box listen to its hub");
            }
            Event::Subscribed => {}
        }
    }

    /// Says that the box is connected, and what it is.
    fn say_hello(&mut self, session: &SessionId, now: Duration) {
        let agent = self.engine.read(|world| {
            let this = world.container_instances.get(&self.device)?;
            Some(AgentInformation {
                version: this.agent_version.clone(),
                capacity: this.capacity.clone(),
                attributes: this.attributes.clone(),
            })
        });
        let live = Topic::live(&self.cluster, &self.device);
        let said = presence(session, true, agent.map(Box::new));
        self.say(session, &live, &said, now);
    }

    fn connected(&mut self, session: SessionId, now: Duration) {
        self.drop_acks();
        self.acceptor.session_changed(Some(session.as_str()));
        self.tunnels.session_changed(Some(session.as_str()));
        self.crowded_until = Duration::ZERO;
        self.say_hello(&session, now);
        self.session = Some(session);
        self.register.begin();
        self.outbox.begin();
        self.renewal.begin();
        self.reported = None;
        self.refused = false;
        self.link.set_back_off_cap(self.cap);
        self.compare_at = now + COMPARE + (COMPARE / 3).mul_f64(random());
        self.status.send_modify(|status| {
            status.connected = true;
            status.since = Some(sys::now());
            status.why = None;
        });
    }

    fn disconnected(&mut self, why: &LinkError, next_attempt_in: Duration) {
        if self.session.take().is_some() {
            tracing::warn!(%why, ?next_attempt_in, "the connection to the hub is lost; tasks go on");
            self.status.send_modify(|status| status.since = Some(sys::now()));
        }
        self.acceptor.session_changed(None);
        self.tunnels.session_changed(None);
        self.drop_acks();
        if matches!(why, LinkError::NotAuthorised { .. } | LinkError::TlsRefused { .. }) {
            if !std::mem::replace(&mut self.refused, true) {
                tracing::error!(
                    %why,
                    "the hub's broker refuses this box: was it deregistered? Its tasks go on; `coracle leave` makes it stand alone"
                );
            }
            self.link.set_back_off_cap(REFUSED_CAP.max(self.cap));
            if self.renewal.is_late(sys::now()) && self.renewing.is_none() {
                tracing::info!(
                    "the certificate of this box is old; asking the hub for a new one over HTTP"
                );
                let identity = self.identity.clone();
                self.renewing =
                    Some(tokio::spawn(async move { join::device::renew(&identity).await }));
            }
        }
        let why = why.to_string();
        self.status.send_modify(|status| {
            status.connected = false;
            status.why = Some(why);
        });
    }

    fn published(&mut self, ticket: Ticket, outcome: &Outcome) {
        let of_report = self.reported == Some(ticket);
        if of_report {
            self.reported = None;
        }
        match outcome {
            Outcome::Refused(reason) => {
                tracing::error!(%reason, "the broker does not take what this box says");
            }
            // Said again in the next session.
            Outcome::Unknown if of_report => self.register.lost(),
            Outcome::Unknown | Outcome::Done => {}
        }
    }

    async fn received(&mut self, received: Received) {
        let Received { topic, payload, ack, .. } = received;
        match Topic::parse(&topic) {
            Ok(Topic::Device(cluster, device, channel))
                if cluster == self.cluster && device == self.device =>
            {
                match channel {
                    Channel::Want => return self.want(&payload, ack).await,
                    Channel::Ack => self.acknowledged(&payload).await,
                    Channel::Cmd => self.command(&payload).await,
                    _ => self.refuse("another topic", "foreign"),
                }
            }
            Ok(Topic::Hub(cluster)) if cluster == self.cluster => self.hub_says(&payload),
            Ok(Topic::Doc(cluster, hash)) if cluster == self.cluster => {
                return self.body(&hash, &payload, ack).await;
            }
            _ => self.refuse("another topic", "foreign"),
        }
        self.link.ack(ack);
    }

    /// What the hub signed as `kind`, if it did.
    fn signed<T: serde::de::DeserializeOwned>(
        &mut self,
        topic: &'static str,
        kind: Kind,
        bytes: &[u8],
    ) -> Option<T> {
        let why = match self.key().verify(kind, bytes, message::WORD_LIMIT) {
            Err(error) => refusals::of_signature(error, bytes),
            Ok(payload) => match message::read(&payload, message::WORD_LIMIT) {
                Ok(word) => return Some(word),
                Err(error) => refusals::of_reading(&error, &payload),
            },
        };
        self.refuse(topic, why);
        None
    }

    /// The hub has events.
    async fn acknowledged(&mut self, bytes: &[u8]) {
        let Some(ack) = self.signed::<EventsAck>("ack", Kind::Ack, bytes) else { return };
        let Some(membership) = self.membership() else { return };
        if ack.device != self.device || ack.stream != message::EVENTS {
            return self.refuse("ack", "foreign");
        }
        if ack.log == membership.events {
            self.outbox.acknowledged(ack.up_to);
            let acknowledged = FleetCommand::Acknowledged { log: ack.log, up_to: ack.up_to };
            if let Err(error) = self.submit(acknowledged).await {
                tracing::debug!(%error, "what the hub has is still kept");
            }
        }
        let of_session = self.session.as_ref().is_some_and(|now| now.as_str() == ack.session);
        let now = sys::uptime();
        if ack.tell_again
            && of_session
            && self.told_again_at.is_none_or(|at| at + TELL_AGAIN <= now)
        {
            self.told_again_at = Some(now);
            // Perhaps the hub does not even know this session.
            if let Some(session) = self.session.clone() {
                self.say_hello(&session, now);
            }
            let _ = self.submit(FleetCommand::TellAgain).await;
        }
    }

    async fn command(&mut self, bytes: &[u8]) {
        match self.acceptor.accept(bytes) {
            Ok(command) => match command.purpose {
                Purpose::Tunnel => self.tunnels.incoming(&command.id, &command.body),
                Purpose::Certificate => self.renewed(&command.body).await,
            },
            Err(error) => self.refuse("cmd", error.counter()),
        }
    }

    fn hub_says(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let Some(word) = self.signed::<HubWord>("hub", Kind::Hub, bytes) else { return };
        if word.cluster != self.cluster {
            return self.refuse("hub", "foreign");
        }
        let cap = Duration::from_secs(word.spread_over).clamp(SHORTEST_CAP, LONGEST_CAP);
        self.cap = cap;
        self.link.set_back_off_cap(cap);
        if word.up && !self.hub_is_up {
            // It may have lost what was under way.
            self.outbox.begin();
        }
        self.hub_is_up = word.up;
    }

    fn ask_for_certificate(&mut self, session: &SessionId) {
        let request = RenewRequest {
            v: VERSION,
            session: session.to_string(),
            request: STANDARD_NO_PAD.encode(self.identity.key().request()),
        };
        let Ok(id) = Part::new(message::RENEW) else { return };
        let topic = Topic::rpc(&self.cluster, &self.device, id);
        tracing::info!("asking the hub for a new certificate");
        self.say(session, &topic, &message::write(&request), sys::uptime());
    }

    async fn renewed(&mut self, answer: &[u8]) {
        let certificate = match join::device::renewed(&self.identity, answer) {
            Ok(certificate) => certificate,
            Err(error) => {
                tracing::warn!(%error, "the hub's answer holds no new certificate");
                return self.refuse("cmd", "malformed");
            }
        };
        self.keep_certificate(certificate).await;
    }

    /// The hub can be reached where it was when this box joined, or not.
    async fn renewed_over_http(&mut self, answer: Result<Certificate, JoinError>) {
        match answer {
            Ok(certificate) => {
                self.keep_certificate(certificate).await;
                self.link.reconnect_now();
            }
            Err(error) => tracing::warn!(%error, "there is no new certificate"),
        }
    }

    async fn keep_certificate(&mut self, certificate: Certificate) {
        match self.change_identity(move |identity| identity.renew(certificate)).await {
            Some(Ok(true)) => {
                self.renewal = renewal(&self.identity);
                let until = self.identity.enrolment().certificate.info().not_after;
                self.status.send_modify(|status| status.certificate_until = Some(until));
                self.link.set_tls(tls(&self.identity, self.authorities.as_deref()));
                tracing::info!("this box has a new certificate");
            }
            Some(Ok(false)) => self.refuse("cmd", "foreign"),
            Some(Err(error)) => tracing::error!(%error, "the new certificate cannot be kept"),
            None => {}
        }
    }

    /// The hub signs with another key from now on.
    pub(super) async fn repin(&mut self, key: VerifyingKey) -> Result<(), FileError> {
        self.change_identity(move |identity| identity.repin(key)).await.unwrap_or(Ok(()))?;
        self.acceptor.key_changed(self.key());
        Ok(())
    }

    /// Changes the files of the identity, which blocks.
    async fn change_identity<T: Send + 'static>(
        &mut self,
        change: impl FnOnce(&mut DeviceIdentity) -> T + Send + 'static,
    ) -> Option<T> {
        let mut changed = self.identity.clone();
        let (identity, answer) = blocking(move || {
            let answer = change(&mut changed);
            (changed, answer)
        })
        .await?;
        self.identity = identity;
        Some(answer)
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

/// The answer to a request over HTTP, if there is one under way.
async fn answered(
    request: &mut Option<JoinHandle<Result<Certificate, JoinError>>>,
) -> Result<Certificate, JoinError> {
    loop {
        let Some(under_way) = request else { return std::future::pending().await };
        let ended = under_way.await;
        *request = None;
        if let Ok(answer) = ended {
            return answer;
        }
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

fn renewal(identity: &DeviceIdentity) -> Renewal {
    Renewal::new(identity.certified_at(), identity.enrolment().certificate.info().not_after)
}

/// What the broker is trusted by, and this box at the broker.
fn tls(identity: &DeviceIdentity, authorities: Option<&[u8]>) -> Tls {
    let enrolment = identity.enrolment();
    let named = enrolment.broker_authorities.as_ref().map(|pem| pem.as_bytes().to_vec());
    let certificate = enrolment.certificate.pem();
    let key = identity.key().pem();
    Tls {
        authorities: authorities.map(<[u8]>::to_vec).or(named),
        identity: Some((certificate.into_bytes(), Zeroizing::new(key.as_bytes().to_vec()))),
    }
}
