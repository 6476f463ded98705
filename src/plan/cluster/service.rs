//! One step of one service.

use super::away::{self, Policy};
use super::placing::{Placing, Unplaced};
use super::rollout::{self, Figures};
use super::tally::{Place, Slot, Tally};
use super::{circuit_breaker, deployment, event, retention};
use crate::model::service::{
    RolloutState, SchedulingStrategy, ServiceDeploymentStatus, ServiceStatus,
};
use crate::model::{
    ContainerInstance, ContainerName, Service, ServiceDeployment, ServiceEvent, StopCode, TaskId,
    Timestamp,
};
use crate::plan::instance::consistency;
use crate::plan::placement::{Claims, Lack, closest};
use crate::plan::{Change, Ids, Plan, Reason, Settled, World};
use std::collections::BTreeSet;
use std::time::Duration;

/// The same complaint is not said again before.
const SAID_AGAIN_AFTER: Duration = Duration::from_hours(6);

/// A service on its way through one step.
struct Step<'a> {
    world: &'a World,
    now: Timestamp,
    ids: &'a mut Ids,
    /// What the plan has given away of boxes.
    claims: &'a mut Claims,
    stored: &'a Service,
    /// As it will be.
    service: Service,
    /// The roll-out of its PRIMARY deployment, as it will be.
    record: Option<ServiceDeployment>,
    changes: Vec<Change>,
    said: Vec<String>,
    /// Of a DAEMON service: how many of its boxes are not connected.
    away: u32,
    settled: Settled,
}

/// Brings one service on; what is decided is added to `plan`.
pub(super) fn step(
    world: &World,
    stored: &Service,
    now: Timestamp,
    ids: &mut Ids,
    claims: &mut Claims,
    plan: &mut Plan,
) -> Settled {
    let record = stored
        .primary()
        .and_then(|primary| world.service_deployments.get(&primary.service_deployment))
        .cloned();
    let mut step = Step {
        world,
        now,
        ids,
        claims,
        stored,
        service: stored.clone(),
        record,
        changes: Vec::new(),
        said: Vec::new(),
        away: 0,
        settled: Settled::quiet(stored.key.clone(), now),
    };
    match stored.status {
        ServiceStatus::Active => step.keep(),
        ServiceStatus::Draining => step.drain(),
        ServiceStatus::Inactive => {
            step.settled.wake_at = retention::inactive(world, stored, now, &mut step.changes);
        }
    }
    step.end(plan)
}

impl Step<'_> {
    /// An ACTIVE service: as many tasks as it is to have, of the deployment that it is to be on.
    fn keep(&mut self) {
        if let Some(record) = &mut self.record {
            let said = circuit_breaker::judge(self.world, &mut self.service, record, self.now);
            self.said.extend(said);
        }
        let service = self.service.clone();
        let Some(placing) = Placing::of(self.world, &service) else { return };
        let daemons = (service.scheduling_strategy == SchedulingStrategy::Daemon)
            .then(|| placing.daemons(self.claims));
        let policy = Policy::of(&service);
        let place = |instance: &ContainerInstance| {
            let stays = match &daemons {
                None => placing.stays(instance),
                // They are in the order of their ids.
                Some(boxes) => boxes.binary_search_by(|(b, _)| b.id.cmp(&instance.id)).is_ok(),
            };
            let is_gone = match &daemons {
                None => {
                    away::gone_from(self.world, policy, instance).is_some_and(|at| at <= self.now)
                }
                Some(_) => away::since(self.world, instance).is_some(),
            };
            match (stays, is_gone) {
                (true, true) => Place::Gone,
                (true, false) => Place::Stays,
                (false, _) => Place::Leaves,
            }
        };
        let mut tally = Tally::of(self.world, &service, self.now, place);
        self.settled.wake_at = self.next_to_be_gone(&tally, policy);
        if let Some(boxes) = &daemons {
            self.service.desired_count = u32::try_from(boxes.len()).unwrap_or(u32::MAX);
            let away = boxes.iter().filter(|(b, _)| away::since(self.world, b).is_some()).count();
            self.away = u32::try_from(away).unwrap_or(u32::MAX);
        }
        self.scale_in(&placing, &mut tally);
        self.note_gone(&tally);

        let figures = self.figures(&tally);
        let (placed, unplaced) = match &daemons {
            None => {
                let n = figures.may_start();
                let (now, ids) = (self.now, &mut *self.ids);
                placing.replicas(&mut tally, n, now, ids, self.claims, &mut self.changes)
            }
            Some(boxes) => self.place_daemons(&placing, &mut tally, boxes),
        };
        let mut figures = Figures { current: figures.current + placed, ..figures };
        let leaves_first = |slot: &Slot| {
            let instance = self.world.container_instances.get(slot.instance());
            (instance.is_none_or(|instance| instance.draining), slot.count)
        };
        let stop = figures.to_stop(figures.missing());
        let stopped = tally.cut(false, stop, Slot::unprotected, leaves_first);
        figures.outgoing -= stopped;
        self.let_go(&mut tally, &figures);

        self.complain(&figures, placed + stopped, unplaced.as_ref());
        self.note_progress(&figures, placed);
        self.settle_images(&tally);
        self.changes.extend(tally.changes(&self.service));
        self.note_tasks(tally.running);
        self.settled.wake_at = [self.settled.wake_at, tally.wake_at].into_iter().flatten().min();
    }

    /// When the next box that is away counts as gone.
    fn next_to_be_gone(&self, tally: &Tally, policy: Policy) -> Option<Timestamp> {
        let boxes = tally.slots.iter().filter(|slot| slot.count > 0);
        let boxes = boxes.filter_map(|slot| self.world.container_instances.get(slot.instance()));
        let times = boxes.filter_map(|instance| away::gone_from(self.world, policy, instance));
        times.filter(|at| *at > self.now).min()
    }

    /// Says of which boxes the tasks no longer count, once.
    fn note_gone(&mut self, tally: &Tally) {
        if self.service.scheduling_strategy == SchedulingStrategy::Daemon {
            return;
        }
        let mut gone = BTreeSet::new();
        for slot in tally.gone.iter().filter(|slot| slot.count > 0) {
            let instance = slot.instance();
            let since = self.world.devices.get(instance).map(|device| device.connected_changed_at);
            if let Some(since) = since
                && !self.service.said.gone.contains(instance)
            {
                self.said.push(event::gone(
                    &self.stored.key,
                    instance,
                    self.now.since(since),
                    slot.count,
                ));
            }
            gone.insert(instance.clone());
        }
        self.service.said.gone = gone;
    }

    /// What is on boxes that are gone is wanted no longer: at once if it is of an older deployment, else when as many others
    /// serve. A DAEMON service wants its task there all the same.
    fn let_go(&self, tally: &mut Tally, figures: &Figures) {
        let daemon = self.service.scheduling_strategy == SchedulingStrategy::Daemon;
        let replaced = !daemon && figures.current_healthy >= figures.desired;
        for slot in &mut tally.gone {
            if replaced || !slot.current {
                slot.count = 0;
            }
        }
    }

    /// A roll-out that was stopped stays as it is: each deployment keeps the tasks it has.
    fn is_frozen(&self) -> bool {
        self.service.deployments.len() > 1
            && self
                .record
                .as_ref()
                .is_some_and(|record| record.status == ServiceDeploymentStatus::Stopped)
            && self.service.primary().is_some_and(|p| p.rollout_state == RolloutState::InProgress)
    }

    fn figures(&self, tally: &Tally) -> Figures {
        // What is on boxes that are away is none of a roll-out's business.
        let desired = self.service.desired_count.saturating_sub(self.away);
        let rules = &self.service.deployment_configuration;
        let outgoing = tally.count_of(false);
        let frozen = self.is_frozen();
        Figures {
            desired: if frozen { desired.saturating_sub(outgoing) } else { desired },
            maximum: rollout::maximum(desired, rules.maximum_percent),
            minimum: rollout::minimum(desired, rules.minimum_healthy_percent),
            current: tally.count_of(true),
            current_healthy: tally.healthy_of(true),
            outgoing: if frozen { 0 } else { outgoing },
            outgoing_healthy: if frozen { 0 } else { tally.healthy_of(false) },
        }
    }

    /// Tasks that are too many, and outgoing ones that do not serve, which are no loss.
    fn scale_in(&self, placing: &Placing, tally: &mut Tally) {
        if !self.is_frozen() {
            tally.cut(false, u32::MAX, Slot::idle, Slot::idle);
            // Those that may come to serve are waited for only as long as they may be needed; on a way back never.
            let back = |record: &ServiceDeployment| {
                record.status == ServiceDeploymentStatus::RollbackInProgress
            };
            let enough = tally.healthy_of(true) >= self.service.desired_count;
            if enough || self.record.as_ref().is_some_and(back) {
                tally.cut(false, u32::MAX, Slot::not_serving, Slot::not_serving);
            }
        }
        // A DAEMON service has one task on each box, so none is too many; a roll-out that was stopped changes nothing in that.
        let daemon = self.service.scheduling_strategy == SchedulingStrategy::Daemon;
        let figures = self.figures(tally);
        let surplus = figures.current.saturating_sub(figures.desired);
        if surplus > 0 && !daemon {
            let crowding = placing.crowding(tally);
            tally.cut(true, surplus, Slot::unprotected, |slot| {
                (slot.idle() > 0, crowding.get(slot.instance()).cloned(), slot.count)
            });
        }
    }

    /// One task for each box that has none, once the one that it replaces there was told to stop.
    fn place_daemons(
        &mut self,
        placing: &Placing,
        tally: &mut Tally,
        boxes: &[(&ContainerInstance, Option<Lack>)],
    ) -> (u32, Option<Unplaced>) {
        let (mut placed, mut lacks) = (0, Vec::new());
        let held = tally.by_box();
        for (instance, lack) in boxes {
            let away = away::since(self.world, instance).is_some();
            let here = held.get(&instance.id).copied().unwrap_or_default();
            // On a box that is away the task of an older deployment is replaced without waiting for its end.
            if here.current > 0 || (here.outgoing > 0 && !away) {
                continue;
            }
            if let Some(lack) = lack {
                lacks.push(lack.clone());
                continue;
            }
            if !away {
                placed += 1;
            }
            placing.claim(&instance.id, self.claims);
            if !here.has_current || !tally.add(&instance.id) {
                self.changes.push(placing.assign(&instance.id, 1, self.now));
            }
        }
        (placed, (!lacks.is_empty()).then_some(Unplaced::Lacks(lacks)))
    }

    /// What the images of the PRIMARY deployment mean is what they meant to the first of its tasks that asked.
    fn settle_images(&mut self, tally: &Tally) {
        let world = self.world;
        let Some(primary) = self.service.deployments.first_mut() else { return };
        let revision = world.service_revisions.get(&primary.service_revision);
        let definition = revision.and_then(|r| world.task_definitions.get(&r.task_definition));
        let Some(definition) = definition else { return };
        let kept = definition.containers().iter().filter(|of| consistency::is_kept(of));
        let names = kept.filter_map(|of| ContainerName::new(of.name.clone()?).ok());
        for name in names {
            if primary.images.contains_key(&name) {
                continue;
            }
            let tasks = tally.running.iter().filter_map(|id| world.tasks.get(id)).filter(|task| {
                task.service.as_ref().is_some_and(|service| service.deployment == primary.id)
            });
            if let Some(digest) = consistency::first(tasks, &name) {
                primary.images.insert(name, digest);
            }
        }
    }

    /// Says why nothing moves, once.
    fn complain(&mut self, figures: &Figures, moved: u32, unplaced: Option<&Unplaced>) {
        let key = &self.stored.key;
        let cannot_move = figures.missing() > 0
            && moved == 0
            && figures.outgoing > 0
            && figures.maximum <= figures.desired
            && figures.minimum >= figures.desired;
        let complaint = match unplaced {
            Some(Unplaced::NoInstances) => event::unplaced(key, None),
            Some(Unplaced::Lacks(lacks)) => {
                let nearest = closest(lacks).map(|lack| {
                    let (instance, what) = (&lack.instance, lack.event());
                    format!("The closest matching (container-instance {instance}) {what}.")
                });
                event::unplaced(key, nearest.as_deref())
            }
            None if cannot_move => event::stuck(key),
            None => {
                self.service.said.unplaced = None;
                return;
            }
        };
        self.settled.lacks_room = unplaced.is_some();
        let said_lately = self.service.said.unplaced.as_ref().is_some_and(|(at, said)| {
            let (ago, ahead) = (self.now.since(*at), at.since(self.now));
            said == &complaint && ago < SAID_AGAIN_AFTER && ahead < SAID_AGAIN_AFTER
        });
        if !said_lately {
            self.said.push(complaint.clone());
            self.service.said.unplaced = Some((self.now, complaint));
        }
    }

    /// The state of the roll-out, from what was counted.
    fn note_progress(&mut self, figures: &Figures, placed: u32) {
        if placed > 0
            && let Some(record) = &mut self.record
            && record.status == ServiceDeploymentStatus::Pending
        {
            record.status = ServiceDeploymentStatus::InProgress;
            record.started_at = Some(self.now);
            record.updated_at = self.now;
        }
        if !figures.is_whole() {
            self.service.said.steady = false;
            return;
        }
        let under_way = |service: &Service| {
            service.primary().is_some_and(|p| p.rollout_state != RolloutState::Completed)
        };
        if !self.is_frozen() && (under_way(&self.service) || self.service.deployments.len() > 1) {
            deployment::complete(&mut self.service, self.record.as_mut(), self.now);
            if let Some(primary) = self.service.primary() {
                self.said.push(event::completed(&self.stored.key, &primary.id));
            }
        }
        if !self.service.said.steady {
            self.service.said.steady = true;
            self.said.push(event::steady(&self.stored.key));
        }
    }

    /// Says which tasks came and went since the last look.
    fn note_tasks(&mut self, running: BTreeSet<TaskId>) {
        if let Some(seen) = self.world.agenda.seen(&self.stored.key) {
            let key = &self.stored.key;
            let started: Vec<&TaskId> = running.difference(seen).collect();
            if !started.is_empty() {
                self.said.push(event::started(key, &started));
            }
            let mut stopped = Vec::new();
            for id in seen.difference(&running) {
                let Some(task) = self.world.tasks.get(id) else { continue };
                if task.service.as_ref().is_some_and(|service| service.failed) {
                    self.said.push(event::ended(key, task));
                } else if task.stop_code == Some(StopCode::ServiceSchedulerInitiated) {
                    stopped.push(id);
                }
            }
            if !stopped.is_empty() {
                self.said.push(event::stopped(key, &stopped));
            }
        }
        self.settled.running = running;
    }

    /// A deleted service: all its tasks stop, protected or not, and then it is INACTIVE.
    fn drain(&mut self) {
        let mut tally = Tally::of(self.world, self.stored, self.now, |_| Place::Leaves);
        self.service.desired_count = 0;
        for slot in &mut tally.slots {
            slot.stop_all();
        }
        self.changes.extend(tally.changes(&self.service));
        if tally.is_over() {
            self.service.status = ServiceStatus::Inactive;
            self.service.deleted_at = Some(self.now);
            self.service.deployments.clear();
            if let Some(record) = self.record.as_mut().filter(|record| !record.status.is_over()) {
                record.status = ServiceDeploymentStatus::Stopped;
                record.status_reason = Some("The service was deleted.".to_owned());
                record.stopped_at = Some(self.now);
                record.finished_at = Some(self.now);
                record.updated_at = self.now;
            }
        }
        self.note_tasks(tally.running);
    }

    /// Adds what was decided to the plan.
    fn end(mut self, plan: &mut Plan) -> Settled {
        for message in self.said {
            let number = self.service.next_event;
            self.service.next_event += 1;
            plan.reasons.push(Reason::ServiceEvent { message: message.clone() });
            self.changes.push(Change::PutServiceEvent(ServiceEvent {
                service: self.stored.key.clone(),
                number,
                id: self.ids.uuid(),
                created_at: self.now,
                message,
            }));
        }
        if &self.service != self.stored {
            self.changes.push(Change::PutService(Box::new(self.service)));
        }
        if let Some(record) = self.record
            && self.world.service_deployments.get(&record.id) != Some(&record)
        {
            self.changes.push(Change::PutServiceDeployment(Box::new(record)));
        }
        retention::roll_outs(self.world, self.stored, &mut self.changes);
        plan.changes.append(&mut self.changes);
        self.settled
    }
}
