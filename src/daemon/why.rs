//! Why a task or a service is as it is, without an agent: out of the store that it left.

use super::INSTANCE_ID;
use crate::config::{Config, Overrides};
use crate::model::ClusterName;
use crate::plan::why;
use crate::store::{self, Store};
use crate::sys;
use anyhow::{Context, bail};
use serde_json::Value;

/// What [`why::explain`] finds of what `of` names. Nothing is written but what opening the store needs.
///
/// # Errors
/// When there is no store, an agent holds it, or there is no such task or service.
pub fn why(flags: &Overrides, of: &str, cluster: Option<&str>) -> anyhow::Result<Value> {
    let config = Config::load(flags)?;
    let directory = config.store_dir();
    if !directory.is_dir() {
        bail!("there is no state in {}: name it with --state-dir", config.state_dir.display());
    }
    let cluster = cluster.map(ClusterName::new).transpose()?;
    let store = Store::open(&directory, store::Options::default())?;
    let mut world = store.load()?;
    let id = store.get_meta(INSTANCE_ID)?.map(serde_json::from_value).transpose();
    world.settings = config.settings(id.context("the stored id of this box is not valid")?);
    let subject = why::find(&world, of, cluster.as_ref())?;
    Ok(serde_json::to_value(why::explain(&world, sys::now(), &subject))?)
}
