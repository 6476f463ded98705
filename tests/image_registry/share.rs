//! Pulls that want the same blobs at the same time: one download, and nobody gets what he may not have.

use crate::content::store;
use crate::front::{Front, Reply};
use crate::images::{layer, noise, push};
use crate::registry::Registry;
use coracle::image::digest::Digest;
use coracle::image::manifest::Platform;
use coracle::image::{ImageStore, Login, Options, Progress};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::oneshot;

const KIND: &str = "application/vnd.oci.image.layer.v1.tar";

/// Opens once, for all who wait.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// Hears that a pull has read the manifest: it reports its layers then.
fn begun() -> (impl Fn(Progress) + Send + Sync + 'static, oneshot::Receiver<()>) {
    let (told, hears) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let tell = move |_| {
        if let Some(told) = told.lock().unwrap().take() {
            told.send(()).unwrap();
        }
    };
    (tell, hears)
}

fn layers(contents: &[&[u8]]) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let made = contents.iter().map(|content| layer("content", content));
    made.map(|layer| (KIND, layer.clone(), layer)).collect()
}

fn digests(layers: &[(&str, Vec<u8>, Vec<u8>)]) -> Vec<String> {
    layers.iter().map(|(_, blob, _)| Digest::of(blob).to_string()).collect()
}

#[tokio::test]
async fn images_with_the_same_layers_pulled_at_once() {
    let Some(registry) = Registry::start() else { return };
    let noise = noise(900_000);
    let shared: Vec<&[u8]> = noise.chunks(300_000).collect();
    let mut expected = Vec::new();
    for (repository, own) in [("a", b"own a"), ("b", b"own b")] {
        let mut contents = shared.clone();
        contents.push(own);
        let layers = layers(&contents);
        expected = digests(&layers[..3]);
        push(&registry, repository, "latest", &Platform::host(), &layers);
    }
    // No layer comes before both want it: the configuration is the last that each asks for alone.
    let (both, held) = (Gate::default(), expected.clone());
    let gate = both.clone();
    let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
        if held.iter().any(|blob| request.path.ends_with(blob)) {
            gate.wait();
        }
        Reply::Same
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let pulls = ["a", "b"].map(|repository| {
        let (images, name) = (images.clone(), format!("{}/{repository}", front.address));
        let (begun, hears) = begun();
        let pull = tokio::spawn(async move { images.pull(&name, begun).await.unwrap() });
        (pull, hears)
    });
    let mut digests = Vec::new();
    let mut running = Vec::new();
    for (pull, begun) in pulls {
        begun.await.unwrap();
        running.push(pull);
    }
    both.open();
    for pull in running {
        digests.push(pull.await.unwrap());
    }
    for blob in &expected {
        assert_eq!(front.asked(&format!("/blobs/{blob}")).len(), 1, "{blob}");
    }
    // Three that are shared, one of each, and the lock.
    assert_eq!(std::fs::read_dir(state.path().join("layers")).unwrap().count(), 6);
    for (digest, own) in digests.iter().zip(["own a", "own b"]) {
        let image = images.unpacked(digest).await.unwrap();
        assert_eq!(std::fs::read_to_string(image.layers[0].join("content")).unwrap(), own);
        assert_eq!(std::fs::read(image.layers[3].join("content")).unwrap(), shared[0]);
    }
}

#[tokio::test]
async fn one_who_is_refused_gets_nothing_through_others() {
    let Some(registry) = Registry::start_with_user("ann", "secret") else { return };
    let made = layers(&[&noise(300_000)]);
    let blob = digests(&made).remove(0);
    let (manifest, _) = push(&registry, "a", "latest", &Platform::host(), &made);
    let gate = Gate::default();
    let (held, opens) = (blob.clone(), gate.clone());
    let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
        if request.path.ends_with(&held) {
            opens.wait();
        }
        Reply::Same
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let (by_tag, pinned) =
        (format!("{}/a", front.address), format!("{}/a@{manifest}", front.address));
    let login = |password: &str| Some(Login::new("ann".to_owned(), password.to_owned()));
    let refused = async |when: &str| {
        for name in [&by_tag, &pinned] {
            let error = images.pull_as(name, login("wrong"), |_| {}).await.unwrap_err().to_string();
            assert!(error.contains("pull access denied"), "{when}: {name}: {error}");
        }
    };
    let (begun, hears) = begun();
    let (allowed, name, secret) = (images.clone(), pinned.clone(), login("secret"));
    let pull = tokio::spawn(async move { allowed.pull_as(&name, secret, begun).await.unwrap() });
    hears.await.unwrap();
    refused("while it is downloaded").await;
    gate.open();
    pull.await.unwrap();
    refused("when it is here").await;
    images.pull_as(&by_tag, login("secret"), |_| {}).await.unwrap();
    assert_eq!(front.asked(&blob).len(), 1);
}

#[tokio::test]
async fn who_waited_for_one_that_failed_brings_it() {
    let Some(registry) = Registry::start() else { return };
    let content = noise(300_000);
    let (first, second) = (layers(&[&content, b"never"]), layers(&[&content]));
    let [shared, never] = digests(&first).try_into().unwrap();
    push(&registry, "a", "latest", &Platform::host(), &first);
    push(&registry, "b", "latest", &Platform::host(), &second);
    // The shared layer stops coming to `a`, which then fails for want of the other layer.
    let (fails, never_comes) = (Gate::default(), Gate::default());
    let (gate, stop) = (fails.clone(), never_comes.clone());
    let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
        if request.path.ends_with(&never) {
            gate.wait();
            return Reply::Own("404 Not Found", String::new(), Vec::new());
        }
        if request.path.contains("/a/blobs/") && request.path.ends_with(&shared) {
            stop.wait();
        }
        Reply::Same
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(&state);
    let start = |repository: &str| {
        let (images, name) = (images.clone(), format!("{}/{repository}", front.address));
        let (begun, hears) = begun();
        (tokio::spawn(async move { images.pull(&name, begun).await }), hears)
    };
    let (a, begun) = start("a");
    begun.await.unwrap();
    let (b, begun) = start("b");
    begun.await.unwrap();
    fails.open();
    let error = a.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("does not have blob"), "{error}");
    b.await.unwrap().unwrap();
    never_comes.open();
    assert_eq!(images.list().unwrap().len(), 2);
}

#[tokio::test]
async fn one_layer_at_a_time_if_that_is_set() {
    let Some(registry) = Registry::start() else { return };
    let noise = noise(400_000);
    let made = layers(&noise.chunks(100_000).collect::<Vec<_>>());
    let expected = digests(&made);
    push(&registry, "a", "latest", &Platform::host(), &made);
    let front = Front::start("127.0.0.1", &registry.address, |_, _| Reply::Same);
    let state = tempfile::tempdir().unwrap();
    let options = Options { concurrent_layers: 1.try_into().ok(), ..Options::default() };
    let images = coracle::image::ImageStore::open(state.path(), options).unwrap();
    images.pull(&format!("{}/a", front.address), |_| {}).await.unwrap();
    let asked = front.asked("/blobs/");
    let order: Vec<&str> =
        asked.iter().map(|r| r.path.rsplit('/').next().unwrap()).skip(1).collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_registry_that_is_gone_keeps_no_other_image_from_coming() {
    let Some(registry) = Registry::start() else { return };
    for (repository, content) in [("gone", b"content of gone"), ("there", b"content of here")] {
        push(&registry, repository, "latest", &Platform::host(), &layers(&[content]));
    }
    let blob = digests(&layers(&[b"content of gone"])).remove(0);
    let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
        if request.path.ends_with(&blob) {
            let fields = "Retry-After: 30\r\n".to_owned();
            return Reply::Own("503 Service Unavailable", fields, Vec::new());
        }
        Reply::Same
    });
    let state = tempfile::tempdir().unwrap();
    let options = Options { concurrent_layers: NonZeroUsize::new(1), ..Options::default() };
    let images = ImageStore::open(state.path(), options).unwrap();
    let (begun, hears) = begun();
    let (waiting, name) = (images.clone(), format!("{}/gone", front.address));
    let waits = tokio::spawn(async move { waiting.pull(&name, begun).await });
    hears.await.unwrap();
    images.pull(&format!("{}/there", front.address), |_| {}).await.unwrap();
    assert!(!waits.is_finished(), "it waits for its registry");
    waits.abort();
}
