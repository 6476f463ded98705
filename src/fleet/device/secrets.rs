//! Secrets that come with documents: opened, and kept where those set on the box itself are.
//!
//! A secret of the fleet has one version here, the hub's current one. A container finds it by name or ARN when it is
//! started, so a new version reaches whatever starts from then on, and nothing restarts because of it.

use super::refusals::Refusals;
use crate::auth::Secrets;
use crate::auth::fleet::SealingKey;
use crate::auth::secrets::SecretText;
use crate::fleet::message;
use crate::model::fleet::{Desired, SecretVersion};
use crate::sys;
use std::collections::BTreeSet;

/// A value to keep.
pub(super) struct Opened {
    secret: SecretVersion,
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
        match opened {
            Some(value) => {
                let value = SecretText::new((*value).clone());
                values.push(Opened { secret: secret.clone(), value });
            }
            None => refusals.count(topic, "secret"),
        }
    }
    values
}

/// Keeps the values, each in the place of all its earlier versions. Blocks.
pub(super) fn keep(secrets: &Secrets, values: Vec<Opened>) -> Result<(), String> {
    for Opened { secret: SecretVersion { name, version }, value } in values {
        let kept = secrets.keep(&name, &version, &value, sys::now());
        kept.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Removes those that no document names any more. Blocks.
pub(super) fn forget(secrets: &Secrets, names: &[String]) {
    for name in names {
        if let Err(error) = secrets.drop_kept(name) {
            tracing::warn!(%error, "a secret of the fleet cannot be removed");
        }
    }
}

/// The names in `kept` that are not in `wanted`.
pub(super) fn surplus(kept: &BTreeSet<SecretVersion>, wanted: &[SecretVersion]) -> Vec<String> {
    let wanted: BTreeSet<&str> = wanted.iter().map(|secret| secret.name.as_str()).collect();
    let names = kept.iter().map(|secret| &secret.name);
    names.filter(|name| !wanted.contains(name.as_str())).cloned().collect()
}
