//! Which source of a setting wins.

use crate::config::ConfigError;
use crate::config::value::Given;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a setting may come from, but for flags.
pub(super) struct Sources<'a> {
    /// The environment.
    pub(super) variables: &'a BTreeMap<String, String>,
    /// The file.
    pub(super) path: &'a Path,
}

impl Sources<'_> {
    pub(super) fn variable(&self, key: &str) -> Option<Given> {
        let name = format!("CORACLE_{}", key.to_ascii_uppercase());
        self.variables.get(&name).map(|value| Given { value: value.clone(), origin: name })
    }

    pub(super) fn origin(&self, key: &str) -> String {
        format!("`{key}` in {}", self.path.display())
    }

    /// The winner among flag, variable and file, for settings that the file has as text.
    pub(super) fn text(
        &self,
        key: &str,
        flag: Option<&str>,
        file: Option<String>,
    ) -> Option<Given> {
        flag.map(|value| Given {
            value: value.to_owned(),
            origin: format!("--{}", key.replace('_', "-")),
        })
        .or_else(|| self.variable(key))
        .or_else(|| file.map(|value| Given { value, origin: self.origin(key) }))
    }

    /// The winner between variable and file, for settings that the file has with their own type.
    pub(super) fn typed<T>(
        &self,
        key: &str,
        file: Option<T>,
        parse: impl FnOnce(&Given) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        match self.variable(key) {
            Some(given) => parse(&given).map(Some),
            None => Ok(file),
        }
    }

    /// As [`Self::text`], of a type that tells itself what is wrong with a text.
    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        key: &str,
        file: Option<String>,
    ) -> Result<Option<T>, ConfigError> {
        let given = self.text(key, None, file);
        given
            .map(|given| {
                given.value.trim().parse().map_err(|e: T::Err| given.invalid(e.to_string()))
            })
            .transpose()
    }

    pub(super) fn path(
        &self,
        key: &str,
        flag: Option<&Path>,
        file: Option<PathBuf>,
        default: PathBuf,
    ) -> Result<PathBuf, ConfigError> {
        Ok(self.optional_path(key, flag, file)?.unwrap_or(default))
    }

    pub(super) fn optional_path(
        &self,
        key: &str,
        flag: Option<&Path>,
        file: Option<PathBuf>,
    ) -> Result<Option<PathBuf>, ConfigError> {
        let given = flag
            .map(Path::to_owned)
            .or_else(|| self.variable(key).map(|given| given.value.into()))
            .or(file);
        let Some(given) = given else { return Ok(None) };
        std::path::absolute(&given).map(Some).map_err(|_| ConfigError::Invalid {
            origin: self.origin(key),
            value: given.display().to_string(),
            rule: "it must be a path".to_owned(),
        })
    }
}

/// A value that makes no sense, and what would.
pub(super) fn invalid(
    origin: String,
    value: impl Into<String>,
    rule: impl Into<String>,
) -> ConfigError {
    ConfigError::Invalid { origin, value: value.into(), rule: rule.into() }
}

/// What is given, read, or the default.
pub(super) fn checked<T>(
    given: Option<Given>,
    parse: impl FnOnce(&Given) -> Result<T, ConfigError>,
    default: T,
) -> Result<T, ConfigError> {
    match given {
        Some(given) => parse(&given),
        None => Ok(default),
    }
}
