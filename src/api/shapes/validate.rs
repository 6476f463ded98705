//! Checks a request's body against the shape of its operation's input.
//!
//! As strict as ECS about JSON types (`SerializationException`), as forgiving about members it does not know (ignored)
//! and about nulls (absent). An empty text where an enumeration is wanted is absent too: many tools write it so.
//!
//! `RegisterTaskDefinition` is checked for types alone: `model` knows its rules and words them as ECS does.

use super::{Operation, Shape};
use crate::api::error::{ApiError, Exception};
use serde_json::{Map, Number, Value};
use std::fmt::{self, Write};

/// Checks `body` for `operation`, and brings it into the one form that the input types read: nulls and empty
/// enumerations removed, whole numbers without a fraction.
pub(crate) fn check(operation: &Operation, body: &mut Value) -> Result<(), ApiError> {
    let walk = Walk {
        types_only: operation.name == "RegisterTaskDefinition",
        lists_may_be_empty: operation.name == "PutClusterCapacityProviders",
        lists_are_singular: operation.name == "DescribeContainerInstances",
    };
    walk.value(operation.input, body, Path::Root)
}

struct Walk {
    types_only: bool,
    /// An empty list says something: that there is to be none.
    lists_may_be_empty: bool,
    /// ECS words this one as if there were one item.
    lists_are_singular: bool,
}

/// Where in the body, innermost last; on the stack, as it is needed in errors only.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
    Entry(&'a Path<'a>, &'a str),
}

impl Walk {
    fn value(&self, shape: &Shape, value: &mut Value, path: Path<'_>) -> Result<(), ApiError> {
        match (shape, value) {
            (Shape::Structure(members, required), Value::Object(object)) => {
                self.structure(members, required, object, path)
            }
            (Shape::List(item), Value::Array(items)) => {
                for (i, value) in items.iter_mut().enumerate() {
                    self.value(item, value, Path::Item(&path, i))?;
                }
                Ok(())
            }
            (Shape::Map(entry), Value::Object(object)) => {
                object.retain(|_, value| !value.is_null());
                for (key, value) in object.iter_mut() {
                    self.value(entry, value, Path::Entry(&path, key))?;
                }
                Ok(())
            }
            (Shape::Text, Value::String(_))
            | (Shape::Boolean, Value::Bool(_))
            | (Shape::Timestamp, Value::Number(_)) => Ok(()),
            (Shape::Enum(names), Value::String(text)) => {
                if self.types_only || names.contains(&text.as_str()) {
                    return Ok(());
                }
                let rule = format!("enum value set: [{}]", names.join(", "));
                Err(violation(&shorten(text), path, &rule))
            }
            (Shape::Integer(low, high), Value::Number(number)) => {
                let Some(whole) = whole(number) else {
                    return Err(mismatch(shape, "NUMBER_VALUE", path));
                };
                *number = Number::from(whole);
                Self::bounds(whole < *low, whole > *high, number, (low, high), path)
            }
            (Shape::Double(low, high), Value::Number(number)) => {
                let Some(float) = number.as_f64() else {
                    return Err(mismatch(shape, "NUMBER_VALUE", path));
                };
                Self::bounds(float < *low, float > *high, number, (low, high), path)
            }
            (_, Value::Null) => {
                Err(ApiError::invalid(format!("{path} cannot contain a null value.")))
            }
            (shape, value) => Err(mismatch(shape, token(value), path)),
        }
    }

    fn structure(
        &self,
        members: &[(&str, &Shape)],
        required: &[&str],
        object: &mut Map<String, Value>,
        path: Path<'_>,
    ) -> Result<(), ApiError> {
        object.retain(|_, value| !value.is_null());
        for (name, shape) in members {
            let empty = |v: &Value| v.as_str().is_some_and(str::is_empty);
            if matches!(shape, Shape::Enum(_)) && object.get(*name).is_some_and(empty) {
                object.remove(*name);
            }
            if let Some(value) = object.get_mut(*name) {
                self.value(shape, value, Path::Member(&path, name))?;
            }
        }
        if self.types_only {
            return Ok(());
        }
        for name in required {
            match (path, object.get(*name)) {
                (Path::Root, value) => {
                    let meant = |value: &Value| self.lists_may_be_empty && value.is_array();
                    if value.is_none_or(|value| is_empty(value) && !meant(value)) {
                        let one = name.strip_suffix('s').filter(|_| self.lists_are_singular);
                        return Err(ApiError::invalid(format!(
                            "{} cannot be empty.",
                            sentence(one.unwrap_or(name))
                        )));
                    }
                }
                (_, None) => {
                    return Err(violation("null", Path::Member(&path, name), "not be null"));
                }
                (_, Some(_)) => {}
            }
        }
        Ok(())
    }

    fn bounds<N: fmt::Display>(
        below: bool,
        above: bool,
        number: &Number,
        (low, high): (N, N),
        path: Path<'_>,
    ) -> Result<(), ApiError> {
        let rule = match (below, above) {
            (false, false) => return Ok(()),
            (true, _) => format!("have value greater than or equal to {low}"),
            (false, true) => format!("have value less than or equal to {high}"),
        };
        Err(violation(&number.to_string(), path, &rule))
    }
}

/// The whole number that a JSON number is; `3.0` is one.
fn whole(number: &Number) -> Option<i64> {
    if let Some(whole) = number.as_i64() {
        return Some(whole);
    }
    // Beyond 2^53 a float no longer tells whole numbers apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() <= EXACT)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    Some(float as i64)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The wrong JSON type, worded as the service's parser words it, and where.
fn mismatch(shape: &Shape, found: &str, path: Path<'_>) -> ApiError {
    let wanted = match shape {
        Shape::Structure(..) => "Structure",
        Shape::List(_) => "List",
        Shape::Map(_) => "Map",
        Shape::Text | Shape::Enum(_) => "String",
        Shape::Integer(low, _) if *low == i64::MIN => "Long",
        Shape::Integer(..) => "Integer",
        Shape::Double(..) => "Double",
        Shape::Boolean => "Boolean",
        Shape::Timestamp => "Timestamp",
    };
    let message = match found {
        "START_OBJECT" => format!("Start of structure or map found where not expected: {path}"),
        "START_ARRAY" => format!("Start of list found where not expected: {path}"),
        token => format!("{token} cannot be converted to {wanted}: {path}"),
    };
    ApiError::new(Exception::Serialization, message)
}

fn token(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

/// A broken constraint of the model.
fn violation(value: &str, path: Path<'_>, rule: &str) -> ApiError {
    let value = if value == "null" { "null".to_owned() } else { format!("'{value}'") };
    let mut at = String::new();
    constraint_path(path, &mut at);
    let must = if rule.starts_with("enum") { "satisfy " } else { "" };
    ApiError::invalid(format!(
        "1 validation error detected: Value {value} at '{at}' failed to satisfy constraint: Member must {must}{rule}"
    ))
}

/// `tags.1.member.key`: how constraints name a place, counting from one.
fn constraint_path(path: Path<'_>, text: &mut String) {
    let (parent, last) = match path {
        Path::Root => return,
        Path::Member(parent, name) | Path::Entry(parent, name) => (parent, shorten(name)),
        Path::Item(parent, i) => (parent, format!("{}.member", i + 1)),
    };
    constraint_path(*parent, text);
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(&last);
}

/// `tags[0].key`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => f.write_str("the request"),
            Path::Member(Path::Root, name) => f.write_str(name),
            Path::Member(parent, name) => write!(f, "{parent}.{name}"),
            Path::Item(parent, i) => write!(f, "{parent}[{i}]"),
            Path::Entry(parent, key) => write!(f, "{parent}[{:?}]", shorten(key)),
        }
    }
}

/// `containerInstances` as ECS begins a sentence with it: `Container instances`.
fn sentence(member: &str) -> String {
    let mut text = String::new();
    for (i, c) in member.chars().enumerate() {
        if i == 0 {
            text.push(c.to_ascii_uppercase());
        } else if c.is_ascii_uppercase() {
            // Writing to a String cannot fail.
            let _ = write!(text, " {}", c.to_ascii_lowercase());
        } else {
            text.push(c);
        }
    }
    text
}

/// What is quoted back is bounded.
fn shorten(text: &str) -> String {
    text.chars().take(128).collect()
}

#[cfg(test)]
mod tests;
