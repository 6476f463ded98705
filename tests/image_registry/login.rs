//! `coracle login`, and credential helpers.

use crate::agent::Host;
use crate::front::{Front, Reply};
use crate::images::push_simple;
use crate::registry::{Registry, basic};
use crate::token;
use coracle::image::{ImageStore, Login, Options};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn login(user: &str, password: &str) -> Login {
    Login::new(user.to_owned(), password.to_owned())
}

#[tokio::test]
async fn a_login_is_kept_when_the_registry_confirms_it() {
    let Some(registry) = Registry::start_with_user("ada", "s3cret") else { return };
    let (manifest, _) = push_simple(&registry, "private", b"x");
    let name = format!("{}/private", registry.address);
    let state = tempfile::tempdir().unwrap();
    let open = || ImageStore::open(state.path(), Options::default()).unwrap();
    let images = open();
    let error = images.log_in(&registry.address, login("ada", "wrong")).await.unwrap_err();
    assert!(error.to_string().contains("does not accept this user and password"), "{error}");
    assert_eq!(images.logins().await.unwrap(), []);
    let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains(&format!("`coracle login {}`", registry.address)), "{error}");

    let url = format!("http://{}/", registry.address);
    assert_eq!(images.log_in(&url, login("ada", "s3cret")).await.unwrap(), registry.address);
    let file = state.path().join("registries/config.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(images.pull(&name, |_| {}).await.unwrap().as_str(), manifest.to_string());
    drop(images);
    let images = open();
    let kept = images.logins().await.unwrap();
    assert_eq!(
        (kept[0].registry.as_str(), kept[0].user.as_deref()),
        (&*registry.address, Some("ada"))
    );
    assert!(images.log_out(&registry.address).await.unwrap().1);
    assert!(!images.log_out(&registry.address).await.unwrap().1);
    assert!(images.pull(&name, |_| {}).await.is_err());
}

#[tokio::test]
async fn a_login_by_a_token_server() {
    let Some((registry, server)) = token::start("ada", "s3cret") else { return };
    let (manifest, _) = push_simple(&registry, "a/private", b"x");
    let state = tempfile::tempdir().unwrap();
    let images = ImageStore::open(state.path(), Options::default()).unwrap();
    let error = images.log_in(&registry.address, login("ada", "wrong")).await.unwrap_err();
    assert!(error.to_string().contains("does not accept this user and password"), "{error}");
    images.log_in(&registry.address, login("ada", "s3cret")).await.unwrap();
    assert!(server.asked("/token").iter().all(|request| !request.path.contains("scope")));
    let digest = images.pull(&format!("{}/a/private", registry.address), |_| {}).await.unwrap();
    assert_eq!(digest.as_str(), manifest.to_string());
}

#[tokio::test]
async fn what_is_no_registry() {
    let page = Front::start("127.0.0.1", "", |_, _| {
        Reply::Own("404 Not Found", String::new(), b"<html>".to_vec())
    });
    let thief = Front::start("127.0.0.2", "", |_, _| {
        Reply::Own("200 OK", String::new(), br#"{"token": "x"}"#.to_vec())
    });
    let realm = format!("http://{}/token", thief.address);
    let astray = Front::start("127.0.0.1", "", move |_, _| {
        let field = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"x\"\r\n");
        Reply::Own("401 Unauthorized", field, b"{}".to_vec())
    });
    let state = tempfile::tempdir().unwrap();
    let images = ImageStore::open(state.path(), Options::default()).unwrap();
    for (registry, expected) in [
        (page.address.as_str(), "answers 404, which no registry does"),
        ("127.0.0.1:1", "cannot be asked: dial 127.0.0.1:1"),
        ("ghcr.io/team", "is not a registry"),
        (&astray.address, "does not accept"),
    ] {
        let error = images.log_in(registry, login("ada", "s3cret")).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    assert_eq!(images.logins().await.unwrap(), []);
    for request in thief.asked("/") {
        assert_eq!(request.header("authorization"), None);
    }
}

/// A program named `docker-credential-NAME` in `directory`.
fn helper(directory: &Path, name: &str, script: &str) {
    let path = directory.join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn credential_helpers() {
    let Some(registry) = Registry::start_with_user("ada", "s3cret") else { return };
    let (manifest, _) = push_simple(&registry, "private", b"x");
    let name = format!("{}/private", registry.address);
    let programs = tempfile::tempdir().unwrap();
    let good = format!(
        r#"read -r server; [ "$1 $server" = "get {}" ] || exit 9; printf '{{"ServerURL":"x","Username":"ada","Secret":"s3cret"}}'"#,
        registry.address
    );
    helper(programs.path(), "good", &good);
    helper(programs.path(), "none", "echo 'credentials not found in native keychain'; exit 1");
    helper(programs.path(), "broken", "echo 'the vault is sealed' >&2; exit 3");
    helper(programs.path(), "odd", "echo s3cret");
    helper(programs.path(), "endless", "cat /dev/zero");
    let store = |config: Value| {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let options = Options {
            docker_configs: vec![file],
            search_path: std::env::join_paths([
                programs.path(),
                Path::new("/usr/bin"),
                Path::new("/bin"),
            ])
            .unwrap(),
            ..Options::default()
        };
        (ImageStore::open(state.path(), options).unwrap(), state)
    };
    for config in [
        json!({"credHelpers": {&registry.address: "good"}, "credsStore": "broken"}),
        json!({"credHelpers": {&registry.address: "none"}, "credsStore": "good"}),
        json!({"credsStore": "good"}),
    ] {
        let (images, _state) = store(config);
        assert_eq!(images.pull(&name, |_| {}).await.unwrap().as_str(), manifest.to_string());
    }
    for (helper, expected) in [
        ("none", "this box has no login"),
        ("broken", "the vault is sealed"),
        ("odd", "did not print Username and Secret"),
        ("endless", "docker-credential-endless"),
        ("absent", "not in the PATH of the agent"),
        ("../good", "its name is not one of"),
    ] {
        let (images, _state) = store(json!({"credsStore": helper}));
        let error = images.pull(&name, |_| {}).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
    }
    // A registry that asks for nothing needs no helper.
    let open = Registry::start().unwrap();
    push_simple(&open, "public", b"x");
    let (images, _state) = store(json!({"credsStore": "absent"}));
    assert!(images.pull(&format!("{}/public", open.address), |_| {}).await.is_ok());
}

fn coracle(host: &Host, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(arguments)
        .arg("--run-dir")
        .arg(host.run_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no input may end first.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn the_command_line() {
    let Some(registry) = Registry::start_with_user("AWS", "s3cret") else { return };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: an agent needs root");
        return;
    }
    push_simple(&registry, "private", b"x");
    let (address, name) = (registry.address.as_str(), format!("{}/private", registry.address));
    let host = Host::new();
    let agent = host.start();
    let said = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();

    let refused = coracle(&host, &["login", address, "-u", "AWS"], "s3cret\n");
    assert!(
        !refused.status.success() && said(&refused).contains("--password-stdin"),
        "{refused:?}"
    );
    let refused = coracle(&host, &["login", address, "--password-stdin"], "s3cret\n");
    assert!(!refused.status.success(), "{refused:?}");
    let arguments = ["login", "--username", "AWS", "--password-stdin", address];
    let refused = coracle(&host, &arguments, "wr0ng\n");
    assert!(!refused.status.success() && said(&refused).contains("does not accept"), "{refused:?}");
    let pull = coracle(&host, &["image", "pull", &name], "");
    assert!(said(&pull).contains("coracle login"), "{pull:?}");

    // A task fails with the same words, and `why` has them.
    let definition = agent.register("private", json!({"name": "a", "image": name, "memory": 64}));
    let task = agent.run(&definition);
    let stopped = agent.wait(&task, "STOPPED").to_string();
    assert!(stopped.contains("CannotPullContainerError: pull access denied for "), "{stopped}");
    let id = task.rsplit('/').next().unwrap();
    let why = host.cli(&["why", id]);
    assert!(why.contains(&format!("`coracle login {address}`")), "{why}");

    // As `aws ecr get-login-password | coracle login` does it.
    let kept = coracle(&host, &arguments, "s3cret\n");
    assert!(kept.status.success(), "{kept:?}");
    assert!(coracle(&host, &["image", "pull", &name], "").status.success());
    let list = coracle(&host, &["login", "--list", "--output", "json"], "");
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list, json!({"registries": [{"registry": address, "user": "AWS"}]}));
    let table = host.cli(&["login", "--list"]);
    assert!(table.contains(address) && !table.contains("s3cret"), "{table}");
    assert!(host.cli(&["logout", address]).contains("is forgotten"));
    assert!(host.cli(&["logout", address]).contains("there was no login"));
    drop(agent);
    let log = host.log();
    let encoded = basic("AWS", "s3cret");
    assert!(!log.contains("s3cret") && !log.contains("wr0ng") && !log.contains(&encoded[6..]));
}
