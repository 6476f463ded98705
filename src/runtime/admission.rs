//! What the box says to a container before anything of it is made: its policy refuses, and what its kernel cannot do
//! is told in the agent's log, once each.

use super::cgroup::Hierarchy;
use super::error::StartError;
use crate::model::task_definition::ContainerDefinition;
use std::path::Path;
use std::sync::Once;

/// The box's policy, and what has been told.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) allow_privileged: bool,
    swap: Once,
    swappiness: Once,
}

/// A setting of a definition that this kernel cannot carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Swap,
    Swappiness,
}

impl Admission {
    pub(super) const fn new(allow_privileged: bool) -> Self {
        Self { allow_privileged, swap: Once::new(), swappiness: Once::new() }
    }

    /// # Errors
    /// When the policy forbids it; placement has asked before, but the policy may have changed since.
    pub(super) fn check(&self, definition: &ContainerDefinition) -> Result<(), StartError> {
        if definition.privileged == Some(true) && !self.allow_privileged {
            return Err(StartError::CannotCreate(
                "privileged is not allowed on this box; set allow_privileged = true in the configuration of its agent"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Logs what the kernel will not do of the definition.
    pub(super) fn tell(
        &self,
        definition: &ContainerDefinition,
        hierarchy: &Hierarchy,
        parent: &Path,
    ) {
        let unified = matches!(hierarchy, Hierarchy::V2(_));
        for lack in lacks(definition, unified, || hierarchy.accounts_swap(parent)) {
            match lack {
                Lack::Swap => self.swap.call_once(|| {
                    tracing::warn!(
                        "this kernel does not account swap, so maxSwap is not enforced; add swapaccount=1 to its command line"
                    );
                }),
                Lack::Swappiness => self.swappiness.call_once(|| {
                    tracing::warn!("cgroup v2 has no swappiness of groups, so swappiness has no effect");
                }),
            }
        }
    }
}

fn lacks(
    definition: &ContainerDefinition,
    unified: bool,
    accounts_swap: impl FnOnce() -> bool,
) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let Some(linux) = &definition.linux_parameters else { return lacks };
    if linux.max_swap.is_some() {
        if !accounts_swap() {
            lacks.push(Lack::Swap);
        }
        if linux.swappiness.is_some() && unified {
            lacks.push(Lack::Swappiness);
        }
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task_definition::LinuxParameters;

    #[test]
    fn what_the_kernel_cannot_do_is_found() {
        let definition = |max_swap, swappiness| ContainerDefinition {
            linux_parameters: Some(LinuxParameters {
                max_swap,
                swappiness,
                ..LinuxParameters::default()
            }),
            ..ContainerDefinition::default()
        };
        let of = |d: &ContainerDefinition, unified, swap| lacks(d, unified, || swap);
        assert_eq!(of(&definition(Some(0), None), false, true), []);
        assert_eq!(of(&definition(Some(0), Some(10)), false, true), []);
        assert_eq!(of(&definition(Some(0), None), true, false), [Lack::Swap]);
        assert_eq!(of(&definition(Some(0), Some(10)), true, true), [Lack::Swappiness]);
        // Swappiness counts only together with maxSwap.
        assert_eq!(of(&definition(None, Some(10)), true, false), []);
        assert_eq!(of(&ContainerDefinition::default(), true, false), []);
    }

    #[test]
    fn privileged_is_the_policys_to_allow() {
        let definition =
            ContainerDefinition { privileged: Some(true), ..ContainerDefinition::default() };
        let error = Admission::new(false).check(&definition).unwrap_err().to_string();
        assert!(error.contains("privileged") && error.contains("allow_privileged"), "{error}");
        assert_eq!(Admission::new(true).check(&definition), Ok(()));
        assert_eq!(Admission::new(false).check(&ContainerDefinition::default()), Ok(()));
    }
}
