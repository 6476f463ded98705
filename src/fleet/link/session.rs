//! What one connection has under way: messages that wait for the broker's answer, subscriptions that do, and messages of
//! the broker that wait for ours. Pure: packets in, bytes and events out.
//!
//! Nothing of it outlives its connection. MQTT would send a message again over the next one; here its outcome is
//! [`Outcome::Unknown`] and whoever published it decides, as only he knows whether it still means something.

use super::error::LinkError;
use super::message::{Ack, Event, Message, Outcome, Received, Ticket};
use super::reason::Reason;
use super::wire::decode::{ConnAck, Packet, Publish};
use super::wire::frames::Frame;
use super::wire::{Protocol, encode};
use std::collections::{BTreeMap, VecDeque};

/// What a broker takes at once when it does not say.
const USUAL_WINDOW: u16 = 64;
/// Filters in one packet.
const MOST_FILTERS: usize = 32;

/// What an answer is awaited for.
#[derive(Debug)]
enum Pending {
    Publish(Ticket),
    Subscribe(Vec<String>),
    Unsubscribe,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Session {
    protocol: Protocol,
    connection: u64,
    /// How many messages the broker takes at once.
    window: usize,
    max_packet: usize,
    retains: bool,
    last_id: u16,
    pending: BTreeMap<u16, Pending>,
    publishing: usize,
    subscribing: usize,
    /// In the order of their coming; true when they may be acknowledged.
    received: VecDeque<(u16, bool)>,
}

impl Session {
    /// `last_id` goes on from the connection before, so that an answer that got lost on the way is not taken for another.
    pub(super) fn new(protocol: Protocol, connection: u64, answer: &ConnAck, last_id: u16) -> Self {
        Self {
            protocol,
            connection,
            window: usize::from(
                answer.receive_maximum.unwrap_or(USUAL_WINDOW).clamp(1, USUAL_WINDOW),
            ),
            max_packet: answer
                .max_packet
                .map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX)),
            retains: answer.retains,
            last_id,
            pending: BTreeMap::new(),
            publishing: 0,
            subscribing: 0,
            received: VecDeque::new(),
        }
    }

    pub(super) fn last_id(&self) -> u16 {
        self.last_id
    }

    /// True when the broker takes another message now.
    pub(super) fn has_room(&self) -> bool {
        self.publishing < self.window
    }

    /// Sends a message, or says at once that the broker would not take it.
    pub(super) fn publish(
        &mut self,
        out: &mut Vec<u8>,
        ticket: Ticket,
        message: &Message,
    ) -> Option<Event> {
        let refused = |reason| Some(Event::Published { ticket, outcome: Outcome::Refused(reason) });
        if encode::size_at_most(message) > self.max_packet {
            return refused(Reason::TOO_LARGE);
        }
        if message.retain && !self.retains {
            return refused(Reason::NO_RETAIN);
        }
        let id = self.await_answer(Pending::Publish(ticket));
        self.publishing += 1;
        encode::publish(out, self.protocol, id, message);
        None
    }

    pub(super) fn subscribe(&mut self, out: &mut Vec<u8>, filters: &[String]) {
        for filters in filters.chunks(MOST_FILTERS) {
            let id = self.await_answer(Pending::Subscribe(filters.to_vec()));
            self.subscribing += 1;
            encode::subscribe(out, self.protocol, id, filters);
        }
    }

    pub(super) fn unsubscribe(&mut self, out: &mut Vec<u8>, filters: &[String]) {
        for filters in filters.chunks(MOST_FILTERS) {
            let id = self.await_answer(Pending::Unsubscribe);
            encode::unsubscribe(out, self.protocol, id, filters);
        }
    }

    /// A free identifier; there are many more of them than may be pending.
    fn await_answer(&mut self, pending: Pending) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if let std::collections::btree_map::Entry::Vacant(free) =
                self.pending.entry(self.last_id)
            {
                free.insert(pending);
                return self.last_id;
            }
        }
    }

    /// A message may be acknowledged; it is once all before it are.
    pub(super) fn acknowledge(&mut self, out: &mut Vec<u8>, packet: u16) {
        if let Some(entry) = self.received.iter_mut().find(|(id, _)| *id == packet) {
            entry.1 = true;
        }
        while let Some((id, true)) = self.received.front() {
            encode::puback(out, *id);
            self.received.pop_front();
        }
    }

    /// Takes in what the broker sent.
    pub(super) fn take(
        &mut self,
        out: &mut Vec<u8>,
        frame: Frame,
        events: &mut Vec<Event>,
    ) -> Result<(), LinkError> {
        match frame {
            Frame::Oversized { topic, id, size } => {
                if let Some(id) = id
                    && self.note(id)
                {
                    self.acknowledge(out, id);
                }
                events.push(Event::Oversized { topic, size });
            }
            Frame::Packet(Packet::Publish(publish)) => self.message(publish, events),
            Frame::Packet(Packet::PubAck { id, reason }) => match self.pending.remove(&id) {
                Some(Pending::Publish(ticket)) => {
                    self.publishing -= 1;
                    let outcome =
                        if reason.is_success() { Outcome::Done } else { Outcome::Refused(reason) };
                    events.push(Event::Published { ticket, outcome });
                }
                Some(_) => return Err(LinkError::Protocol("a PUBACK answers something else")),
                // Of a connection before this one.
                None => tracing::debug!(id, "an unexpected PUBACK"),
            },
            Frame::Packet(Packet::SubAck { id, reasons }) => {
                let Some(Pending::Subscribe(filters)) = self.pending.remove(&id) else {
                    return Err(LinkError::Protocol("a SUBACK answers nothing"));
                };
                if filters.len() != reasons.len() {
                    return Err(LinkError::Protocol("a SUBACK answers for other filters"));
                }
                self.subscribing -= 1;
                for (filter, reason) in filters.into_iter().zip(reasons) {
                    if !reason.is_success() {
                        events.push(Event::SubscribeRefused { filter, reason });
                    }
                }
                if self.subscribing == 0 {
                    events.push(Event::Subscribed);
                }
            }
            Frame::Packet(Packet::UnsubAck { id }) => {
                let Some(Pending::Unsubscribe) = self.pending.remove(&id) else {
                    return Err(LinkError::Protocol("an UNSUBACK answers nothing"));
                };
            }
            Frame::Packet(Packet::PingResp) => {}
            Frame::Packet(Packet::Disconnect { reason, text, server }) => {
                return Err(LinkError::Ended { reason, text, server });
            }
            Frame::Packet(Packet::ConnAck(_)) => {
                return Err(LinkError::Protocol("a second CONNACK"));
            }
        }
        Ok(())
    }

    fn message(&mut self, publish: Publish, events: &mut Vec<Event>) {
        if let Some(id) = publish.id
            && !self.note(id)
        {
            // The broker is impatient: whoever has this message has not answered yet.
            return;
        }
        events.push(Event::Received(Received {
            topic: publish.topic,
            payload: publish.payload,
            retain: publish.retain,
            duplicate: publish.duplicate,
            response_topic: publish.response_topic,
            correlation: publish.correlation,
            ack: Ack { connection: self.connection, packet: publish.id.unwrap_or(0) },
        }));
    }

    /// Remembers a message that wants an answer; false when it is remembered already. How many may want one at once the
    /// broker has been told; one that sends some more costs a few bytes, and some do.
    fn note(&mut self, id: u16) -> bool {
        if self.received.iter().any(|(known, _)| *known == id) {
            return false;
        }
        self.received.push_back((id, false));
        true
    }

    /// The messages without an answer, in the order in which they were published.
    pub(super) fn unanswered(&self) -> Vec<Ticket> {
        let publishes = self.pending.values().filter_map(|pending| match pending {
            Pending::Publish(ticket) => Some(*ticket),
            _ => None,
        });
        let mut tickets: Vec<Ticket> = publishes.collect();
        tickets.sort_unstable();
        tickets
    }
}

#[cfg(test)]
mod tests;
