//! The cluster query language, as `memberOf` constraints use it.
//!
//! ```text
//! or     := and { ("or" | "||") and }
//! and    := not { ("and" | "&&") not }
//! not    := ("not" | "!") not | "(" or ")" | test
//! test   := subject operator [ value | "[" value { "," value } "]" ]
//! ```
//!
//! Subjects are `attribute:NAME` and `task:group`; operators `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `!in`, `exists`,
//! `!exists` and their names in words. Pattern matching (`=~`) is refused by name.

use crate::model::container_instance::Attribute;
use std::iter::Peekable;
use std::vec::IntoIter;

/// How long an expression may be.
const LENGTH_AT_MOST: usize = 2000;

/// How deep it may be nested.
const DEPTH_AT_MOST: usize = 32;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Test(Subject, Operator),
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// An attribute of the box.
    Attribute(String),
    /// The groups of the tasks on the box.
    TaskGroup,
}

/// What is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operator {
    Equals(String),
    Less(String),
    LessOrEqual(String),
    Greater(String),
    GreaterOrEqual(String),
    In(Vec<String>),
    Exists,
}

/// Reads an expression; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    if text.len() > LENGTH_AT_MOST {
        return Err(format!("it is longer than {LENGTH_AT_MOST} characters"));
    }
    let mut parser = Parser { tokens: tokens(text).into_iter().peekable() };
    let expression = parser.or(0)?;
    match parser.tokens.next() {
        None => Ok(expression),
        Some(token) => Err(format!("{token:?} is not expected")),
    }
}

/// Words, operators and brackets.
fn tokens(text: &str) -> Vec<String> {
    const SIGNS: [&str; 16] =
        ["==", "!=", "<=", ">=", "=~", "!~", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ","];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign)).map(|sign| sign.len());
        let length = sign.unwrap_or_else(|| {
            let ends = |c: char| c.is_whitespace() || "=!<>~&|()[],".contains(c);
            rest.find(ends).unwrap_or(rest.len()).max(rest.chars().next().map_or(1, char::len_utf8))
        });
        let (token, after) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = after.trim_start();
    }
    tokens
}

struct Parser {
    tokens: Peekable<IntoIter<String>>,
}

impl Parser {
    fn or(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.and(depth)?;
        while self.take(&["or", "||"]) {
            left = Expression::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.not(depth)?;
        while self.take(&["and", "&&"]) {
            left = Expression::And(Box::new(left), Box::new(self.not(depth)?));
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH_AT_MOST {
            return Err("it is nested too deeply".to_owned());
        }
        if self.take(&["not", "!"]) {
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take(&["("]) {
            let inner = self.or(depth + 1)?;
            return if self.take(&[")"]) { Ok(inner) } else { Err("a ) is missing".to_owned()) };
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expression, String> {
        let subject = self.word("a subject such as attribute:NAME")?;
        let subject = match subject.split_once(':') {
            Some(("attribute", name)) if !name.is_empty() => Subject::Attribute(name.to_owned()),
            Some(("task", "group")) => Subject::TaskGroup,
            _ => return Err(format!("{subject:?} is not known; use attribute:NAME or task:group")),
        };
        let negated = self.take(&["!"]);
        let operator = self.tokens.next().unwrap_or_default();
        let (test, inverse) = match operator.as_str() {
            "==" | "equals" => (Operator::Equals(self.value()?), false),
            "!=" | "not_equals" => (Operator::Equals(self.value()?), true),
            "<" | "less_than" => (Operator::Less(self.value()?), false),
            "<=" | "less_than_equal" => (Operator::LessOrEqual(self.value()?), false),
            ">" | "greater_than" => (Operator::Greater(self.value()?), false),
            ">=" | "greater_than_equal" => (Operator::GreaterOrEqual(self.value()?), false),
            "in" => (Operator::In(self.list()?), false),
            "not_in" => (Operator::In(self.list()?), true),
            "exists" => (Operator::Exists, false),
            "not_exists" => (Operator::Exists, true),
            "=~" | "!~" | "matches" | "not_matches" => {
                return Err(format!("{operator} is not supported here; use ==, in or exists"));
            }
            _ => return Err(format!("{operator:?} is not an operator")),
        };
        if negated && !matches!(operator.as_str(), "in" | "exists") {
            return Err(format!("!{operator} is not an operator"));
        }
        let test = Expression::Test(subject, test);
        Ok(if negated || inverse { Expression::Not(Box::new(test)) } else { test })
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        if !self.take(&["["]) {
            return Err("in wants a list in brackets".to_owned());
        }
        let mut values = vec![self.value()?];
        while self.take(&[","]) {
            values.push(self.value()?);
        }
        if self.take(&["]"]) { Ok(values) } else { Err("a ] is missing".to_owned()) }
    }

    fn value(&mut self) -> Result<String, String> {
        self.word("a value")
    }

    fn word(&mut self, what: &str) -> Result<String, String> {
        let is_word = |token: &String| !token.starts_with(|c| "=!<>~&|()[],".contains(c));
        let token = self.tokens.next().filter(is_word).ok_or(format!("{what} is missing"))?;
        Ok(token.trim_matches('"').to_owned())
    }

    fn take(&mut self, any: &[&str]) -> bool {
        self.tokens.next_if(|token| any.contains(&token.as_str())).is_some()
    }
}

/// What is known of a box.
pub(super) struct Facts<'a> {
    pub(super) attributes: &'a [Attribute],
    pub(super) groups: Vec<&'a str>,
}

impl Expression {
    /// Whether the expression holds for a box.
    pub(super) fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::Or(a, b) => a.holds(facts) || b.holds(facts),
            Self::And(a, b) => a.holds(facts) && b.holds(facts),
            Self::Not(inner) => !inner.holds(facts),
            Self::Test(Subject::TaskGroup, operator) => {
                facts.groups.iter().any(|group| operator.holds(Some(group)))
            }
            Self::Test(Subject::Attribute(name), operator) => {
                facts.attributes.iter().any(|attribute| {
                    &attribute.name == name && operator.holds(attribute.value.as_deref())
                })
            }
        }
    }
}

impl Operator {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<f64>().ok();
        let compare = |with: &str| number(value?)?.partial_cmp(&number(with)?);
        match self {
            Self::Exists => true,
            Self::Equals(wanted) => value == Some(wanted),
            Self::In(wanted) => value.is_some_and(|value| wanted.iter().any(|w| w == value)),
            Self::Less(with) => compare(with).is_some_and(std::cmp::Ordering::is_lt),
            Self::LessOrEqual(with) => compare(with).is_some_and(std::cmp::Ordering::is_le),
            Self::Greater(with) => compare(with).is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterOrEqual(with) => compare(with).is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let attribute = |name: &str, value: Option<&str>| Attribute {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        let attributes = [
            attribute("site", Some("harbour")),
            attribute("ecs.cpu-architecture", Some("arm64")),
            attribute("cores", Some("4")),
            attribute("camera", None),
        ];
        let facts = Facts { attributes: &attributes, groups: vec!["family:web", "service:api"] };
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).holds(&facts)
    }

    #[test]
    fn tests_look_at_attributes_and_groups() {
        for yes in [
            "attribute:site == harbour",
            "attribute:site==harbour",
            "attribute:site != airport",
            "attribute:site in [airport, harbour]",
            "attribute:site not_in [airport,station]",
            "attribute:site !in [airport]",
            "attribute:camera exists",
            "attribute:gpu !exists",
            "attribute:gpu not_exists",
            "attribute:cores >= 4 and attribute:cores less_than 5",
            "attribute:ecs.cpu-architecture == arm64 && not(attribute:gpu exists)",
            "attribute:site == airport or (attribute:cores > 3 and attribute:camera exists)",
            "task:group == service:api",
            "!(task:group == service:other)",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in [
            "attribute:site == airport",
            "attribute:gpu == a10",
            "attribute:camera == \"\"",
            "attribute:site > 3",
            "attribute:cores > 4",
            "attribute:site == harbour and attribute:gpu exists",
            "not attribute:site exists",
        ] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let deep = "(".repeat(500);
        for bad in [
            "",
            "attribute:site",
            "attribute:site ==",
            "attribute: == x",
            "site == harbour",
            "attribute:site is harbour",
            "attribute:site in harbour",
            "attribute:site in [harbour",
            "(attribute:site exists",
            "attribute:site exists attribute:gpu exists",
            "attribute:site =~ har.*",
            "attribute:site !== harbour",
            &deep,
            &"x".repeat(5000),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
