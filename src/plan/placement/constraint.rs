//! Placement constraints of a definition and of a request: `memberOf` and `distinctInstance`.

use super::expression::{self, Expression};
use super::fit::BoxFacts;
use super::lack::Missing;
use crate::model::ContainerInstance;
use crate::model::task_definition::PlacementConstraint;
use crate::plan::World;

/// How many constraints a task may have, those of its definition among them.
const CONSTRAINTS_AT_MOST: usize = 10;

/// Constraints, ready to be asked per box.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Constraints {
    /// `memberOf`.
    member_of: Vec<Expression>,
    /// `distinctInstance`: no two tasks of the group on one box.
    pub(super) distinct: bool,
}

impl Constraints {
    /// Reads the constraints of the definition and those of the request or service. The error is for the caller, with
    /// InvalidParameterException.
    pub(crate) fn read(
        of_definition: &[PlacementConstraint],
        of_request: &[PlacementConstraint],
    ) -> Result<Self, String> {
        if of_definition.len() + of_request.len() > CONSTRAINTS_AT_MOST {
            return Err(format!(
                "A task can have at most {CONSTRAINTS_AT_MOST} placement constraints, those of its task definition \
                 among them."
            ));
        }
        let mut constraints = Self::default();
        for constraint in of_definition.iter().chain(of_request) {
            let text = constraint.expression.as_deref().unwrap_or_default();
            match constraint.r#type.as_deref().unwrap_or_default() {
                "distinctInstance" if text.is_empty() => constraints.distinct = true,
                "distinctInstance" => {
                    return Err("distinctInstance expression should not be specified.".to_owned());
                }
                "memberOf" => {
                    let parsed = expression::parse(text)
                        .map_err(|why| format!("Invalid expression {text:?}: {why}."))?;
                    constraints.member_of.push(parsed);
                }
                other => return Err(format!("Invalid type of placement constraint {other:?}.")),
            }
        }
        Ok(constraints)
    }

    /// An attribute and the value that it must have, if there is one: only few boxes may.
    pub(super) fn narrow(&self) -> Option<(&str, &str)> {
        self.member_of.iter().find_map(Expression::narrow)
    }

    /// Whether `memberOf` holds for a box; if not, which does not.
    pub(super) fn hold(&self, facts: &BoxFacts) -> Result<(), Missing> {
        match self.member_of.iter().find(|expression| !expression.holds(facts)) {
            Some(expression) => Err(Missing::MemberOf(expression.to_string())),
            None => Ok(()),
        }
    }
}

/// The `filter` of ListContainerInstances.
#[derive(Debug)]
pub(crate) struct Filter(Expression);

impl Filter {
    /// Reads a filter. The error is for the caller, with InvalidParameterException.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        expression::parse(text).map(Self).map_err(|why| format!("Invalid filter {text:?}: {why}."))
    }

    /// Whether the box is meant.
    pub(crate) fn holds(&self, world: &World, instance: &ContainerInstance) -> bool {
        let room = world.index.rooms.get(&instance.id);
        self.0.holds(&BoxFacts { world, instance, room, claim: None })
    }
}
