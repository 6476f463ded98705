//! The rules of registration. The API's model carries almost none of them, so they are written down here, one file
//! per topic, with ECS's texts. Each function takes a part of the definition and answers with the first rule it breaks.
//!
//! Not here: whether a box can run it (`attributes`, placement) and whether this version can (`support`).

mod container;
mod dependencies;
mod fargate;
mod linux;
mod logging;
mod network;
mod process;
mod storage;
mod task;

pub(super) use fargate::fits as fits_fargate;
pub use process::check_environment;
pub(super) use task::{fits_external, fits_managed_instances};

use super::{RegistrationError, TaskDefinitionContent};
use crate::model::ids::Family;
use crate::model::shape::{Shape, Shaped};
use crate::model::tag::Tag;
use serde_json::Value;
use std::collections::BTreeSet;

/// The outcome of a rule.
pub(super) type Check = Result<(), RegistrationError>;

/// The most bytes of a definition, as JSON.
const MAX_BYTES: usize = 65_536;

/// A `ClientException`.
fn client<T>(message: impl Into<String>) -> Result<T, RegistrationError> {
    Err(RegistrationError::Client(message.into()))
}

/// An `InvalidParameterException`.
fn invalid<T>(message: impl Into<String>) -> Result<T, RegistrationError> {
    Err(RegistrationError::InvalidParameter(message.into()))
}

/// A rule about one container.
fn container_setting<T>(name: &str, message: &str) -> Result<T, RegistrationError> {
    client(format!("Invalid setting for container '{name}'. {message}"))
}

/// `value`, when there is one, is a member of an enumeration.
fn one_of(what: &str, value: Option<&str>, values: &[&str]) -> Check {
    match value {
        Some(value) if !values.contains(&value) => {
            invalid(format!("{what} should be one of [{}]", values.join(",")))
        }
        _ => Ok(()),
    }
}

/// `value`, when there is one, lies in a range.
fn in_range(what: &str, value: Option<i64>, range: std::ops::RangeInclusive<i64>) -> Check {
    match value {
        Some(value) if !range.contains(&value) => client(format!(
            "Invalid '{what}' setting. The value must be between {} and {}.",
            range.start(),
            range.end()
        )),
        _ => Ok(()),
    }
}

/// The same for a member of a container.
fn container_range(
    name: &str,
    what: &str,
    value: Option<i64>,
    range: std::ops::RangeInclusive<i64>,
) -> Check {
    match value {
        Some(value) if !range.contains(&value) => client(format!(
            "Invalid '{what}' setting for container '{name}'. The value must be between {} and {}.",
            range.start(),
            range.end()
        )),
        _ => Ok(()),
    }
}

/// The family, checked.
pub(super) fn family(family: Option<&str>) -> Result<Family, RegistrationError> {
    match family {
        None | Some("") => client("Family should not be null or empty."),
        Some(family) => Family::new(family).or_else(|_| {
            if family.len() > 255 {
                client("Family too long.")
            } else {
                client("Family contains invalid characters.")
            }
        }),
    }
}

/// Tags of any resource that is being made.
pub(super) fn tags(tags: &[Tag]) -> Check {
    if tags.len() > 50 {
        return invalid("The maximum number of tags that can be applied to a resource is 50.");
    }
    let mut keys = BTreeSet::new();
    for tag in tags {
        let key = tag.key.as_deref().unwrap_or_default();
        let value = tag.value.as_deref().unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 {
            return invalid("Tag keys must be between 1 and 128 characters in length.");
        }
        if value.chars().count() > 256 {
            return invalid("Tag values must be at most 256 characters in length.");
        }
        if !key.chars().all(is_tag_character) || !value.chars().all(is_tag_character) {
            return invalid(
                "Tag keys and values can only contain letters, numbers, spaces and the characters _.:/=+-@",
            );
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return invalid("Tag keys that start with aws: are reserved for system use.");
        }
        if !keys.insert(key) {
            return invalid(format!("Duplicate tag keys found: {key}."));
        }
    }
    Ok(())
}

/// Letters, separators and digits of any script, and some punctuation.
fn is_tag_character(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
}

/// Everything but the family, which is taken out already, and the size.
pub(super) fn content(content: &TaskDefinitionContent) -> Check {
    let containers = content.container_definitions.as_deref().unwrap_or_default();
    container::all(containers, content)?;
    task::enumerations(content)?;
    for container in containers {
        let name = container.name.as_deref().unwrap_or_default();
        network::container(container, content.network_mode.as_deref())?;
        process::container(name, container, content)?;
        linux::container(name, container, content)?;
        logging::container(container, containers)?;
    }
    storage::volumes(content.volumes.as_deref().unwrap_or_default())?;
    network::links(containers)?;
    dependencies::all(containers)?;
    storage::mounts(containers, content.volumes.as_deref().unwrap_or_default())?;
    task::all(content, containers)
}

/// Whole numbers of the API have 32 bits.
pub(super) fn whole_numbers(content: &TaskDefinitionContent) -> Check {
    fn walk(value: &Value, shape: Shape, path: &str) -> Check {
        match (value, shape) {
            (Value::Number(number), Shape::Integer) => match number.as_i64().map(i32::try_from) {
                Some(Ok(_)) => Ok(()),
                _ => invalid(format!("{path} should be a whole number of 32 bits.")),
            },
            (Value::Array(items), Shape::List(inner)) => {
                items.iter().try_for_each(|item| walk(item, inner(), path))
            }
            (Value::Object(object), Shape::Structure(members)) => {
                members.iter().try_for_each(|member| {
                    let name = member.name();
                    object.get(&name).map_or(Ok(()), |value| walk(value, (member.shape)(), &name))
                })
            }
            _ => Ok(()),
        }
    }
    match serde_json::to_value(content) {
        Ok(value) => walk(&value, TaskDefinitionContent::shape(), ""),
        Err(error) => invalid(error.to_string()),
    }
}

/// The size of the normalised definition.
pub(super) fn size(content: &TaskDefinitionContent) -> Check {
    let bytes = serde_json::to_vec(content).map_or(usize::MAX, |json| json.len());
    if bytes > MAX_BYTES {
        return client(format!(
            "Actual length: '{bytes}'. Max allowed length is '{MAX_BYTES}' bytes."
        ));
    }
    Ok(())
}
