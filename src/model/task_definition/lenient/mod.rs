//! Reading a definition as people write it, before the strictness of the API: for the CLI.
//!
//! ```text
//! text ── comments, trailing commas ── wrapper or bare containers ── types made to fit the schema ──► Read
//! ```
//!
//! What is changed or left out is reported by its path. Only what can be meant in one way is changed; the rules of ECS
//! are not checked here, that is [`register`](super::register).

mod fit;
mod relaxed;

use super::TaskDefinitionContent;
use crate::model::ids::is_name;
use crate::model::shape::Shaped;
use crate::model::tag::Tag;
use fit::Fit;
use serde_json::{Map, Value};

/// The longest text that is read.
pub const LIMIT: usize = 1 << 20;

/// Members of describe output that say what became of a registration; they are no part of the next one.
const DESCRIBED: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

/// A definition as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The definition, not validated yet.
    pub content: TaskDefinitionContent,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// What was changed or left out, for people.
    pub warnings: Vec<String>,
}

/// Why a text is not a task definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LenientError {
    /// More than [`LIMIT`] bytes.
    #[error("the task definition is larger than 1 MiB")]
    TooLarge,
    /// Not JSON.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// Another kind of document.
    #[error("this is {0}, not a task definition")]
    OtherDocument(&'static str),
    /// JSON, but of another shape.
    #[error("{path}: expected {expected}, found {found}")]
    Shape {
        /// Where.
        path: String,
        /// What belongs there.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// Reads `text`. A definition without a family, or a bare list of containers, gets `default_family`.
///
/// # Errors
/// [`LenientError`].
pub fn read(text: &str, default_family: &str) -> Result<Read, LenientError> {
    if text.len() > LIMIT {
        return Err(LenientError::TooLarge);
    }
    let mut fit = Fit::default();
    let document = parse(text, &mut fit)?;
    fitted(document, default_family, fit)
}

/// Reads a document that was parsed already, as [`read`] does.
///
/// # Errors
/// [`LenientError`].
pub fn read_value(document: Value, default_family: &str) -> Result<Read, LenientError> {
    fitted(document, default_family, Fit::default())
}

/// Parses JSON of any kind as people write it; with what was ignored.
///
/// # Errors
/// [`LenientError::Syntax`].
pub fn parse_json(text: &str) -> Result<(Value, Vec<String>), LenientError> {
    let mut fit = Fit::default();
    let document = parse(text, &mut fit)?;
    Ok((document, fit.into_warnings()))
}

fn fitted(document: Value, default_family: &str, mut fit: Fit) -> Result<Read, LenientError> {
    let mut members = unwrap(document, &mut fit)?;
    for name in DESCRIBED {
        members.remove(name);
    }
    let tags = match take(&mut members, "tags") {
        None => Vec::new(),
        Some(tags) => {
            decode(fit.member(tags, <Vec<Tag>>::shape(), "tags")?.unwrap_or_default(), "tags")?
        }
    };
    let content = fit.member(Value::Object(members), TaskDefinitionContent::shape(), "")?;
    let mut content: TaskDefinitionContent = decode(content.unwrap_or_default(), "")?;
    if content.family.as_deref().is_none_or(str::is_empty) {
        let family = as_family(default_family);
        fit.warn(format!("family is missing: '{family}' is used"));
        content.family = Some(family);
    }
    Ok(Read { content, tags, warnings: fit.into_warnings() })
}

/// Strict JSON, or JSON with comments and trailing commas.
fn parse(text: &str, fit: &mut Fit) -> Result<Value, LenientError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let strict = match serde_json::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let relaxed = relaxed::to_strict(text);
    let outcome = match &relaxed {
        None => Err(strict),
        Some(relaxed) => serde_json::from_str(relaxed),
    };
    match outcome {
        Ok(value) => {
            fit.warn(
                "comments and trailing commas are ignored; the ECS API refuses them".to_owned(),
            );
            Ok(value)
        }
        Err(error) => {
            let message = error.to_string();
            // The place is told apart from the text.
            let message = message.rsplit_once(" at line").map_or(message.as_str(), |(m, _)| m);
            Err(LenientError::Syntax {
                line: error.line(),
                column: error.column(),
                message: message.to_owned(),
            })
        }
    }
}

/// The members of the definition, out of whatever it is wrapped in.
fn unwrap(document: Value, fit: &mut Fit) -> Result<Map<String, Value>, LenientError> {
    let mut object = match document {
        Value::Array(containers) => {
            return Ok(Map::from_iter([(
                "containerDefinitions".to_owned(),
                Value::Array(containers),
            )]));
        }
        Value::Object(object) => object,
        other => return Err(fit::mismatch("", "an object or a list of containers", &other)),
    };
    if has(&object, "containerDefinitions") {
        return Ok(object);
    }
    if let Some(Value::Object(inner)) = object.get("taskDefinition") {
        let mut inner = inner.clone();
        // Describe output has the tags beside the definition.
        if let (false, Some(tags)) = (inner.contains_key("tags"), object.remove("tags")) {
            inner.insert("tags".to_owned(), tags);
        }
        for name in object.keys().filter(|name| *name != "taskDefinition" && *name != "include") {
            fit.warn(format!("{name} beside taskDefinition is ignored"));
        }
        return Ok(inner);
    }
    if has(&object, "serviceName") || object.get("taskDefinition").is_some_and(Value::is_string) {
        return Err(LenientError::OtherDocument("a service definition"));
    }
    if has(&object, "image") {
        fit.warn("a single container definition is taken as the list of containers".to_owned());
        let containers = Value::Array(vec![Value::Object(object)]);
        return Ok(Map::from_iter([("containerDefinitions".to_owned(), containers)]));
    }
    Ok(object)
}

fn has(object: &Map<String, Value>, name: &str) -> bool {
    object.keys().any(|key| key.eq_ignore_ascii_case(name))
}

fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = object.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    object.remove(&key)
}

fn decode<T: serde::de::DeserializeOwned + Default>(
    value: Value,
    path: &str,
) -> Result<T, LenientError> {
    if value.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(value).map_err(|error| LenientError::Shape {
        path: path.to_owned(),
        expected: "a task definition".to_owned(),
        found: error.to_string(),
    })
}

/// `text` with what a family cannot hold replaced.
fn as_family(text: &str) -> String {
    let family: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .take(255)
        .collect();
    if is_name(&family) { family } else { "task".to_owned() }
}

#[cfg(test)]
mod tests;
