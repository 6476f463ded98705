//! The search for the best box: [`Search::next`].
//!
//! Boxes are walked in the order in which the index holds them, which is that of the last thing to decide: from the
//! emptiest, or, for `binpack`, from the fullest that has room. The walk ends at the first box that no later one can be
//! better than: the rules before are at the least value they can have. So one task is placed without a look at the whole
//! fleet. Where that does not end early, or many tasks are placed at once, all boxes that fit are noted once
//! ([`Shortlist`]) and each further task costs one pass over that list.
//!
//! Within one search a box that does not fit never will: room only gets less.

use super::claims::Claims;
use super::constraint::Constraints;
use super::fit::{self, BoxFacts};
use super::lack::{Lack, Missing};
use super::needs::Needs;
use super::room::{Free, Room};
use super::rooms::{ClusterRooms, Fleet, GroupBoxes};
use super::shortlist::Shortlist;
use super::spread::Spread;
use super::strategy::Rank;
use crate::model::{ClusterName, ContainerInstance, ContainerInstanceId, TaskDefinition};
use crate::plan::{Ids, World};
use std::cmp::Reverse;

/// A walk over more boxes than this is not done again: the next task is placed from a shortlist.
const WALKED_AT_MOST: usize = 256;

/// With more claimed boxes than this the index tells too little.
const CLAIMED_AT_MOST: usize = 64;

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
    /// Of the definition and the request together.
    pub(crate) constraints: &'a Constraints,
    /// In order of importance: [`ranks`](super::ranks).
    pub(crate) strategy: &'a [Rank],
    /// Only the boxes of this capacity provider.
    pub(crate) pool: Option<&'a str>,
}

/// Places the tasks of one wish, one by one.
#[derive(Debug)]
pub(crate) struct Search<'a, 'c> {
    world: &'a World,
    wish: Wish<'a>,
    cluster: Option<&'a ClusterRooms>,
    fleet: Option<&'a Fleet>,
    claims: &'c mut Claims,
    /// How the tasks of the group are spread so far.
    spread: Spread<'a>,
    shortlist: Option<Shortlist<'a>>,
    /// The next search is over the shortlist.
    far: bool,
}

/// A box that fits, and what decides whether it is the best.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) id: &'a ContainerInstanceId,
    pub(super) instance: &'a ContainerInstance,
    pub(super) free: Free,
}

/// The values of a box for each rule; less is better.
pub(super) type Ranking = [u64; RULES];
const RULES: usize = 5;

/// What decides between boxes that are equal by all rules; less is better.
pub(super) type Tie<'a> = (u64, u64, Reverse<&'a ContainerInstanceId>);

/// The order that decides last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Emptiest,
    LeastMemory,
    LeastCpu,
    Random,
}

impl Order {
    /// The order for a strategy, and the place of the rule that it is of.
    pub(super) fn of(strategy: &[Rank]) -> (Self, usize) {
        let orders = strategy.iter().map(|rank| match rank {
            Rank::BinpackMemory => Some(Self::LeastMemory),
            Rank::BinpackCpu => Some(Self::LeastCpu),
            Rank::Random => Some(Self::Random),
            Rank::SpreadInstance | Rank::SpreadAttribute(_) => None,
        });
        let first = orders.enumerate().find_map(|(place, order)| Some((order?, place)));
        first.unwrap_or((Self::Emptiest, strategy.len()))
    }
}
