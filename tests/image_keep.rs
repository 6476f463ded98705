//! What stays of the images and what goes: a full disk, a kill in the middle, pulls and collections at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod agent;
mod stocked;

use agent::{Host, kill};
use coracle::image::collect::pins::Patience;
use coracle::image::layout::Layout;
use coracle::image::manifest::{CONFIG_LIMIT, Configuration, Document, MANIFEST_LIMIT, Platform};
use coracle::image::{ImageStore, Options, Sweep, recipe};
use coracle::plan::instance::images::WantedImages;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use stocked::registry::Registry;
use stocked::{
    FOREVER, LAYER, busybox, configured, container, fails, found, images, in_time, push, ran,
    unused,
};

/// Every image of the index has all that it needs: its documents, and each layer as it came or unpacked.
fn assert_whole(state: &Path) -> usize {
    let layout = Layout::open(&state.join("images")).unwrap();
    let entries = layout.entries().unwrap();
    for entry in &entries {
        let bytes = layout.read(&entry.digest, MANIFEST_LIMIT).unwrap();
        let Document::Manifest(manifest) = Document::parse(&bytes).unwrap() else {
            panic!("an index")
        };
        let config = layout.read(&manifest.config.digest, CONFIG_LIMIT).unwrap();
        let config = Configuration::parse(&config, &manifest).unwrap();
        for (layer, chain_id) in manifest.layers.iter().zip(config.chain_ids()) {
            let unpacked = state.join("layers").join(chain_id.hex()).is_dir();
            assert!(
                layout.has(layer) || unpacked,
                "{:?} lacks {}",
                entry.annotations,
                layer.digest
            );
        }
    }
    entries.len()
}

fn sweep(patience: Patience) -> Sweep {
    Sweep { patience, loose_for: Duration::ZERO, though_damaged: false }
}

const CHILD: &str = "CORACLE_TEST_COLLECTS_IN";

/// Not a test of its own: what the next one kills. Loads, unpacks and collects for as long as it lives.
#[test]
fn a_process_that_collects() {
    let Some(state) = std::env::vars_os().find(|(name, _)| name == CHILD) else { return };
    let state = PathBuf::from(state.1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = ImageStore::open(&state, Options::default()).unwrap();
        let wanted = WantedImages::default();
        loop {
            for name in ["one", "two", "three"] {
                let loaded = store.load(&state.join("archives").join(name)).await.unwrap();
                store.unpacked(&loaded[0].1).await.unwrap();
                println!("loaded");
            }
            let round = store.collection().await.unwrap().unwrap();
            println!("begun");
            for image in store.survey(&wanted).unwrap() {
                if image.names.iter().any(|name| name.contains("/two:") || name.contains("/three:"))
                {
                    round.leave(image.names.clone());
                    // What was loaded a moment before the collection began is not held against it.
                    assert!(round.remove(&image.digest, None, Patience::Held).unwrap());
                    println!("unnamed");
                }
            }
            let swept = round.sweep(&wanted, &BTreeSet::new(), sweep(Patience::Held)).unwrap();
            assert!(swept.blobs >= 4 && swept.layers >= 2, "{swept:?}");
            println!("swept");
        }
    });
}

#[test]
fn a_collection_that_is_killed_leaves_the_store_whole() {
    let work = tempfile::tempdir().unwrap();
    let state = work.path().join("state");
    for name in ["one", "two", "three"] {
        let folder = work.path().join(name);
        fs::create_dir(&folder).unwrap();
        let files: Vec<Value> = (0..60)
            .map(|n| {
                fs::write(folder.join(n.to_string()), images::noise(2_000 + n)).unwrap();
                json!({"path": format!("/{name}/{n}"), "source": n.to_string(), "mode": "0644"})
            })
            .collect();
        let text = json!({ "cmd": ["x"], "files": files }).to_string();
        fs::write(folder.join("recipe.json"), text).unwrap();
        recipe::build(&folder, &state.join("archives").join(name)).unwrap();
    }
    // The same kills each time, spread over the steps.
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_process_that_collects", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, &state)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (steps, pause) = (5 + random % 14, Duration::from_micros(random % 5_000));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let steps = usize::try_from(steps).unwrap();
        let words = ["loaded", "begun", "unnamed", "swept"];
        // Kept open: it is to be killed, not to fail at a closed pipe.
        let seen = lines
            .by_ref()
            .map_while(Result::ok)
            .filter(|line| words.iter().any(|word| line.ends_with(word)))
            .take(steps)
            .count();
        assert_eq!(seen, steps, "it ended by itself");
        // Some way into the next step.
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_whole(&state);
        // The next to open it finds what it names, and nothing that is half gone.
        let store = ImageStore::open(&state, Options::default()).unwrap();
        let half = fs::read_dir(state.join("layers")).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with(".old-")
        });
        assert_eq!(half.count(), 0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for image in store.list().unwrap() {
            runtime.block_on(store.unpacked(&image.digest)).unwrap();
        }
    }
    // And what is garbage goes at last.
    let store = ImageStore::open(&state, Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let round = runtime.block_on(store.collection()).unwrap().unwrap();
    for image in store.survey(&WantedImages::default()).unwrap() {
        round.remove(&image.digest, None, Patience::Held).unwrap();
    }
    round.sweep(&WantedImages::default(), &BTreeSet::new(), sweep(Patience::Held)).unwrap();
    drop(round);
    let built_in = store.list().unwrap();
    assert_eq!(built_in.len(), 1, "{built_in:?}");
    assert!(fs::read_dir(state.join("images/blobs/sha256")).unwrap().count() <= 3);
    assert!(fs::read_dir(state.join("layers")).unwrap().count() <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_and_collections_at_once_lose_nothing() {
    let Some(registry) = Registry::start() else { return };
    let shared = images::layer("shared", &images::noise(200_000));
    let mut names = Vec::new();
    for name in ["one", "two"] {
        let own = images::layer(name, &images::noise(50_000));
        let layers = [(LAYER, shared.clone(), shared.clone()), (LAYER, own.clone(), own)];
        images::push(&registry, name, "latest", &Platform::host(), &layers);
        names.push(format!("{}/{name}:latest", registry.address));
    }
    let state = tempfile::tempdir().unwrap();
    let store = ImageStore::open(state.path(), Options::default()).unwrap();
    let wanted = WantedImages::default();
    let mut removed = 0;
    for _ in 0..30 {
        let pulls: Vec<_> = names
            .iter()
            .map(|name| {
                let (store, name) = (store.clone(), name.clone());
                tokio::spawn(async move {
                    let digest = store.pull_as(&name, None, |_| {}).await.unwrap();
                    store.unpacked(&digest).await.map(drop)
                })
            })
            .collect();
        let collects = {
            let (store, wanted) = (store.clone(), wanted.clone());
            tokio::spawn(async move {
                let mut gone = 0;
                for _ in 0..3 {
                    let round = store.collection().await.unwrap().unwrap();
                    for image in store.survey(&wanted).unwrap().iter().filter(|i| !i.built_in) {
                        round.leave(image.names.clone());
                        gone +=
                            u32::from(round.remove(&image.digest, None, Patience::Held).unwrap());
                    }
                    round.sweep(&wanted, &BTreeSet::new(), sweep(Patience::Held)).unwrap();
                }
                gone
            })
        };
        for pull in pulls {
            match pull.await.unwrap() {
                Ok(()) | Err(coracle::image::ImageError::Absent(_)) => {}
                // It was removed between its pull and its use, as was asked for, perhaps just as it was read.
                Err(error) => {
                    assert!(error.to_string().contains("No such file"), "{error}");
                }
            }
        }
        removed += collects.await.unwrap();
        assert_whole(state.path());
    }
    println!("{removed} times an image went");
    assert!(removed > 0, "nothing was ever in each other's way");
    // With patience, what was pulled a moment ago stays.
    let digest = store.pull_as(&names[0], None, |_| {}).await.unwrap();
    let round = store.collection().await.unwrap().unwrap();
    assert!(!round.remove(&digest, None, Patience::Lingering).unwrap());
    drop(round);
    // Another process with the store: nothing is collected.
    let other = ImageStore::open(state.path(), Options::default()).unwrap();
    assert!(store.collection().await.unwrap().is_none());
    drop(other);
    assert!(store.collection().await.unwrap().is_some());
}

/// A small ext4 file system at a path, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(image: &Path, at: &Path, size: u64) -> Option<Self> {
        fs::File::create_new(image).unwrap().set_len(size).unwrap();
        fs::create_dir_all(at).unwrap();
        let commands = [
            Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image).output(),
            Command::new("mount").args(["-o", "loop"]).arg(image).arg(at).output(),
        ];
        for output in commands {
            match output {
                Ok(output) if output.status.success() => {}
                other => {
                    println!("skipped: no file system on a loop device can be made: {other:?}");
                    return None;
                }
            }
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_reserve_that_a_power_cut_left_short_is_made_anew() {
    let state = tempfile::tempdir().unwrap();
    let reserve = state.path().join("images/reserve");
    drop(ImageStore::open(state.path(), Options::default()).unwrap());
    let size = fs::metadata(&reserve).unwrap().len();
    fs::write(&reserve, "short").unwrap();
    drop(ImageStore::open(state.path(), Options::default()).unwrap());
    assert_eq!(fs::metadata(&reserve).unwrap().len(), size);
}

#[test]
fn a_full_disk_costs_only_what_nobody_wants() {
    let Some(registry) = Registry::start() else { return };
    let host = Host::new();
    let image = host.dir.path().join("disk.img");
    let Some(disk) = SmallDisk::mount(&image, &host.state_dir(), 96 << 20) else { return };
    let base = busybox::layer(host.dir.path());
    let [runs, later, good, bad] =
        ["runs", "later", "good", "bad"].map(|name| push(&registry, &base, name, 1000));
    let [old, older] = ["old", "older"].map(|name| push(&registry, &base, name, 12 << 20));
    let new = push(&registry, &base, "new", 16 << 20);
    // Only a pull that finds the disk full collects.
    let text =
        "image_disk_high = \"100%\"\nimage_disk_low = \"60%\"\nimage_cleanup_interval = \"24h\"\n";
    let config = configured(&host, text);
    let agent = host.start_with(&["--config", config.to_str().unwrap()]);

    // All are brought here by tasks.
    for (name, image) in [("later", &later), ("older", &older), ("old", &old)] {
        ran(&agent, name, image);
    }
    let definition = agent.register("runs", container("main", &runs, FOREVER));
    let running = agent.run(&definition);
    agent.wait(&running, "RUNNING");
    // Its second container is wanted, and has not begun.
    let mut first = container("first", &runs, "while [ ! -e /go ]; do sleep 1; done");
    first["essential"] = false.into();
    let mut second = container("second", &later, "exit 7");
    second["dependsOn"] = json!([{"containerName": "first", "condition": "COMPLETE"}]);
    let definition = agent.register_all("waits", json!([first, second]));
    let waiting = agent.run(&definition);
    // A revision that runs well is followed by one that does not.
    let definition = agent.register("svc", container("main", &good, FOREVER));
    agent.ok(
        "CreateService",
        &json!({
            "serviceName": "web", "taskDefinition": definition, "desiredCount": 1,
            "deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100},
        }),
    );
    let service =
        || agent.ok("DescribeServices", &json!({"services": ["web"]}))["services"][0].clone();
    agent::wait_for("the service to be steady", || {
        service()["deployments"][0]["rolloutState"] == "COMPLETED"
    });
    let definition = agent.register("svc", container("main", &bad, "exit 3"));
    agent.ok("UpdateService", &json!({"service": "web", "taskDefinition": definition}));
    let here = |name: &str| found(&host, name).is_some();
    agent::wait_for("the second revision to fall", || {
        service()["deployments"][0]["failedTasks"].as_u64().unwrap_or(0) > 0 && here("/bad:1")
    });
    assert!(here("/old:1") && here("/older:1"));

    // In use is in use.
    let said = fails(&host, &["image", "rm", &runs]);
    assert!(said.contains("is in use by task"), "{said}");

    // Until those of a moment ago are not, which only time can bring about.
    in_time("they are old enough to go", || {
        unused(&host, "/old:1") > 30 && unused(&host, "/older:1") > 30
    });

    // What a new task needs does not fit beside all of it.
    let definition = agent.register("new", container("main", &new, "exit 5"));
    let task = agent.wait(&agent.run(&definition), "STOPPED");
    assert_eq!(task["containers"][0]["exitCode"], 5, "{task}");
    assert!(host.log().contains("image cleanup: "), "{}", host.log());
    assert!(!here("/old:1") || !here("/older:1"), "nothing went: {}", host.log());
    for name in ["/runs:1", "/later:1", "/good:1", "/bad:1", "/new:1"] {
        assert!(here(name), "{name} went: {}", host.log());
    }
    assert_whole(&host.state_dir());

    // Without a registry, everything that is wanted still runs.
    drop(registry);
    assert_eq!(agent.describe(&running)["lastStatus"], "RUNNING");
    let touched = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .arg("exec")
        .arg("--run-dir")
        .arg(host.run_dir())
        .args(["--container", "first", &waiting, "--", "touch", "/go"])
        .status();
    assert!(touched.unwrap().success());
    let task = agent.wait(&waiting, "STOPPED");
    let second = task["containers"].as_array().unwrap().iter().find(|c| c["name"] == "second");
    assert_eq!(second.unwrap()["exitCode"], 7, "{task}");
    let definition = "svc:1";
    agent.ok("UpdateService", &json!({"service": "web", "taskDefinition": definition}));
    agent::wait_for("the service to be back", || service()["runningCount"] == 1);

    // And by hand, all that is left goes but what is wanted.
    let space: Value =
        serde_json::from_str(&host.cli(&["image", "df", "--output", "json"])).unwrap();
    assert!(space["layers"][1].as_u64().unwrap() > 16 << 20, "{space}");
    let inspected: Value = serde_json::from_str(&host.cli(&["image", "inspect", &good])).unwrap();
    assert_eq!(inspected[0]["RepoTags"][0], good, "{inspected}");
    assert!(host.cli(&["image", "history", &good]).contains("LAYER"));
    let removed = host.cli(&["image", "rm", &later]);
    assert!(removed.contains("freed"), "{removed}");
    assert!(!here("/later:1"));
    drop(agent);
    for pid in host.shims().into_iter().chain(host.pids_in_cgroups()) {
        kill(pid, 9);
    }
    assert_whole(&host.state_dir());
    drop(disk);
}
