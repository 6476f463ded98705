//! What a link's owner and its task hand to each other. Nothing here waits for the other side: both leave what they have
//! under a lock and ring. What is left here is bounded: messages by [`Settings::queue`](super::Settings::queue), whose
//! outcomes count until they are taken, and what came by [`Shared::may_receive`].

use super::message::{Event, Message, Outcome, SessionId, Ticket};
use super::session::Session;
use super::settings::Tls;
use super::wire::encode;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Bytes that may wait for the network before no more messages are written.
const MOST_UNSENT: usize = 256 * 1024;

/// Lost connections that nobody has read of yet.
const MOST_FAILURES: usize = 32;

/// Why a message is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection, or not the one that it is bound to.
    #[error("there is no connection to the broker")]
    Offline,
    /// As many messages as may be are under way.
    #[error("too many messages are under way")]
    Full,
    /// The link is closed.
    #[error("the link is closed")]
    Closed,
    /// A topic is empty, too long, or has a wildcard in it; or what an answer is to carry is too long.
    #[error("the message has no topic that can be published to")]
    Topic,
}

/// How a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Says good-bye: there is no last will.
    Politely,
    /// As if the program had died.
    Abruptly,
}

/// What the task is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    Done,
    Reconnect,
    Close(Closing),
}

#[derive(Debug, Default)]
struct State {
    online: Option<(u64, SessionId)>,
    closing: Option<Closing>,
    reconnect: bool,
    ended: bool,
    /// Messages whose outcome nobody has taken yet, `publishes` included.
    outstanding: usize,
    next_ticket: u64,
    publishes: VecDeque<(Ticket, Message)>,
    /// Of the connection that is up.
    acks: Vec<u16>,
    filters: BTreeSet<String>,
    subscribes: Vec<String>,
    unsubscribes: Vec<String>,
    cap: Option<Duration>,
    tls: Option<Tls>,
    events: VecDeque<Event>,
    /// How many of `events` are messages that came.
    received: usize,
}

impl State {
    fn wish(&mut self) -> Work {
        match (self.closing, std::mem::take(&mut self.reconnect)) {
            (Some(closing), _) => Work::Close(closing),
            (None, true) => Work::Reconnect,
            (None, false) => Work::Done,
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    queue: usize,
    most_received: usize,
    /// For the task.
    work: Notify,
    /// For whoever reads events.
    news: Notify,
    /// For whoever wants to publish.
    room: Notify,
}

impl Shared {
    pub(super) fn new(queue: usize, receive_maximum: u16) -> Self {
        Self {
            state: Mutex::default(),
            queue: queue.max(1),
            most_received: (usize::from(receive_maximum) * 2).max(64),
            work: Notify::new(),
            news: Notify::new(),
            room: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The owner's side.

    pub(super) fn publish(&self, message: Message) -> Result<Ticket, PublishError> {
        if !is_publishable(&message) {
            return Err(PublishError::Topic);
        }
        let mut state = self.state();
        if state.ended || state.closing.is_some() {
            return Err(PublishError::Closed);
        }
        match (&state.online, &message.only_in) {
            (None, _) => return Err(PublishError::Offline),
            (Some((_, session)), Some(wanted)) if session != wanted => {
                return Err(PublishError::Offline);
            }
            _ => {}
        }
        if state.outstanding >= self.queue {
            return Err(PublishError::Full);
        }
        let ticket = Ticket(state.next_ticket);
        state.next_ticket += 1;
        state.outstanding += 1;
        state.publishes.push_back((ticket, message));
        drop(state);
        self.work.notify_one();
        Ok(ticket)
    }

    pub(super) async fn ready(&self) -> Result<(), PublishError> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let state = self.state();
                if state.ended || state.closing.is_some() {
                    return Err(PublishError::Closed);
                }
                if state.online.is_some() && state.outstanding < self.queue {
                    return Ok(());
                }
            }
            room.await;
        }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        self.state().online.as_ref().map(|(_, session)| session.clone())
    }

    pub(super) fn subscribe(&self, filters: Vec<String>) {
        let mut state = self.state();
        state.unsubscribes.retain(|filter| !filters.contains(filter));
        if state.online.is_some() {
            state.subscribes.extend(filters.iter().cloned());
        }
        state.filters.extend(filters);
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn unsubscribe(&self, filters: Vec<String>) {
        let mut state = self.state();
        state.subscribes.retain(|filter| !filters.contains(filter));
        state.filters.retain(|filter| !filters.contains(filter));
        // While there is no connection this is kept: the broker may still have it from the one before.
        state.unsubscribes.extend(filters);
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn acknowledge(&self, connection: u64, packet: u16) {
        let mut state = self.state();
        let is_current = state.online.as_ref().is_some_and(|(online, _)| *online == connection);
        if packet == 0 || !is_current {
            return;
        }
        state.acks.push(packet);
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn set_cap(&self, cap: Duration) {
        self.state().cap = Some(cap);
    }

    pub(super) fn set_tls(&self, tls: Tls) {
        self.state().tls = Some(tls);
    }

    pub(super) fn reconnect(&self) {
        self.state().reconnect = true;
        self.work.notify_one();
    }

    pub(super) fn close(&self, closing: Closing) {
        self.state().closing.get_or_insert(closing);
        self.work.notify_one();
        self.room.notify_waiters();
    }

    pub(super) async fn next_event(&self) -> Option<Event> {
        loop {
            {
                let mut state = self.state();
                if let Some(event) = state.events.pop_front() {
                    match &event {
                        Event::Received(_) | Event::Oversized { .. } => {
                            state.received -= 1;
                            if state.received + 1 == self.most_received {
                                self.work.notify_one();
                            }
                        }
                        Event::Published { .. } => {
                            state.outstanding -= 1;
                            self.room.notify_waiters();
                        }
                        // The task may be waiting with its next attempt.
                        Event::Disconnected { .. } => self.work.notify_one(),
                        _ => {}
                    }
                    return Some(event);
                }
                if state.ended {
                    return None;
                }
            }
            self.news.notified().await;
        }
    }

    // The task's side.

    pub(super) async fn rung(&self) {
        self.work.notified().await;
    }

    pub(super) fn push(&self, events: impl IntoIterator<Item = Event>) {
        let mut state = self.state();
        let before = state.events.len();
        for event in events {
            if matches!(event, Event::Received(_) | Event::Oversized { .. }) {
                state.received += 1;
            }
            state.events.push_back(event);
        }
        if state.events.len() > before {
            self.news.notify_one();
        }
    }

    /// False while whoever reads events has enough to read.
    pub(super) fn may_receive(&self) -> bool {
        self.state().received < self.most_received
    }

    /// False while too many failures are still to be read: a link that nobody reads does not go on trying.
    pub(super) fn may_connect(&self) -> bool {
        let state = self.state();
        let failures =
            state.events.iter().filter(|event| matches!(event, Event::Disconnected { .. }));
        failures.count() < MOST_FAILURES
    }

    pub(super) fn take_settings(&self) -> (Option<Duration>, Option<Tls>) {
        let mut state = self.state();
        (state.cap.take(), state.tls.take())
    }

    /// What is wanted while there is no connection.
    pub(super) fn wish(&self) -> Work {
        self.state().wish()
    }

    /// A connection is up: all filters are to be subscribed to.
    pub(super) fn connected(&self, connection: u64, session: &SessionId, session_present: bool) {
        let mut state = self.state();
        state.online = Some((connection, session.clone()));
        state.reconnect = false;
        state.acks.clear();
        state.subscribes = state.filters.iter().cloned().collect();
        if !session_present {
            state.unsubscribes.clear();
        }
        drop(state);
        self.push([Event::Connected { session: session.clone(), session_present }]);
        self.room.notify_waiters();
    }

    /// Writes what there is to write, as far as the broker takes it.
    pub(super) fn work(&self, session: &mut Session, out: &mut Vec<u8>) -> Work {
        let mut events = Vec::new();
        let work = {
            let mut state = self.state();
            for packet in std::mem::take(&mut state.acks) {
                session.acknowledge(out, packet);
            }
            if !state.unsubscribes.is_empty() {
                session.unsubscribe(out, &std::mem::take(&mut state.unsubscribes));
            }
            if !state.subscribes.is_empty() {
                session.subscribe(out, &std::mem::take(&mut state.subscribes));
            }
            while session.has_room() && out.len() < MOST_UNSENT {
                let Some((ticket, message)) = state.publishes.pop_front() else { break };
                events.extend(session.publish(out, ticket, &message));
            }
            state.wish()
        };
        self.push(events);
        work
    }

    /// The connection is gone, and with it whatever was not answered for.
    pub(super) fn disconnected(&self, session: &Session) {
        let mut state = self.state();
        state.online = None;
        state.acks.clear();
        state.subscribes.clear();
        let mut lost = session.unanswered();
        lost.extend(std::mem::take(&mut state.publishes).into_iter().map(|(ticket, _)| ticket));
        drop(state);
        self.push(
            lost.into_iter().map(|ticket| Event::Published { ticket, outcome: Outcome::Unknown }),
        );
    }

    pub(super) fn ended(&self) {
        let mut state = self.state();
        state.ended = true;
        state.online = None;
        drop(state);
        self.news.notify_one();
        self.room.notify_waiters();
    }
}

fn is_publishable(message: &Message) -> bool {
    let fits = |topic: &str| {
        (1..=usize::from(u16::MAX)).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
    };
    fits(&message.topic)
        && message.response_topic.as_deref().is_none_or(fits)
        && message.correlation.as_ref().is_none_or(|bytes| u16::try_from(bytes.len()).is_ok())
        && encode::size_at_most(message) < encode::LARGEST
}
