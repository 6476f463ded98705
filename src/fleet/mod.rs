//! The fleet: boxes that sync their desired state with a hub over MQTT, and go on alone without it.
//!
//! * [`hub`] is the loop of a hub; [`broker`] is the mosquitto that it brings up itself.
//! * [`join`] is how a box becomes a member; [`device`] is what it does as one.
//! * [`topic`] names what is published where: the only place that spells a topic. [`message`] is what the messages hold,
//!   [`log_batch`] those with logs.
//! * [`link`] is one connection to a broker, the only place that speaks MQTT.
//! * [`command`] is what the hub tells one device for now; [`tunnel`] is byte streams made of such commands and answers.
//!
//! MQTT only carries. Whatever arrives is taken to be doubled, out of order, old or forged until the layer above has
//! looked at its signature and its generation; whatever is published may be lost until somebody answers for it.

pub mod broker;
pub mod command;
pub mod device;
pub mod hub;
pub mod join;
pub mod link;
pub mod log_batch;
pub mod message;
pub mod rotation;
pub mod topic;
pub mod tunnel;
