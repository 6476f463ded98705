//! Reading: the parser's events become values, without recursion and within bounds.

use super::plain;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Lists and objects within each other, at most; as deep as JSON is read.
const DEEPEST: usize = 100;
/// Values in one text at most, those counted anew that aliases repeat: a few lines of aliases can stand for billions.
const MOST: usize = 200_000;

/// Why a text is not YAML that can be read as JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub(in crate::api) struct YamlError {
    line: usize,
    column: usize,
    message: String,
}

impl YamlError {
    fn at(span: Span, message: impl Into<String>) -> Self {
        let start = span.start;
        Self { line: start.line(), column: start.col() + 1, message: message.into() }
    }
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        let at = *error.marker();
        Self::at(Span::empty(at), error.info())
    }
}

/// The documents of `text`, in order; empty ones are null.
pub(in crate::api::manifest) fn read(text: &str) -> Result<Vec<Value>, YamlError> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(next) = parser.next_event() {
        let (event, span) = next?;
        builder.event(event, span)?;
    }
    Ok(builder.documents)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Value>,
    open: Vec<Open>,
    /// Values that have an anchor, and how many values each is made of.
    anchors: BTreeMap<usize, (Value, usize)>,
    count: usize,
}

/// A list or an object whose end has not come.
struct Open {
    anchor: usize,
    /// How many values there were before it.
    count_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    Object {
        object: Map<String, Value>,
        /// What stands after `<<`; keys of the object itself win.
        merged: Vec<Map<String, Value>>,
        key: Option<Key>,
    },
}

enum Key {
    Text(String),
    Merge,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.documents.push(Value::Null);
                Ok(())
            }
            Event::Alias(anchor) => {
                let (value, count) = self.anchors.get(&anchor).cloned().ok_or_else(|| {
                    YamlError::at(span, "an alias stands inside of what it repeats")
                })?;
                self.counted(count, span)?;
                self.value(value, 0, 0, span)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.counted(1, span)?;
                if let Some(Content::Object { key: key @ None, .. }) =
                    self.open.last_mut().map(|open| &mut open.content)
                {
                    let merge = text == "<<" && style == ScalarStyle::Plain;
                    if anchor != 0 {
                        self.anchors.insert(anchor, (Value::String(text.clone().into()), 1));
                    }
                    *key = Some(if merge { Key::Merge } else { Key::Text(text.into_owned()) });
                    return Ok(());
                }
                let value = scalar(&text, style, tag.as_deref(), span)?;
                self.value(value, anchor, 1, span)
            }
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", span)?;
                self.begin(anchor, Content::List(Vec::new()), span)
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_deref(), "map", span)?;
                let content = Content::Object { object: Map::new(), merged: Vec::new(), key: None };
                self.begin(anchor, content, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
        }
    }

    fn counted(&mut self, more: usize, span: Span) -> Result<(), YamlError> {
        self.count = self.count.saturating_add(more);
        if self.count > MOST {
            return Err(YamlError::at(span, format!("there are more than {MOST} values")));
        }
        Ok(())
    }

    fn begin(&mut self, anchor: usize, content: Content, span: Span) -> Result<(), YamlError> {
        if let Some(Content::Object { key: None, .. }) = self.open.last().map(|o| &o.content) {
            return Err(YamlError::at(span, "a key must be a text"));
        }
        if self.open.len() >= DEEPEST {
            let message = format!("lists and objects are nested more than {DEEPEST} deep");
            return Err(YamlError::at(span, message));
        }
        let count_before = self.count;
        self.counted(1, span)?;
        self.open.push(Open { anchor, count_before, content });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else {
            return Err(YamlError::at(span, "something ends that did not begin"));
        };
        let value = match open.content {
            Content::List(items) => Value::Array(items),
            Content::Object { mut object, merged, .. } => {
                for more in merged {
                    for (key, value) in more {
                        object.entry(key).or_insert(value);
                    }
                }
                Value::Object(object)
            }
        };
        let count = self.count - open.count_before;
        self.value(value, open.anchor, count, span)
    }

    /// Puts a whole value where it belongs.
    fn value(
        &mut self,
        value: Value,
        anchor: usize,
        count: usize,
        span: Span,
    ) -> Result<(), YamlError> {
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), count));
        }
        let Some(open) = self.open.last_mut() else {
            if let Some(document) = self.documents.last_mut() {
                *document = value;
            }
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(value),
            Content::Object { object, merged, key } => match (key.take(), value) {
                // An alias in the place of a key.
                (None, Value::String(text)) => *key = Some(Key::Text(text)),
                (None, _) => return Err(YamlError::at(span, "a key must be a text")),
                (Some(Key::Text(name)), value) => {
                    if object.contains_key(&name) {
                        return Err(YamlError::at(span, format!("{name:?} is there twice")));
                    }
                    object.insert(name, value);
                }
                (Some(Key::Merge), Value::Object(more)) => merged.push(more),
                (Some(Key::Merge), Value::Array(items)) => {
                    for item in items {
                        let Value::Object(more) = item else { return Err(not_merged(span)) };
                        merged.push(more);
                    }
                }
                (Some(Key::Merge), _) => return Err(not_merged(span)),
            },
        }
        Ok(())
    }
}

fn not_merged(span: Span) -> YamlError {
    YamlError::at(span, "<< takes an object or a list of objects")
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: Span,
) -> Result<Value, YamlError> {
    let string = || Value::String(text.to_owned());
    let wrong = |what: &str| YamlError::at(span, format!("{text:?} is not {what}"));
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain { plain(text) } else { string() });
    };
    if tag.handle.is_empty() && tag.suffix == "!" {
        return Ok(string());
    }
    if !tag.is_yaml_core_schema() {
        return Err(unknown_tag(tag, span));
    }
    match (tag.suffix.as_str(), plain(text)) {
        ("str", _) => Ok(string()),
        ("null", Value::Null) => Ok(Value::Null),
        ("null", _) => Err(wrong("null")),
        ("int", Value::Number(number)) if number.is_i64() => Ok(Value::Number(number)),
        ("int", _) => Err(wrong("a whole number, written without leading zeros")),
        ("bool", value @ Value::Bool(_)) | ("float", value @ Value::Number(_)) => Ok(value),
        ("bool", _) => Err(wrong("true or false")),
        ("float", _) => Err(wrong("a number")),
        _ => Err(unknown_tag(tag, span)),
    }
}

fn collection_tag(tag: Option<&Tag>, own: &str, span: Span) -> Result<(), YamlError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == own) => {
            Err(unknown_tag(tag, span))
        }
        _ => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, span: Span) -> YamlError {
    let name: String = format!("{}{}", tag.handle, tag.suffix).chars().take(60).collect();
    YamlError::at(span, format!("the tag {name:?} cannot be used here: leave it out"))
}
