//! The boxes, with what the ECS API has no members for: connection, documents, events.

use super::query::Query;
use super::{Answer, Api, LocalError, SHORTEST_PREFIX, shorten, whole};
use crate::api::{identifiers, render};
use crate::model::{Arn, ContainerInstance, ContainerInstanceId, Timestamp};
use crate::plan::World;
use hyper::StatusCode;
use serde_json::{Value, json};

/// All boxes, or those of one cluster.
pub(super) fn list(api: &Api, query: &Query) -> Answer {
    query.only(&["cluster"])?;
    let cluster = query
        .get("cluster")
        .map(|text| identifiers::cluster(Some(text)))
        .transpose()
        .map_err(|error| LocalError::bad(error.message))?;
    let nodes: Vec<Value> = api.engine.read(|world| {
        let all = world.container_instances.values();
        let shown = |i: &&ContainerInstance| {
            cluster.as_ref().is_none_or(|cluster| &i.cluster == cluster) && i.is_registered()
        };
        all.filter(shown).map(|instance| node(api, world, instance)).collect()
    });
    let mut answer = json!({ "nodes": nodes });
    if let Some(boxes) = &api.boxes {
        answer["refusedByHub"] = json!(boxes.refused());
    }
    Ok(whole(&answer))
}

/// One box: by its id or the beginning of it; `this` is the box itself.
pub(super) fn show(api: &Api, name: &str) -> Answer {
    api.engine.read(|world| {
        let instance = find(world, name)?;
        let mut node = node(api, world, instance);
        if let Some(boxes) = &api.boxes {
            // Of all boxes: who spoke in their names is what nobody knows.
            node["refusedByHub"] = json!(boxes.refused());
        }
        Ok(whole(&node))
    })
}

fn find<'w>(world: &'w World, name: &str) -> Result<&'w ContainerInstance, LocalError> {
    let missing = || LocalError::missing(format!("there is no node {}", shorten(name)));
    let all = &world.container_instances;
    if name == "this" {
        let this = world.settings.this_instance.as_ref().and_then(|id| all.get(id));
        return this.ok_or_else(|| {
            LocalError::new(StatusCode::NOT_FOUND, "this is a hub: name one of its nodes")
        });
    }
    let id = match Arn::parse(name) {
        Ok(Arn::ContainerInstance(_, id)) => id,
        _ => ContainerInstanceId::new(name).map_err(|_| missing())?,
    };
    if let Some(instance) = all.get(&id) {
        return Ok(instance);
    }
    if name.len() < SHORTEST_PREFIX {
        return Err(missing());
    }
    let begins = |(found, _): &(&ContainerInstanceId, _)| found.as_str().starts_with(id.as_str());
    let mut found = all.range(id.clone()..).take_while(begins);
    match (found.next(), found.next()) {
        (Some((_, instance)), None) => Ok(instance),
        (None, _) => Err(missing()),
        _ => Err(LocalError::bad(format!(
            "more than one node begins with {}: give more of the id",
            shorten(name)
        ))),
    }
}

fn node(api: &Api, world: &World, instance: &ContainerInstance) -> Value {
    let mut node = render::container_instance::instance(world, instance, true, false);
    node["id"] = json!(instance.id);
    node["cluster"] = json!(instance.cluster);
    if let Some(device) = world.devices.get(&instance.id) {
        let reported = &device.reported;
        let next: Option<Timestamp> = world.observed.heard.get(&instance.id).copied();
        node["device"] = json!({
            "connectedChangedAt": device.connected_changed_at,
            "lastHeardAt": next,
            "revokedAt": device.revoked_at,
            "document": device.hash.as_ref().map(|_| device.position.to_string()),
            "seen": reported.hash.as_ref().map(|_| reported.position.to_string()),
            "applied": reported.applied.as_ref().map(|applied| applied.position.to_string()),
            "phase": reported.hash.as_ref().map(|_| reported.phase.as_str()),
            "reason": reported.reason,
            "certificate": device.certificate,
            "hubKey": device.hub_key,
            "eventsMissed": device.events.as_ref().map(|taken| taken.missed),
        });
    }
    let this = world.settings.this_instance.as_ref() == Some(&instance.id);
    if let Some(membership) = world.membership.as_ref().filter(|_| this) {
        let progress = &membership.progress;
        node["membership"] = json!({
            "hub": membership.hub,
            "joinedAt": membership.joined_at,
            "seen": progress.hash.as_ref().map(|_| progress.position.to_string()),
            "applied": progress.applied.as_ref().map(|applied| applied.position.to_string()),
            "phase": progress.hash.as_ref().map(|_| progress.phase.as_str()),
            "reason": progress.reason,
            "eventsKept": world.events.end - world.events.start,
            "eventsDropped": membership.dropped,
            "link": api.link.as_ref().map(|link| link.borrow().clone()),
        });
    }
    node
}
