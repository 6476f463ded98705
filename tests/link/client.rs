//! A link and its events, for tests: waits for what must come, and fails when it does not.

use crate::mosquitto::PATIENCE;
use coracle::fleet::link::{
    Event, Events, Link, LinkError, Message, Outcome, Received, SessionId, Settings, Ticket,
    Version,
};
use coracle::fleet::topic::Filter;
use std::time::Duration;
use tokio::time::timeout;

pub(crate) const BOTH: [Version; 2] = [Version::V5, Version::V311];

/// A message that is acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
    pub(crate) duplicate: bool,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation: Option<Vec<u8>>,
}

pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) events: Events,
}

/// Settings with short waits.
pub(crate) fn settings(url: &str, name: &str, version: Version) -> Settings {
    let mut settings = Settings::new(url.parse().unwrap(), name);
    settings.version = version;
    settings.back_off_cap = Duration::from_millis(50);
    settings
}

impl Client {
    pub(crate) fn start(settings: Settings) -> Self {
        let (link, events) = Link::start(settings);
        Self { link, events }
    }

    /// One that is connected and subscribed.
    pub(crate) async fn listening(settings: Settings, filters: &[&str]) -> Self {
        let mut client = Self::start(settings);
        client.link.subscribe(filters.iter().map(|filter| Filter::raw(*filter)));
        client.until_subscribed().await;
        client
    }

    pub(crate) async fn next(&mut self) -> Event {
        let event = timeout(PATIENCE, self.events.next()).await.expect("an event comes in time");
        let event = event.expect("the link is open");
        if let Event::Disconnected { why, .. } = &event {
            // For whoever reads why a test has failed.
            println!("disconnected: {why}");
        }
        event
    }

    /// Passes over events until one is what is wanted.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(&self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn until_connected(&mut self) -> (SessionId, bool) {
        self.until(|event| match event {
            Event::Connected { session, session_present } => {
                Some((session.clone(), *session_present))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn until_subscribed(&mut self) {
        self.until(|event| matches!(event, Event::Subscribed).then_some(())).await;
    }

    /// Why the connection ended, and when the next is tried.
    pub(crate) async fn until_disconnected(&mut self) -> (LinkError, Duration) {
        loop {
            if let Event::Disconnected { why, next_attempt_in } = self.next().await {
                return (why, next_attempt_in);
            }
        }
    }

    /// The next message; acknowledged.
    pub(crate) async fn receive(&mut self) -> Got {
        let Received { topic, payload, retain, duplicate, response_topic, correlation, ack } =
            self.receive_only().await;
        self.link.ack(ack);
        Got { topic, payload, retain, duplicate, response_topic, correlation }
    }

    /// The next message; not acknowledged.
    pub(crate) async fn receive_only(&mut self) -> Received {
        loop {
            if let Event::Received(received) = self.next().await {
                return received;
            }
        }
    }

    pub(crate) async fn outcome(&mut self, of: Ticket) -> Outcome {
        self.until(|event| match event {
            Event::Published { ticket, outcome } if *ticket == of => Some(outcome.clone()),
            _ => None,
        })
        .await
    }

    /// Publishes until the broker has it.
    pub(crate) async fn publish(&mut self, message: Message) {
        loop {
            timeout(PATIENCE, self.link.ready()).await.expect("there is a connection").unwrap();
            let Ok(ticket) = self.link.publish(message.clone()) else { continue };
            if self.outcome(ticket).await == Outcome::Done {
                return;
            }
        }
    }
}
