//! Options as typed values.

use super::LogProblem;
use regex_lite::Regex;
use std::collections::BTreeMap;

/// The options of a configuration, with the secret ones.
#[derive(Debug)]
pub(super) struct Values<'a> {
    pub(super) options: &'a BTreeMap<String, String>,
    /// Secret options whose value is known.
    pub(super) secrets: &'a BTreeMap<String, String>,
    /// The names of all secret options; until the task starts their values are not known.
    pub(super) open: Vec<String>,
}

/// An option that makes no sense.
pub(super) fn problem(name: &str, remedy: impl Into<String>) -> LogProblem {
    LogProblem { member: format!("options.{name}"), remedy: remedy.into() }
}

impl<'a> Values<'a> {
    /// The value of an option. An empty one is as good as none, as for Docker.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let value = self.secrets.get(name).or_else(|| self.options.get(name))?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// True when the value will come from a secret that is not resolved yet.
    pub(super) fn is_open(&self, name: &str) -> bool {
        !self.secrets.contains_key(name) && self.open.iter().any(|open| open == name)
    }

    fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, LogProblem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // A secret is not repeated in an error.
        let shown = if self.secrets.contains_key(name) { "its value" } else { text };
        let shown: String = shown.chars().take(100).collect();
        parse(text)
            .map(Some)
            .ok_or_else(|| problem(name, format!("{shown:?} is not {expected}: correct it")))
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<u64>, LogProblem> {
        self.parsed(name, "a size such as 10m", size)
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u32>, LogProblem> {
        self.parsed(name, "a number of at least 1", |t| t.parse().ok().filter(|n| *n >= 1))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, LogProblem> {
        self.parsed(name, "a number", |t| t.parse().ok())
    }

    /// As Go reads a boolean.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, LogProblem> {
        self.parsed(name, "true or false", |t| match t {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
    }

    /// `1s`, `500ms`, `1m`, or a number of `unit` milliseconds; in milliseconds.
    pub(super) fn duration(&self, name: &str, unit: u64) -> Result<Option<u64>, LogProblem> {
        self.parsed(name, "a duration such as 500ms or 1s", |text| {
            let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (digits, suffix) = text.split_at(at);
            let factor = match suffix {
                "" => unit,
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(factor)
        })
    }

    pub(super) fn one_of(
        &self,
        name: &str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>, LogProblem> {
        self.parsed(name, &format!("one of {}", choices.join(", ")), |text| {
            choices.iter().find(|choice| **choice == text).copied()
        })
    }

    pub(super) fn regex(&self, name: &str) -> Result<Option<Regex>, LogProblem> {
        self.parsed(name, "a regular expression", |text| Regex::new(text).ok())
    }

    /// A list with commas.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let parts = self.text(name).unwrap_or_default().split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }
}

/// `10`, `10k`, `10m`, `1g`, with or without `b`; −1 is no limit.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    if text == "-1" {
        return Some(0);
    }
    let text = text.strip_suffix('b').unwrap_or(&text);
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 10),
        (at, 'm') => (&text[..at], 20),
        (at, 'g') => (&text[..at], 30),
        _ => (text, 0),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}
