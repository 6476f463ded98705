//! What a request wants to be run, and whether it can be: the definition, the network, the launch type, the platform.

use super::CommandError;
use crate::model::network::AwsvpcConfiguration;
use crate::model::task_definition::{TaskDefinitionContent, TaskDefinitionStatus};
use crate::model::{Family, Revision, TaskDefinition, TaskDefinitionRef};
use crate::plan::World;

/// The platform versions of Fargate that the box passes for.
const PLATFORM_VERSIONS: [&str; 3] = ["LATEST", "1.4.0", "1.3.0"];

/// The revision that is asked for, or the newest active one.
pub(super) fn definition<'a>(
    world: &'a World,
    family: &Family,
    revision: Option<Revision>,
) -> Result<&'a TaskDefinition, CommandError> {
    let not_found = || CommandError::Client("TaskDefinition not found.".to_owned());
    let at = |revision| TaskDefinitionRef { family: family.clone(), revision };
    let Some(revision) = revision else {
        let revisions = world.task_definitions.range(at(Revision(0))..=at(Revision(u32::MAX)));
        return revisions
            .map(|(_, definition)| definition)
            .rfind(|definition| definition.status == TaskDefinitionStatus::Active)
            .ok_or_else(not_found);
    };
    let definition = world.task_definitions.get(&at(revision)).ok_or_else(not_found)?;
    if definition.status == TaskDefinitionStatus::Active {
        Ok(definition)
    } else {
        Err(CommandError::Client("TaskDefinition is inactive".to_owned()))
    }
}

/// The network configuration is there when the mode asks for one, and only then.
pub(super) fn check_network(
    configuration: Option<&AwsvpcConfiguration>,
    content: &TaskDefinitionContent,
) -> Result<(), CommandError> {
    let invalid = |text: &str| Err(CommandError::InvalidParameter(text.to_owned()));
    let awsvpc = content.network_mode.as_deref() == Some("awsvpc");
    let Some(configuration) = configuration else {
        return if awsvpc {
            invalid(
                "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
            )
        } else {
            Ok(())
        };
    };
    if !awsvpc {
        return invalid(
            "Network Configuration is not valid for the given networkMode of this task definition.",
        );
    }
    let count = |names: &Option<Vec<String>>| names.as_ref().map_or(0, Vec::len);
    match count(&configuration.subnets) {
        0 => return invalid("subnets can not be empty."),
        1..=16 => {}
        _ => return invalid("subnets can have at most 16 items."),
    }
    if count(&configuration.security_groups) > 5 {
        return invalid("securityGroups can have at most 5 items.");
    }
    match configuration.assign_public_ip.as_deref() {
        None | Some("ENABLED" | "DISABLED") => Ok(()),
        Some(other) => invalid(&format!(
            "Invalid value '{other}' for assignPublicIp: it is ENABLED or DISABLED."
        )),
    }
}

/// The boxes are `EC2` and `EXTERNAL` alike, and run what is made for `FARGATE` as well.
pub(super) fn check_launch_type(
    asked: Option<&str>,
    definition: &TaskDefinition,
) -> Result<(), CommandError> {
    let launch_type = asked.unwrap_or("EC2");
    if !matches!(launch_type, "EC2" | "EXTERNAL" | "FARGATE") {
        return Err(CommandError::PlatformUnknown(format!(
            "Launch type {launch_type} does not exist here: tasks run on container instances; use EC2, EXTERNAL or FARGATE."
        )));
    }
    let compatible = |name: &str| definition.compatibilities.iter().any(|c| c == name);
    let fits = definition.compatibilities.is_empty()
        || compatible(launch_type)
        // Without a launch type the box is what it is, and it is both.
        || (asked.is_none() && compatible("EXTERNAL"));
    if fits {
        return Ok(());
    }
    Err(CommandError::InvalidParameter(format!(
        "Task definition does not support launch_type {launch_type}."
    )))
}

/// Only Fargate has platform versions.
pub(super) fn check_platform_version(
    launch_type: Option<&str>,
    version: Option<&str>,
) -> Result<(), CommandError> {
    let Some(version) = version else { return Ok(()) };
    let launch_type = launch_type.unwrap_or("EC2");
    if launch_type != "FARGATE" {
        return Err(CommandError::InvalidParameter(format!(
            "The platform version must be null when specifying an {launch_type} launch type."
        )));
    }
    if PLATFORM_VERSIONS.contains(&version) {
        return Ok(());
    }
    let version: String = version.chars().take(64).collect();
    Err(CommandError::PlatformUnknown(format!(
        "The platform version {version:?} is unknown; known are {}.",
        PLATFORM_VERSIONS.join(", ")
    )))
}
