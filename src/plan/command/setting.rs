//! `PutAccountSetting` and `DeleteAccountSetting`.

use super::{CommandError, Outcome, Reply};
use crate::plan::{Change, World};
use serde_json::{Value, json};

/// The settings that ECS knows.
const NAMES: [&str; 11] = [
    "serviceLongArnFormat",
    "taskLongArnFormat",
    "containerInstanceLongArnFormat",
    "awsvpcTrunking",
    "containerInsights",
    "fargateFIPSMode",
    "tagResourceAuthorization",
    "fargateTaskRetirementWaitPeriod",
    "guardDutyActivate",
    "defaultLogDriverMode",
    "fargateEventWindows",
];

/// Keeps a setting; long ARNs are always on, whatever is put.
pub(super) fn put(principal: String, name: String, value: String) -> Result<Outcome, CommandError> {
    known(&name)?;
    if value.is_empty() || value.len() > 1024 {
        return Err(CommandError::InvalidParameter(format!(
            "The value of the setting {name} must have 1 to 1024 characters."
        )));
    }
    Ok(Outcome::with(vec![Change::PutAccountSetting { principal, name, value }], Reply::Done))
}

/// Goes back to the default.
pub(super) fn delete(
    world: &World,
    principal: String,
    name: String,
) -> Result<Outcome, CommandError> {
    known(&name)?;
    let there = world.account_settings.contains_key(&(principal.clone(), name.clone()));
    let changes =
        if there { vec![Change::DeleteAccountSetting { principal, name }] } else { Vec::new() };
    Ok(Outcome::with(changes, Reply::Done))
}

/// What a cluster that says nothing of Container Insights gets: the account's setting, if there is one.
pub(super) fn container_insights(world: &World) -> Vec<Value> {
    let root = format!("arn:aws:iam::{}:root", world.settings.scope.account);
    let value = world.account_settings.get(&(root, "containerInsights".to_owned()));
    let value = match value.map(String::as_str) {
        None => return Vec::new(),
        Some("on") => "enabled",
        Some("off") => "disabled",
        Some(value) => value,
    };
    vec![json!({ "name": "containerInsights", "value": value })]
}

fn known(name: &str) -> Result<(), CommandError> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    Err(CommandError::InvalidParameter(format!(
        "Unknown setting {name:?}; known are {}.",
        NAMES.join(", ")
    )))
}
