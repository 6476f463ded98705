//! What hub and boxes of a fleet ask of their worlds.

use super::{member, take};
use crate::model::container_instance::{Attribute, Capacity};
use crate::model::fleet::{
    AgentInformation, ContentHash, Desired, Event, JoinToken, Position, Presence, Report,
    SecretVersion,
};
use crate::model::{ClusterName, ContainerInstanceId, TaskDefinition, Timestamp};
use crate::plan::command::{CommandError, Outcome};
use crate::plan::{Command, Reply, World};
use std::collections::BTreeMap;

/// A wish or a fact of a fleet.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetCommand {
    /// Hub: a token that boxes may join with.
    CreateToken(JoinToken),
    /// Hub: no box joins with it any more.
    DeleteToken(String),
    /// Hub: a box joins, or joins again.
    Enrol(Box<Enrol>),
    /// Hub: a box has a new certificate, and perhaps a new sealing key.
    Renewed {
        /// The box.
        device: ContainerInstanceId,
        /// As `auth` describes it.
        certificate: serde_json::Value,
        /// Sealed with the hub's key.
        sealing_key: Option<String>,
    },
    /// Hub: a box says that it is connected, or the broker that it no longer is.
    Presence(ContainerInstanceId, Presence),
    /// Hub: a box reports.
    Report(ContainerInstanceId, Box<Report>),
    /// Hub: what happened on a box, in order.
    Events {
        /// The box.
        device: ContainerInstanceId,
        /// Which numbering.
        log: String,
        /// Events before this one were dropped by the box.
        dropped: Option<u64>,
        /// Without holes among themselves.
        events: Vec<Event>,
    },
    /// Hub: a box says that it left.
    Left(ContainerInstanceId),
    /// Hub: the current versions of its secrets.
    SecretVersions(BTreeMap<String, String>),

    /// Box: it belongs to a fleet from now on.
    Join(Box<NewMember>),
    /// Box: what it is to be like. The bodies have been checked against their hashes.
    Accept(Box<Desired>, Vec<TaskDefinition>),
    /// Box: a document of a format that it does not know.
    Unsupported(String),
    /// Box: the secrets of the newest document are kept.
    SecretsKept(Vec<SecretVersion>),
    /// Box: the hub has all events before this one.
    Acknowledged {
        /// Of which numbering.
        log: String,
        /// The first that it does not have.
        up_to: u64,
    },
    /// Box: tell of every task again.
    TellAgain,
    /// Box: it belongs to no fleet any more; what it ran for it stops.
    Leave,
}

/// A box that joins.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrol {
    /// Its id.
    pub device: ContainerInstanceId,
    /// The token, and the nonce of the request.
    pub token: String,
    /// Tells a repetition.
    pub nonce: String,
    /// What it tells of itself.
    pub agent: AgentInformation,
    /// As `auth` describes it.
    pub certificate: serde_json::Value,
    /// Sealed with the hub's key.
    pub sealing_key: String,
}

/// The beginning of a membership.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMember {
    /// The cluster.
    pub cluster: ClusterName,
    /// The id in the fleet: this box's.
    pub device: ContainerInstanceId,
    /// Where the hub's API is.
    pub hub: String,
    /// Documents up to this one are of a membership that has ended.
    pub position: Position,
    /// A new numbering of events.
    pub events: String,
    /// What the box has.
    pub capacity: Capacity,
    /// What it tells of itself.
    pub attributes: Vec<Attribute>,
    /// The program's version.
    pub agent_version: String,
}

/// What became of a desired document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is durable, and what the box is to be like from now on.
    Accepted,
    /// It was already.
    Known,
    /// A newer one was seen before: this one is refused.
    Old,
    /// It is of another box or cluster, or refers to what it does not bring.
    Foreign,
}

/// What the hub makes of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The box has not seen the newest document: it is to be sent again.
    pub send_document: bool,
    /// The hub does not know the connection of the report, or its records of the box's tasks are not the box's and no event
    /// will come of it: in that connection the box is to say `live` again and to tell of all its tasks.
    pub tell_again: bool,
    /// Bodies that are to be sent again.
    pub bodies: Vec<ContentHash>,
}

/// Refuses what a box of a fleet is not asked: its hub decides.
pub(in crate::plan) fn allowed(world: &World, command: &Command) -> Result<(), CommandError> {
    let Some(membership) = &world.membership else { return Ok(()) };
    match command {
        Command::StopTask { .. }
        | Command::UpdateTaskProtection { .. }
        | Command::SubmitStateChange(_)
        | Command::PutAccountSetting { .. }
        | Command::DeleteAccountSetting { .. }
        | Command::RegisterThisInstance(_)
        | Command::Fleet(_)
        | Command::Observe(_) => Ok(()),
        _ => Err(CommandError::Client(format!(
            "This box belongs to a fleet: ask its hub at {}. (`coracle leave` makes it stand alone again.)",
            membership.hub
        ))),
    }
}

/// Carries out `command`.
pub(in crate::plan) fn apply(
    world: &mut World,
    command: FleetCommand,
    now: Timestamp,
) -> Result<Outcome, CommandError> {
    match command {
        FleetCommand::CreateToken(token) => take::create_token(world, token),
        FleetCommand::DeleteToken(id) => take::delete_token(world, id),
        FleetCommand::Enrol(enrol) => take::enrol(world, *enrol, now),
        FleetCommand::Renewed { device, certificate, sealing_key } => {
            take::renewed(world, &device, certificate, sealing_key)
        }
        FleetCommand::Presence(device, presence) => take::presence(world, &device, presence, now),
        FleetCommand::Report(device, report) => take::report(world, &device, &report, now),
        FleetCommand::Events { device, log, dropped, events } => {
            take::events(world, &device, &log, dropped, events, now)
        }
        FleetCommand::Left(device) => take::left(world, &device, now),
        FleetCommand::SecretVersions(versions) => Ok(take::secret_versions(world, versions)),
        FleetCommand::Join(member) => member::join(world, *member, now),
        FleetCommand::Accept(desired, definitions) => {
            Ok(member::accept(world, *desired, definitions))
        }
        FleetCommand::Unsupported(reason) => Ok(member::unsupported(world, reason)),
        FleetCommand::SecretsKept(secrets) => Ok(member::secrets_kept(world, secrets)),
        FleetCommand::Acknowledged { log, up_to } => Ok(member::acknowledged(world, &log, up_to)),
        FleetCommand::TellAgain => Ok(member::tell_again(world, now)),
        FleetCommand::Leave => Ok(member::leave(world)),
    }
}

impl From<FleetCommand> for Command {
    fn from(command: FleetCommand) -> Self {
        Self::Fleet(Box::new(command))
    }
}

/// Nothing changes; this is answered.
pub(super) fn answer(reply: Reply) -> Outcome {
    Outcome { changes: Vec::new(), reply, reasons: Vec::new() }
}
