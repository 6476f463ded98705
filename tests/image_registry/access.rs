//! Who may pull, and who gets to see credentials.

use crate::front::{Front, Reply};
use crate::images::push_simple;
use crate::registry::{Registry, basic};
use crate::token;
use coracle::image::{ImageStore, Options};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A store with credentials for one registry.
fn store(state: &Path, registry: &str, user: &str, password: &str) -> ImageStore {
    let config = state.join("config.json");
    let auth = basic(user, password);
    let auth = auth.strip_prefix("Basic ").unwrap();
    std::fs::write(&config, json!({"auths": {registry: {"auth": auth}}}).to_string()).unwrap();
    ImageStore::open(state, Options { docker_configs: vec![config], ..Options::default() }).unwrap()
}

#[tokio::test]
async fn basic_authentication() {
    let Some(registry) = Registry::start_with_user("ada", "s3cret") else { return };
    let (manifest, _) = push_simple(&registry, "private", b"x");
    let name = format!("{}/private", registry.address);
    let state = tempfile::tempdir().unwrap();
    for images in [
        store(state.path(), "other.example", "ada", "s3cret"),
        store(state.path(), &registry.address, "ada", "wrong"),
    ] {
        let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
        assert!(error.starts_with("CannotPullContainerError: pull access denied for "), "{error}");
        assert!(!error.contains("s3cret") && !error.contains("wrong"), "{error}");
    }
    let images = store(state.path(), &registry.address, "ada", "s3cret");
    assert_eq!(images.pull(&name, |_| {}).await.unwrap().as_str(), manifest.to_string());
}

#[tokio::test]
async fn bearer_tokens() {
    let Some((registry, server)) = token::start("ada", "s3cret") else { return };
    let (manifest, _) = push_simple(&registry, "a/private", b"x");
    let name = format!("{}/a/private", registry.address);
    let state = tempfile::tempdir().unwrap();
    let images = store(state.path(), "other.example", "ada", "s3cret");
    let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
    assert!(error.starts_with("CannotPullContainerError: pull access denied for "), "{error}");
    let images = store(state.path(), &registry.address, "ada", "s3cret");
    assert_eq!(images.pull(&name, |_| {}).await.unwrap().as_str(), manifest.to_string());
    // One token served the whole pull.
    assert_eq!(server.asked("/token").len(), 2);
}

#[tokio::test]
async fn an_expired_token_is_renewed_in_the_middle() {
    let Some((registry, server)) = token::start("ada", "s3cret") else { return };
    let (manifest, blob) = push_simple(&registry, "a/private", b"x");
    let realm = format!("http://{}/token", server.address);
    let layer = blob.to_string();
    let front = Front::start("127.0.0.1", &registry.address, move |request, before| {
        if request.path.ends_with(&layer) && before == 0 {
            let field = format!(
                "WWW-Authenticate: Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:a/private:pull\",error=\"invalid_token\"\r\n"
            );
            return Reply::Own("401 Unauthorized", field, b"{}".to_vec());
        }
        Reply::Same
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(state.path(), &front.address, "ada", "s3cret");
    let digest = images.pull(&format!("{}/a/private", front.address), |_| {}).await.unwrap();
    assert_eq!(digest.as_str(), manifest.to_string());
    assert_eq!(server.asked("/token").len(), 2);
}

#[tokio::test]
async fn a_redirect_to_another_host_gets_no_credentials() {
    let Some(registry) = Registry::start_with_user("ada", "s3cret") else { return };
    let (manifest, _) = push_simple(&registry, "private", b"x");
    // What storage behind a registry is: another host, which wants no authentication.
    let open = Registry::start().unwrap();
    push_simple(&open, "private", b"x");
    let behind = Front::start("127.0.0.1", &open.address, |_, _| Reply::Same);
    let target = behind.address.clone();
    let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
        if request.path.contains("/blobs/") && request.header("authorization").is_some() {
            let field = format!("Location: http://{target}{}\r\n", request.path);
            return Reply::Own("307 Temporary Redirect", field, Vec::new());
        }
        Reply::Same
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(state.path(), &front.address, "ada", "s3cret");
    let digest = images.pull(&format!("{}/private", front.address), |_| {}).await.unwrap();
    assert_eq!(digest.as_str(), manifest.to_string());
    assert!(front.asked("/blobs/").iter().any(|request| request.header("authorization").is_some()));
    let redirected = behind.asked("/blobs/");
    assert_eq!(redirected.len(), 2);
    for request in redirected {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

#[tokio::test]
async fn a_chain_of_redirects_loses_the_credentials_where_it_leaves() {
    let Some(registry) = Registry::start_with_user("ada", "s3cret") else { return };
    let (manifest, _) = push_simple(&registry, "private", b"x");
    let open = Registry::start().unwrap();
    push_simple(&open, "private", b"x");
    let behind = Front::start("127.0.0.1", &open.address, |_, _| Reply::Same);
    let target = behind.address.clone();
    let front = Front::start("127.0.0.1", &registry.address, move |request, _| {
        let moved = |location: String| {
            let field = format!("Location: {location}\r\n");
            Reply::Own("307 Temporary Redirect", field, Vec::new())
        };
        match request.path.strip_prefix("/hop") {
            Some(path) => moved(format!("http://{target}{path}")),
            None if request.path.contains("/blobs/")
                && request.header("authorization").is_some() =>
            {
                moved(format!("/hop{}", request.path))
            }
            None => Reply::Same,
        }
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(state.path(), &front.address, "ada", "s3cret");
    let digest = images.pull(&format!("{}/private", front.address), |_| {}).await.unwrap();
    assert_eq!(digest.as_str(), manifest.to_string());
    assert!(front.asked("/hop/").iter().all(|r| r.header("authorization").is_some()));
    assert_eq!(behind.asked("/blobs/").len(), 2);
    assert!(behind.asked("/").iter().all(|r| r.header("authorization").is_none()));
}

#[tokio::test]
async fn a_foreign_token_server_gets_no_credentials() {
    // Another address of the loopback network is another host.
    let thief = Front::start("127.0.0.2", "", |_, _| {
        Reply::Own("401 Unauthorized", String::new(), b"{}".to_vec())
    });
    let realm = format!("http://{}/token", thief.address);
    let front = Front::start("127.0.0.1", "", move |_, _| {
        let field = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"x\"\r\n");
        Reply::Own("401 Unauthorized", field, b"{}".to_vec())
    });
    let state = tempfile::tempdir().unwrap();
    let images = store(state.path(), &front.address, "ada", "s3cret");
    let error = images.pull(&format!("{}/x", front.address), |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("does not belong to the registry's domain"), "{error}");
    let asked = thief.asked("/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn tls_with_a_certificate_authority_of_our_own() {
    let Some(mut plain) = Registry::start() else { return };
    let (manifest, _) = push_simple(&plain, "a", b"x");
    let state = tempfile::tempdir().unwrap();
    let (key, certificate) = (state.path().join("key.pem"), state.path().join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]);
    openssl.args(["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let Ok(made) = openssl.output() else {
        println!("skipped: openssl is not installed");
        return;
    };
    assert!(made.status.success(), "{made:?}");
    let registry = plain.start_with_tls(&certificate, &key).unwrap();
    // Loopback is spoken to without TLS unless a URL says otherwise.
    let name = format!("{}/a", plain.address);
    let url = format!("https://{}", registry.address);
    let options = |authority: Option<PathBuf>| Options {
        mirrors: [(plain.address.clone(), vec![url.clone()])].into(),
        certificate_authorities: authority
            .map(|file| (plain.address.clone(), file))
            .into_iter()
            .collect(),
        ..Options::default()
    };
    let trusting = ImageStore::open(&state.path().join("1"), options(Some(certificate))).unwrap();
    let doubting = ImageStore::open(&state.path().join("2"), options(None)).unwrap();
    plain.stop();
    assert_eq!(trusting.pull(&name, |_| {}).await.unwrap().as_str(), manifest.to_string());
    assert!(doubting.pull(&name, |_| {}).await.is_err());
}
