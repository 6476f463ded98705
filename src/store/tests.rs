use super::*;
use crate::model::{Cluster, ClusterName, Timestamp};

fn cluster(name: &str) -> Change {
    Change::PutCluster(Cluster {
        name: ClusterName::new(name).unwrap(),
        active: true,
        created_at: Timestamp(1),
        settings: Vec::new(),
        configuration: None,
        capacity_providers: Vec::new(),
        default_capacity_provider_strategy: Vec::new(),
        service_connect_defaults: None,
        tags: Vec::new(),
    })
}

#[test]
fn what_is_committed_is_loaded_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let changes = [cluster("one"), cluster("two")];
    {
        let store = Store::open(dir.path(), Options::default()).unwrap();
        assert_eq!(store.commit(&changes).unwrap(), 2);
    }
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let mut expected = World::default();
    for change in &changes {
        expected.apply(change);
    }
    assert_eq!(store.load().unwrap(), expected);
}
