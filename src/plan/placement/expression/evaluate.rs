//! Whether an expression holds for a box.

use super::{Comparison, Expression, Operator, Subject, Value};
use crate::model::Timestamp;
use crate::model::container_instance::Attribute;
use std::cmp::Ordering;

/// What is known of a box.
pub(crate) trait Facts {
    /// All its attributes.
    fn attributes(&self) -> impl Iterator<Item = &Attribute>;
    /// The groups of the tasks that are to run on it.
    fn groups(&self) -> impl Iterator<Item = &str>;
    /// Whether its agent is connected.
    fn agent_connected(&self) -> bool;
    /// The version of its agent.
    fn agent_version(&self) -> &str;
    /// The id of the machine, where it has one.
    fn ec2_instance_id(&self) -> Option<&str>;
    /// When it registered.
    fn registered_at(&self) -> Timestamp;
    /// How many tasks are RUNNING.
    fn running_tasks(&self) -> u64;
}

impl Expression {
    /// An attribute and the value that it must have for the expression to hold, if there is one.
    pub(crate) fn narrow(&self) -> Option<(&str, &str)> {
        match self {
            Self::All(items) => items.iter().find_map(Self::narrow),
            Self::Test(
                Subject::Attribute(name),
                Operator::Compare(Comparison::Equal, Value { text, .. }),
            ) => Some((name, text)),
            _ => None,
        }
    }

    /// Whether the expression holds for a box.
    pub(crate) fn holds(&self, facts: &impl Facts) -> bool {
        match self {
            Self::Any(items) => items.iter().any(|item| item.holds(facts)),
            Self::All(items) => items.iter().all(|item| item.holds(facts)),
            Self::Not(inner) => !inner.holds(facts),
            Self::Test(subject, operator) => test(subject, operator, facts),
        }
    }
}

fn test(subject: &Subject, operator: &Operator, facts: &impl Facts) -> bool {
    let text = |value| operator.holds_for_text(Some(value));
    match subject {
        Subject::TaskGroup => facts.groups().any(text),
        Subject::Attribute(name) => facts
            .attributes()
            .any(|a| &a.name == name && operator.holds_for_text(a.value.as_deref())),
        Subject::AgentConnected => text(if facts.agent_connected() { "true" } else { "false" }),
        Subject::Ec2InstanceId => facts.ec2_instance_id().is_some_and(text),
        Subject::AgentVersion => operator.compared(|value| {
            let same = || (facts.agent_version() == value.text).then_some(Ordering::Equal);
            same().or_else(|| versions(facts.agent_version(), &value.text))
        }),
        Subject::RegisteredAt => operator.compared(|value| {
            // Times are written to the second.
            let second = |at: Timestamp| at.millis().div_euclid(1000);
            Some(second(facts.registered_at()).cmp(&second(value.time?)))
        }),
        Subject::RunningTasksCount => {
            operator.compared(|value| Some(facts.running_tasks().cmp(&value.text.parse().ok()?)))
        }
    }
}

impl Operator {
    /// For a subject that is there, with or without a value.
    fn holds_for_text(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (Self::Exists, _) => true,
            (_, None) => false,
            (Self::In(wanted), Some(text)) => wanted.iter().any(|wanted| wanted == text),
            (Self::Matches(pattern), Some(text)) => pattern.matches(text),
            (Self::Compare(Comparison::Equal, wanted), Some(text)) => wanted.text == text,
            (Self::Compare(..), Some(text)) => self.compared(|value| {
                numbers(text, &value.text).or_else(|| versions(text, &value.text))
            }),
        }
    }

    /// For a subject that is only compared.
    fn compared(&self, with: impl Fn(&Value) -> Option<Ordering>) -> bool {
        let Self::Compare(comparison, value) = self else { return false };
        with(value).is_some_and(|order| match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        })
    }
}

fn numbers(a: &str, b: &str) -> Option<Ordering> {
    let number = |text: &str| text.parse::<f64>().ok();
    number(a)?.partial_cmp(&number(b)?)
}

/// Compares `1.2.3` part by part, when both are of that form; a part that is missing is 0.
fn versions(a: &str, b: &str) -> Option<Ordering> {
    let parts = |text: &str| -> Option<Vec<u64>> {
        let mut parts: Vec<u64> = text
            .trim_start_matches('v')
            .split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        while parts.last() == Some(&0) {
            parts.pop();
        }
        Some(parts)
    };
    Some(parts(a)?.cmp(&parts(b)?))
}
