//! Changes as rows, and rows as changes.
//!
//! A value is the record's JSON with `"v"`, the format of that record kind, as its first member. Members that this
//! version does not know are ignored; an older version that writes the record again drops them. A change that
//! ignoring would get wrong raises [`VERSION`] of all kinds and comes with a migration.

use super::Result;
use super::error::StoreError;
use super::table::{self, Table};
use crate::model::fleet::{Device, Event, JoinToken, Membership};
use crate::model::{
    Assignment, Cluster, ContainerInstance, Family, Revision, Service, ServiceDeployment,
    ServiceEvent, ServiceKey, ServiceRevision, Task, TaskDefinition,
};
use crate::plan::Change;
use crate::plan::world::ClientToken;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The key of what there is one of.
const THIS_BOX: &str = "this";

/// The format of the rows that are written now.
const VERSION: u64 = 1;

/// One row to write, or to delete when it has no value.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) table: Table,
    pub(super) key: String,
    pub(super) value: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RevisionRow {
    family: Family,
    revision: Revision,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountSettingRow {
    principal: String,
    name: String,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct ClientTokenRow {
    token: String,
    used: ClientToken,
}

#[derive(Deserialize)]
struct Versioned {
    v: u64,
}

/// The row that `change` writes.
pub(super) fn encode(change: &Change) -> Result<Row> {
    match change {
        Change::PutCluster(cluster) => put(Table::Clusters, cluster.name.as_str(), cluster),
        Change::PutTaskDefinition(definition) => {
            put(Table::TaskDefinitions, &definition.reference().to_string(), definition)
        }
        Change::DeleteTaskDefinition(reference) => {
            Ok(delete(Table::TaskDefinitions, &reference.to_string()))
        }
        Change::PutRevision(family, revision) => put(
            Table::Revisions,
            family.as_str(),
            &RevisionRow { family: family.clone(), revision: *revision },
        ),
        Change::PutContainerInstance(instance) => {
            put(Table::ContainerInstances, instance.id.as_str(), instance)
        }
        Change::DeleteContainerInstance(id) => Ok(delete(Table::ContainerInstances, id.as_str())),
        Change::PutAssignment(assignment) => {
            put(Table::Assignments, assignment.id.as_str(), assignment)
        }
        Change::DeleteAssignment(id) => Ok(delete(Table::Assignments, id.as_str())),
        Change::PutTask(task) => put(Table::Tasks, task.id.as_str(), task),
        Change::DeleteTask(id) => Ok(delete(Table::Tasks, id.as_str())),
        Change::PutAccountSetting { principal, name, value } => put(
            Table::AccountSettings,
            &setting_key(principal, name),
            &AccountSettingRow {
                principal: principal.clone(),
                name: name.clone(),
                value: value.clone(),
            },
        ),
        Change::DeleteAccountSetting { principal, name } => {
            Ok(delete(Table::AccountSettings, &setting_key(principal, name)))
        }
        Change::PutClientToken(token, used) => put(
            Table::ClientTokens,
            token,
            &ClientTokenRow { token: token.clone(), used: used.clone() },
        ),
        Change::DeleteClientToken(token) => Ok(delete(Table::ClientTokens, token)),
        Change::PutService(service) => put(Table::Services, &service.key.to_string(), service),
        Change::DeleteService(key) => Ok(delete(Table::Services, &key.to_string())),
        Change::PutServiceRevision(revision) => {
            put(Table::ServiceRevisions, revision.id.as_str(), revision)
        }
        Change::DeleteServiceRevision(id) => Ok(delete(Table::ServiceRevisions, id.as_str())),
        Change::PutServiceDeployment(deployment) => {
            put(Table::ServiceDeployments, deployment.id.as_str(), deployment)
        }
        Change::DeleteServiceDeployment(id) => Ok(delete(Table::ServiceDeployments, id.as_str())),
        Change::PutServiceEvent(event) => {
            put(Table::ServiceEvents, &event_key(&event.service, event.slot()), event)
        }
        Change::DeleteServiceEvent(service, slot) => {
            Ok(delete(Table::ServiceEvents, &event_key(service, *slot)))
        }
        Change::PutDevice(device) => put(Table::Devices, device.id.as_str(), device),
        Change::DeleteDevice(id) => Ok(delete(Table::Devices, id.as_str())),
        Change::PutJoinToken(token) => put(Table::JoinTokens, &token.id, token),
        Change::DeleteJoinToken(id) => Ok(delete(Table::JoinTokens, id)),
        Change::PutMembership(membership) => put(Table::Membership, THIS_BOX, membership),
        Change::DeleteMembership => Ok(delete(Table::Membership, THIS_BOX)),
        Change::PutEvent(event) => put(Table::Events, &offset_key(event.offset), event),
        Change::DeleteEvent(offset) => Ok(delete(Table::Events, &offset_key(*offset))),
    }
}

/// The change that would have written this row of a record table; none for the tables that hold no records.
pub(super) fn decode(table: Table, key: &str, value: &[u8]) -> Result<Option<Change>> {
    Ok(Some(match table {
        Table::Clusters => Change::PutCluster(parse::<Cluster>(table, key, value)?),
        Table::TaskDefinitions => {
            Change::PutTaskDefinition(Box::new(parse::<TaskDefinition>(table, key, value)?))
        }
        Table::Revisions => {
            let row: RevisionRow = parse(table, key, value)?;
            Change::PutRevision(row.family, row.revision)
        }
        Table::ContainerInstances => {
            Change::PutContainerInstance(Box::new(parse::<ContainerInstance>(table, key, value)?))
        }
        Table::Assignments => {
            Change::PutAssignment(Box::new(parse::<Assignment>(table, key, value)?))
        }
        Table::Tasks => Change::PutTask(Box::new(parse::<Task>(table, key, value)?)),
        Table::AccountSettings => {
            let AccountSettingRow { principal, name, value } = parse(table, key, value)?;
            Change::PutAccountSetting { principal, name, value }
        }
        Table::ClientTokens => {
            let row: ClientTokenRow = parse(table, key, value)?;
            Change::PutClientToken(row.token, row.used)
        }
        Table::Services => Change::PutService(Box::new(parse::<Service>(table, key, value)?)),
        Table::ServiceRevisions => {
            Change::PutServiceRevision(Box::new(parse::<ServiceRevision>(table, key, value)?))
        }
        Table::ServiceDeployments => {
            Change::PutServiceDeployment(Box::new(parse::<ServiceDeployment>(table, key, value)?))
        }
        Table::ServiceEvents => Change::PutServiceEvent(parse::<ServiceEvent>(table, key, value)?),
        Table::Devices => Change::PutDevice(Box::new(parse::<Device>(table, key, value)?)),
        Table::JoinTokens => Change::PutJoinToken(Box::new(parse::<JoinToken>(table, key, value)?)),
        Table::Membership => {
            Change::PutMembership(Box::new(parse::<Membership>(table, key, value)?))
        }
        Table::Events => Change::PutEvent(Box::new(parse::<Event>(table, key, value)?)),
        Table::Meta | Table::Changes | Table::Secrets => return Ok(None),
    }))
}

/// ARNs hold no `|`.
pub(super) fn setting_key(principal: &str, name: &str) -> String {
    format!("{principal}|{name}")
}

/// In the order of the numbers.
pub(super) fn offset_key(offset: u64) -> String {
    format!("{offset:020}")
}

/// Names hold no `/`.
fn event_key(service: &ServiceKey, slot: u64) -> String {
    format!("{service}/{slot}")
}

fn delete(table: Table, key: &str) -> Row {
    Row { table, key: table::key(key).into_owned(), value: None }
}

fn put<T: Serialize>(table: Table, key: &str, record: &T) -> Result<Row> {
    let key = table::key(key).into_owned();
    match versioned(record) {
        Ok(value) => Ok(Row { table, key, value: Some(value) }),
        Err(source) => Err(StoreError::Unwritable { table, key, source }),
    }
}

/// The JSON object of `record` with `"v"` put before its first member.
pub(super) fn versioned<T: Serialize>(record: &T) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    let members = json.strip_prefix(b"{").ok_or_else(|| {
        <serde_json::Error as serde::ser::Error>::custom("a record must be a JSON object")
    })?;
    let mut value = format!("{{\"v\":{VERSION}").into_bytes();
    if members != b"}" {
        value.push(b',');
    }
    value.extend_from_slice(members);
    Ok(value)
}

fn parse<T: DeserializeOwned>(table: Table, key: &str, value: &[u8]) -> Result<T> {
    let unreadable = |source| StoreError::Record { table, key: key.to_owned(), source };
    let Versioned { v: found } = serde_json::from_slice(value).map_err(unreadable)?;
    if found != VERSION {
        return Err(StoreError::RecordVersion {
            table,
            key: key.to_owned(),
            found,
            known: VERSION,
        });
    }
    serde_json::from_slice(value).map_err(unreadable)
}
