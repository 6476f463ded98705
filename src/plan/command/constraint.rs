//! Placement constraints of a definition and of a request.

use super::{CommandError, RunTask};
use crate::model::{ContainerInstance, ContainerInstanceId, TaskDefinition};
use crate::plan::World;
use std::collections::BTreeSet;

/// The constraints of one request, ready to be asked per box.
pub(super) struct Constraints {
    /// `distinctInstance`: the boxes that run a task of the same group already.
    occupied: Option<BTreeSet<ContainerInstanceId>>,
}

impl Constraints {
    /// Reads the constraints of the definition and of the request.
    pub(super) fn new(
        world: &World,
        run: &RunTask,
        definition: &TaskDefinition,
    ) -> Result<Self, CommandError> {
        let of_definition = definition.content.placement_constraints.as_deref().unwrap_or_default();
        let mut distinct = false;
        for constraint in of_definition.iter().chain(&run.placement_constraints) {
            match constraint.r#type.as_deref() {
                Some("distinctInstance") => distinct = true,
                _ => {
                    return Err(CommandError::Client(
                        "placementConstraints of this type are not supported here yet.".to_owned(),
                    ));
                }
            }
        }
        let occupied = distinct.then(|| {
            world
                .assignments
                .values()
                .filter(|a| a.cluster == run.cluster && a.task_definition.family == run.family)
                .map(|a| a.container_instance.clone())
                .collect()
        });
        Ok(Self { occupied })
    }

    /// Whether one more task may go to `instance`; if not, why not.
    pub(super) fn met_by(
        &self,
        instance: &ContainerInstance,
        placed: &[ContainerInstanceId],
    ) -> Result<(), String> {
        match &self.occupied {
            Some(occupied) if occupied.contains(&instance.id) || placed.contains(&instance.id) => {
                Err("distinctInstance: a task of the group runs there already".to_owned())
            }
            _ => Ok(()),
        }
    }
}
