//! One connection to an MQTT broker: the only place that speaks MQTT, in version 5 or 3.1.1, over TCP, TLS or a Unix
//! socket, always with QoS 1.
//!
//! ```text
//! Link    publish, subscribe, ack, …  ─┐                     ┌─ session   what is under way on one connection (pure)
//!                                      ├─ shared ── run ─────┼─ wire      packets and bytes (pure)
//! Events  next().await                ─┘         (one task)  ├─ backoff, pace   when to try again, when to give up (pure)
//!                                                            └─ connect, tls    DNS, TCP, TLS, CONNECT
//! ```
//!
//! What a link promises:
//!
//! * It comes back by itself, always, with full jitter between attempts. [`Event::Connected`] and
//!   [`Event::Disconnected`] tell; filters are subscribed to again at each connection, which also brings the retained
//!   messages again. Whatever ends a connection (no DNS, no route, TLS, a refusal, silence) takes the same path.
//! * Each connection has a fresh [`SessionId`], and a last will that names it.
//! * Every message that [`Link::publish`] takes has exactly one [`Event::Published`]: `Done` only when the broker said so;
//!   `Refused` with the broker's reason (3.1.1 has none: there a refused message is `Done` or costs the connection);
//!   `Unknown` when the connection was lost first. Nothing is sent again by itself, and nothing is taken while there is no
//!   connection: the owner keeps what must arrive, and publishes it again after `Connected`. A message of an earlier
//!   connection never comes late over the next.
//! * A message that came is acknowledged only by [`Link::ack`]. Until then the broker brings it again at the next
//!   connection (unless it lost the session): doubles are the owner's to recognise.
//! * Nothing here waits for the owner. [`Link`]'s methods return at once; [`Link::ready`] is the exception, and must not be
//!   waited for by the task that alone reads [`Events`], as it is those that make room.
//! * All is bounded: packets by [`Settings::max_packet`] (a larger message is skipped and told of; one that is larger by far a broker of MQTT 5 keeps back), messages out by
//!   [`Settings::queue`], messages in by [`Settings::receive_maximum`] and, when nobody reads [`Events`], by not reading
//!   the socket any more.
//!
//! Not here: QoS 0 and 2 for what is published, WebSockets, topic aliases, enhanced authentication.

mod backoff;
mod connect;
mod error;
mod message;
mod pace;
mod probe;
mod reason;
mod run;
mod session;
mod settings;
mod shared;
mod tls;
mod wire;

pub use error::LinkError;
pub use message::{Ack, Event, Message, Outcome, Received, SessionId, Ticket};
pub use probe::probe;
pub use reason::Reason;
pub use settings::{BrokerUrl, BrokerUrlError, Credentials, Host, Settings, Tls, Version, Will};
pub use shared::PublishError;
pub use wire::WireError;

use super::topic::Filter;
use shared::{Closing, Shared};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A link, for whoever sends. Clones are the same link; when the last one is dropped, the connection breaks off, and the
/// broker publishes the last will.
#[derive(Clone, Debug)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What happens on a link, for the one who listens. When it is dropped the connection breaks off.
#[derive(Debug)]
pub struct Events(Arc<Shared>);

impl Link {
    /// Starts a link on the present runtime; its first attempt to connect is made at once.
    #[must_use]
    pub fn start(settings: Settings) -> (Self, Events) {
        let shared = Arc::new(Shared::new(settings.queue, settings.receive_maximum));
        let task = tokio::spawn(run::Runner::new(settings, shared.clone()).run());
        let inner = Inner { shared: shared.clone(), task: Mutex::new(Some(task)) };
        (Self(Arc::new(inner)), Events(shared))
    }

    /// Publishes a message; its outcome comes as an event.
    ///
    /// # Errors
    /// [`PublishError`] when it is not taken: then there is no outcome.
    pub fn publish(&self, message: Message) -> Result<Ticket, PublishError> {
        self.0.shared.publish(message)
    }

    /// The connection that is up.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.0.shared.session()
    }

    /// Waits until there is a connection and room for a message.
    ///
    /// # Errors
    /// [`PublishError::Closed`] when there will be none any more.
    pub async fn ready(&self) -> Result<(), PublishError> {
        self.0.shared.ready().await
    }

    /// Subscribes now and at each connection. [`Event::Subscribed`] follows, after an [`Event::SubscribeRefused`] for
    /// each filter that the broker does not grant.
    pub fn subscribe(&self, filters: impl IntoIterator<Item = Filter>) {
        self.0.shared.subscribe(filters.into_iter().map(|filter| filter.to_string()).collect());
    }

    /// Takes subscriptions back.
    pub fn unsubscribe(&self, filters: impl IntoIterator<Item = Filter>) {
        self.0.shared.unsubscribe(filters.into_iter().map(|filter| filter.to_string()).collect());
    }

    /// Tells the broker that a message needs not come again. One of an earlier connection is ignored: it comes again.
    #[expect(clippy::needless_pass_by_value, reason = "it is used up")]
    pub fn ack(&self, ack: Ack) {
        self.0.shared.acknowledge(ack.connection, ack.packet);
    }

    /// Changes the longest wait between two attempts.
    pub fn set_back_off_cap(&self, cap: Duration) {
        self.0.shared.set_cap(cap);
    }

    /// Changes certificates and authorities, from the next connection on.
    pub fn set_tls(&self, tls: Tls) {
        self.0.shared.set_tls(tls);
    }

    /// Connects now: does not wait for the next attempt's time, and gives up a connection that is up.
    pub fn reconnect_now(&self) {
        self.0.shared.reconnect();
    }

    /// Ends the link for all its clones: says good-bye, so that there is no last will. What is not answered for by then
    /// has the outcome [`Outcome::Unknown`].
    pub async fn close(&self) {
        self.0.shared.close(Closing::Politely);
        let task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close(Closing::Abruptly);
    }
}

impl Events {
    /// The next event; `None` once the link is closed. Nothing is lost when this is not waited for to its end.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next_event().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.0.close(Closing::Abruptly);
    }
}
