//! Secrets as files: an extension that a plain ECS definition can express.
//!
//! A docker label of the container, `coracle.secret-file.NAME`, turns the entry NAME of its `secrets` from a variable into
//! a file. The label's value is `PATH[:MODE[:UID:GID]]`: an absolute path, octal permissions (0400), the owner (the
//! container's user). ECS itself takes such a definition and gives the secret as a variable.

use super::ContainerDefinition;

/// What the labels begin with.
pub const LABEL: &str = "coracle.secret-file.";

/// Where one secret goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFileRule {
    /// `secrets[].name`.
    pub name: String,
    /// In the container; absolute, without `..`.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// User and group, unless they are the container's.
    pub owner: Option<(u32, u32)>,
}

/// A label that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the label {label}={value}: {rule}")]
pub struct SecretFileError {
    /// The label.
    pub label: String,
    /// Its value.
    pub value: String,
    /// What is wrong.
    pub rule: &'static str,
}

/// The secrets that the container gets as files, by name.
///
/// # Errors
/// The first label that makes no sense. Only the definition's labels count, not the image's.
pub fn secret_files(
    container: &ContainerDefinition,
) -> Result<Vec<SecretFileRule>, SecretFileError> {
    let mut rules: Vec<SecretFileRule> = Vec::new();
    for (label, value) in container.docker_labels.iter().flatten() {
        if !label.starts_with(LABEL.trim_end_matches('.')) {
            continue;
        }
        let wrong = |rule| SecretFileError { label: label.clone(), value: value.clone(), rule };
        let name = label.strip_prefix(LABEL).ok_or_else(|| {
            wrong("its name is coracle.secret-file. and the name of an entry of secrets")
        })?;
        let of_secret = |secret: &super::Secret| secret.name.as_deref() == Some(name);
        if !container.secrets.iter().flatten().any(of_secret) {
            return Err(wrong("the container has no secret of that name"));
        }
        let rule = parse(name, value).map_err(wrong)?;
        if rules.iter().any(|other| other.path == rule.path) {
            return Err(wrong("another secret goes to the same path"));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn parse(name: &str, value: &str) -> Result<SecretFileRule, &'static str> {
    const FORM: &str =
        "its value is PATH[:MODE[:UID:GID]], for example /run/secrets/db:0400:1000:1000";
    let parts: Vec<&str> = value.split(':').collect();
    let (path, mode, owner) = match parts.as_slice() {
        [path] => (path, "0400", None),
        [path, mode] => (path, *mode, None),
        [path, mode, user, group] => (path, *mode, Some((user, group))),
        _ => return Err(FORM),
    };
    let component = |part: &str| !part.is_empty() && part != "." && part != "..";
    let plain = path.strip_prefix('/').is_some_and(|path| path.split('/').all(component));
    if !plain || path.len() > 1024 || path.contains('\0') {
        return Err("the path must be absolute, of a file below /, without . and ..");
    }
    let octal = mode.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| octal && *mode <= 0o777);
    let mode = mode.ok_or("the mode is octal, 0777 at most")?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| i32::try_from(*id).is_ok());
    let owner =
        match owner {
            None => None,
            Some((user, group)) => {
                let ids = number(user).zip(number(group));
                Some(ids.ok_or(
                    "user and group are numbers: the file is made before the image is asked",
                )?)
            }
        };
    Ok(SecretFileRule { name: name.to_owned(), path: (*path).to_owned(), mode, owner })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task_definition::Secret;

    fn container(labels: &[(&str, &str)]) -> ContainerDefinition {
        let secret =
            |name: &str| Secret { name: Some(name.to_owned()), value_from: Some("db".to_owned()) };
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        ContainerDefinition {
            secrets: Some(vec![secret("A"), secret("B")]),
            docker_labels: Some(labels.collect()),
            ..ContainerDefinition::default()
        }
    }

    #[test]
    fn labels_say_where_a_secret_goes() {
        let rules = secret_files(&container(&[
            ("coracle.secret-file.A", "/run/secrets/a"),
            ("coracle.secret-file.B", "/b:0640:1000:44"),
            ("other", "x"),
        ]));
        let rule = |name: &str, path: &str, mode, owner| SecretFileRule {
            name: name.to_owned(),
            path: path.to_owned(),
            mode,
            owner,
        };
        assert_eq!(
            rules.unwrap(),
            [rule("A", "/run/secrets/a", 0o400, None), rule("B", "/b", 0o640, Some((1000, 44)))]
        );
        assert_eq!(secret_files(&ContainerDefinition::default()), Ok(Vec::new()));
    }

    #[test]
    fn labels_that_make_no_sense_are_refused() {
        for (label, value) in [
            ("coracle.secret-file.C", "/a"),
            ("coracle.secret-file.", "/a"),
            ("coracle.secret-file", "/a"),
            ("coracle.secret-files.A", "/a"),
            ("coracle.secret-file.A", ""),
            ("coracle.secret-file.A", "a"),
            ("coracle.secret-file.A", "/"),
            ("coracle.secret-file.A", "/a/"),
            ("coracle.secret-file.A", "/a/../b"),
            ("coracle.secret-file.A", "/a:"),
            ("coracle.secret-file.A", "/a:0800"),
            ("coracle.secret-file.A", "/a:+400"),
            ("coracle.secret-file.A", "/a:4755"),
            ("coracle.secret-file.A", "/a:0400:1000"),
            ("coracle.secret-file.A", "/a:0400:app:app"),
            ("coracle.secret-file.A", "/a:0400:-1:0"),
        ] {
            let refused = secret_files(&container(&[(label, value)])).unwrap_err();
            assert!(refused.to_string().contains(label), "{refused}");
        }
        let twice = [("coracle.secret-file.A", "/x"), ("coracle.secret-file.B", "/x:0444")];
        assert!(secret_files(&container(&twice)).is_err());
    }
}
