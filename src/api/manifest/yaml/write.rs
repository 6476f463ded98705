//! Writing: block style, quotes only where they are needed, what names an object first.

use super::plain;
use serde_json::{Map, Value};
use std::fmt::Write;

/// Members that come before the others, in this order.
const FIRST: [&str; 9] = [
    "kind",
    "clusterName",
    "family",
    "cluster",
    "serviceName",
    "name",
    "key",
    "taskDefinition",
    "desiredCount",
];

/// `documents` as YAML, one after the other.
pub(in crate::api::manifest) fn write(documents: &[Value]) -> String {
    let mut text = String::new();
    for (at, document) in documents.iter().enumerate() {
        if at > 0 {
            text.push_str("---\n");
        }
        match document {
            Value::Object(object) if !object.is_empty() => members(&mut text, object, 0),
            Value::Array(list) if !list.is_empty() => items(&mut text, list, 0),
            other => {
                // No block here: without an indent its lines could be taken for comments or documents.
                match other {
                    Value::String(value) => string(&mut text, value, None),
                    other => scalar(&mut text, other, 0),
                }
                text.push('\n');
            }
        }
    }
    text
}

fn members(text: &mut String, object: &Map<String, Value>, depth: usize) {
    for (at, (name, value)) in in_order(object).into_iter().enumerate() {
        // The first member of an item of a list stands behind its hyphen.
        if at > 0 || !text.ends_with("- ") {
            indent(text, depth);
        }
        string(text, name, None);
        text.push(':');
        match value {
            Value::Object(object) if !object.is_empty() => {
                text.push('\n');
                members(text, object, depth + 1);
            }
            Value::Array(list) if !list.is_empty() => {
                text.push('\n');
                items(text, list, depth + 1);
            }
            other => {
                text.push(' ');
                scalar(text, other, depth + 1);
                text.push('\n');
            }
        }
    }
}

fn items(text: &mut String, list: &[Value], depth: usize) {
    for (at, item) in list.iter().enumerate() {
        if at > 0 || !text.ends_with("- ") {
            indent(text, depth);
        }
        text.push_str("- ");
        match item {
            Value::Object(object) if !object.is_empty() => members(text, object, depth + 1),
            Value::Array(list) if !list.is_empty() => items(text, list, depth + 1),
            other => {
                scalar(text, other, depth + 1);
                text.push('\n');
            }
        }
    }
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

/// What names an object first, the rest by the alphabet.
fn in_order(object: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let mut members: Vec<(&str, &Value)> = object.iter().map(|(n, v)| (n.as_str(), v)).collect();
    members.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then(a.cmp(b)));
    members
}

fn scalar(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(value) => string(text, value, Some(depth)),
        // Null, a boolean, a number, `[]` or `{}`.
        other => text.push_str(&other.to_string()),
    }
}

/// A text: plain, as a block of lines where one may stand (at `depth`), or in quotes.
fn string(text: &mut String, value: &str, depth: Option<usize>) {
    if is_plain(value) {
        text.push_str(value);
    } else if let Some(depth) = depth.filter(|_| is_block(value)) {
        text.push_str(if value.ends_with('\n') { "|" } else { "|-" });
        for line in value.lines() {
            text.push('\n');
            if !line.is_empty() {
                indent(text, depth);
                text.push_str(line);
            }
        }
    } else {
        quoted(text, value);
    }
}

/// True for texts that every reader of YAML takes for that text.
fn is_plain(value: &str) -> bool {
    let first = value.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@+=:".contains(c))
        && !value.ends_with(':')
        && plain(value).is_string()
        && !YAML_1_1.contains(&value.to_ascii_lowercase().as_str())
}

/// Booleans of older readers.
const YAML_1_1: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];

/// True for texts of lines that a block shows as they are.
fn is_block(value: &str) -> bool {
    value.trim_end_matches('\n').contains('\n')
        && !value.ends_with("\n\n")
        && !value.starts_with(char::is_whitespace)
        && value.chars().all(|c| c == '\n' || c == '\t' || !is_special(c))
}

fn quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            // Writing to a String cannot fail.
            c if is_special(c) => drop(write!(text, "\\U{:08X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Characters that YAML does not take as they are, or breaks lines at.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}
