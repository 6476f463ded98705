//! Image references: the names that task definitions and people give to images, read as Docker reads them.
//!
//! `busybox` means `docker.io/library/busybox:latest`. [`Reference`] is always the full form; [`Reference::spellings`]
//! lists the shorter names that mean the same, because the planner looks images up by the text of a definition.
//! Nothing here touches the network.

use super::digest::Digest;
use std::fmt;
use std::str::FromStr;

/// The registry that a name without one belongs to.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;
/// Nothing longer can be valid: repository, tag and digest with their separators.
const LONGEST: usize = LONGEST_REPOSITORY + LONGEST_TAG + 80;

/// A full image name: registry, repository, and a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a name is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format: {name:?}: {rule}")]
pub struct ReferenceError {
    /// What was given, shortened.
    pub name: String,
    /// The rule it broke.
    pub rule: &'static str,
}

impl Reference {
    /// Host and port of the registry; `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path in its registry, `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; a name without tag and digest has `latest`.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the name pins.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository with `digest` and without a tag.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The full name without its digest; none without a tag.
    pub fn tagged(&self) -> Option<Self> {
        self.tag.as_ref().map(|_| Self { digest: None, ..self.clone() })
    }

    /// Every name that means this image: the full one and, for Docker Hub and `latest`, the short ones.
    pub fn spellings(&self) -> Vec<String> {
        let mut names = vec![format!("{}/{}", self.registry, self.repository)];
        if self.registry == DEFAULT_REGISTRY {
            names.push(format!("index.docker.io/{}", self.repository));
            names.push(self.repository.clone());
            if let Some(short) = self.repository.strip_prefix("library/") {
                names.push(format!("docker.io/{short}"));
                names.push(format!("index.docker.io/{short}"));
                names.push(short.to_owned());
            }
        }
        let mut spellings = Vec::with_capacity(names.len() * 2);
        for name in names {
            let mut full = name.clone();
            if let Some(tag) = &self.tag {
                full = format!("{full}:{tag}");
            }
            if let Some(digest) = &self.digest {
                full = format!("{full}@{digest}");
            } else if self.tag.as_deref() == Some("latest") {
                spellings.push(name);
            }
            spellings.push(full);
        }
        // A short name whose first part looks like a registry is another image's.
        spellings.retain(|name| name.parse::<Self>().as_ref() == Ok(self));
        spellings
    }
}

/// Every way to write a name; only itself if it is none.
#[must_use]
pub fn spellings(name: &str) -> Vec<String> {
    name.parse()
        .map_or_else(|_| vec![name.to_owned()], |reference: Reference| reference.spellings())
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(name: &str) -> Result<Self, ReferenceError> {
        let refuse = |rule| ReferenceError { name: name.chars().take(100).collect(), rule };
        if name.is_empty() {
            return Err(refuse("it is empty"));
        }
        if name.len() > LONGEST {
            return Err(refuse("it is too long"));
        }
        if name.parse::<Digest>().is_ok() {
            return Err(refuse("a digest alone names no repository"));
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => {
                let digest =
                    digest.parse().map_err(|_| refuse("a digest is sha256: and 64 hex digits"))?;
                (rest, Some(digest))
            }
            None => (name, None),
        };
        // A colon after the last slash starts a tag; one before it belongs to the registry's port.
        let after_slash = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match rest[after_slash..].find(':') {
            Some(colon) => (&rest[..after_slash + colon], Some(&rest[after_slash + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse("a tag is 1 to 128 letters, digits, underscores, dots and hyphens"));
        }
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if is_registry_position(first) => {
                if !is_registry(first) {
                    return Err(refuse("the registry is not a host name with an optional port"));
                }
                (first, rest)
            }
            _ => (DEFAULT_REGISTRY, path),
        };
        if Digest::from_hex(repository).is_some() {
            return Err(refuse("64 hex digits alone are an image id, not a repository"));
        }
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        if registry.len() + 1 + repository.len() > LONGEST_REPOSITORY {
            return Err(refuse("the repository name has more than 255 characters"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) && !is_repository(&repository) {
            return Err(refuse("the repository name must be lower-case"));
        }
        if !is_repository(&repository) {
            return Err(refuse(
                "the repository name may hold a-z, 0-9 and single separators . _ __ - /",
            ));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// True when the first path component names a registry and not a Docker Hub user.
fn is_registry_position(first: &str) -> bool {
    first.contains(['.', ':', '['])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        }
    };
    let host_valid = host.is_none_or(|host| {
        host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
    });
    host_valid
        && port.is_none_or(|port| {
            port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+')
        })
}

fn is_tag(tag: &str) -> bool {
    (1..=LONGEST_TAG).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !tag.starts_with(['.', '-'])
}

fn is_repository(path: &str) -> bool {
    path.split('/').all(|component| {
        let separator = |b: u8| matches!(b, b'.' | b'_' | b'-');
        let bytes = component.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
        !separator(*first)
            && !separator(*last)
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || separator(*b))
            && bytes.split(|b| !separator(*b)).all(|run| {
                matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-')
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn full(name: &str) -> String {
        name.parse::<Reference>().unwrap_or_else(|error| panic!("{error}")).to_string()
    }

    #[test]
    fn short_names_are_completed() {
        for (name, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("coracle/hello", "docker.io/coracle/hello:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/a/b:x", "docker.io/a/b:x"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b-c__d.e", "localhost:5000/a/b-c__d.e:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("Host.example/a", "Host.example/a:latest"),
            ("public.ecr.aws/docker/library/nginx:1", "public.ecr.aws/docker/library/nginx:1"),
        ] {
            assert_eq!(full(name), expected, "{name}");
        }
        assert_eq!(full(&format!("a/b@sha256:{HEX}")), format!("docker.io/a/b@sha256:{HEX}"));
        assert_eq!(full(&format!("a/b:t@sha256:{HEX}")), format!("docker.io/a/b:t@sha256:{HEX}"));
    }

    #[test]
    fn bad_names_are_refused() {
        for name in [
            "",
            " ",
            "Busybox",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:.x",
            "a@",
            "a@sha256:00",
            "a@sha512:00",
            "a b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "host:port/a",
            "host:0/a",
            "host:+80/a",
            "host:99999/a",
            "a.b/",
            "../x",
            "a/../b",
            HEX,
            "[::1/a",
            "[x]:1/a",
            "é",
            "a\0b",
            "https://a/b",
        ] {
            assert!(name.parse::<Reference>().is_err(), "{name:?}");
        }
        assert!(format!("sha256:{HEX}").parse::<Reference>().is_err());
        assert!("a".repeat(256).parse::<Reference>().is_err());
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
        assert!("x/".repeat(100_000).parse::<Reference>().is_err());
    }

    #[test]
    fn spellings_mean_the_same() {
        let names = "busybox".parse::<Reference>().unwrap().spellings();
        for name in ["busybox", "busybox:latest", "docker.io/busybox", "library/busybox:latest"] {
            assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        }
    }

    #[test]
    fn a_spelling_that_means_another_image_is_none() {
        for (name, others) in [
            ("library/a/b", ["docker.io/a/b:latest", "a/b"]),
            ("docker.io/localhost/b", ["localhost/b:latest", "localhost/b"]),
            ("docker.io/ghcr.io/b", ["ghcr.io/b:latest", "ghcr.io/b"]),
        ] {
            let reference = name.parse::<Reference>().unwrap();
            let spellings = reference.spellings();
            assert!(spellings.contains(&reference.to_string()), "{spellings:?}");
            assert!(
                !others.iter().any(|other| spellings.contains(&(*other).to_owned())),
                "{spellings:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(name in ".{0,300}") {
            if let Ok(reference) = name.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn valid_names_round_trip(
            registry in proptest::option::of("[a-z]{1,9}\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?"),
            path in "[a-z0-9]{1,8}((_|__|-{1,3}|/)[a-z0-9]{1,8}){0,4}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
            pinned in any::<bool>(),
        ) {
            let mut name = registry.map_or(path.clone(), |registry| format!("{registry}/{path}"));
            if let Some(tag) = tag {
                name = format!("{name}:{tag}");
            }
            if pinned {
                name = format!("{name}@sha256:{HEX}");
            }
            let reference: Reference = name.parse().map_err(|e| TestCaseError::fail(format!("{e}")))?;
            prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference.clone()));
            for spelling in reference.spellings() {
                prop_assert_eq!(spelling.parse::<Reference>(), Ok(reference.clone()), "{}", spelling);
            }
            prop_assert!(reference.spellings().contains(&name) || name.contains("docker.io"));
        }
    }
}
