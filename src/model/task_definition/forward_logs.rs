//! Which logs a box forwards to its hub: an extension that a plain ECS definition can express.
//!
//! A docker label of the container, [`LABEL`]: `true` or `false`. ECS itself takes such a definition and does nothing with it.

use super::ContainerDefinition;

/// The label's name.
pub const LABEL: &str = "coracle.forward-logs";

/// What the label says; none without it.
///
/// # Errors
/// The rule, when it says something else.
pub fn label(container: &ContainerDefinition) -> Result<Option<bool>, &'static str> {
    match container.docker_labels.as_ref().and_then(|labels| labels.get(LABEL)) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err("set the label coracle.forward-logs to true or false"),
        },
    }
}
