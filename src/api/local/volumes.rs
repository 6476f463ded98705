//! The volumes that tasks share: listing, making, removing.
//!
//! A volume is in use while a task that is not STOPPED has it in its definition, or its shim has it at hand.

use super::query::Query;
use super::{Answer, Api, LocalError, whole};
use crate::model::task_definition::Volume;
use crate::model::{TaskId, TaskStatus};
use crate::plan::World;
use crate::runtime::{SharedVolume, VolumeError, Volumes};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The volumes, with their sizes when `size=true` asks for them.
pub(super) async fn list(api: &Api, query: &Query) -> Answer {
    query.only(&["size"])?;
    let sized = match query.get("size") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(LocalError::bad("size must be true or false")),
    };
    let used = used(api);
    let shown = blocking(api, move |volumes| {
        let all = volumes.list()?;
        all.iter().map(|volume| show(&volumes, volume, &used, sized)).collect::<Result<Vec<_>, _>>()
    });
    Ok(whole(&json!({ "volumes": shown.await? })))
}

/// One volume.
pub(super) async fn inspect(api: &Api, name: String) -> Answer {
    let used = used(api);
    let shown = blocking(api, move |volumes| {
        let volume = volumes.find(&name)?.ok_or(VolumeError::Unknown(name))?;
        show(&volumes, &volume, &used, true)
    });
    Ok(whole(&shown.await?))
}

/// What a volume is made from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    name: String,
    #[serde(default)]
    driver_opts: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Makes a volume; one that is there already, just so, is fine.
pub(super) async fn create(api: &Api, content: Value) -> Answer {
    let wanted: Wanted = serde_json::from_value(content)
        .map_err(|e| LocalError::bad(format!("this is no volume: {e}")))?;
    let used = used(api);
    let shown = blocking(api, move |volumes| {
        let volume = volumes.create(&wanted.name, &wanted.driver_opts, &wanted.labels)?;
        show(&volumes, &volume, &used, false)
    });
    Ok(whole(&shown.await?))
}

/// Removes a volume that nobody uses.
pub(super) async fn remove(api: &Api, name: String) -> Answer {
    if let Some(task) = used(api).get(&name).and_then(|tasks| tasks.first().cloned()) {
        let error = VolumeError::InUse { volume: name, task };
        return Err(refused(&error));
    }
    let removed = name.clone();
    blocking(api, move |volumes| volumes.remove(&name)).await?;
    Ok(whole(&json!({ "removed": [removed] })))
}

/// Removes all volumes that nobody uses.
pub(super) async fn prune(api: &Api) -> Answer {
    let used = used(api);
    let removed = blocking(api, move |volumes| {
        let mut removed = Vec::new();
        for volume in volumes.list()?.into_iter().filter(|v| !used.contains_key(&v.name)) {
            match volumes.remove(&volume.name) {
                Ok(()) => removed.push(volume.name),
                // Somebody has come to use it, or has removed it.
                Err(VolumeError::InUse { .. } | VolumeError::Busy(_) | VolumeError::Unknown(_)) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    });
    Ok(whole(&json!({ "removed": removed.await? })))
}

/// The tasks that have each shared volume in their definition.
fn used(api: &Api) -> BTreeMap<String, BTreeSet<TaskId>> {
    api.engine.read(used_in)
}

fn used_in(world: &World) -> BTreeMap<String, BTreeSet<TaskId>> {
    let mut used: BTreeMap<String, BTreeSet<TaskId>> = BTreeMap::new();
    for task in world.tasks.values().filter(|t| t.last_status != TaskStatus::Stopped) {
        let definition = world.task_definitions.get(&task.task_definition);
        for volume in definition.iter().flat_map(|d| d.content.volumes.iter().flatten()) {
            if let Some(name) = shared_name(volume) {
                used.entry(name.to_owned()).or_default().insert(task.id.clone());
            }
        }
    }
    used
}

fn shared_name(volume: &Volume) -> Option<&str> {
    let docker = volume.docker_volume_configuration.as_ref()?;
    volume.name.as_deref().filter(|_| docker.scope.as_deref() == Some("shared"))
}

fn show(
    volumes: &Volumes,
    volume: &SharedVolume,
    used: &BTreeMap<String, BTreeSet<TaskId>>,
    sized: bool,
) -> Result<Value, VolumeError> {
    let mut tasks = used.get(&volume.name).cloned().unwrap_or_default();
    tasks.extend(volumes.users(&volume.name)?);
    let options: BTreeMap<&str, String> =
        volume.driver_opts.iter().map(|(k, v)| (k.as_str(), without_secrets(v))).collect();
    let mut shown = json!({
        "name": volume.name, "driver": "local", "scope": "shared", "driverOpts": options,
        "labels": volume.labels, "createdAt": volume.created_at, "tasks": tasks,
        "mountpoint": volumes.data(&volume.name),
    });
    // What is mounted by those who use it is not seen from here.
    if sized && volume.driver_opts.is_empty() {
        shown["size"] = volumes.size(&volume.name)?.into();
    }
    Ok(shown)
}

/// A share's password is nobody's business.
fn without_secrets(options: &str) -> String {
    let shown = options.split(',').map(|option| match option.trim().split_once('=') {
        Some((key @ ("password" | "pass"), _)) => format!("{key}=***"),
        _ => option.to_owned(),
    });
    shown.collect::<Vec<_>>().join(",")
}

async fn blocking<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(Volumes) -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, LocalError> {
    let volumes = api.engine.volumes()?;
    tokio::task::spawn_blocking(move || work(volumes))
        .await
        .map_err(|e| LocalError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?
        .map_err(|error| refused(&error))
}

fn refused(error: &VolumeError) -> LocalError {
    let status = match error {
        VolumeError::Unknown(_) => StatusCode::NOT_FOUND,
        VolumeError::InUse { .. } | VolumeError::Busy(_) | VolumeError::Differs { .. } => {
            StatusCode::CONFLICT
        }
        VolumeError::Name(_) | VolumeError::Unsupported { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    LocalError::new(status, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn passwords_are_not_shown() {
        let options = "username=u,password=p=q, pass=x,vers=3.0";
        assert_eq!(without_secrets(options), "username=u,password=***,pass=***,vers=3.0");
    }
}
