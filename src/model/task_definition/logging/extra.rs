//! Environment variables and labels that go with each line.

use super::LogProblem;
use super::values::Values;
use regex_lite::Regex;
use std::collections::BTreeMap;

/// The longest value that goes with every line, and all of them together.
const LONGEST: usize = 4 << 10;
const TOTAL: usize = 32 << 10;

/// Which variables and labels go with each line: `env`, `env-regex`, `labels`, `labels-regex`.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    env: Vec<String>,
    env_regex: Option<Regex>,
    labels: Vec<String>,
    labels_regex: Option<Regex>,
}

impl Extra {
    pub(super) fn read(values: &Values<'_>) -> Result<Self, LogProblem> {
        Ok(Self {
            env: values.list("env"),
            env_regex: values.regex("env-regex")?,
            labels: values.list("labels"),
            labels_regex: values.regex("labels-regex")?,
        })
    }

    /// Those of a container, as many as there is room for. When both have a name, the variable wins.
    #[must_use]
    pub fn of<'a>(
        &self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        env: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> BTreeMap<String, String> {
        let chosen = |names: &[String], regex: Option<&Regex>, name: &str| {
            names.iter().any(|n| n == name) || regex.is_some_and(|r| r.is_match(name))
        };
        let labels = labels.filter(|(n, _)| chosen(&self.labels, self.labels_regex.as_ref(), n));
        let env = env.filter(|(n, _)| chosen(&self.env, self.env_regex.as_ref(), n));
        let mut total = 0;
        labels
            .chain(env)
            .take_while(|(name, value)| {
                total += name.len() + value.len().min(LONGEST);
                total <= TOTAL
            })
            .map(|(name, value)| {
                let mut end = value.len().min(LONGEST);
                while !value.is_char_boundary(end) {
                    end -= 1;
                }
                (name.to_owned(), value[..end].to_owned())
            })
            .collect()
    }
}
