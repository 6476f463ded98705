//! A broker with the freedoms of all brokers: retained messages, sessions and QoS 1, and everything that may go wrong.
//!
//! More goes wrong here than over one TCP connection to one broker, since no guarantee of a broker is relied on: in the
//! worst schedules any message is dropped, doubled or overtaken without the connection being cut.

use super::chance::Chance;
use coracle::model::TaskDefinition;
use coracle::model::fleet::{ContentHash, Desired, Event, Presence, Report};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Topics; the number is the box's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Want(usize),
    State(usize),
    Live(usize),
    Log(usize),
    Ack(usize),
    Doc(ContentHash),
}

#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Want(Rc<Desired>),
    State(Rc<Report>),
    Live(Rc<Presence>),
    Log(Rc<Batch>),
    Ack(Rc<Ack>),
    Doc(Rc<TaskDefinition>),
}

/// What a box sends of its outbox.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) log: String,
    pub(crate) dropped: Option<u64>,
    pub(crate) events: Vec<Event>,
}

/// What the hub answers to it.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) log: String,
    pub(crate) up_to: u64,
    /// In this session.
    pub(crate) tell_again: Option<String>,
}

pub(crate) type Message = (Topic, Payload);

/// What the broker knows of one client, and what is on the way from and to it.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) connected: bool,
    session: bool,
    subscriptions: BTreeSet<Topic>,
    /// Subscribes to what all boxes say.
    hub: bool,
    will: Option<Message>,
    /// Published and not with the broker yet.
    pub(crate) up: VecDeque<Message>,
    /// With the broker and not acknowledged by the client.
    pub(crate) down: VecDeque<Message>,
}

#[derive(Debug, Default)]
pub(crate) struct Broker {
    pub(crate) clients: Vec<Client>,
    pub(crate) retained: BTreeMap<Topic, Payload>,
    /// Last wills that are due; brokers take their time.
    pub(crate) wills: Vec<Message>,
    /// What it held when it was last asked to write it down.
    disk: Option<BTreeMap<Topic, Payload>>,
}

/// What may befall messages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// In a hundred.
    pub(crate) drop: usize,
    pub(crate) double: usize,
    pub(crate) reorder: usize,
}

impl Broker {
    pub(crate) fn new(boxes: usize) -> Self {
        let mut broker = Self::default();
        broker.clients.resize_with(boxes + 1, Client::default);
        broker.clients[boxes].hub = true;
        broker
    }

    /// A client connects, `clean_start` being false.
    pub(crate) fn connect(&mut self, client: usize, will: Option<Message>) {
        self.cut(client);
        let client = &mut self.clients[client];
        client.connected = true;
        client.session = true;
        client.will = will;
    }

    /// The connection ends without a word.
    pub(crate) fn cut(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if !client.connected {
            return;
        }
        client.connected = false;
        // What the broker has not acknowledged the client has to think of again.
        client.up.clear();
        self.wills.extend(client.will.take());
        if !client.session {
            client.down.clear();
        }
    }

    /// The session expires.
    pub(crate) fn forget(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if client.connected {
            return;
        }
        client.session = false;
        client.down.clear();
        client.subscriptions.clear();
    }

    pub(crate) fn subscribe(&mut self, client: usize, topic: Topic) {
        if !self.clients[client].connected {
            return;
        }
        if let Some(payload) = self.retained.get(&topic) {
            self.clients[client].down.push_back((topic.clone(), payload.clone()));
        }
        self.clients[client].subscriptions.insert(topic);
    }

    /// The hub subscribes to all boxes.
    pub(crate) fn subscribe_all(&mut self, client: usize) {
        let of_boxes = |t: &Topic| matches!(t, Topic::State(_) | Topic::Live(_) | Topic::Log(_));
        let retained = self.retained.iter().filter(|(topic, _)| of_boxes(topic));
        let retained: Vec<Message> = retained.map(|(t, p)| (t.clone(), p.clone())).collect();
        self.clients[client].down.extend(retained);
    }

    /// The client hands a message to its connection; of a register only the newest waits.
    pub(crate) fn publish(&mut self, client: usize, topic: Topic, payload: Payload) {
        let client = &mut self.clients[client];
        if !client.connected {
            return;
        }
        if matches!(topic, Topic::State(_) | Topic::Want(_)) {
            client.up.retain(|(other, _)| *other != topic);
        }
        client.up.push_back((topic, payload));
    }

    /// One message of the client reaches the broker.
    pub(crate) fn take(&mut self, client: usize, faults: Faults, chance: &mut Chance) {
        let Some(message) = pop(&mut self.clients[client].up, faults, chance) else { return };
        self.route(message);
    }

    /// A last will that is due is published.
    pub(crate) fn fire(&mut self, chance: &mut Chance) {
        if !self.wills.is_empty() {
            let at = chance.below(self.wills.len());
            let will = self.wills.swap_remove(at);
            self.route(will);
        }
    }

    fn route(&mut self, (topic, payload): Message) {
        let of_boxes = matches!(topic, Topic::State(_) | Topic::Live(_) | Topic::Log(_));
        for client in &mut self.clients {
            let wants = client.subscriptions.contains(&topic) || (client.hub && of_boxes);
            if wants && client.session {
                client.down.push_back((topic.clone(), payload.clone()));
            }
        }
        if !matches!(topic, Topic::Log(_) | Topic::Ack(_)) {
            self.retained.insert(topic, payload);
        }
    }

    /// The next message for the client.
    pub(crate) fn give(
        &mut self,
        client: usize,
        faults: Faults,
        chance: &mut Chance,
    ) -> Option<Message> {
        let client = &mut self.clients[client];
        if client.connected { pop(&mut client.down, faults, chance) } else { None }
    }

    /// A message was not acknowledged: it comes again.
    pub(crate) fn unacknowledged(&mut self, client: usize, message: Message) {
        if self.clients[client].session {
            self.clients[client].down.push_front(message);
        }
    }

    pub(crate) fn write_down(&mut self) {
        self.disk = Some(self.retained.clone());
    }

    /// It dies and starts again: with all, with what it had written down, or with nothing.
    pub(crate) fn restart(&mut self, how: Restart) {
        for client in 0..self.clients.len() {
            self.cut(client);
        }
        self.wills.clear();
        if how == Restart::WithAll {
            return;
        }
        self.retained = match how {
            Restart::WithSome => self.disk.clone().unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        for client in 0..self.clients.len() {
            self.forget(client);
        }
    }

    /// Messages on their way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wills.is_empty() && self.clients.iter().all(|c| c.up.is_empty() && c.down.is_empty())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    WithAll,
    WithSome,
    WithNothing,
}

fn pop(queue: &mut VecDeque<Message>, faults: Faults, chance: &mut Chance) -> Option<Message> {
    if queue.is_empty() {
        return None;
    }
    let at = if chance.percent(faults.reorder) { chance.below(queue.len()) } else { 0 };
    if chance.percent(faults.double) {
        return queue.get(at).cloned();
    }
    let message = queue.remove(at);
    message.filter(|_| !chance.percent(faults.drop))
}
