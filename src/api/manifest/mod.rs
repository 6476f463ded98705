//! Declared objects: clusters, task definitions and services in files, and making the world so.
//!
//! ```text
//!  texts ─ read ─► objects ─┬─► fresh      services made anew, where they are not there: what they are to be
//!                           ├─► rehearsal  the whole of it on a copy of the world: differences, or every error
//!                           └─► engine     the same again, for good
//! ```
//!
//! * `read`, `yaml` turn texts into objects; `unknown` finds slips in the names of members.
//! * One file per kind says how an object is compared and carried out, with the operations of the API ([`call`]).
//! * `difference` compares; a [`Step`] tells what one object needed.
//! * `export` writes what is there as the files that would make it; [`directory`] applies the files of a directory at boot.
//!
//! Nothing is remembered of an apply but the tag of the services ([`tags::APPLIED`]): the same files applied again
//! change nothing, and what was changed otherwise is brought back.

mod call;
mod cluster;
mod difference;
mod directory;
mod export;
mod object;
mod prune;
mod read;
mod service;
mod step;
mod tags;
mod task_definition;
mod unknown;
mod yaml;

pub(super) use call::{call, first};
pub use directory::apply_directory;
pub(super) use export::{Format, export};
pub(super) use object::Source;

use crate::engine::Handle;
use crate::model::{ClusterName, ServiceKey, ServiceName};
use crate::plan::World;
use object::{Content, ManifestError, Object};
use read::Declared;
use serde::Serialize;
use service::Declared as DeclaredService;
use std::collections::BTreeSet;
use step::Step;

/// What to make so.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) sources: Vec<Source>,
    /// The cluster of services that name none.
    pub(super) cluster: ClusterName,
    /// How the set of files is called, for the tag of its services.
    pub(super) set: Option<String>,
    /// Delete the services of the set that are not declared.
    pub(super) prune: bool,
    /// Only tell what would be done.
    pub(super) dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    pub(super) steps: Vec<Step>,
    pub(super) warnings: Vec<String>,
}

/// Makes all so, or nothing: the errors are all that were found.
pub(super) async fn apply(engine: &Handle, wish: Wish) -> Result<Done, Vec<ManifestError>> {
    let Declared { objects, warnings, errors } = read::read(&wish.sources, &wish.cluster);
    if !errors.is_empty() {
        return Err(errors);
    }
    if wish.prune && wish.set.is_none() {
        let text = "--prune needs --name, the name under which the services were applied";
        return Err(vec![ManifestError::Failed(text.to_owned())]);
    }
    let set = wish.set.as_deref();
    let fresh = fresh(engine, &objects);
    let mut errors = make(engine, &fresh, &objects, set).await;
    if !errors.is_empty() {
        return Err(errors);
    }
    let stage = engine.rehearsal(|_| {});
    let mut steps = Vec::new();
    for object in &objects {
        match carry_out(&stage, &fresh, object, set).await {
            Ok(step) => steps.push(step),
            Err(error) => errors.push(error),
        }
    }
    if let (true, Some(set)) = (wish.prune, set) {
        match prune::carry_out(&stage, set, &objects).await {
            Ok(pruned) => steps.extend(pruned),
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if wish.dry_run || steps.iter().all(|step| !step.changes()) {
        return Ok(Done { steps, warnings });
    }
    let mut steps = Vec::new();
    for object in &objects {
        steps.push(carry_out(engine, &fresh, object, set).await.map_err(|error| vec![error])?);
    }
    if let (true, Some(set)) = (wish.prune, set) {
        steps.extend(prune::carry_out(engine, set, &objects).await.map_err(|error| vec![error])?);
    }
    Ok(Done { steps, warnings })
}

/// A rehearsal on which the declared services are not there.
fn fresh(engine: &Handle, objects: &[Object]) -> Handle {
    engine.rehearsal(|world| {
        for object in objects {
            if let Content::Service { cluster, name, .. } = &object.content {
                forget(world, cluster, name);
            }
        }
    })
}

/// Takes a service out of the world of a rehearsal.
fn forget(world: &mut World, cluster: &ClusterName, name: &str) {
    if let Ok(name) = ServiceName::new(name) {
        world.services.remove(&ServiceKey { cluster: cluster.clone(), name });
    }
}

/// Makes all of `objects` on `fresh`; the answer is what cannot be made.
async fn make(
    engine: &Handle,
    fresh: &Handle,
    objects: &[Object],
    set: Option<&str>,
) -> Vec<ManifestError> {
    let mut errors = Vec::new();
    // The service of a task definition that was refused would only say so again.
    let mut refused = BTreeSet::new();
    for object in objects {
        let made = match &object.content {
            Content::Cluster { name, members } => {
                cluster::carry_out(fresh, object, name, members).await.map(drop)
            }
            Content::TaskDefinition(read) => {
                let made = task_definition::carry_out(fresh, object, read).await.map(drop);
                if made.is_err() {
                    refused.extend(read.content.family.clone());
                }
                made
            }
            Content::Service { cluster, name, members } => {
                let family = members.get("taskDefinition").and_then(|v| v.as_str());
                if family.is_some_and(|family| refused.contains(family)) {
                    continue;
                }
                let declared = DeclaredService { cluster, name, members, set };
                declared.rehearse(engine, fresh, object).await
            }
        };
        errors.extend(made.err());
    }
    errors
}

/// Makes one object so.
async fn carry_out(
    engine: &Handle,
    fresh: &Handle,
    object: &Object,
    set: Option<&str>,
) -> Result<Step, ManifestError> {
    match &object.content {
        Content::Cluster { name, members } => {
            cluster::carry_out(engine, object, name, members).await
        }
        Content::TaskDefinition(read) => task_definition::carry_out(engine, object, read).await,
        Content::Service { cluster, name, members } => {
            let declared = DeclaredService { cluster, name, members, set };
            declared.carry_out(engine, fresh, object).await
        }
    }
}
