//! `[roles]`: where the credentials of a task's role come from on this box.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The source of a role's credentials: one of the three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleSource {
    /// A profile in a file of AWS's shared credentials format.
    File {
        /// The file; absolute.
        path: PathBuf,
        /// The profile.
        profile: String,
    },
    /// A program that prints them, as `credential_process` of the AWS CLI does.
    Command(Vec<String>),
}

/// The source for the role that a task definition names. An entry under a bare name goes for every role of that name.
#[must_use]
pub fn role_source<'a>(
    roles: &'a BTreeMap<String, RoleSource>,
    role: &str,
) -> Option<&'a RoleSource> {
    let name = || role.starts_with("arn:").then(|| role.rsplit('/').next()).flatten();
    roles.get(role).or_else(|| roles.get(name()?))
}

/// The entry as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WrittenRole {
    credentials_file: Option<PathBuf>,
    profile: Option<String>,
    command: Option<Vec<String>>,
}

impl WrittenRole {
    /// The source, or the rule that the entry breaks.
    pub(super) fn source(self) -> Result<RoleSource, &'static str> {
        match (self.credentials_file, self.command) {
            (Some(path), None) if path.is_absolute() => {
                let profile = self.profile.unwrap_or_else(|| "default".to_owned());
                Ok(RoleSource::File { path, profile })
            }
            (Some(_), None) => Err("credentials_file must be an absolute path"),
            (None, Some(_)) if self.profile.is_some() => {
                Err("profile goes with credentials_file, not with command")
            }
            (None, Some(command)) => match command.first() {
                Some(program) if program.starts_with('/') => Ok(RoleSource::Command(command)),
                _ => Err("command must begin with the absolute path of a program"),
            },
            _ => Err("it must have either credentials_file or command"),
        }
    }
}
