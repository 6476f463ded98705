//! A rehearsal: commands carried out on a copy of the world, of which nothing is kept and nobody acts on.
//!
//! Whoever has a list of commands to carry out, all or none, tries it here first. Nothing is planned: a rehearsal answers
//! what the commands themselves change.

use super::handle::{Handle, Order, Request, SubmitError};
use crate::plan::index::Index;
use crate::plan::{Agenda, Command, Ids, Observed, Reply, World, command};
use crate::sys;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{mpsc, watch};

impl Handle {
    /// A handle on a copy of the committed world without its tasks, as `prepare` leaves it. It takes every command but
    /// none about tasks, and ends with its last clone.
    #[must_use]
    pub fn rehearsal(&self, prepare: impl FnOnce(&mut World)) -> Self {
        // Tasks are what a world has most of, and nothing here is about them. All members are named, so that whoever
        // adds one says whether commands look at it.
        let mut copy = self.read(|world| World {
            clusters: world.clusters.clone(),
            task_definitions: world.task_definitions.clone(),
            revisions: world.revisions.clone(),
            container_instances: world.container_instances.clone(),
            assignments: BTreeMap::new(),
            tasks: BTreeMap::new(),
            services: world.services.clone(),
            service_revisions: world.service_revisions.clone(),
            service_deployments: world.service_deployments.clone(),
            service_events: BTreeMap::new(),
            devices: world.devices.clone(),
            join_tokens: BTreeMap::new(),
            membership: world.membership.clone(),
            events: 0..0,
            account_settings: world.account_settings.clone(),
            client_tokens: BTreeMap::new(),
            settings: world.settings.clone(),
            observed: Observed::default(),
            index: Index::default(),
            agenda: Agenda::default(),
        });
        prepare(&mut copy);
        copy.index = Index::of(&copy);
        let world = Arc::new(RwLock::new(copy));
        let (requests, taken) = mpsc::channel(16);
        let (commits, watch) = watch::channel(0);
        tokio::spawn(carry_out(taken, Arc::clone(&world), commits));
        self.on(requests, world, watch)
    }
}

async fn carry_out(
    mut requests: mpsc::Receiver<Request>,
    world: Arc<RwLock<World>>,
    commits: watch::Sender<u64>,
) {
    let mut ids = Ids::from_seed(sys::seed());
    while let Some(Request { order, answer }) = requests.recv().await {
        let reply = match order {
            Order::Command(command) => apply(&world, command, &mut ids),
            Order::Ping => Ok(Reply::Done),
            Order::Reset => Err(SubmitError::Unavailable("this is a rehearsal".to_owned())),
        };
        commits.send_modify(|commit| *commit += 1);
        let _ = answer.send(reply);
    }
}

fn apply(world: &RwLock<World>, command: Command, ids: &mut Ids) -> Result<Reply, SubmitError> {
    let mut world = world.write().unwrap_or_else(PoisonError::into_inner);
    let outcome = command::apply(&mut world, command, sys::now(), ids)?;
    outcome.changes.iter().for_each(|change| world.apply(change));
    Ok(outcome.reply)
}
