//! The task, service or box that a text means.

use super::Subject;
use crate::model::{Arn, ClusterName, ContainerInstanceId, ServiceKey, ServiceName, TaskId};
use crate::plan::World;

/// The shortest beginning of a task's id that is looked for.
const SHORTEST_PREFIX: usize = 6;

/// Why a text means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is nothing of that name.
    #[error(
        "there is neither a service nor a task {0:?}: `coracle service ls` and `coracle ps --all` list them"
    )]
    Missing(String),
    /// Services of that name are in several clusters.
    #[error("there is a service {name} in the clusters {clusters}: choose one with --cluster")]
    InClusters {
        /// The name.
        name: String,
        /// The clusters.
        clusters: String,
    },
    /// More than one task begins like that.
    #[error("more than one task begins with {0}: give more of the id")]
    Ambiguous(String),
}

/// The subject that `text` means: `SERVICE`, `CLUSTER/SERVICE`, a task's id or its beginning, or an ARN of these; only in
/// `cluster`, if that is given.
///
/// # Errors
/// [`FindError`].
pub fn find(
    world: &World,
    text: &str,
    cluster: Option<&ClusterName>,
) -> Result<Subject, FindError> {
    let missing = || FindError::Missing(text.chars().take(128).collect());
    match Arn::parse(text) {
        Ok(Arn::Task(_, id)) if world.tasks.contains_key(&id) => return Ok(Subject::Task(id)),
        Ok(Arn::ContainerInstance(_, id)) if world.container_instances.contains_key(&id) => {
            return Ok(Subject::Instance(id));
        }
        Ok(Arn::Service(in_cluster, name)) => {
            let name = name.to_string();
            return service(world, &name, in_cluster.as_ref().or(cluster))?.ok_or_else(missing);
        }
        _ => {}
    }
    let found = match text.split_once('/') {
        Some((in_cluster, name)) => {
            let in_cluster = ClusterName::new(in_cluster).map_err(|_| missing())?;
            service(world, name, Some(&in_cluster))?
        }
        None => service(world, text, cluster)?,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    match task(world, text)? {
        Some(found) => Ok(found),
        None => instance(world, text).ok_or_else(missing),
    }
}

fn service(
    world: &World,
    name: &str,
    cluster: Option<&ClusterName>,
) -> Result<Option<Subject>, FindError> {
    let Ok(wanted) = ServiceName::new(name) else { return Ok(None) };
    if let Some(cluster) = cluster {
        let key = ServiceKey { cluster: cluster.clone(), name: wanted };
        return Ok(world.services.contains_key(&key).then_some(Subject::Service(key)));
    }
    let found: Vec<&ServiceKey> = world.services.keys().filter(|key| key.name == wanted).collect();
    let default = |key: &&&ServiceKey| key.cluster == ClusterName::default_cluster();
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(Subject::Service((*only).clone()))),
        several => {
            if let Some(key) = several.iter().find(default) {
                return Ok(Some(Subject::Service((*key).clone())));
            }
            let clusters: Vec<&str> = several.iter().map(|key| key.cluster.as_str()).collect();
            let (name, clusters) = (name.to_owned(), clusters.join(", "));
            Err(FindError::InClusters { name, clusters })
        }
    }
}

fn task(world: &World, text: &str) -> Result<Option<Subject>, FindError> {
    let Ok(first) = TaskId::new(text) else { return Ok(None) };
    if world.tasks.contains_key(&first) {
        return Ok(Some(Subject::Task(first)));
    }
    if text.len() < SHORTEST_PREFIX {
        return Ok(None);
    }
    // Ids that begin with the text follow it in order.
    let mut found =
        world.tasks.range(first..).map(|(id, _)| id).take_while(|id| id.as_str().starts_with(text));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(id), None) => Ok(Some(Subject::Task(id.clone()))),
        (Some(_), Some(_)) => Err(FindError::Ambiguous(text.to_owned())),
    }
}

/// The only box whose id is `text` or begins with it.
fn instance(world: &World, text: &str) -> Option<Subject> {
    let first = ContainerInstanceId::new(text).ok()?;
    if world.container_instances.contains_key(&first) {
        return Some(Subject::Instance(first));
    }
    if text.len() < SHORTEST_PREFIX {
        return None;
    }
    let mut found = world.container_instances.range(first..).map(|(id, _)| id);
    let begins = |id: &ContainerInstanceId| id.as_str().starts_with(text);
    let only = found.next().filter(|id| begins(id))?.clone();
    found.next().is_none_or(|next| !begins(next)).then_some(Subject::Instance(only))
}
