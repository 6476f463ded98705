//! What one box has, and what is taken of it.

use super::lack::Missing;
use super::needs::{HostPort, Needs};
use crate::model::container_instance::Capacity;
use crate::model::{ContainerInstance, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};

/// A box in numbers: its capacity less what its tasks take. A task takes until it is STOPPED.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Room {
    cpu: u64,
    memory: u64,
    reserved: BTreeSet<HostPort>,
    taken_cpu: u64,
    taken_memory: u64,
    ports: BTreeMap<HostPort, u32>,
    groups: BTreeMap<String, u32>,
    running: u64,
    pending: u64,
}

impl Room {
    /// Of a box with nothing on it.
    pub(crate) fn empty(instance: &ContainerInstance) -> Self {
        let mut room = Self::default();
        room.set_capacity(&instance.capacity);
        room
    }

    /// What is missing for one more task, if anything is.
    pub(crate) fn lacks(&self, needs: &Needs) -> Option<Missing> {
        let port = || needs.ports.iter().copied().find(|port| !self.has_port(*port));
        self.free().lacks(needs).or_else(|| port().map(Missing::Port))
    }

    /// What is free: CPU units and MiB.
    pub(crate) const fn free(&self) -> Free {
        Free {
            memory: self.memory.saturating_sub(self.taken_memory),
            cpu: self.cpu.saturating_sub(self.taken_cpu),
        }
    }

    /// CPU units that tasks take.
    pub(crate) const fn taken_cpu(&self) -> u64 {
        self.taken_cpu
    }

    /// MiB that tasks take.
    pub(crate) const fn taken_memory(&self) -> u64 {
        self.taken_memory
    }

    /// The host ports that tasks have, beside those that are reserved.
    pub(crate) fn ports(&self) -> impl Iterator<Item = HostPort> {
        self.ports.keys().copied()
    }

    /// The groups of the tasks that are to run here.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// How many tasks of `group` are to run here.
    pub(crate) fn count(&self, group: &str) -> u32 {
        self.groups.get(group).copied().unwrap_or(0)
    }

    /// How many tasks are RUNNING here.
    pub(crate) const fn running(&self) -> u64 {
        self.running
    }

    /// How many tasks are on their way to RUNNING here.
    pub(crate) const fn pending(&self) -> u64 {
        self.pending
    }

    /// Whether `port` is free.
    pub(super) fn has_port(&self, port: HostPort) -> bool {
        !self.reserved.contains(&port) && !self.ports.contains_key(&port)
    }

    /// Whether nothing is here.
    pub(super) fn is_empty(&self) -> bool {
        let Self { taken_cpu, taken_memory, ports, groups, running, pending, .. } = self;
        (*taken_cpu, *taken_memory, *running, *pending) == (0, 0, 0, 0)
            && ports.is_empty()
            && groups.is_empty()
    }

    pub(super) fn set_capacity(&mut self, capacity: &Capacity) {
        self.cpu = u64::from(capacity.cpu);
        self.memory = u64::from(capacity.memory);
        let tcp = capacity.reserved_ports.iter().map(|port| (*port, false));
        let udp = capacity.reserved_ports_udp.iter().map(|port| (*port, true));
        self.reserved = tcp.chain(udp).collect();
    }

    /// `times` tasks of these needs come.
    pub(crate) fn take(&mut self, needs: &Needs, times: u32) {
        if times == 0 {
            return;
        }
        self.taken_cpu = self.taken_cpu.saturating_add(needs.cpu.saturating_mul(times.into()));
        self.taken_memory =
            self.taken_memory.saturating_add(needs.memory.saturating_mul(times.into()));
        for port in &needs.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    /// They go; exactly what came.
    pub(super) fn give_back(&mut self, needs: &Needs, times: u32) {
        if times == 0 {
            return;
        }
        self.taken_cpu = self.taken_cpu.saturating_sub(needs.cpu.saturating_mul(times.into()));
        self.taken_memory =
            self.taken_memory.saturating_sub(needs.memory.saturating_mul(times.into()));
        for port in &needs.ports {
            lessen(&mut self.ports, port, 1);
        }
    }

    pub(super) fn join(&mut self, group: &str, times: u32) {
        if times > 0 {
            match self.groups.get_mut(group) {
                Some(count) => *count += times,
                None => drop(self.groups.insert(group.to_owned(), times)),
            }
        }
    }

    pub(super) fn leave(&mut self, group: &str, times: u32) {
        lessen(&mut self.groups, group, times);
    }

    pub(super) const fn tally(&mut self, tally: Tally, more: bool) {
        let count = match tally {
            Tally::Running => &mut self.running,
            Tally::Pending => &mut self.pending,
        };
        *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
    }
}

/// Which count of a box a task is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tally {
    Running,
    Pending,
}

impl Tally {
    pub(super) fn of(status: TaskStatus) -> Option<Self> {
        match status {
            TaskStatus::Running => Some(Self::Running),
            TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => {
                Some(Self::Pending)
            }
            TaskStatus::Deactivating
            | TaskStatus::Stopping
            | TaskStatus::Deprovisioning
            | TaskStatus::Stopped => None,
        }
    }
}

fn lessen<K: Ord + std::borrow::Borrow<Q>, Q: Ord + ?Sized>(
    counts: &mut BTreeMap<K, u32>,
    key: &Q,
    by: u32,
) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(by);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// What is free of a box.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Free {
    /// MiB.
    pub(crate) memory: u64,
    /// CPU units.
    pub(crate) cpu: u64,
}

impl Free {
    /// What is missing for `needs`, ports aside.
    pub(super) const fn lacks(self, needs: &Needs) -> Option<Missing> {
        if needs.cpu > self.cpu {
            return Some(Missing::Cpu { needed: needs.cpu, left: self.cpu });
        }
        if needs.memory > self.memory {
            return Some(Missing::Memory { needed: needs.memory, left: self.memory });
        }
        None
    }
}
