//! Makes a JSON value fit a [`Shape`] where only one thing can be meant, and notes what it changed.

use super::LenientError;
use crate::model::shape::{Member, Shape};
use serde_json::{Map, Number, Value};

/// More changes than this are not told one by one.
const MAX_WARNINGS: usize = 200;

/// The walk over a document, and what it noted.
#[derive(Debug, Default)]
pub(super) struct Fit {
    warnings: Vec<String>,
    left_out: usize,
}

/// The error for `value` at `path`.
pub(super) fn mismatch(path: &str, expected: &str, value: &Value) -> LenientError {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => format!("the number {value}"),
        Value::String(value) => {
            let short: String = value.chars().take(40).collect();
            format!("the string {short:?}")
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    let path = if path.is_empty() { "the document" } else { path };
    LenientError::Shape { path: path.to_owned(), expected: expected.to_owned(), found }
}

impl Fit {
    /// Notes a change.
    pub(super) fn warn(&mut self, warning: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        } else {
            self.left_out += 1;
        }
    }

    /// The changes.
    pub(super) fn into_warnings(mut self) -> Vec<String> {
        if self.left_out > 0 {
            self.warnings.push(format!("and {} more", self.left_out));
        }
        self.warnings
    }

    /// `value` as `shape` wants it; `None` when it stands for nothing.
    pub(super) fn member(
        &mut self,
        value: Value,
        shape: Shape,
        path: &str,
    ) -> Result<Option<Value>, LenientError> {
        if value.is_null() {
            return Ok(None);
        }
        match shape {
            Shape::Any => Ok(Some(value)),
            Shape::Text => self.text(value, path).map(Some),
            Shape::Integer => self.integer(value, path),
            Shape::Boolean => self.boolean(value, path),
            Shape::List(inner) => self.list(value, inner(), path).map(Some),
            Shape::Map(inner) => self.map(value, inner(), path).map(Some),
            Shape::Structure(members) => self.structure(value, members, path),
        }
    }

    fn text(&mut self, value: Value, path: &str) -> Result<Value, LenientError> {
        let text = match &value {
            Value::String(_) => return Ok(value),
            Value::Number(number) => match number.as_f64().and_then(whole) {
                Some(whole) if !number.is_u64() => whole.to_string(),
                _ => number.to_string(),
            },
            Value::Bool(boolean) => boolean.to_string(),
            _ => return Err(mismatch(path, Shape::Text.describe(), &value)),
        };
        self.warn(format!("{path} should be a string: {text} is read as \"{text}\""));
        Ok(Value::String(text))
    }

    fn integer(&mut self, value: Value, path: &str) -> Result<Option<Value>, LenientError> {
        let number = match &value {
            Value::Number(number) if number.is_i64() => return Ok(Some(value)),
            Value::Number(number) => number.as_f64().and_then(whole),
            Value::String(text) if text.trim().is_empty() => {
                self.warn(format!(
                    "{path} should be a whole number: an empty string is taken as absent"
                ));
                return Ok(None);
            }
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            return Err(mismatch(path, Shape::Integer.describe(), &value));
        };
        self.warn(format!("{path} should be a whole number: {value} is read as {number}"));
        Ok(Some(Value::Number(Number::from(number))))
    }

    fn boolean(&mut self, value: Value, path: &str) -> Result<Option<Value>, LenientError> {
        let boolean = match &value {
            Value::Bool(_) => return Ok(Some(value)),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                "" => {
                    self.warn(format!(
                        "{path} should be true or false: an empty string is taken as absent"
                    ));
                    return Ok(None);
                }
                _ => None,
            },
            _ => None,
        };
        let Some(boolean) = boolean else {
            return Err(mismatch(path, Shape::Boolean.describe(), &value));
        };
        self.warn(format!("{path} should be true or false: {value} is read as {boolean}"));
        Ok(Some(Value::Bool(boolean)))
    }

    fn list(&mut self, value: Value, inner: Shape, path: &str) -> Result<Value, LenientError> {
        let items = match (value, inner) {
            (Value::Array(items), _) => items,
            (Value::Object(object), Shape::Structure(members)) => {
                self.object_as_list(object, members, path)
            }
            // One word is one item; more words may be meant as a command line, which is not for us to split.
            (Value::String(text), Shape::Text) if !text.contains(char::is_whitespace) => {
                self.warn(format!("{path} should be a list: {text:?} is read as its only item"));
                if text.is_empty() { Vec::new() } else { vec![Value::String(text)] }
            }
            (other, _) => return Err(mismatch(path, "a list", &other)),
        };
        let mut fitted = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match self.member(item, inner, &path)? {
                Some(item) => fitted.push(item),
                None => self.warn(format!("{path} is null: ignored")),
            }
        }
        Ok(Value::Array(fitted))
    }

    /// `{"A": "b"}` for `[{"name": "A", "value": "b"}]`, else one object for a list of one.
    fn object_as_list(
        &mut self,
        object: Map<String, Value>,
        members: &'static [Member],
        path: &str,
    ) -> Vec<Value> {
        let known =
            |key: &String| members.iter().any(|member| member.name().eq_ignore_ascii_case(key));
        let pair_key = pair_key(members);
        if let Some(pair_key) = pair_key.filter(|_| !object.keys().any(known)) {
            self.warn(format!(
                "{path} should be a list of {{{pair_key}, value}}: an object is read as such"
            ));
            return object
                .into_iter()
                .map(|(key, value)| {
                    let pair =
                        [(pair_key.to_owned(), Value::String(key)), ("value".to_owned(), value)];
                    Value::Object(Map::from_iter(pair))
                })
                .collect();
        }
        self.warn(format!("{path} should be a list: the object is read as its only item"));
        vec![Value::Object(object)]
    }

    fn map(&mut self, value: Value, inner: Shape, path: &str) -> Result<Value, LenientError> {
        let object = match value {
            Value::Object(object) => object,
            Value::Array(items) => self.pairs_as_map(items, path)?,
            other => return Err(mismatch(path, "an object", &other)),
        };
        let mut fitted = Map::new();
        for (key, value) in object {
            let path = format!("{path}.{key}");
            match self.member(value, inner, &path)? {
                Some(value) => {
                    fitted.insert(key, value);
                }
                None => self.warn(format!("{path} is null: ignored")),
            }
        }
        Ok(Value::Object(fitted))
    }

    /// `[{"name": "a", "value": "b"}]` for `{"a": "b"}`.
    fn pairs_as_map(
        &mut self,
        items: Vec<Value>,
        path: &str,
    ) -> Result<Map<String, Value>, LenientError> {
        let mut object = Map::new();
        for item in &items {
            let member = |name: &str| {
                item.as_object().and_then(|o| {
                    o.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
                })
            };
            let key = member("name").or_else(|| member("key")).and_then(Value::as_str);
            match (key, member("value")) {
                (Some(key), Some(value)) => object.insert(key.to_owned(), value.clone()),
                _ => return Err(mismatch(path, "an object", &Value::Array(items))),
            };
        }
        if !items.is_empty() {
            self.warn(format!("{path} should be an object: a list of pairs is read as such"));
        }
        Ok(object)
    }

    fn structure(
        &mut self,
        value: Value,
        members: &'static [Member],
        path: &str,
    ) -> Result<Option<Value>, LenientError> {
        let object = match value {
            Value::Object(object) => object,
            Value::Array(mut items) if items.len() <= 1 => match items.pop() {
                None => {
                    self.warn(format!(
                        "{path} should be an object: an empty list is taken as absent"
                    ));
                    return Ok(None);
                }
                Some(Value::Object(object)) => {
                    self.warn(format!(
                        "{path} should be an object: the only item of the list is read as it"
                    ));
                    object
                }
                Some(other) => return Err(mismatch(path, "an object", &other)),
            },
            other => return Err(mismatch(path, "an object", &other)),
        };
        let names: Vec<String> = members.iter().map(Member::name).collect();
        let mut fitted = Map::new();
        let exact: Vec<bool> = names.iter().map(|name| object.contains_key(name)).collect();
        for (key, value) in object {
            let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let index = match names.iter().position(|name| *name == key) {
                Some(index) => index,
                None => match names.iter().position(|name| name.eq_ignore_ascii_case(&key)) {
                    Some(index) if !exact[index] => {
                        self.warn(format!("{place} is read as {}", names[index]));
                        index
                    }
                    _ => {
                        self.warn(format!("{place} is not a member of a task definition: ignored"));
                        continue;
                    }
                },
            };
            if let Some(value) = self.member(value, (members[index].shape)(), &place)? {
                fitted.insert(names[index].clone(), value);
            }
        }
        Ok(Some(Value::Object(fitted)))
    }
}

/// The name of the key of a `{name, value}` or `{key, value}` structure.
fn pair_key(members: &'static [Member]) -> Option<&'static str> {
    let has = |field: &str| members.iter().any(|member| member.field == field);
    let key = ["name", "key"].into_iter().find(|key| has(key))?;
    (members.len() == 2 && has("value")).then_some(key)
}

/// A float that is a whole number small enough to be exact.
fn whole(float: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}
