//! Messages of boxes, as they come: those of one box one after the other, those of different boxes at once, so that the
//! writer has many commands to put into one transaction.
//!
//! A message is acknowledged when what became of it is durable. Of states that wait only the newest is kept; a box that
//! sends faster than it can be served loses what is too much of it, and nobody else does.

use super::publish::Told;
use super::{Shared, take};
use crate::fleet::link::{Ack, Event, Events, Received};
use crate::fleet::topic::{Channel, Topic};
use crate::model::ContainerInstanceId;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Messages of one box that wait for their turn.
const WAITING_OF_ONE: usize = 32;
/// Messages of all boxes that wait or are carried out. None of them is acknowledged, so the broker stops long before.
const WAITING: usize = 8192;

struct Item {
    topic: Topic,
    channel: Channel,
    payload: Vec<u8>,
    ack: Ack,
}

/// Boxes of which a message is being carried out, each with those that come after it.
type Turns = HashMap<ContainerInstanceId, VecDeque<Item>>;

struct Inbound {
    shared: Arc<Shared>,
    turns: Turns,
    waiting: usize,
    tasks: JoinSet<ContainerInstanceId>,
}

/// Until the link is closed.
pub(super) async fn run(shared: Arc<Shared>, mut events: Events) {
    let mut inbound = Inbound { shared, turns: Turns::new(), waiting: 0, tasks: JoinSet::new() };
    loop {
        tokio::select! {
            // Always: outcomes come this way as well, and whoever carries out a message may wait for one.
            event = events.next() => match event {
                Some(event) => inbound.event(event),
                None => return,
            },
            Some(done) = inbound.tasks.join_next() => match done {
                Ok(device) => inbound.done(&device),
                // Nothing cancels them; one that panicked has said so.
                Err(error) => tracing::error!(%error, "a message of a box was lost"),
            },
        }
    }
}

impl Inbound {
    fn event(&mut self, event: Event) {
        match event {
            Event::Connected { .. } => {
                tracing::info!("connected to the broker");
                self.shared.tell(Told::Connected);
            }
            Event::Subscribed => self.shared.tell(Told::Subscribed),
            Event::SubscribeRefused { filter, reason } => {
                tracing::error!(
                    filter,
                    ?reason,
                    "the broker does not let the hub listen there: the hub's user or certificate must be allowed coracle/1/#"
                );
            }
            Event::Disconnected { why, next_attempt_in } => {
                tracing::warn!(%why, ?next_attempt_in, "there is no connection to the broker");
                self.shared.tunnels.link_lost();
                self.shared.tell(Told::Disconnected);
            }
            Event::Published { ticket, outcome } => {
                self.shared.tell(Told::Outcome(ticket, outcome));
            }
            Event::Oversized { topic, size } => {
                tracing::debug!(topic, size, "an oversized message");
                if let Ok(topic) = Topic::parse(&topic) {
                    self.shared.refuse("oversized", &topic);
                }
            }
            Event::Received(received) => self.received(received),
        }
    }

    fn received(&mut self, received: Received) {
        let Received { topic, payload, ack, .. } = received;
        let shared = &self.shared;
        match Topic::parse(&topic) {
            // Nothing is kept there any more.
            Ok(_) if payload.is_empty() => shared.link.ack(ack),
            Ok(Topic::Doc(cluster, hash)) => {
                shared.link.ack(ack);
                shared.tell(Told::Body(cluster, hash, payload));
            }
            Ok(Topic::Device(cluster, device, Channel::Rpc(id))) if !take::is_of_hub(&id) => {
                shared.link.ack(ack);
                // Of a box in this cluster: a tunnel knows which it leads to.
                if shared.device(&cluster, &device, |_| ()).is_some() {
                    shared.tunnels.incoming(&device, &id, &payload);
                }
            }
            Ok(Topic::Device(cluster, device, channel)) => {
                let topic = Topic::Device(cluster, device.clone(), channel.clone());
                self.item(device, Item { topic, channel, payload, ack });
            }
            Ok(Topic::Hub(_)) => shared.link.ack(ack),
            Err(error) => {
                shared.link.ack(ack);
                shared.refuse("topic", &Topic::Hub(crate::model::ClusterName::default_cluster()));
                tracing::debug!(%error, "a message on a topic of no meaning");
            }
        }
    }

    fn item(&mut self, device: ContainerInstanceId, item: Item) {
        if self.waiting >= WAITING {
            self.shared.refuse("flood", &item.topic);
            return self.shared.link.ack(item.ack);
        }
        let Some(turn) = self.turns.get_mut(&device) else {
            self.turns.insert(device.clone(), VecDeque::new());
            self.waiting += 1;
            return self.carry_out(device, item);
        };
        if let Some(last) = turn.back_mut()
            && last.channel == Channel::State
            && item.channel == Channel::State
        {
            let overtaken = std::mem::replace(last, item);
            return self.shared.link.ack(overtaken.ack);
        }
        if turn.len() >= WAITING_OF_ONE {
            self.shared.refuse("flood", &item.topic);
            return self.shared.link.ack(item.ack);
        }
        turn.push_back(item);
        self.waiting += 1;
    }

    fn carry_out(&mut self, device: ContainerInstanceId, item: Item) {
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            shared.hold.over().await;
            take::take(&shared, &item.topic, item.payload).await;
            shared.link.ack(item.ack);
            device
        });
    }

    fn done(&mut self, device: &ContainerInstanceId) {
        self.waiting -= 1;
        match self.turns.get_mut(device).and_then(VecDeque::pop_front) {
            Some(item) => self.carry_out(device.clone(), item),
            None => drop(self.turns.remove(device)),
        }
    }
}
