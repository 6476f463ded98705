//! What a manifest declares, and where it stands.

use super::yaml::YamlError;
use crate::model::ClusterName;
use crate::model::task_definition::lenient::{LenientError, Read};
use serde_json::{Map, Value};
use std::fmt;

/// A text with declarations.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Source {
    /// How it is called in messages; its end tells the format.
    pub(in crate::api) name: String,
    /// JSON or YAML.
    pub(in crate::api) text: String,
}

/// Where an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Origin {
    pub(super) source: String,
    /// From 1, when the source has more than one.
    pub(super) document: Option<usize>,
    /// Within the document, `services[1]`; empty when the document is the object.
    pub(super) path: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(document) = self.document {
            write!(f, ", document {document}")?;
        }
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        Ok(())
    }
}

/// Something declared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) origin: Origin,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// What CreateCluster takes.
    Cluster { name: ClusterName, members: Map<String, Value> },
    /// What RegisterTaskDefinition takes.
    TaskDefinition(Box<Read>),
    /// What CreateService takes; its cluster and its name are in it as well.
    Service { cluster: ClusterName, name: String, members: Map<String, Value> },
}

impl Content {
    /// Clusters come before task definitions, these before services.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Cluster { .. } => 0,
            Self::TaskDefinition(_) => 1,
            Self::Service { .. } => 2,
        }
    }
}

/// `service default/web`: how an object is called; two of one name cannot be declared at once.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { name, .. } => write!(f, "cluster {name}"),
            Self::TaskDefinition(read) => {
                write!(f, "task definition {}", read.content.family.as_deref().unwrap_or_default())
            }
            Self::Service { cluster, name, .. } => write!(f, "service {cluster}/{name}"),
        }
    }
}

/// Why declarations cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::api) enum ManifestError {
    /// A text is too large.
    #[error("{source_name}: it is larger than 1 MiB: split it")]
    TooLarge {
        /// The text.
        source_name: String,
    },
    /// A text is not JSON.
    #[error("{source_name}: it is not JSON: {error}")]
    Json {
        /// The text.
        source_name: String,
        /// Where and what.
        error: LenientError,
    },
    /// A text is not YAML.
    #[error("{source_name}: it is not YAML: {error}")]
    Yaml {
        /// The text.
        source_name: String,
        /// Where and what.
        error: YamlError,
    },
    /// A document or a member is wrong.
    #[error("{origin}: {message}")]
    Wrong {
        /// Where.
        origin: Origin,
        /// What, beginning with the path of the member.
        message: String,
    },
    /// One thing is declared twice.
    #[error("{second}: {object} is declared in {first} already")]
    Twice {
        /// What.
        object: String,
        /// Where first.
        first: String,
        /// Where again.
        second: Origin,
    },
    /// An operation refuses an object.
    #[error("{origin}: {object}: {message}")]
    Refused {
        /// Where it stands.
        origin: Origin,
        /// What.
        object: String,
        /// As the operation words it.
        message: String,
    },
    /// Something else than an object is in the way.
    #[error("{0}")]
    Failed(String),
}

impl ManifestError {
    pub(super) fn wrong(origin: &Origin, message: impl Into<String>) -> Self {
        Self::Wrong { origin: origin.clone(), message: message.into() }
    }

    pub(super) fn refused(object: &Object, message: impl fmt::Display) -> Self {
        Self::Refused {
            origin: object.origin.clone(),
            object: object.content.to_string(),
            message: message.to_string(),
        }
    }

    /// The text that is wrong, when it is one.
    pub(super) fn source_name(&self) -> Option<&str> {
        match self {
            Self::TooLarge { source_name }
            | Self::Json { source_name, .. }
            | Self::Yaml { source_name, .. } => Some(source_name),
            Self::Wrong { origin, .. }
            | Self::Refused { origin, .. }
            | Self::Twice { second: origin, .. } => Some(&origin.source),
            Self::Failed(_) => None,
        }
    }
}
