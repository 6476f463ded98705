//! The checks: one file each, and the table of all of them.
//!
//! A check says in `about` what it looks at and in `remedy` what helps in general; `docs/doctor.md` has the same words. What
//! it finds it says of this box.

mod agent;
mod bridge;
mod broker;
mod certificates;
mod cgroups;
mod clock;
mod configuration;
mod disk;
mod file_system;
mod firewall;
mod forwarding;
mod hub_broker;
mod hub_keys;
mod images;
mod ipv6;
mod kernel;
mod leftovers;
mod limits;
mod memory;
mod memory_cgroup;
mod nftables;
mod overlay;
mod ports;
mod power;
mod program;
mod proxies;
mod random;
mod registries;
mod run_dir;
mod service;
mod shims;
mod state_dir;
mod store;
mod swap;
mod sync;

use super::finding::Finding;
use super::subject::{Role, Subject};
use std::time::Duration;

/// For what is only read.
const SHORT: Duration = Duration::from_secs(10);
/// For what is asked of others over a network, and for what is long.
const LONG: Duration = Duration::from_secs(30);

/// Of what a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A box.
    Box,
    /// A hub.
    Hub,
    /// Either.
    Both,
}

impl Of {
    /// Whether this is checked of such a subject.
    #[must_use]
    pub fn includes(self, role: Role) -> bool {
        match self {
            Self::Box => role == Role::Box,
            Self::Hub => role == Role::Hub,
            Self::Both => true,
        }
    }
}

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// What it looks at, and what it means.
    pub about: &'static str,
    /// What helps.
    pub remedy: &'static str,
    /// Of what.
    pub of: Of,
    /// Whether only root can see it.
    pub needs_root: bool,
    /// How long it may take.
    pub patience: Duration,
    /// The check itself.
    pub run: fn(&Subject) -> Finding,
}

impl Check {
    /// A check that anybody can make, of boxes and hubs.
    const fn new(
        name: &'static str,
        about: &'static str,
        remedy: &'static str,
        run: fn(&Subject) -> Finding,
    ) -> Self {
        Self { name, about, remedy, of: Of::Both, needs_root: false, patience: SHORT, run }
    }

    const fn of(self, of: Of) -> Self {
        Self { of, ..self }
    }

    const fn as_root(self) -> Self {
        Self { needs_root: true, ..self }
    }

    const fn at_leisure(self) -> Self {
        Self { patience: LONG, ..self }
    }
}

/// All checks, from the ground up: what an early one finds is often the cause of what a later one does.
pub static ALL: &[&Check] = &[
    &kernel::CHECK,
    &cgroups::CHECK,
    &memory_cgroup::CHECK,
    &swap::CHECK,
    &overlay::CHECK,
    &bridge::CHECK,
    &nftables::CHECK,
    &forwarding::CHECK,
    &firewall::CHECK,
    &ipv6::CHECK,
    &clock::CHECK,
    &random::CHECK,
    &power::CHECK,
    &memory::CHECK,
    &limits::CHECK,
    &file_system::CHECK,
    &disk::CHECK,
    &state_dir::CHECK,
    &run_dir::CHECK,
    &program::CHECK,
    &configuration::CHECK,
    &service::CHECK,
    &store::CHECK,
    &agent::CHECK,
    &shims::CHECK,
    &leftovers::CHECK,
    &ports::CHECK,
    &images::CHECK,
    &proxies::CHECK,
    &registries::CHECK,
    &certificates::CHECK,
    &broker::CHECK,
    &sync::CHECK,
    &hub_broker::CHECK,
    &hub_keys::CHECK,
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The rows of the table in the documentation, without the head.
    fn documented() -> Vec<Vec<String>> {
        let text = include_str!("../../../docs/doctor.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
        let cells = |row: &str| row.split(" | ").map(|cell| cell.replace('`', "")).collect();
        rows.map(cells).collect()
    }

    #[test]
    fn the_documentation_has_the_same_table() {
        let table: Vec<Vec<String>> = ALL
            .iter()
            .map(|check| {
                let of = match check.of {
                    Of::Box => "box",
                    Of::Hub => "hub",
                    Of::Both => "both",
                };
                let cells = [check.name, of, check.about, check.remedy];
                cells.map(|cell| cell.replace('`', "")).to_vec()
            })
            .collect();
        let documented = documented();
        for (row, found) in table.iter().zip(&documented) {
            assert_eq!(row, found);
        }
        assert_eq!(table.len(), documented.len());
    }

    #[test]
    fn names_are_words_and_stand_once() {
        let names: BTreeSet<_> = ALL.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), ALL.len());
        for check in ALL {
            let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            assert!(check.name.bytes().all(word) && check.name.len() <= 14, "{}", check.name);
            assert!(!check.about.is_empty() && !check.remedy.is_empty(), "{}", check.name);
            assert!(!check.about.contains('|') && !check.remedy.contains('|'), "{}", check.name);
        }
    }

    /// Whatever is missing, a check ends with a finding, and one that is bad says what to do.
    #[test]
    fn on_an_empty_box_every_check_ends_with_a_finding() {
        let dir = tempfile::tempdir().unwrap();
        let subject = Subject::at(dir.path());
        for check in ALL.iter().filter(|check| check.of.includes(Role::Box)) {
            let finding = (check.run)(&subject);
            assert!(!finding.found.is_empty(), "{}", check.name);
            let bad = finding.status >= crate::doctor::Status::Warning;
            assert_eq!(finding.remedy.is_some(), bad, "{}: {finding:?}", check.name);
        }
    }
}
