//! The fault plan: rules that say what befalls which containers of a simulation.
//!
//! The first rule that matches a container when it starts is the one that counts for that run. Where none does, the
//! docker labels of its definition count (`coracle.simulate.exits-after` and so on, one per member of [`Fault`]).

use super::span::Span;
use crate::model::task_definition::{ContainerDefinition, TaskDefinitionContent};
use crate::model::{Container, ContainerInstance, Task};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the labels begin with.
const LABEL: &str = "coracle.simulate.";

/// As many rules a plan may have.
const RULES: usize = 1000;

/// All rules, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultPlan {
    /// The first that matches counts.
    pub rules: Vec<Rule>,
}

/// Which containers, and what befalls them. What a rule does not name it does not ask for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The family of the task definition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Its revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// The name of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Its image; with `*` at the end, what it begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The service that the task is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The id of the container instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_instance: Option<String>,
    /// Attributes of the container instance; an empty value asks for the name alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Only the first so many starts that match; later ones go on to the next rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
    /// How long the container takes to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_after: Option<Span>,
    /// It does not start, for this reason: `CannotPullContainerError: …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fails_to_start: Option<String>,
    /// How long after its start it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exits_after: Option<Span>,
    /// With this code; 0 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long after its start its health check fails for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_after: Option<Span>,
    /// How long it goes on after it was asked to stop; SIGKILL ends it all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignores_stop_for: Option<Span>,
}

/// Why a rule makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There are more than a plan may have.
    #[error("it has {0} rules, {RULES} at most are taken")]
    TooMany(usize),
    /// One of them.
    #[error("rules[{at}]: {why}")]
    Rule {
        /// Its place.
        at: usize,
        /// What is wrong, and what would be right.
        why: &'static str,
    },
    /// A number that is no exit code.
    #[error("rules[{at}]: exit_code {code} is not one: it must be between 0 and 255")]
    ExitCode {
        /// The place of the rule.
        at: usize,
        /// What was given.
        code: i32,
    },
    /// A docker label.
    #[error("the label {name} of container {container} is not valid: {why}")]
    Label {
        /// The container's name.
        container: String,
        /// The label's name.
        name: String,
        /// What would be right.
        why: String,
    },
}

/// What befalls one run of a container. The default is that nothing does: it runs at once, for as long as it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) start_after: Option<Span>,
    pub(super) fails_to_start: Option<String>,
    pub(super) exits_after: Option<Span>,
    pub(super) exit_code: Option<i32>,
    pub(super) unhealthy_after: Option<Span>,
    pub(super) ignores_stop_for: Option<Span>,
}

impl FaultPlan {
    /// Looks for rules that make no sense.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn check(&self) -> Result<(), RuleError> {
        if self.rules.len() > RULES {
            return Err(RuleError::TooMany(self.rules.len()));
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let wrong = |why| Err(RuleError::Rule { at, why });
            let fault = rule.fault();
            if fault == Fault::default() {
                return wrong(
                    "it says of nothing what befalls it: give start_after, fails_to_start, exits_after, \
                     unhealthy_after or ignores_stop_for",
                );
            }
            if rule.revision.is_some() && rule.family.is_none() {
                return wrong("revision needs family");
            }
            if rule.first == Some(0) {
                return wrong("first must be at least 1");
            }
            if let Some(code) = rule.exit_code
                && !(0..=255).contains(&code)
            {
                return Err(RuleError::ExitCode { at, code });
            }
            fault.check().or_else(wrong)?;
        }
        Ok(())
    }

    /// The fault of a container that starts now; `used` counts the starts that each rule was given to.
    pub(super) fn of(&self, subject: &Subject<'_>, used: &mut Vec<u32>) -> Fault {
        used.resize(self.rules.len(), 0);
        for (rule, used) in self.rules.iter().zip(used) {
            if rule.first.is_none_or(|first| *used < first) && rule.matches(subject) {
                *used = used.saturating_add(1);
                return rule.fault();
            }
        }
        Fault::of_labels(subject.definition)
    }
}

/// A container that starts.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) task: &'a Task,
    pub(super) container: &'a Container,
    pub(super) definition: Option<&'a ContainerDefinition>,
    pub(super) instance: Option<&'a ContainerInstance>,
}

impl Rule {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let Subject { task, container, instance, .. } = subject;
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let service = task.group.as_deref().and_then(|group| group.strip_prefix("service:"));
        let image = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => container.image.starts_with(beginning),
            None => &container.image == wanted,
        };
        let has = |(name, value): (&String, &String)| {
            let attributes = instance.map(|i| i.attributes.as_slice()).unwrap_or_default();
            attributes
                .iter()
                .any(|a| &a.name == name && (value.is_empty() || a.value.as_ref() == Some(value)))
        };
        is(&self.family, task.task_definition.family.as_str())
            && self.revision.is_none_or(|revision| revision == task.task_definition.revision.0)
            && is(&self.container, container.name.as_str())
            && is(&self.cluster, task.cluster.as_str())
            && is(&self.container_instance, task.container_instance.as_str())
            && self.service.as_deref().is_none_or(|wanted| service == Some(wanted))
            && self.image.as_ref().is_none_or(image)
            && self.attributes.iter().all(has)
    }

    fn fault(&self) -> Fault {
        Fault {
            start_after: self.start_after,
            fails_to_start: self.fails_to_start.clone(),
            exits_after: self.exits_after,
            exit_code: self.exit_code,
            unhealthy_after: self.unhealthy_after,
            ignores_stop_for: self.ignores_stop_for,
        }
    }
}

impl Fault {
    fn check(&self) -> Result<(), &'static str> {
        if self.exit_code.is_some() && self.exits_after.is_none() {
            return Err("exit_code needs exits_after");
        }
        let runs = self.exits_after.is_some()
            || self.unhealthy_after.is_some()
            || self.ignores_stop_for.is_some();
        if self.fails_to_start.is_some() && runs {
            return Err(
                "fails_to_start leaves nothing that could run; it goes with start_after alone",
            );
        }
        Ok(())
    }

    fn of_labels(definition: Option<&ContainerDefinition>) -> Self {
        // Registration has refused what cannot be read.
        definition.and_then(|d| Self::read_labels(d).ok()).unwrap_or_default()
    }

    fn read_labels(definition: &ContainerDefinition) -> Result<Self, (String, String)> {
        let mut fault = Self::default();
        for (name, value) in definition.docker_labels.iter().flatten() {
            let Some(member) = name.strip_prefix(LABEL) else { continue };
            let wrong = |why: &str| (name.clone(), why.to_owned());
            let span =
                || value.parse::<Span>().map(Some).map_err(|e| (name.clone(), e.to_string()));
            match member {
                "start-after" => fault.start_after = span()?,
                "fails-to-start" => fault.fails_to_start = Some(value.clone()),
                "exits-after" => fault.exits_after = span()?,
                "exit-code" => {
                    let code = value.parse().ok().filter(|code| (0..=255).contains(code));
                    let rule = "it must be a number between 0 and 255";
                    fault.exit_code = Some(code.ok_or_else(|| wrong(rule))?);
                }
                "unhealthy-after" => fault.unhealthy_after = span()?,
                "ignores-stop-for" => fault.ignores_stop_for = span()?,
                _ => {
                    let known = "there are start-after, fails-to-start, exits-after, exit-code, unhealthy-after and \
                                 ignores-stop-for";
                    return Err(wrong(known));
                }
            }
        }
        fault.check().map_err(|why| (LABEL.to_owned() + "*", why.replace('_', "-")))?;
        Ok(fault)
    }
}

/// Looks for labels of a definition that make no sense.
///
/// # Errors
/// [`RuleError::Label`].
pub(crate) fn check_labels(content: &TaskDefinitionContent) -> Result<(), RuleError> {
    for definition in content.container_definitions.iter().flatten() {
        Fault::read_labels(definition).map_err(|(name, why)| RuleError::Label {
            container: definition.name.clone().unwrap_or_default(),
            name,
            why,
        })?;
    }
    Ok(())
}
