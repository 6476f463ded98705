//! The cluster query language of ECS: which boxes are meant, by what is known of them.
//!
//! `memberOf` constraints and the `filter` of ListContainerInstances are read by one [`parse`], and [`Expression::holds`]
//! asks them of one box. An expression prints as it can be read again.
//!
//! | subject | what it is | operators |
//! | --- | --- | --- |
//! | `attribute:NAME` | an attribute of the box, the built-in `ecs.…` ones too | all |
//! | `task:group` | the group of any task on the box | all |
//! | `agentConnected` | `true` or `false` | `==`, `!=`, `in`, `=~` and their opposites |
//! | `ec2InstanceId` | the id of the machine, where it has one | the same |
//! | `agentVersion` | compared part by part | `==`, `!=`, `<`, `<=`, `>`, `>=` |
//! | `registeredAt` | a time, or a day | the same |
//! | `runningTasksCount` | a number | the same |
//!
//! What a box does not have equals nothing, matches nothing and is in no list; so `!=` and `not_in` hold for it.

mod evaluate;
mod parse;
mod print;

pub(crate) use evaluate::Facts;
pub(crate) use parse::parse;

use crate::model::Timestamp;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    /// One of these holds; there are two or more.
    Any(Vec<Self>),
    /// All of these hold; there are two or more.
    All(Vec<Self>),
    Not(Box<Self>),
    Test(Subject, Operator),
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Attribute(String),
    TaskGroup,
    AgentConnected,
    AgentVersion,
    Ec2InstanceId,
    RegisteredAt,
    RunningTasksCount,
}

/// What is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operator {
    Compare(Comparison, Value),
    In(Vec<String>),
    Exists,
    Matches(Pattern),
}

/// How two values are compared; `!=` is a negated `==`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a subject is compared with, as it was written and as what it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    text: String,
    /// Of `registeredAt`.
    time: Option<Timestamp>,
}

/// A regular expression for whole values.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
    regex: regex_lite::Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests;
