//! The store: whole, of a schema that is known, and nothing in it contradicts itself.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Stored;
use crate::plan::check::check;
use crate::store::{StoreError, schema};

pub(super) const CHECK: Check = Check::new(
    "store",
    "The store is whole, page by page, has a schema that this version knows, and its records do not contradict each other.",
    "Stop the agent and go back to the last good copy, as shown: `cp STATE/store/copies/last-good.mdb STATE/store/data.mdb`.",
    |subject| judge(subject.store(), subject.who()),
)
.as_root()
.at_leisure();

/// Contradictions that are shown.
const SHOWN: usize = 3;

fn judge(stored: &Stored, who: &str) -> Finding {
    match stored {
        Stored::Missing => Finding::ok("there is no store yet; it is made at the first start"),
        Stored::Private => Finding::skipped("the store may not be read by this user"),
        Stored::Broken(error) => broken(error),
        Stored::OtherSchema(found) if *found > schema::CURRENT => Finding::error(
            format!("the store has schema {found}, this version knows up to {}", schema::CURRENT),
            "install the newer version again; the store is left alone meanwhile",
        ),
        Stored::OtherSchema(found) => Finding::ok(format!(
            "the store is whole and has schema {found}; it is brought to {} at the next start",
            schema::CURRENT
        )),
        Stored::Whole(world, summary) => {
            let wrong = check(world);
            if wrong.is_empty() {
                let rows: usize = summary.rows.values().sum();
                return Finding::ok(format!(
                    "{rows} records in {} KiB, all sound",
                    summary.bytes >> 10
                ));
            }
            let more = match wrong.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let shown = wrong.into_iter().take(SHOWN).collect::<Vec<_>>().join("; ");
            Finding::warning(
                format!("records contradict each other: {shown}{more}"),
                format!(
                    "restart the {who}, which mends what it can; then report what stays, with `coracle export`"
                ),
            )
        }
    }
}

fn broken(error: &StoreError) -> Finding {
    match error {
        StoreError::Corrupt { path, damage, remedy } => {
            Finding::error(format!("{} is damaged: {damage}", path.display()), remedy.clone())
        }
        StoreError::Changing(_) => Finding::skipped(error.to_string()),
        StoreError::Record { .. } | StoreError::RecordVersion { .. } => Finding::error(
            error.to_string(),
            "install the version that wrote it; or stop the agent and go back to store/copies/last-good.mdb",
        ),
        _ => Finding::error(
            error.to_string(),
            "see what the disk says: dmesg | tail -n 50; if it fails, replace it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::Subject;
    use crate::store::{Options, Store};
    use std::os::unix::fs::FileExt;

    fn look(subject: &Subject) -> Finding {
        (CHECK.run)(subject)
    }

    #[test]
    fn whole_damaged_and_newer_stores() {
        let dir = tempfile::tempdir().unwrap();
        assert!(look(&Subject::at(dir.path())).found.contains("no store yet"));
        let state = dir.path().join("var/lib/coracle");
        let store = Store::open(&state.join("store"), Options::default()).unwrap();
        let sound = look(&Subject::at(dir.path()));
        assert_eq!(sound.status, Status::Ok, "{sound:?}");
        store.keep_copy().unwrap();
        drop(store);
        let data = state.join("store/data.mdb");
        let file = std::fs::File::options().write(true).open(&data).unwrap();
        file.write_all_at(&[0xff; 64], 4096 * 2 + 8).unwrap();
        file.write_all_at(&[0xff; 64], 4096 * 3 + 8).unwrap();
        file.write_all_at(&[0xff; 64], 4096 * 4 + 8).unwrap();
        let damaged = look(&Subject::at(dir.path()));
        assert_eq!(damaged.status, Status::Error, "{damaged:?}");
        assert!(damaged.remedy.unwrap().contains("last-good.mdb"));
        let newer = judge(&Stored::OtherSchema(99), "agent");
        assert!(newer.status == Status::Error && newer.found.contains("schema 99"));
        assert_eq!(judge(&Stored::OtherSchema(1), "agent").status, Status::Ok);
        assert_eq!(judge(&Stored::Private, "agent").status, Status::Skipped);
    }

    #[test]
    fn records_that_contradict_each_other_are_shown() {
        use crate::plan::{Change, World};
        let mut world = World::default();
        let instance = serde_json::json!({
            "id": "a".repeat(32), "cluster": "gone", "registeredAt": 0, "version": 1, "agentVersion": "1",
            "capacity": { "cpu": 1, "memory": 1, "reservedPorts": [], "reservedPortsUdp": [], "gpus": [] },
            "attributes": [], "status": "ACTIVE", "agentConnected": true, "draining": false,
        });
        match serde_json::from_value(instance) {
            Ok(instance) => world.apply(&Change::PutContainerInstance(Box::new(instance))),
            Err(error) => panic!("{error}"),
        }
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), Options::default()).unwrap());
        let summary = crate::store::inspect::verify(&dir.path().join("data.mdb")).unwrap();
        let found = judge(&Stored::Whole(Box::new(world), summary), "agent");
        assert!(found.status == Status::Warning && found.found.contains("cluster"), "{found:?}");
    }
}
