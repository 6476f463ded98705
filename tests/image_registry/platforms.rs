//! Indexes of many platforms, and what is in registries besides container images.

use crate::front::{Front, Reply};
use crate::images::{OCI_INDEX, OCI_MANIFEST, gzip, layer, push, push_simple};
use crate::registry::{Registry, exchange};
use coracle::image::digest::Digest;
use coracle::image::manifest::Platform;
use coracle::image::{ImageStore, Options};
use serde_json::{Value, json};

async fn pull(name: &str) -> Result<String, String> {
    let state = tempfile::tempdir().unwrap();
    let images = ImageStore::open(state.path(), Options::default()).unwrap();
    let pulled = images.pull(name, |_| {}).await;
    pulled.map(|digest| digest.to_string()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn attestations_and_windows_beside_ours() {
    let Some(registry) = Registry::start() else { return };
    let host = Platform::host();
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let plain = layer("x", b"ours");
    let (ours, size) = push(&registry, "many", "ours", &host, &[(kind, plain.clone(), plain)]);
    let entry = |platform: Value| json!({"mediaType": OCI_MANIFEST, "digest": ours.to_string(), "size": size, "platform": platform});
    let mut own = json!({"os": "linux", "architecture": host.architecture, "os.features": []});
    if let Some(variant) = &host.variant {
        own["variant"] = json!(variant);
    }
    let others = [
        json!({"os": "unknown", "architecture": "unknown"}),
        json!({"os": "windows", "architecture": host.architecture, "os.version": "10.0.20348.1"}),
        json!({"os": "linux", "architecture": "arm", "variant": "v9"}),
        json!({"os": "linux", "architecture": "s390x"}),
    ];
    let index = |entries: Vec<Value>| {
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string()
    };
    let mut entries: Vec<Value> = others.into_iter().map(entry).collect();
    registry.push_manifest("many", "none", OCI_INDEX, index(entries.clone()).as_bytes());
    entries.push(entry(own));
    registry.push_manifest("many", "all", OCI_INDEX, index(entries).as_bytes());
    let name = |tag: &str| format!("{}/many:{tag}", registry.address);
    assert_eq!(pull(&name("all")).await.unwrap(), ours.to_string());
    let error = pull(&name("none")).await.unwrap_err();
    let shown = format!("windows/{}, linux/arm/v9, linux/s390x", host.architecture);
    assert!(error.ends_with(&format!("it has: {shown}")), "{error}");
    assert!(error.contains(&format!("no matching manifest for {host} ")), "{error}");
}

#[tokio::test]
async fn charts_modules_and_encrypted_layers_are_refused_by_name() {
    let image = "application/vnd.oci.image.config.v1+json";
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let document = |config: &str, layer: &str| {
        let blob = |kind: &str| json!({"mediaType": kind, "digest": Digest::of(b"").to_string(), "size": 1});
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blob(config), "layers": [blob(layer)]})
    };
    let cases = [
        ("chart", document("application/vnd.cncf.helm.config.v1+json", tar), "a Helm chart"),
        ("wasm", document("application/vnd.wasm.config.v0+json", tar), "a WebAssembly module"),
        ("sbom", document("application/vnd.oci.empty.v1+json", tar), "not a container image"),
        ("secret", document(image, &format!("{tar}+gzip+encrypted")), "layers are encrypted"),
        ("proof", document(image, "application/vnd.in-toto+json"), "is not supported"),
        (
            "old",
            json!({"schemaVersion": 1, "name": "a", "fsLayers": []}),
            "retired schema version 1",
        ),
        ("odd", json!({"schemaVersion": 2, "mediaType": "text/x"}), "is not a container image"),
    ];
    let served = cases.clone();
    let front = Front::start("127.0.0.1", "", move |request, _| {
        let tag = request.path.rsplit('/').next().unwrap();
        let document = served.iter().find(|(name, ..)| *name == tag).unwrap().1.to_string();
        Reply::Own("200 OK", String::new(), document.into_bytes())
    });
    for (tag, _, expected) in &cases {
        let error = pull(&format!("{}/a:{tag}", front.address)).await.unwrap_err();
        assert!(error.starts_with("CannotPullContainerError: "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    // Nothing but manifests was asked for.
    assert_eq!(front.asked("/blobs/").len(), 0);
}

#[tokio::test]
async fn empty_and_undistributable_layers() {
    let Some(registry) = Registry::start() else { return };
    let empty = vec![0; 1024];
    let plain = layer("x", b"content");
    let (manifest, _) = push(
        &registry,
        "a",
        "latest",
        &Platform::host(),
        &[
            ("application/vnd.oci.image.layer.v1.tar+gzip", gzip(&empty), empty.clone()),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip(&plain), plain),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar", empty.clone(), empty),
        ],
    );
    let state = tempfile::tempdir().unwrap();
    let images = ImageStore::open(state.path(), Options::default()).unwrap();
    let digest = images.pull(&format!("{}/a", registry.address), |_| {}).await.unwrap();
    assert_eq!(digest.as_str(), manifest.to_string());
    assert_eq!(images.unpacked(&digest).await.unwrap().layers.len(), 3);
}

#[tokio::test]
async fn a_manifest_cannot_send_us_elsewhere_for_its_layers() {
    let Some(registry) = Registry::start() else { return };
    let (_, blob) = push_simple(&registry, "a", b"x");
    let thief = Front::start("127.0.0.1", "", |_, _| {
        Reply::Own("200 OK", String::new(), b"anything".to_vec())
    });
    let request = format!(
        "GET /v2/a/manifests/latest HTTP/1.1\r\nHost: x\r\nAccept: {OCI_MANIFEST}\r\nConnection: close\r\n\r\n"
    );
    let (_, _, body) = exchange(&registry.address, request.as_bytes(), &[]).unwrap();
    let mut document: Value = serde_json::from_slice(&body).unwrap();
    document["layers"][0]["urls"] = json!([format!("http://{}/layer", thief.address)]);
    let there = document.to_string().into_bytes();
    let absent = Digest::of(b"not in the registry");
    document["layers"][0]["digest"] = json!(absent.to_string());
    let gone = document.to_string().into_bytes();
    let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
        match request.path.rsplit('/').next() {
            Some("there") => Reply::Own("200 OK", String::new(), there.clone()),
            Some("gone") => Reply::Own("200 OK", String::new(), gone.clone()),
            _ => Reply::Same,
        }
    });
    pull(&format!("{}/a:there", front.address)).await.unwrap();
    assert_eq!(front.asked(&blob.to_string()).len(), 1);
    let error = pull(&format!("{}/a:gone", front.address)).await.unwrap_err();
    assert!(error.contains(&format!("does not have blob {absent}")), "{error}");
    assert_eq!(thief.asked("/").len(), 0);
}
