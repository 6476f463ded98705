//! Tags of declared objects.
//!
//! Tags that a file does not speak of are left alone; where it has `tags`, they are made just these. Services carry the
//! name of the set of files that declares them, for `--prune`.

use super::call::call;
use super::difference::{self, Difference};
use crate::api::error::ApiError;
use crate::engine::Handle;
use serde_json::{Map, Value, json};

/// The tag with the name of the set.
pub(super) const APPLIED: &str = "coracle:applied";

/// Tags by key.
pub(super) type Tags = Map<String, Value>;

/// A list of `{key, value}` by key.
pub(super) fn by_key(tags: &Value) -> Tags {
    let pair = |tag: &Value| {
        let key = tag["key"].as_str()?.to_owned();
        Some((key, tag["value"].as_str().unwrap_or_default().into()))
    };
    tags.as_array().into_iter().flatten().filter_map(pair).collect()
}

/// The tags that an object with `current` ones is to have.
pub(super) fn wanted(current: &Tags, declared: Option<&Value>, set: Option<&str>) -> Tags {
    let mut wanted = match declared {
        None | Some(Value::Null) => current.clone(),
        Some(declared) => {
            // What others keep about the object stays.
            let kept = |key: &str| key == APPLIED || key.starts_with("aws:");
            let mut wanted: Tags =
                current.clone().into_iter().filter(|(key, _)| kept(key)).collect();
            wanted.extend(by_key(declared));
            wanted
        }
    };
    if let Some(set) = set {
        wanted.insert(APPLIED.to_owned(), set.into());
    }
    wanted
}

/// As a list of `{key, value}`.
pub(super) fn list(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

/// How they differ.
pub(super) fn differences(current: &Tags, wanted: &Tags) -> Vec<Difference> {
    let mut found = difference::of_objects(current, wanted);
    for one in &mut found {
        one.path = format!("tags[{}]", one.path);
    }
    found
}

/// Brings the tags of the resource `arn` from `current` to `wanted`.
pub(super) async fn change(
    engine: &Handle,
    arn: &Value,
    current: &Tags,
    wanted: &Tags,
) -> Result<(), ApiError> {
    let gone: Vec<&String> = current.keys().filter(|key| !wanted.contains_key(*key)).collect();
    if !gone.is_empty() {
        call(engine, "UntagResource", json!({ "resourceArn": arn, "tagKeys": gone })).await?;
    }
    let mut new = wanted.clone();
    new.retain(|key, value| current.get(key) != Some(value));
    if !new.is_empty() {
        let input = json!({ "resourceArn": arn, "tags": list(&new) });
        call(engine, "TagResource", input).await?;
    }
    Ok(())
}
