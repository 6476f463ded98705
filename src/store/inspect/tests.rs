use super::super::tests::{cluster, large_cluster, store_with};
use super::super::{Options, Store, StoreError};
use super::*;
use proptest::prelude::*;
use std::fs;

/// The bytes of a store with several kinds of pages: branches, leaves, overflow pages, a free list.
fn sound_file() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), &[]);
    for round in 0..6 {
        let changes: Vec<_> =
            (0..60).map(|n| cluster(&format!("cluster-{n}-{}", round % 2))).collect();
        store.commit(&changes).unwrap();
        store.commit(&[large_cluster("large", 20_000 + round * 5000)]).unwrap();
    }
    drop(store);
    let bytes = fs::read(dir.path().join("data.mdb")).unwrap();
    (dir, bytes)
}

fn verdict(dir: &Path, bytes: &[u8]) -> Result<Summary> {
    let path = dir.join("data.mdb");
    fs::write(&path, bytes).unwrap();
    verify(&path)
}

#[test]
fn a_sound_file_is_accepted_and_counted() {
    let (dir, bytes) = sound_file();
    let summary = verdict(dir.path(), &bytes).unwrap();
    assert_eq!(summary.rows["clusters"], 121);
    assert_eq!(summary.rows["meta"], 1);
    assert_eq!(summary.rows["changes"], 6 * 61);
    assert_eq!(summary.bytes, bytes.len() as u64);
}

#[test]
fn every_truncation_that_touches_a_used_page_is_refused() {
    let (dir, bytes) = sound_file();
    let page = 4096;
    for pages in 0..bytes.len() / page {
        for cut in [pages * page, pages * page + 100] {
            match verdict(dir.path(), &bytes[..cut]) {
                Err(StoreError::Corrupt { .. }) => {}
                // The pages that were cut off were free ones: the store must really work without them.
                Ok(_) => {
                    let store = Store::open(dir.path(), Options::default()).unwrap();
                    assert_eq!(store.load().unwrap().clusters.len(), 121, "cut at {cut}");
                    store.commit(&[cluster("after")]).unwrap();
                }
                Err(error) => panic!("cut at {cut}: {error}"),
            }
        }
    }
    assert!(matches!(
        verdict(dir.path(), &bytes[..bytes.len() / 2]),
        Err(StoreError::Corrupt { .. })
    ));
}

#[test]
fn zeroed_meta_pages_and_foreign_files_are_refused() {
    let (dir, bytes) = sound_file();
    for meta in [0, 4096] {
        let mut broken = bytes.clone();
        broken[meta..meta + 4096].fill(0);
        let refused = verdict(dir.path(), &broken).unwrap_err().to_string();
        assert!(refused.contains("meta page"), "{refused}");
    }
    for foreign in [Vec::new(), b"SQLite format 3".to_vec(), vec![0; 100_000], vec![0xFF; 100_000]]
    {
        let refused = verdict(dir.path(), &foreign);
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is overwritten, opening is an error or a store that can be read whole and written: never a signal.
    #[test]
    fn a_file_with_random_damage_is_refused_or_usable(
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..64)), 1..8),
    ) {
        thread_local! {
            static SOUND: (tempfile::TempDir, Vec<u8>) = sound_file();
        }
        SOUND.with(|(dir, bytes)| {
            let mut broken = bytes.clone();
            for (at, patch) in &damage {
                let at = at.index(broken.len() - patch.len());
                broken[at..at + patch.len()].copy_from_slice(patch);
            }
            if verdict(dir.path(), &broken).is_ok()
                && let Ok(store) = Store::open(dir.path(), Options::default())
            {
                let _ = store.load();
                let _ = store.changes_since(0, usize::MAX);
                let _ = store.commit(&[cluster("after"), large_cluster("large", 50_000)]);
                let _ = store.load();
            }
        });
    }

    /// The same with damage where it hurts: in the first bytes of pages, where numbers, kinds and offsets are.
    #[test]
    fn a_file_with_damaged_page_headers_is_refused_or_usable(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..64, any::<u8>()), 1..4),
    ) {
        thread_local! {
            static SOUND: (tempfile::TempDir, Vec<u8>) = sound_file();
        }
        SOUND.with(|(dir, bytes)| {
            let mut broken = bytes.clone();
            for (page, offset, value) in &damage {
                broken[page.index(bytes.len() / 4096) * 4096 + offset] = *value;
            }
            if verdict(dir.path(), &broken).is_ok()
                && let Ok(store) = Store::open(dir.path(), Options::default())
            {
                let _ = store.load();
                let _ = store.changes_since(0, usize::MAX);
                let _ = store.commit(&[cluster("after"), large_cluster("large", 50_000)]);
            }
        });
    }
}
