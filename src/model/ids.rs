//! Ids and names as newtypes, parsed at the border.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {:?} is not valid: {rule}", .value.chars().take(256).collect::<String>())]
pub struct NameError {
    /// The kind of name, for the message.
    pub what: &'static str,
    /// What was given.
    pub value: String,
    /// The rule it broke.
    pub rule: &'static str,
}

/// The rule shared by cluster names, families, container and volume names.
pub const NAME_RULE: &str =
    "1 to 255 letters (uppercase and lowercase), numbers, hyphens, and underscores are allowed";

/// True for 1 to 255 characters of `[A-Za-z0-9_-]`.
#[must_use]
pub fn is_name(value: &str) -> bool {
    (1..=255).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Parses and checks the name.
            ///
            /// # Errors
            /// [`NameError`] when it breaks [`NAME_RULE`].
            pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
                let value = value.into();
                if is_name(&value) {
                    Ok(Self(value))
                } else {
                    Err(NameError { what: $what, value, rule: NAME_RULE })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(value: &str) -> Result<Self, NameError> {
                Self::new(value)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A cluster's name.
    ClusterName,
    "cluster name"
);
name!(
    /// A task definition family.
    Family,
    "family"
);
name!(
    /// A container's name within its task definition.
    ContainerName,
    "container name"
);
name!(
    /// A task's id: 32 hexadecimal digits when minted here.
    TaskId,
    "task id"
);
name!(
    /// A container instance's id: 32 hexadecimal digits when minted here.
    ContainerInstanceId,
    "container instance id"
);
name!(
    /// The id of one run of one container, ECS's `runtimeId`. A container that is started again gets a new one.
    RuntimeId,
    "runtime id"
);

name!(
    /// A service's name.
    ServiceName,
    "service name"
);
name!(
    /// The id of a deployment of a service: nineteen digits when minted here.
    DeploymentId,
    "deployment id"
);
name!(
    /// The id of a service revision: nineteen digits when minted here.
    ServiceRevisionId,
    "service revision id"
);
name!(
    /// The id of a service deployment: twenty-one letters and digits when minted here.
    ServiceDeploymentId,
    "service deployment id"
);
name!(
    /// An assignment's id: the task's for a standalone task, deployment and container instance for a service.
    AssignmentId,
    "assignment id"
);

impl AssignmentId {
    /// Of a standalone task.
    #[must_use]
    pub fn of_task(task: &TaskId) -> Self {
        Self(task.0.clone())
    }

    /// Of the tasks of one deployment on one box. A box that came back after it had been out of its fleet, for the
    /// `returns`th time, may still run what counted as over by then: that is not meant any more.
    #[must_use]
    pub fn of_deployment(
        deployment: &DeploymentId,
        instance: &ContainerInstanceId,
        returns: u32,
    ) -> Self {
        match returns {
            0 => Self(format!("{}-{}", deployment.0, instance.0)),
            n => Self(format!("{}-{}-{n}", deployment.0, instance.0)),
        }
    }
}

impl ClusterName {
    /// The cluster that requests without one mean.
    #[must_use]
    pub fn default_cluster() -> Self {
        Self("default".to_owned())
    }
}

/// A task definition's revision within its family; the first is 1, numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u32);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A counter that grows with every new desired version of an object; whoever acts refuses older ones.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// `family:revision`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskDefinitionRef {
    /// The family.
    pub family: Family,
    /// The revision.
    pub revision: Revision,
}

impl fmt::Display for TaskDefinitionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.family, self.revision)
    }
}

/// The digest of an image manifest: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageDigest(String);

impl ImageDigest {
    /// Parses `sha256:<64 lower-case hex digits>`.
    ///
    /// # Errors
    /// [`NameError`] for anything else.
    pub fn new(value: impl Into<String>) -> Result<Self, NameError> {
        let value = value.into();
        let valid = value.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        });
        if valid {
            Ok(Self(value))
        } else {
            Err(NameError {
                what: "image digest",
                value,
                rule: "sha256: and 64 lower-case hexadecimal digits",
            })
        }
    }

    /// The digest with its algorithm, `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The image of this digest in the repository of `image`, whose tag means nothing then: `nginx:1` becomes
    /// `nginx@sha256:…`. A name that has a digest is what it is.
    #[must_use]
    pub fn pin(&self, image: &str) -> String {
        if image.contains('@') {
            return image.to_owned();
        }
        // A colon before the last slash is the port of a registry.
        let path = image.rfind('/').map_or(0, |slash| slash + 1);
        let repository = image[path..].find(':').map_or(image, |colon| &image[..path + colon]);
        format!("{repository}@{self}")
    }
}

impl TryFrom<String> for ImageDigest {
    type Error = NameError;
    fn try_from(value: String) -> Result<Self, NameError> {
        Self::new(value)
    }
}

impl From<ImageDigest> for String {
    fn from(value: ImageDigest) -> String {
        value.0
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pinned_image_has_its_repository_and_no_tag() {
        let digest = ImageDigest::new(format!("sha256:{}", "0".repeat(64))).unwrap();
        for (image, repository) in [
            ("nginx", "nginx"),
            ("nginx:1.27", "nginx"),
            ("registry:5000/a/b", "registry:5000/a/b"),
            ("registry:5000/a/b:c", "registry:5000/a/b"),
        ] {
            assert_eq!(digest.pin(image), format!("{repository}@{digest}"));
        }
        let given = format!("nginx:1@sha256:{}", "1".repeat(64));
        assert_eq!(digest.pin(&given), given);
    }

    #[test]
    fn digests_are_lower_case_sha256() {
        let hex = "0123456789abcdef".repeat(4);
        let digest = ImageDigest::new(format!("sha256:{hex}")).unwrap();
        assert_eq!(digest.hex(), hex);
        assert_eq!(digest.to_string(), digest.as_str());
        for bad in [
            hex.clone(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{hex}0"),
            format!("sha512:{hex}"),
        ] {
            assert!(ImageDigest::new(bad.clone()).is_err(), "{bad}");
            assert!(serde_json::from_value::<ImageDigest>(bad.into()).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_name_is_its_text_or_refused(text in ".{0,300}") {
            let expected = (1..=255).contains(&text.chars().count())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            match Family::new(text.clone()) {
                Ok(family) => {
                    prop_assert!(expected);
                    prop_assert_eq!(family.to_string(), text.clone());
                    let json = serde_json::to_value(&family).unwrap();
                    prop_assert_eq!(serde_json::from_value::<Family>(json).unwrap(), family);
                }
                Err(error) => {
                    prop_assert!(!expected);
                    prop_assert_eq!(error.value, text.clone());
                    prop_assert!(serde_json::from_value::<Family>(text.into()).is_err());
                }
            }
        }

        #[test]
        fn good_names_pass(text in "[A-Za-z0-9_-]{1,255}") {
            prop_assert_eq!(ContainerName::new(text.clone()).unwrap().to_string(), text);
        }
    }
}
