//! Secrets that come with documents: opened, and kept where those set on the box itself are.
//!
//! A secret of the fleet has one version here, the hub's current one. A container finds it by name or ARN when it is
//! started, so a new version reaches whatever starts from then on, and nothing restarts because of it.

use super::refusals::Refusals;
use crate::auth::Secrets;
use crate::auth::fleet::SealingKey;
use crate::auth::secrets::{Kind, Name, SecretError, SecretText};
use crate::fleet::message;
use crate::model::fleet::{Desired, SecretVersion};
use crate::sys;
use std::collections::BTreeSet;

/// The name in a document, `secret/NAME` or `parameter/NAME`, as the store knows it.
fn name(text: &str) -> Option<Name> {
    let (kind, bare) = text.split_once('/')?;
    let kind = match kind {
        "secret" => Kind::Secret,
        "parameter" => Kind::Parameter,
        _ => return None,
    };
    Name::new(kind, bare).ok()
}

/// A value to keep.
pub(super) struct Opened {
    name: Name,
    version: String,
    value: SecretText,
}

/// The values of a document's secrets. One that does not open is left out: what needs it says that it is missing.
pub(super) fn open(
    key: &SealingKey,
    desired: &Desired,
    refusals: &mut Refusals,
    topic: &'static str,
) -> Vec<Opened> {
    let mut values = Vec::new();
    for secret in &desired.content.secrets {
        let sealed = desired.sealed.get(&secret.name);
        let opened = sealed.and_then(|sealed| {
            let (name, version) = (&secret.name, &secret.version);
            message::open_secret(key, &desired.device, name, version, sealed).ok()
        });
        let (Some(name), Some(value)) = (name(&secret.name), opened) else {
            refusals.count(topic, "secret");
            continue;
        };
        let value = SecretText::new((*value).clone());
        values.push(Opened { name, version: secret.version.clone(), value });
    }
    values
}

/// Keeps the values, each in the place of all its earlier versions. Blocks.
pub(super) fn keep(secrets: &Secrets, values: Vec<Opened>) -> Result<(), String> {
    for Opened { name, version, value } in values {
        let shown = name.to_string();
        let kept = secrets.replace(name, version, &value, sys::now());
        kept.map_err(|error| format!("{shown}: {error}"))?;
    }
    Ok(())
}

/// Removes those that no document names any more. Blocks.
pub(super) fn forget(secrets: &Secrets, names: &[String]) {
    for text in names {
        let Some(name) = name(text) else { continue };
        match secrets.remove(&name) {
            Ok(()) | Err(SecretError::Missing { .. }) => {}
            Err(error) => tracing::warn!(%error, "a secret of the fleet cannot be removed"),
        }
    }
}

/// The names in `kept` that are not in `wanted`.
pub(super) fn surplus(kept: &BTreeSet<SecretVersion>, wanted: &[SecretVersion]) -> Vec<String> {
    let wanted: BTreeSet<&str> = wanted.iter().map(|secret| secret.name.as_str()).collect();
    let names = kept.iter().map(|secret| &secret.name);
    names.filter(|name| !wanted.contains(name.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_kind() {
        assert_eq!(name("secret/prod/db").unwrap().to_string(), "secret prod/db");
        assert_eq!(name("parameter//prod/db").unwrap().to_string(), "parameter /prod/db");
        assert_eq!(name("parameter/token").unwrap().to_string(), "parameter token");
        // A secret whose name looks like a parameter's.
        assert_eq!(name("secret//prod/db").unwrap().to_string(), "secret /prod/db");
        assert_eq!(name("prod"), None);
        assert_eq!(name("role/x"), None);
    }
}
