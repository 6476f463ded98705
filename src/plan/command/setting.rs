//! `PutAccountSetting` and `DeleteAccountSetting`.

use super::{CommandError, Outcome, Reply};
use crate::plan::{Change, World};

/// The settings that ECS knows.
const NAMES: [&str; 11] = [
    "serviceLongArnFormat",
    "taskLongArnFormat",
    "containerInstanceLongArnFormat",
    "awsvpcTrunking",
    "containerInsights",
    "dualStackIPv6",
    "fargateFIPSMode",
    "tagResourceAuthorization",
    "fargateTaskRetirementWaitPeriod",
    "guardDutyActivate",
    "defaultLogDriverMode",
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

fn known(name: &str) -> Result<(), CommandError> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    Err(CommandError::InvalidParameter(format!(
        "Unknown setting {name:?}; known are {}.",
        NAMES.join(", ")
    )))
}
