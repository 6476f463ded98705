//! The search for the best box: [`Search::next`].
//!
//! Boxes are walked in the order in which the index holds them, which is that of the last thing to decide: from the
//! emptiest, or, for `binpack`, from the fullest that has room. The walk takes the first box that fits and is, by the
//! rules before, the least that any box can be; it passes over those that have more tasks of the group by a bit of each.
//! So one task is placed without a close look at the whole fleet. Where there is no such box, or many tasks are placed
//! at once, all boxes that fit are noted once (the `shortlist`) and each further task costs one pass over that list; a
//! constraint that wants one value of an attribute makes that list short.
//!
//! Within one search a box that does not fit never will: room only gets less.

use super::claims::Claims;
use super::constraint::Constraints;
use super::fit::{self, BoxFacts};
use super::lack::{Lack, Missing};
use super::needs::Needs;
use super::order::{Kind, Order};
use super::room::Free;
use super::rooms::Fleet;
use super::shortlist::Shortlist;
use super::spread::{Ranking, Spread};
use super::strategy::Rank;
use crate::model::{ClusterName, ContainerInstance, ContainerInstanceId, TaskDefinition};
use crate::plan::{Ids, World};

/// After looking closely at more boxes than this the next task is placed from a shortlist.
const LOOKED_AT_MOST: usize = 256;

/// So few boxes are all looked at, without a walk.
const FEW: usize = 256;

/// How often a random box is tried before all are looked at.
const RANDOM_TRIES: usize = 8;

/// What is to be placed: tasks that are all alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Where.
    pub(crate) cluster: &'a ClusterName,
    /// The group of the tasks: what is spread, and distinct.
    pub(crate) group: &'a str,
    /// What they run.
    pub(crate) definition: &'a TaskDefinition,
    /// What each takes: [`Needs::of`].
    pub(crate) needs: &'a Needs,
    /// Of the definition and the request together: [`Constraints::read`].
    pub(crate) constraints: &'a Constraints,
    /// In order of importance: [`ranks`](super::ranks).
    pub(crate) strategy: &'a [Rank],
    /// Only boxes that would run it at once, as far as is known.
    pub(crate) at_once: bool,
    /// Only the boxes of this capacity provider.
    pub(crate) pool: Option<&'a str>,
}

impl Wish<'_> {
    /// Whether the box is of the fleet that is searched.
    pub(super) fn covers(&self, instance: &ContainerInstance) -> bool {
        &instance.cluster == self.cluster
            && !instance.draining
            && self.pool.is_none_or(|pool| instance.capacity_provider() == Some(pool))
    }
}

/// Places the tasks of one wish, one by one.
#[derive(Debug)]
pub(crate) struct Search<'a, 'c> {
    world: &'a World,
    wish: Wish<'a>,
    fleet: Option<&'a Fleet>,
    claims: &'c mut Claims,
    /// How the tasks of the group are spread, those placed by now among them.
    spread: Spread<'a>,
    shortlist: Option<Shortlist<'a>>,
    /// The last walk was long.
    far: bool,
}

/// A box that fits, and how good it is.
struct Best<'a> {
    id: &'a ContainerInstanceId,
    free: Free,
    ranking: Ranking,
}

impl<'a, 'c> Search<'a, 'c> {
    /// What was claimed before in the same plan is in `claims`; what is placed here is added.
    pub(crate) fn new(world: &'a World, claims: &'c mut Claims, wish: Wish<'a>) -> Self {
        let cluster = world.index.rooms.cluster(wish.cluster);
        let fleet = cluster.and_then(|cluster| cluster.fleet(wish.pool));
        let spread = Spread::new(world, &wish, claims);
        Self { world, wish, fleet, claims, spread, shortlist: None, far: false }
    }

    /// Whether there is no box at all that may get tasks: `No Container Instances were found in your cluster.`
    pub(crate) fn is_empty(&self) -> bool {
        self.fleet.is_none_or(|fleet| fleet.len() == 0)
    }

    /// The best box for one more task, which it takes; or what each box lacks.
    pub(crate) fn next(&mut self, ids: &mut Ids) -> Result<ContainerInstanceId, Vec<Lack>> {
        let order = Order::of(self.wish.strategy);
        let by_index = self.shortlist.is_none()
            && !self.far
            && !self.claims.are_many()
            && self.narrowed().is_none();
        let best = match order.kind {
            _ if !by_index => None,
            Kind::Random => self.try_some(order, ids),
            Kind::Emptiest | Kind::LeastMemory | Kind::LeastCpu => self.walk(order),
        };
        let best = best.or_else(|| self.look_up(order, ids));
        let Some(id) = best else { return Err(self.lacks()) };
        self.take(id);
        Ok(id.clone())
    }

    /// Whether one more task can go to this box.
    pub(crate) fn fits(&self, id: &ContainerInstanceId) -> Result<(), Lack> {
        let lack = |missing| Lack { instance: id.clone(), missing };
        let instance = self.world.container_instances.get(id);
        let instance = instance.ok_or_else(|| lack(Missing::Agent))?;
        self.check(instance).map(drop).map_err(lack)
    }

    /// One more task goes to this box.
    pub(crate) fn take(&mut self, id: &ContainerInstanceId) {
        let before = self.count(id);
        self.claims.take(id, self.wish.group, self.wish.needs);
        if let Some(instance) = self.world.container_instances.get(id) {
            self.spread.add(instance, before, self.wish.covers(instance));
            if let Some(mut list) = self.shortlist.take() {
                list.changed(id, self.check(instance).ok(), before + 1);
                self.shortlist = Some(list);
            }
        }
    }

    /// How many tasks of the group are on the box or about to be.
    fn count(&self, id: &ContainerInstanceId) -> u32 {
        self.spread.count(id) + self.claims.get(id).map_or(0, |claim| claim.count(self.wish.group))
    }

    /// What the box has free, when one more task can go there.
    fn check(&self, instance: &ContainerInstance) -> Result<Free, Missing> {
        let Wish { needs, constraints, definition, group, .. } = self.wish;
        fit::suits(self.world, instance, definition, self.wish.at_once)?;
        let room = self.world.index.rooms.get(&instance.id).ok_or(Missing::Agent)?;
        let claim = self.claims.get(&instance.id);
        constraints.hold(&BoxFacts { world: self.world, instance, room: Some(room), claim })?;
        if constraints.distinct && self.count(&instance.id) > 0 {
            return Err(Missing::DistinctInstance(group.to_owned()));
        }
        let free = claim.map_or(room.free(), |claim| claim.of(room.free()));
        if let Some(missing) = free.lacks(needs) {
            return Err(missing);
        }
        let taken = |port| !room.has_port(port) || claim.is_some_and(|c| !c.has_port(port));
        match needs.ports.iter().copied().find(|port| taken(*port)) {
            Some(port) => Err(Missing::Port(port)),
            None => Ok(free),
        }
    }

    /// The first box in order of those that are the least there can be by the rules before; none when there is no such
    /// box, though one that is more may fit.
    fn walk(&mut self, order: Order) -> Option<&'a ContainerInstanceId> {
        let (world, wish) = (self.world, self.wish);
        let least = self.spread.least(order.place);
        let rules = wish.strategy.iter().take(order.place);
        let counts = rules.zip(&least).find(|(rank, _)| **rank == Rank::SpreadInstance);
        let fewest = counts.map(|(_, fewest)| *fewest);
        let mut best: Option<Best<'a>> = None;
        for (id, _) in self.claims.iter() {
            let instance = world.container_instances.get(id);
            if let Some(instance) = instance.filter(|instance| wish.covers(instance)) {
                self.consider(instance, order, &least, &mut best);
            }
        }
        let mut looked = 0;
        for passed in self.fleet?.walk(order.kind, wish.needs) {
            let ended = best.as_ref().is_some_and(|best| {
                let now = (passed.free, passed.id);
                order.is_final((best.free, best.id), now, wish.strategy.len())
            });
            if ended {
                break;
            }
            if fewest.is_some_and(|fewest| !self.spread.may_have_fewest(passed.slot, fewest))
                || self.claims.get(passed.id).is_some()
            {
                continue;
            }
            looked += 1;
            if let Some(instance) = world.container_instances.get(passed.id) {
                self.consider(instance, order, &least, &mut best);
            }
        }
        self.far = looked > LOOKED_AT_MOST;
        best.map(|best| best.id)
    }

    /// Whether the box is the best so far, among those that are the least there can be by the rules before the order.
    fn consider(
        &self,
        instance: &'a ContainerInstance,
        order: Order,
        least: &Ranking,
        best: &mut Option<Best<'a>>,
    ) {
        let Ok(free) = self.check(instance) else { return };
        let ranking = self.spread.ranking(instance, free, self.count(&instance.id));
        if !order.is_least(&ranking, least) {
            return;
        }
        let better = best.as_ref().is_none_or(|best| {
            let tie = || order.compare((free, &instance.id), (best.free, best.id));
            ranking.cmp(&best.ranking).then_with(tie).is_lt()
        });
        if better {
            *best = Some(Best { id: &instance.id, free, ranking });
        }
    }

    /// A few random boxes: one of them may do.
    fn try_some(&self, order: Order, ids: &mut Ids) -> Option<&'a ContainerInstanceId> {
        let fleet = self.fleet?;
        let least = self.spread.least(order.place);
        for _ in 0..RANDOM_TRIES {
            let id = fleet.pick(ids.number())?;
            let Some(instance) = self.world.container_instances.get(id) else { continue };
            let Ok(free) = self.check(instance) else { continue };
            let ranking = self.spread.ranking(instance, free, self.count(id));
            if order.is_least(&ranking, &least) {
                return Some(&instance.id);
            }
        }
        None
    }

    fn look_up(&mut self, order: Order, ids: &mut Ids) -> Option<&'a ContainerInstanceId> {
        let list = self.shortlist.take().unwrap_or_else(|| self.list());
        let best = list.best(&self.spread, order, ids);
        self.shortlist = Some(list);
        best
    }

    /// The boxes that have the value of an attribute that they must have, when those are few.
    fn narrowed(&self) -> Option<impl Iterator<Item = &'a ContainerInstanceId> + use<'a>> {
        let (attribute, value) = self.wish.constraints.narrow()?;
        let rooms = &self.world.index.rooms;
        let (boxes, count) = rooms.with_value(self.wish.cluster, attribute, value);
        (count <= FEW).then_some(boxes)
    }

    /// All boxes that fit.
    fn list(&self) -> Shortlist<'a> {
        let mut list = Shortlist::default();
        let mut add = |id| {
            let instance = self.world.container_instances.get(id);
            let Some(instance) = instance.filter(|i| self.wish.covers(i)) else { return };
            if let Ok(free) = self.check(instance) {
                list.push(&self.spread, instance, free, self.count(id));
            }
        };
        match (self.narrowed(), self.fleet) {
            (Some(boxes), _) => boxes.for_each(add),
            (None, Some(fleet)) => {
                fleet.walk(Kind::Emptiest, self.wish.needs).for_each(|passed| add(passed.id));
            }
            (None, None) => {}
        }
        list
    }

    /// What each box of the fleet lacks, by id.
    fn lacks(&self) -> Vec<Lack> {
        let all = self.fleet.into_iter().flat_map(Fleet::ids);
        let mut lacks: Vec<_> = all.filter_map(|id| self.fits(id).err()).collect();
        lacks.sort_by(|a, b| a.instance.cmp(&b.instance));
        lacks
    }
}

#[cfg(test)]
mod tests;
