//! `compatibilities`: the launch types whose rules a registered definition meets.

use super::TaskDefinitionContent;
use super::validate::{fits_external, fits_fargate, fits_managed_instances};

/// The launch types that would accept the registered `content`, in ECS's order.
#[must_use]
pub fn compatibilities(content: &TaskDefinitionContent) -> Vec<String> {
    // Every accepted definition fits EC2.
    [
        ("EXTERNAL", fits_external(content).is_ok()),
        ("EC2", true),
        ("MANAGED_INSTANCES", fits_managed_instances(content).is_ok()),
        ("FARGATE", fits_fargate(content).is_ok()),
    ]
    .into_iter()
    .filter(|(_, fits)| *fits)
    .map(|(name, _)| name.to_owned())
    .collect()
}
