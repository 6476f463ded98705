//! What comes over the link: connections, and the words of the hub.

use super::{COMPARE, Member, presence};
use crate::auth::fleet::Kind;
use crate::fleet::command::Purpose;
use crate::fleet::device::fetch::random;
use crate::fleet::device::{logs, refusals};
use crate::fleet::join;
use crate::fleet::link::{Event, LinkError, Outcome, Received, SessionId, Ticket};
use crate::fleet::message::{self, EventsAck, HubWord};
use crate::fleet::topic::{Channel, Topic};
use crate::model::fleet::AgentInformation;
use crate::plan::fleet::FleetCommand;
use crate::sys;
use std::time::Duration;

/// What the hub may say of the longest wait between two attempts to connect.
const SHORTEST_CAP: Duration = Duration::from_secs(2);
const LONGEST_CAP: Duration = Duration::from_hours(1);
/// The longest wait of a box that the broker refuses: it will not change its mind soon.
const REFUSED_CAP: Duration = Duration::from_mins(30);
/// Between two rounds of telling of everything again.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// Between two requests for a certificate over HTTP.
const ASK_AGAIN: Duration = Duration::from_mins(1);

impl Member {
    pub(super) async fn happened(&mut self, event: Event) {
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
        self.tell_forwarder(logs::Word::Session(Some(session.clone())));
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
        self.tell_forwarder(logs::Word::Session(None));
        self.drop_acks();
        if matches!(why, LinkError::NotAuthorised { .. } | LinkError::TlsRefused { .. }) {
            if !std::mem::replace(&mut self.refused, true) {
                tracing::error!(
                    %why,
                    "the hub's broker refuses this box: was it deregistered? Its tasks go on; `coracle leave` makes it stand alone"
                );
            }
            self.link.set_back_off_cap(REFUSED_CAP.max(self.cap));
            let now = sys::uptime();
            let long_ago = self.asked_over_http.is_none_or(|at| at + ASK_AGAIN <= now);
            // Whatever the clock says: it may stand still, and the hub knows best.
            if long_ago && self.renewing.is_none() {
                self.asked_over_http = Some(now);
                tracing::info!("asking the hub over HTTP whether this box needs a new certificate");
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
        if ack.device != self.device {
            return self.refuse("ack", "foreign");
        }
        if ack.stream != message::EVENTS {
            let EventsAck { stream, log, up_to, .. } = ack;
            return self.tell_forwarder(logs::Word::Acknowledged { stream, log, up_to });
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
            self.tell_forwarder(logs::Word::HubIsBack);
        }
        self.hub_is_up = word.up;
    }
}
