//! From an expression to text that reads as the same expression.

use super::{Comparison, Expression, Operator, Subject};
use std::fmt::{self, Display, Formatter};

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(items) => joined(f, items, " or ", |item| matches!(item, Self::Any(_))),
            Self::All(items) => {
                joined(f, items, " and ", |item| matches!(item, Self::Any(_) | Self::All(_)))
            }
            Self::Test(subject, operator) => test(f, subject, operator, false),
            Self::Not(inner) => match &**inner {
                Self::Test(subject, operator) => test(f, subject, operator, true),
                Self::Not(_) => write!(f, "not {inner}"),
                Self::Any(_) | Self::All(_) => write!(f, "not ({inner})"),
            },
        }
    }
}

fn joined(
    f: &mut Formatter<'_>,
    items: &[Expression],
    with: &str,
    in_brackets: fn(&Expression) -> bool,
) -> fmt::Result {
    for (number, item) in items.iter().enumerate() {
        let with = if number == 0 { "" } else { with };
        if in_brackets(item) {
            write!(f, "{with}({item})")?;
        } else {
            write!(f, "{with}{item}")?;
        }
    }
    Ok(())
}

fn test(
    f: &mut Formatter<'_>,
    subject: &Subject,
    operator: &Operator,
    negated: bool,
) -> fmt::Result {
    let not = if negated { "!" } else { "" };
    match operator {
        Operator::Compare(Comparison::Equal, value) => {
            let sign = if negated { "!=" } else { "==" };
            write!(f, "{subject} {sign} {}", Word(&value.text))
        }
        Operator::Compare(comparison, value) => {
            // There is no sign for "not less", which is not "greater or equal" for what is no number.
            let (not, sign) = (if negated { "not " } else { "" }, comparison.sign());
            write!(f, "{not}{subject} {sign} {}", Word(&value.text))
        }
        Operator::Exists => write!(f, "{subject} {not}exists"),
        Operator::Matches(pattern) => {
            let sign = if negated { "!~" } else { "=~" };
            write!(f, "{subject} {sign} {}", Word(&pattern.text))
        }
        Operator::In(values) => {
            write!(f, "{subject} {not}in [")?;
            for (number, value) in values.iter().enumerate() {
                let with = if number == 0 { "" } else { ", " };
                write!(f, "{with}{}", Word(value))?;
            }
            f.write_str("]")
        }
    }
}

impl Comparison {
    const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => write!(f, "attribute:{name}"),
            Self::TaskGroup => f.write_str("task:group"),
            Self::AgentConnected => f.write_str("agentConnected"),
            Self::AgentVersion => f.write_str("agentVersion"),
            Self::Ec2InstanceId => f.write_str("ec2InstanceId"),
            Self::RegisteredAt => f.write_str("registeredAt"),
            Self::RunningTasksCount => f.write_str("runningTasksCount"),
        }
    }
}

/// A value, in quotes where it needs them.
struct Word<'a>(&'a str);

impl Display for Word<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+".contains(c);
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}
