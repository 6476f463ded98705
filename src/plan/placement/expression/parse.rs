//! From text to an expression.
//!
//! ```text
//! any    := all { ("or" | "||") all }
//! all    := not { ("and" | "&&") not }
//! not    := ("not" | "!") not | "(" any ")" | test
//! test   := subject operator [ value | "[" value { "," value } "]" ]
//! value  := word | "…" | '…'
//! ```
//!
//! Inside quotes a backslash stands before a quote or a backslash that is meant as such. A pattern without quotes ends
//! at a blank, at a bracket that it did not open, and at `&&` or `||`.

use super::{Comparison, Expression, Operator, Pattern, Subject, Value};
use crate::model::Timestamp;

/// How long an expression may be.
const LENGTH_AT_MOST: usize = 2000;

/// How deep it may be nested.
const DEPTH_AT_MOST: usize = 32;

/// How many bytes a compiled pattern may take.
const PATTERN_SIZE_AT_MOST: usize = 64 * 1024;

/// What ends a word, beside blanks.
const SIGNS: &str = "=!<>~&|()[],\"'";

/// Reads an expression; the error says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Expression, String> {
    if text.len() > LENGTH_AT_MOST {
        return Err(format!("it is longer than {LENGTH_AT_MOST} characters"));
    }
    let mut parser = Parser { rest: text.trim() };
    let expression = parser.any(0)?;
    match parser.rest.split_whitespace().next() {
        None => Ok(expression),
        Some(word) => Err(format!("{word:?} is not expected")),
    }
}

struct Parser<'a> {
    /// What is not read yet, without blanks in front.
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn any(&mut self, depth: usize) -> Result<Expression, String> {
        let first = self.all(depth)?;
        let mut items = vec![first];
        while self.take_sign("||") || self.take_word("or") {
            items.push(self.all(depth)?);
        }
        Ok(one_or(items, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, String> {
        let first = self.not(depth)?;
        let mut items = vec![first];
        while self.take_sign("&&") || self.take_word("and") {
            items.push(self.not(depth)?);
        }
        Ok(one_or(items, Expression::All))
    }

    fn not(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH_AT_MOST {
            return Err("it is nested too deeply".to_owned());
        }
        if self.take_sign("!") || self.take_word("not") {
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take_sign("(") {
            let inner = self.any(depth + 1)?;
            return if self.take_sign(")") { Ok(inner) } else { Err("a ) is missing".to_owned()) };
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expression, String> {
        let subject = self.subject()?;
        let (operator, negated) = self.operator(&subject)?;
        let test = Expression::Test(subject, operator);
        Ok(if negated { Expression::Not(Box::new(test)) } else { test })
    }

    fn subject(&mut self) -> Result<Subject, String> {
        let word = self.word().ok_or("a subject such as attribute:NAME is missing")?;
        Ok(match word {
            "agentConnected" => Subject::AgentConnected,
            "agentVersion" => Subject::AgentVersion,
            "ec2InstanceId" => Subject::Ec2InstanceId,
            "registeredAt" => Subject::RegisteredAt,
            "runningTasksCount" => Subject::RunningTasksCount,
            "task:group" => Subject::TaskGroup,
            _ => match word.strip_prefix("attribute:") {
                Some(name) if !name.is_empty() => Subject::Attribute(name.to_owned()),
                _ => {
                    return Err(format!(
                        "{word:?} is not a subject; there are attribute:NAME, task:group, agentConnected, agentVersion, \
                         ec2InstanceId, registeredAt and runningTasksCount"
                    ));
                }
            },
        })
    }

    /// The operator with its argument, and whether the opposite is asked.
    fn operator(&mut self, subject: &Subject) -> Result<(Operator, bool), String> {
        for (sign, comparison, negated) in [
            ("==", Comparison::Equal, false),
            ("!=", Comparison::Equal, true),
            ("<=", Comparison::LessOrEqual, false),
            (">=", Comparison::GreaterOrEqual, false),
            ("<", Comparison::Less, false),
            (">", Comparison::Greater, false),
        ] {
            if self.take_sign(sign) {
                return self.compare(subject, comparison, sign).map(|test| (test, negated));
            }
        }
        for (sign, negated) in [("=~", false), ("!~", true)] {
            if self.take_sign(sign) {
                return self.matches(subject, sign).map(|test| (test, negated));
            }
        }
        let bang = self.take_sign("!");
        let word = self.word().unwrap_or_default();
        let (test, negated) = match (word, bang) {
            ("in", _) => (self.within(subject, word)?, bang),
            ("exists", _) => (exists(subject, word)?, bang),
            ("not_in", false) => (self.within(subject, word)?, true),
            ("not_exists", false) => (exists(subject, word)?, true),
            ("matches", false) => (self.matches(subject, word)?, false),
            ("not_matches", false) => (self.matches(subject, word)?, true),
            ("equals", false) => (self.compare(subject, Comparison::Equal, word)?, false),
            ("not_equals", false) => (self.compare(subject, Comparison::Equal, word)?, true),
            ("less_than", false) => (self.compare(subject, Comparison::Less, word)?, false),
            ("less_than_equal", false) => {
                (self.compare(subject, Comparison::LessOrEqual, word)?, false)
            }
            ("greater_than", false) => (self.compare(subject, Comparison::Greater, word)?, false),
            ("greater_than_equal", false) => {
                (self.compare(subject, Comparison::GreaterOrEqual, word)?, false)
            }
            _ => {
                let sign = if bang { "!" } else { "" };
                return Err(format!("\"{sign}{word}\" is not an operator"));
            }
        };
        Ok((test, negated))
    }

    fn compare(
        &mut self,
        subject: &Subject,
        comparison: Comparison,
        sign: &str,
    ) -> Result<Operator, String> {
        let equal = comparison == Comparison::Equal;
        let ordered = !matches!(subject, Subject::AgentConnected | Subject::Ec2InstanceId);
        allowed(equal || ordered, subject, sign)?;
        let text = self.value(sign)?;
        let mut time = None;
        match subject {
            Subject::RegisteredAt => {
                let read = moment(&text).ok_or(format!(
                    "{text:?} is not a time such as 2018-06-18T22:28:28Z or a day such as 2018-06-18"
                ))?;
                time = Some(read);
            }
            Subject::RunningTasksCount if text.parse::<u64>().is_err() => {
                return Err(format!("{text:?} is not a number of tasks"));
            }
            _ => {}
        }
        Ok(Operator::Compare(comparison, Value { text, time }))
    }

    fn matches(&mut self, subject: &Subject, sign: &str) -> Result<Operator, String> {
        allowed(takes_texts(subject), subject, sign)?;
        let text = match self.quoted()? {
            Some(text) => text,
            None => self.bare_pattern(),
        };
        if text.is_empty() {
            return Err(format!("the pattern after {sign} is missing"));
        }
        Pattern::new(&text).map(Operator::Matches)
    }

    fn within(&mut self, subject: &Subject, sign: &str) -> Result<Operator, String> {
        allowed(takes_texts(subject), subject, sign)?;
        if !self.take_sign("[") {
            return Err(format!("{sign} wants a list in brackets"));
        }
        let mut values = vec![self.value(sign)?];
        while self.take_sign(",") {
            values.push(self.value(sign)?);
        }
        if self.take_sign("]") {
            Ok(Operator::In(values))
        } else {
            Err("a ] is missing".to_owned())
        }
    }

    fn value(&mut self, sign: &str) -> Result<String, String> {
        if let Some(text) = self.quoted()? {
            return Ok(text);
        }
        self.word().map(str::to_owned).ok_or_else(|| format!("the value after {sign} is missing"))
    }

    /// The text in quotes, if there is one.
    fn quoted(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return Ok(None);
        };
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.skip(at + 1);
                return Ok(Some(text));
            }
            let meant = |(_, next): &(usize, char)| c == '\\' && (*next == quote || *next == '\\');
            text.push(chars.next_if(meant).map_or(c, |(_, next)| next));
        }
        Err(format!("the closing {quote} is missing"))
    }

    /// A pattern without quotes.
    fn bare_pattern(&mut self) -> String {
        let (mut depth, mut escaped, mut end) = (0_u32, false, self.rest.len());
        for (at, c) in self.rest.char_indices() {
            let joins =
                self.rest.get(at..).is_some_and(|r| r.starts_with("&&") || r.starts_with("||"));
            if c.is_whitespace() || !escaped && depth == 0 && (c == ')' || joins) {
                end = at;
                break;
            }
            match c {
                _ if escaped => {}
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            escaped = c == '\\' && !escaped;
        }
        let text = self.rest.get(..end).unwrap_or_default().to_owned();
        self.skip(end);
        text
    }

    /// The next word, if there is one.
    fn word(&mut self) -> Option<&'a str> {
        let ends = |c: char| c.is_whitespace() || SIGNS.contains(c);
        let rest: &'a str = self.rest;
        let word = rest.get(..rest.find(ends).unwrap_or(rest.len()))?;
        self.skip(word.len());
        (!word.is_empty()).then_some(word)
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let before = self.rest;
        let taken = self.word() == Some(wanted);
        if !taken {
            self.rest = before;
        }
        taken
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let taken = self.rest.starts_with(sign);
        if taken {
            self.skip(sign.len());
        }
        taken
    }

    fn skip(&mut self, length: usize) {
        self.rest = self.rest.get(length..).unwrap_or_default().trim_start();
    }
}

fn one_or(mut items: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match items.pop() {
        Some(one) if items.is_empty() => one,
        Some(last) => {
            items.push(last);
            many(items)
        }
        None => many(items),
    }
}

fn exists(subject: &Subject, sign: &str) -> Result<Operator, String> {
    allowed(matches!(subject, Subject::Attribute(_) | Subject::TaskGroup), subject, sign)?;
    Ok(Operator::Exists)
}

/// Whether `in` and `=~` are for it.
const fn takes_texts(subject: &Subject) -> bool {
    matches!(
        subject,
        Subject::Attribute(_)
            | Subject::TaskGroup
            | Subject::AgentConnected
            | Subject::Ec2InstanceId
    )
}

fn allowed(holds: bool, subject: &Subject, sign: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{sign} is not an operator for {subject}")) }
}

/// A time of RFC 3339; without an offset it is UTC, without a time of day it is midnight.
fn moment(text: &str) -> Option<Timestamp> {
    let full = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    full.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_millisecond()))
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let compiled = |text: &str| {
            regex_lite::RegexBuilder::new(text)
                .size_limit(PATTERN_SIZE_AT_MOST)
                .nest_limit(32)
                .build()
        };
        // Alone first: inside brackets a pattern could close the bracket.
        compiled(text)
            .and_then(|_| compiled(&format!("^(?:{text})$")))
            .map(|regex| Self { text: text.to_owned(), regex })
            .map_err(|error| format!("the pattern {text:?} cannot be used: {error}"))
    }

    pub(super) fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}
