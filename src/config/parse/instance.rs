//! What the box says of itself: attributes, and the pool that it belongs to.

use super::sources::{Sources, invalid};
use crate::config::ConfigError;
use crate::config::value::{Given, pool};
use crate::model::capacity_provider;
use std::collections::{BTreeMap, BTreeSet};

/// Checks the attributes of the box.
pub(super) fn attributes(
    attributes: BTreeMap<String, String>,
    from: &Sources<'_>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let name_ok = |c: char| c.is_ascii_alphanumeric() || "-_./\\".contains(c);
    let value_ok = |c: char| c.is_ascii_alphanumeric() || "-_.@/\\: ".contains(c);
    let origin = || {
        from.variable("instance_attributes")
            .map_or_else(|| from.origin("instance_attributes"), |given| given.origin)
    };
    for (name, value) in &attributes {
        if !(1..=128).contains(&name.len()) || !name.chars().all(name_ok) {
            let rule = "an attribute's name has 1 to 128 letters, digits and - _ . / \\";
            return Err(invalid(origin(), name, rule));
        }
        if value.len() > 128 || !value.chars().all(value_ok) {
            let rule =
                "an attribute's value has up to 128 letters, digits, spaces and - _ . @ / \\ :";
            return Err(invalid(origin(), value, rule));
        }
    }
    Ok(attributes)
}

/// Checks the names of capacity providers.
pub(super) fn pools(
    names: BTreeSet<String>,
    from: &Sources<'_>,
) -> Result<BTreeSet<String>, ConfigError> {
    let origin = || {
        from.variable("capacity_providers")
            .map_or_else(|| from.origin("capacity_providers"), |given| given.origin)
    };
    for name in &names {
        pool(&Given { value: name.clone(), origin: origin() })?;
    }
    Ok(names)
}

/// The pool that the box belongs to, which its attributes do not name as well.
pub(super) fn capacity_provider(
    from: &Sources<'_>,
    file: Option<String>,
    attributes: &BTreeMap<String, String>,
) -> Result<Option<String>, ConfigError> {
    // Empty is none, as the default file has it.
    let given = from.text("capacity_provider", None, file).filter(|given| !given.value.is_empty());
    if let Some(given) = &given
        && attributes.contains_key(capacity_provider::ATTRIBUTE)
    {
        return Err(given.invalid(format!(
            "instance_attributes has {} too; set one of them",
            capacity_provider::ATTRIBUTE
        )));
    }
    given.as_ref().map(pool).transpose()
}
