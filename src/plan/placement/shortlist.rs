//! All boxes that fit, noted once for many tasks.

use super::order::{Kind, Order};
use super::room::Free;
use super::spread::Spread;
use super::strategy::RULES_AT_MOST;
use crate::model::{ContainerInstance, ContainerInstanceId};
use crate::plan::Ids;

#[derive(Debug, Default)]
pub(super) struct Shortlist<'a> {
    boxes: Vec<Listed<'a>>,
}

#[derive(Debug)]
struct Listed<'a> {
    id: &'a ContainerInstanceId,
    free: Free,
    count: u32,
    /// The places of its values among those that are spread over.
    places: [usize; RULES_AT_MOST],
}

impl<'a> Shortlist<'a> {
    pub(super) fn push(
        &mut self,
        spread: &Spread,
        instance: &'a ContainerInstance,
        free: Free,
        count: u32,
    ) {
        let places = spread.values_of(instance);
        self.boxes.push(Listed { id: &instance.id, free, count, places });
    }

    /// The best of them.
    pub(super) fn best(
        &self,
        spread: &Spread,
        order: Order,
        ids: &mut Ids,
    ) -> Option<&'a ContainerInstanceId> {
        let mut best = None;
        let random = order.kind == Kind::Random;
        for listed in &self.boxes {
            let mut ranking = spread.ranking_at(&listed.places, listed.free, listed.count);
            if random && let Some(ranked) = ranking.get_mut(order.place) {
                *ranked = ids.number();
            }
            let better = best.as_ref().is_none_or(|(least, other): &(_, &Listed)| {
                let tie = || order.compare((listed.free, listed.id), (other.free, other.id));
                ranking.cmp(least).then_with(tie).is_lt()
            });
            if better {
                best = Some((ranking, listed));
            }
        }
        best.map(|(_, listed)| listed.id)
    }

    /// One more task went to the box: it has `free` left, or does not fit any more.
    pub(super) fn changed(&mut self, id: &ContainerInstanceId, free: Option<Free>, count: u32) {
        let Some(at) = self.boxes.iter().position(|listed| listed.id == id) else { return };
        match (free, self.boxes.get_mut(at)) {
            (Some(free), Some(listed)) => (listed.free, listed.count) = (free, count),
            _ => drop(self.boxes.swap_remove(at)),
        }
    }
}
