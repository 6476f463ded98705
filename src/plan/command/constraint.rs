//! Placement constraints of a definition and of a request: `memberOf` and `distinctInstance`.

use super::expression::{self, Expression, Facts};
use super::{CommandError, RunTask};
use crate::model::{ContainerInstance, ContainerInstanceId, TaskDefinition};
use crate::plan::World;

/// How many constraints a task may have.
const CONSTRAINTS_AT_MOST: usize = 10;

/// The constraints of one request, ready to be asked per box.
pub(super) struct Constraints<'a> {
    world: &'a World,
    /// `memberOf`, each with its text.
    member_of: Vec<(String, Expression)>,
    /// `distinctInstance`: the group of which no two tasks may be on one box.
    distinct: Option<String>,
}

impl<'a> Constraints<'a> {
    /// Reads the constraints of the definition and of the request.
    pub(super) fn new(
        world: &'a World,
        run: &RunTask,
        definition: &TaskDefinition,
    ) -> Result<Self, CommandError> {
        let invalid = |text: String| Err(CommandError::InvalidParameter(text));
        let of_definition = definition.content.placement_constraints.as_deref().unwrap_or_default();
        if of_definition.len() + run.placement_constraints.len() > CONSTRAINTS_AT_MOST {
            return invalid(format!(
                "A task can have at most {CONSTRAINTS_AT_MOST} placement constraints."
            ));
        }
        let mut constraints = Self { world, member_of: Vec::new(), distinct: None };
        for constraint in of_definition.iter().chain(&run.placement_constraints) {
            match constraint.r#type.as_deref() {
                Some("distinctInstance") => constraints.distinct = Some(run.group_or_family()),
                Some("memberOf") => {
                    let text = constraint.expression.as_deref().unwrap_or_default();
                    match expression::parse(text) {
                        Ok(parsed) => constraints.member_of.push((text.to_owned(), parsed)),
                        Err(why) => return invalid(format!("Invalid expression {text:?}: {why}.")),
                    }
                }
                other => {
                    let kind = other.unwrap_or_default();
                    return invalid(format!("Invalid type of placement constraint {kind:?}."));
                }
            }
        }
        Ok(constraints)
    }

    /// Whether one more task may go to `instance`; if not, why not.
    pub(super) fn met_by(
        &self,
        instance: &ContainerInstance,
        placed: &[ContainerInstanceId],
    ) -> Result<(), String> {
        if self.member_of.is_empty() && self.distinct.is_none() {
            return Ok(());
        }
        let there = self.world.assignments.values().filter(|a| a.container_instance == instance.id);
        let groups: Vec<&str> = there.filter_map(|a| a.group.as_deref()).collect();
        if let Some(group) = &self.distinct
            && (placed.contains(&instance.id) || groups.contains(&group.as_str()))
        {
            return Err(format!("distinctInstance: a task of {group} is there already"));
        }
        let facts = Facts { attributes: &instance.attributes, groups };
        match self.member_of.iter().find(|(_, expression)| !expression.holds(&facts)) {
            Some((text, _)) => Err(format!("memberOf: {text} does not hold")),
            None => Ok(()),
        }
    }
}

impl RunTask {
    /// The group that the tasks will be in.
    pub(super) fn group_or_family(&self) -> String {
        self.group.clone().unwrap_or_else(|| format!("family:{}", self.family))
    }
}
