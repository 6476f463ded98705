use super::*;
use crate::engine::connections::Connections;
use crate::engine::gateway::Gateways;
use crate::image::ImageStore;
use crate::model::ClusterName;
use crate::net::{Network, NetworkConfig};
use crate::plan::command::CreateCluster;
use crate::runtime::{LogDefaults, Runtime, RuntimeConfig};
use crate::store::Options;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::path::{Path, PathBuf};

/// A small file system of its own for the store, beside the other directories.
struct Disk(tempfile::TempDir);

impl Disk {
    /// None without root, who alone may mount and run containers.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: must run as root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let disk = Self(dir);
        std::fs::create_dir(disk.store()).unwrap();
        mount("tmpfs", disk.store(), "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        Some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    fn fill(&self) {
        assert!(std::fs::write(self.store().join("filler"), vec![0; 2 << 20]).is_err());
    }

    fn make_room(&self) {
        std::fs::remove_file(self.store().join("filler")).unwrap();
    }

    /// A writer with everything real, whose rounds the test makes itself.
    /// It runs as long as the sender is there.
    fn writer(&self) -> (Writer, mpsc::Sender<Request>) {
        let (events, _) = mpsc::unbounded_channel();
        let config = RuntimeConfig {
            state_dir: self.path().join("state"),
            volumes_dir: self.path().join("state/volumes"),
            run_dir: self.path().join("run"),
            cgroup_parent: format!("coracle-writer-{}", std::process::id()),
            log: LogDefaults { max_size: 0, max_file: 1, max_age: 0, max_total: 0 },
            allow_privileged: false,
        };
        let program = std::env::current_exe().unwrap();
        let runtime = Runtime::open_with_program(config, events, &program).unwrap();
        let images =
            ImageStore::open(&self.path().join("state"), crate::image::Options::default()).unwrap();
        let store = Store::open(&self.store(), Options::default()).unwrap();
        let world = store.load().unwrap();
        let (facts_in, facts) = mpsc::unbounded_channel();
        let endpoints = crate::engine::Endpoints {
            ids: crate::auth::EndpointIds::new(&crate::auth::Keys::with_root(
                crate::auth::AccessKey::generate(),
            )),
            listen: None,
            roles: crate::engine::Roles::default(),
            region: String::new(),
        };
        let sources = crate::engine::Sources {
            secrets: crate::auth::Secrets::new(self.path(), store.clone()),
            environment_files: None,
        };
        let network =
            NetworkConfig { state_dir: self.path().join("state"), ..NetworkConfig::default() };
        let network = Network::open(network).unwrap();
        let gateways = Gateways::new(mpsc::channel(1).0, None);
        let connections = Connections::new(network, runtime.clone(), gateways);
        let published = Arc::new(RwLock::new(world.clone()));
        let shown = published.clone();
        let hands = Hands::new(runtime, images, endpoints, sources, connections, facts_in, shown);
        let under = Under::ThisBox(Arc::new(hands));
        let (requests_in, requests) = mpsc::channel(1);
        let (commits, _) = watch::channel(0);
        let writer = Writer::new(world, published, store, under, requests, facts, commits);
        (writer, requests_in)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.store(), UnmountFlags::DETACH).unwrap();
    }
}

fn create(name: &str) -> (Request, oneshot::Receiver<Result<Reply, SubmitError>>) {
    let (answer, answered) = oneshot::channel();
    let command = Command::CreateCluster(Box::new(CreateCluster {
        name: ClusterName::new(name).unwrap(),
        tags: Vec::new(),
        settings: Vec::new(),
        // Larger than the page or two that a full disk may still have in the file.
        configuration: Some(serde_json::json!("x".repeat(100_000))),
        capacity_providers: Vec::new(),
        default_capacity_provider_strategy: Vec::new(),
        service_connect_defaults: None,
    }));
    (Request { order: Order::Command(command), answer }, answered)
}

#[tokio::test]
async fn a_commit_that_fails_answers_commands_and_keeps_facts() {
    let Some(disk) = Disk::new() else { return };
    let (mut writer, _requests) = disk.writer();
    let run = disk.path().join("run");
    let mark = BootMark::read(&run).unwrap();
    let fact = Fact {
        observation: Observation::Scanned { rebooted: mark.rebooted() },
        once_committed: Some(mark),
    };

    disk.fill();
    let (request, answered) = create("refused");
    let before = sys::now();
    let again = writer.round(Round { facts: vec![fact], requests: vec![request] }).await;
    let refused = answered.await.unwrap().unwrap_err();
    assert!(
        matches!(&refused, SubmitError::Unavailable(why) if why.contains("no space is left")),
        "{refused}"
    );
    assert!(again.is_some_and(|at| at.since(before) <= RETRY * 2), "it is not tried again");
    assert_eq!(writer.kept.len(), 1, "the fact is forgotten");
    assert!(writer.world.clusters.is_empty());
    assert!(super::super::read_lock(&writer.published).clusters.is_empty());
    assert!(!run.join("boot").exists(), "marked before it was committed");

    // What was kept comes first in the next round, with no new event.
    let round = writer.gather(again).await.unwrap();
    assert_eq!(round.facts.len(), 1);
    disk.make_room();
    let (request, answered) = create("accepted");
    writer.round(Round { requests: vec![request], ..round }).await;
    answered.await.unwrap().unwrap();
    assert!(run.join("boot").exists());
    assert!(writer.kept.is_empty());
    let stored: Vec<_> = writer.store.load().unwrap().clusters.into_keys().collect();
    assert_eq!(stored, [ClusterName::new("accepted").unwrap()]);
    assert_eq!(super::super::read_lock(&writer.published).clusters.len(), 1);
}

#[tokio::test]
async fn a_step_of_the_clock_outlives_a_failed_commit() {
    let Some(disk) = Disk::new() else { return };
    let (mut writer, _requests) = disk.writer();
    disk.fill();
    writer.clock.wall = Timestamp(0);
    let (request, answered) = create("refused");
    writer.round(Round { facts: Vec::new(), requests: vec![request] }).await;
    answered.await.unwrap().unwrap_err();
    let kept: Vec<_> = writer.kept.iter().map(|fact| &fact.observation).collect();
    assert!(matches!(kept[..], [Observation::ClockStepped { .. }]), "{kept:?}");
}

#[tokio::test]
async fn readers_do_not_wait_for_the_disk() {
    let Some(disk) = Disk::new() else { return };
    let (mut writer, _requests) = disk.writer();
    let published = Arc::clone(&writer.published);
    let (request, answered) = create("slow");
    let round = writer.round(Round { facts: Vec::new(), requests: vec![request] });
    tokio::pin!(round);
    // One poll brings the round to its commit, which goes on in another thread.
    assert!(poll_once(round.as_mut()).await.is_none(), "the commit did not leave the thread");
    assert!(published.try_read().is_ok(), "readers wait for the commit");
    assert!(published.try_read().unwrap().clusters.is_empty(), "shown before it is durable");
    round.await;
    answered.await.unwrap().unwrap();
    assert_eq!(published.try_read().unwrap().clusters.len(), 1);
}

/// Polls `work` once.
async fn poll_once<F: Future + Unpin>(mut work: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut work).poll(context) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn only_a_step_of_the_wall_clock_counts_as_one() {
    let at = |wall, uptime| Clock { wall: Timestamp(wall), uptime: Duration::from_millis(uptime) };
    let mut clock = at(1_000_000, 5_000);
    assert_eq!(clock.stepped(at(1_060_000, 65_000)), None, "time passed");
    assert_eq!(clock.stepped(at(1_062_000, 66_000)), None, "a slew is not a step");
    assert_eq!(clock.stepped(at(4_663_000, 67_000)), Some(3_600_000), "set forward");
    assert_eq!(clock.stepped(at(1_000, 68_000)), Some(-4_663_000), "set back");
    // The box slept for an hour: both clocks count it.
    assert_eq!(clock.stepped(at(3_601_000, 3_668_000)), None);
}
