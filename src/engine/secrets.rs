//! What a start needs that no record holds: secrets, environment files, registry logins.
//!
//! All of it is looked up anew at every start, so a container that starts again sees the values of that moment. A value
//! goes into the launch file in the run directory and into the container; into no record, log line or answer.

use super::environment;
use super::environment_file::{self, EnvironmentFileError};
use crate::auth::secrets::{Kind, Reference, SecretText};
use crate::auth::{SecretError, Secrets};
use crate::model::task_definition::{ContainerDefinition, Secret, secret_file};
use crate::runtime::SecretFile;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The largest sum of what is looked up for one container: the kernel takes no more than about this with a program.
const LARGEST: usize = 1 << 20;

/// Where values come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The box's secrets.
    pub secrets: Secrets,
    /// The directory that stands for S3, if there is one.
    pub environment_files: Option<PathBuf>,
}

/// What was looked up for one container.
pub(super) struct Resolved {
    /// All variables but the image's, see [`environment`].
    pub(super) environment: Vec<(String, String)>,
    pub(super) files: Vec<SecretFile>,
    pub(super) log_options: BTreeMap<String, String>,
}

/// Why something could not be looked up, in ECS's words.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error(
        "ResourceInitializationError: unable to pull secrets or registry auth: cannot retrieve {name} from {from}: {source}"
    )]
    Secret { name: String, from: String, source: Box<SecretError> },
    #[error(
        "ResourceInitializationError: unable to pull secrets or registry auth: credentialsParameter {parameter}: {source}"
    )]
    Login { parameter: String, source: Box<SecretError> },
    #[error("ResourceInitializationError: failed to read environment files: {0}")]
    EnvironmentFile(#[from] EnvironmentFileError),
    #[error("ResourceInitializationError: {0}")]
    Label(#[from] secret_file::SecretFileError),
    #[error(
        "ResourceInitializationError: the secrets and environment files of the container are larger than {LARGEST} bytes together"
    )]
    TooLarge,
    #[error("ResourceInitializationError: the agent is ending")]
    Ending,
}

impl Sources {
    /// Looks up all that `definition` refers to.
    pub(super) async fn resolve(
        &self,
        definition: &ContainerDefinition,
    ) -> Result<Resolved, ResolveError> {
        if !refers(definition) {
            return Ok(Resolved {
                environment: environment::merged(Vec::new(), Vec::new(), definition),
                files: Vec::new(),
                log_options: BTreeMap::new(),
            });
        }
        let (sources, definition) = (self.clone(), definition.clone());
        let resolved = tokio::task::spawn_blocking(move || sources.resolve_blocking(&definition));
        resolved.await.map_err(|_| ResolveError::Ending)?
    }

    fn resolve_blocking(&self, definition: &ContainerDefinition) -> Result<Resolved, ResolveError> {
        let mut from_files = Vec::new();
        for file in definition.environment_files.iter().flatten() {
            let arn = file.value.as_deref().unwrap_or_default();
            from_files.extend(environment_file::read(self.environment_files.as_deref(), arn)?);
        }
        let mut rules = secret_file::secret_files(definition)?;
        let (mut variables, mut files) = (Vec::new(), Vec::new());
        for secret in definition.secrets.iter().flatten() {
            let name = secret.name.clone().unwrap_or_default();
            let value = self.value(secret)?.expose().to_owned();
            match rules.iter().position(|rule| rule.name == name) {
                None => variables.push((name, value)),
                Some(at) => {
                    let rule = rules.swap_remove(at);
                    files.push(SecretFile {
                        path: rule.path.into(),
                        mode: rule.mode,
                        owner: rule.owner,
                        content: value,
                    });
                }
            }
        }
        let mut log_options = BTreeMap::new();
        let log = definition.log_configuration.as_ref();
        for secret in log.and_then(|log| log.secret_options.as_ref()).into_iter().flatten() {
            let value = self.value(secret)?.expose().to_owned();
            log_options.insert(secret.name.clone().unwrap_or_default(), value);
        }
        let variable = |(name, value): &(String, String)| name.len() + value.len();
        let size = from_files.iter().chain(&variables).map(variable).sum::<usize>()
            + log_options.values().map(String::len).sum::<usize>()
            + files.iter().map(|file: &SecretFile| file.content.len()).sum::<usize>();
        if size > LARGEST {
            return Err(ResolveError::TooLarge);
        }
        let environment = environment::merged(from_files, variables, definition);
        Ok(Resolved { environment, files, log_options })
    }

    fn value(&self, secret: &Secret) -> Result<SecretText, ResolveError> {
        let from = secret.value_from.as_deref().unwrap_or_default();
        Reference::parse(from, Kind::Parameter)
            .map_err(SecretError::from)
            .and_then(|reference| self.secrets.resolve(&reference))
            .map_err(|source| ResolveError::Secret {
                name: secret.name.clone().unwrap_or_default(),
                from: from.to_owned(),
                source: Box::new(source),
            })
    }

    /// User name and password behind a `credentialsParameter`.
    pub(super) async fn login(
        &self,
        parameter: String,
    ) -> Result<(String, SecretText), ResolveError> {
        let secrets = self.secrets.clone();
        let login = tokio::task::spawn_blocking(move || {
            secrets
                .login(&parameter)
                .map_err(|source| ResolveError::Login { parameter, source: Box::new(source) })
        });
        login.await.map_err(|_| ResolveError::Ending)?
    }
}

/// False for the container, of which there are many, that needs nothing looked up.
fn refers(definition: &ContainerDefinition) -> bool {
    let filled = |list: Option<&Vec<Secret>>| list.is_some_and(|list| !list.is_empty());
    let log = definition.log_configuration.as_ref();
    filled(definition.secrets.as_ref())
        || filled(log.and_then(|log| log.secret_options.as_ref()))
        || definition.environment_files.as_ref().is_some_and(|files| !files.is_empty())
}
