//! YAML 1.2 as far as JSON goes: documents become JSON values, and values are written as YAML.
//!
//! Differences from what other readers do, all so that nothing changes its meaning on the way:
//! * A plain scalar is a number only if the number is written just so: `1.10`, `007` and `1_000` stay texts.
//! * Of the booleans and nulls there are those of YAML 1.2: `true`, `false`, `null`, `~`; `yes`, `on` and `no` are texts.
//! * Keys are texts, whatever they look like. The same key twice is an error. `<<` merges, as in YAML 1.1.
//! * Tags other than those of the core schema are errors.

mod read;
mod write;

pub(in crate::api) use read::YamlError;
pub(super) use read::read;
pub(super) use write::write;

use serde_json::{Number, Value};

/// What a scalar without quotes stands for.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// The number that is written `text` and no other way.
fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
        return None;
    }
    let number = match text.parse::<i64>() {
        Ok(whole) => Number::from(whole),
        Err(_) => Number::from_f64(text.parse().ok()?)?,
    };
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests;
