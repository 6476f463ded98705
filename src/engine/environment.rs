//! The variables of a container, in the order in which one wins over another.
//!
//! From the weakest: the image's (which the runtime adds), environment files (of two files the one named later, within
//! a file the line further down), then `environment` with the overrides of the task, and secrets. Registration and
//! RunTask refuse a secret that bears the name of a variable, so between those two there is nothing to win.

use crate::model::task_definition::ContainerDefinition;

/// All variables but the image's; of two with one name the later wins.
pub(super) fn merged(
    files: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
    definition: &ContainerDefinition,
) -> Vec<(String, String)> {
    let own = definition.environment.iter().flatten().filter_map(|pair| {
        let name = pair.name.clone().filter(|name| !name.is_empty())?;
        Some((name, pair.value.clone().unwrap_or_default()))
    });
    files.into_iter().chain(secrets).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task_definition::KeyValuePair;

    #[test]
    fn the_strongest_comes_last() {
        let definition = ContainerDefinition {
            environment: Some(vec![KeyValuePair { name: Some("A".into()), value: None }]),
            ..ContainerDefinition::default()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let all = merged(vec![pair("A", "file")], vec![pair("S", "secret")], &definition);
        assert_eq!(all, [pair("A", "file"), pair("S", "secret"), pair("A", "")]);
    }
}
