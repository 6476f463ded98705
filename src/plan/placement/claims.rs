//! What a plan has given away of boxes before its changes are applied to the world.

use super::needs::{HostPort, Needs};
use super::room::Free;
use crate::model::ContainerInstanceId;
use std::collections::{BTreeMap, BTreeSet};

/// See [`Claims::are_many`].
const CLAIMED_AT_MOST: usize = 64;

/// Room claimed in one plan, over all its searches.
#[derive(Debug, Default, Clone)]
pub(crate) struct Claims {
    boxes: BTreeMap<ContainerInstanceId, Claim>,
}

/// What is claimed of one box.
#[derive(Debug, Default, Clone)]
pub(super) struct Claim {
    cpu: u64,
    memory: u64,
    ports: BTreeSet<HostPort>,
    groups: BTreeMap<String, u32>,
}

impl Claims {
    pub(super) fn get(&self, id: &ContainerInstanceId) -> Option<&Claim> {
        self.boxes.get(id)
    }

    /// With more claimed boxes the index of what is free tells too little to search by it.
    pub(crate) fn are_many(&self) -> bool {
        self.boxes.len() > CLAIMED_AT_MOST
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ContainerInstanceId, &Claim)> {
        self.boxes.iter()
    }

    /// One task of `group` goes there.
    pub(crate) fn take(&mut self, id: &ContainerInstanceId, group: &str, needs: &Needs) {
        let claim = self.boxes.entry(id.clone()).or_default();
        claim.cpu = claim.cpu.saturating_add(needs.cpu);
        claim.memory = claim.memory.saturating_add(needs.memory);
        claim.ports.extend(&needs.ports);
        *claim.groups.entry(group.to_owned()).or_default() += 1;
    }
}

impl Claim {
    /// What is left of `free`.
    pub(super) const fn of(&self, free: Free) -> Free {
        Free {
            memory: free.memory.saturating_sub(self.memory),
            cpu: free.cpu.saturating_sub(self.cpu),
        }
    }

    pub(super) fn has_port(&self, port: HostPort) -> bool {
        !self.ports.contains(&port)
    }

    pub(super) fn count(&self, group: &str) -> u32 {
        self.groups.get(group).copied().unwrap_or(0)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }
}
