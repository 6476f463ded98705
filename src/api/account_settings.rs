//! Account settings: kept and shown as ECS does. None changes what this installation does.
//!
//! There is one principal that can sign, the account's root; as in ECS, what root sets is the default for all others.

use super::error::ApiError;
use super::pagination::{Order, PageRequest};
use super::{identifiers, input, render};
use crate::engine::Handle;
use crate::plan::{Command, World};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The largest page of this list.
const SETTINGS_PAGE: usize = 10;

/// A setting, what it may be, and what it is unless set.
struct Setting {
    name: &'static str,
    values: &'static [&'static str],
    default: &'static str,
}

const SWITCH: &[&str] = &["enabled", "disabled", "on", "off"];

/// Long ARNs are the only ones there are, so these cannot be switched off.
const ALWAYS: &[&str] = &["enabled", "on"];

const SETTINGS: &[Setting] = &[
    Setting { name: "awsvpcTrunking", values: SWITCH, default: "disabled" },
    Setting {
        name: "containerInsights",
        values: &["enabled", "enhanced", "disabled", "on", "off"],
        default: "disabled",
    },
    Setting { name: "containerInstanceLongArnFormat", values: ALWAYS, default: "enabled" },
    Setting {
        name: "defaultLogDriverMode",
        values: &["blocking", "non-blocking"],
        default: "non-blocking",
    },
    Setting { name: "fargateEventWindows", values: SWITCH, default: "disabled" },
    Setting { name: "fargateFIPSMode", values: SWITCH, default: "disabled" },
    Setting { name: "fargateTaskRetirementWaitPeriod", values: &["0", "7", "14"], default: "7" },
    Setting { name: "guardDutyActivate", values: SWITCH, default: "off" },
    Setting { name: "serviceLongArnFormat", values: ALWAYS, default: "enabled" },
    Setting { name: "tagResourceAuthorization", values: SWITCH, default: "off" },
    Setting { name: "taskLongArnFormat", values: ALWAYS, default: "enabled" },
];

fn find(name: &str) -> Result<&'static Setting, ApiError> {
    SETTINGS.iter().find(|s| s.name == name).ok_or_else(|| {
        ApiError::invalid(format!("Setting {:?} is not available.", identifiers::shorten(name)))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountSetting {
    name: String,
    value: Option<String>,
    principal_arn: Option<String>,
}

/// `PutAccountSetting`.
pub(super) async fn put(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: AccountSetting = input::read(input)?;
    let principal = principal(engine, input.principal_arn.as_deref())?;
    store(engine, principal, &input).await
}

/// `PutAccountSettingDefault`.
pub(super) async fn put_default(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: AccountSetting = input::read(input)?;
    store(engine, root(engine), &input).await
}

async fn store(
    engine: &Handle,
    principal: String,
    input: &AccountSetting,
) -> Result<Value, ApiError> {
    let setting = find(&input.name)?;
    let value = input.value.as_deref().unwrap_or_default();
    if !setting.values.contains(&value) {
        return Err(ApiError::invalid(format!(
            "Invalid value {:?} of the setting {}: it may be {}.",
            identifiers::shorten(value),
            setting.name,
            setting.values.join(", ")
        )));
    }
    let (name, value) = (setting.name.to_owned(), value.to_owned());
    let shown = show(&name, &value, &principal);
    engine.submit(Command::PutAccountSetting { principal, name, value }).await?;
    Ok(json!({ "setting": shown }))
}

/// `DeleteAccountSetting`: answers with what holds from now on.
pub(super) async fn delete(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: AccountSetting = input::read(input)?;
    let setting = find(&input.name)?;
    let principal = principal(engine, input.principal_arn.as_deref())?;
    let (name, owner) = (setting.name.to_owned(), principal.clone());
    engine.submit(Command::DeleteAccountSetting { principal: owner, name }).await?;
    let root = root(engine);
    let value = engine.read(|world| effective(world, setting, &root, &principal));
    Ok(json!({ "setting": show(setting.name, &value, &principal) }))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListAccountSettings {
    name: Option<String>,
    value: Option<String>,
    principal_arn: Option<String>,
    effective_settings: Option<bool>,
    #[serde(flatten)]
    page: PageRequest,
}

/// `ListAccountSettings`: what was set, or with `effectiveSettings` what holds.
pub(super) fn list(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: ListAccountSettings = input::read(input)?;
    let name = input.name.as_deref().map(find).transpose()?.map(|s| s.name);
    if input.value.is_some() && name.is_none() {
        return Err(ApiError::invalid("A value can be filtered by only together with a name."));
    }
    let principal = principal(engine, input.principal_arn.as_deref())?;
    let root = root(engine);
    let effective_settings = input.effective_settings.unwrap_or(false);
    engine.read(|world| {
        let mut found: BTreeMap<String, String> = if effective_settings {
            let value = |s: &'static Setting| effective(world, s, &root, &principal);
            SETTINGS.iter().map(|s| (s.name.to_owned(), value(s))).collect()
        } else {
            let own = world.account_settings.iter().filter(|((owner, _), _)| *owner == principal);
            own.map(|((_, name), value)| (name.clone(), value.clone())).collect()
        };
        found.retain(|n, v| {
            name.is_none_or(|name| name == n) && input.value.as_ref().is_none_or(|value| value == v)
        });
        let scope = ("ListAccountSettings", name, &input.value, &principal, effective_settings);
        let names = found.keys().cloned().collect();
        let page = input.page.page(&scope, names, Order::Ascending, SETTINGS_PAGE)?;
        let settings = page.keys.iter().map(|name| show(name, &found[name], &principal));
        Ok(render::page("settings", settings, page.next_token))
    })
}

/// What holds for `principal`: its own setting, root's, or the default.
fn effective(world: &World, setting: &Setting, root: &str, principal: &str) -> String {
    let set = |owner: &str| {
        world.account_settings.get(&(owner.to_owned(), setting.name.to_owned())).cloned()
    };
    set(principal).or_else(|| set(root)).unwrap_or_else(|| setting.default.to_owned())
}

fn show(name: &str, value: &str, principal: &str) -> Value {
    // Turned on and off by another service of AWS.
    let kind = if name == "guardDutyActivate" { "aws_managed" } else { "user" };
    json!({ "name": name, "value": value, "principalArn": principal, "type": kind })
}

/// The one who signs.
fn root(engine: &Handle) -> String {
    render::root_arn(&engine.settings().scope)
}

fn principal(engine: &Handle, arn: Option<&str>) -> Result<String, ApiError> {
    match arn.filter(|a| !a.is_empty()) {
        None => Ok(root(engine)),
        Some(arn) if arn.starts_with("arn:") && arn.contains(":iam:") && arn.len() <= 512 => {
            Ok(arn.to_owned())
        }
        Some(arn) => Err(identifiers::invalid_arn(arn)),
    }
}
