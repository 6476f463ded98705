//! Saving and loading with a real agent, as people do it.

use super::agent::{Host, wait_for};
use super::{layout, open, save};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Whether an agent can run here; says why not.
pub(super) fn may_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: an agent needs root");
    }
    root
}

fn coracle(host: &Host, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(arguments)
        .arg("--run-dir")
        .arg(host.run_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A client that has its answer reads no further.
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    output
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn archives_go_out_and_in_through_the_socket() {
    if !may_run() {
        return;
    }
    let host = Host::new();
    let work = host.dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let agent = host.start();
    let folder = layout(&work, "one", "content");
    assert_eq!(host.cli(&["image", "load", folder.to_str().unwrap()]), "example.org/one:1\n");

    // To a file, and to a pipe: the same.
    let file = work.join("a.tar");
    host.cli(&[
        "image",
        "save",
        "example.org/one:1",
        "coracle/hello",
        "-o",
        file.to_str().unwrap(),
    ]);
    let archive = fs::read(&file).unwrap();
    let piped = coracle(&host, &["image", "save", "coracle/hello", "example.org/one:1"], b"");
    assert_eq!(piped.stdout, archive);
    let nothing_else = fs::read_dir(&work).unwrap().map(|e| e.unwrap().file_name());
    assert!(nothing_else.into_iter().all(|name| !name.to_string_lossy().starts_with('.')));
    let absent = coracle(&host, &["image", "save", "example.org/no", "-o", "x.tar"], b"");
    assert!(
        !absent.status.success() && said(&absent).contains("example.org/no"),
        "{}",
        said(&absent)
    );
    assert!(!Path::new("x.tar").exists());

    // From the standard input, packed or not; and what is no archive, although much more of it comes.
    for content in [archive.clone(), pack(&archive)] {
        let loaded = coracle(&host, &["image", "load", "-"], &content);
        let expected = "docker.io/coracle/hello:latest\nexample.org/one:1\n";
        assert_eq!(said(&loaded), expected);
    }
    let refused = coracle(&host, &["image", "load"], &vec![b'x'; 64 << 20]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("damaged"), "{}", said(&refused));
    let cut = coracle(&host, &["image", "load"], &archive[..archive.len() / 2]);
    assert_eq!(cut.status.code(), Some(1), "{}", said(&cut));

    // A file that the agent does not see at its path is sent.
    let hidden = Command::new("unshare")
        .args(["-m", "sh", "-ec", "mount -t tmpfs t \"$1\"; cp \"$2\" \"$1/b.tar\"; \"$3\" image load \"$1/b.tar\" --run-dir \"$4\"", "sh"])
        .arg(make(&work.join("hidden")))
        .arg(work.join("a.tar"))
        .arg(env!("CARGO_BIN_EXE_coracle"))
        .arg(host.run_dir())
        .output()
        .unwrap();
    assert!(hidden.status.success(), "{}", said(&hidden));
    assert!(said(&hidden).contains("example.org/one:1"), "{}", said(&hidden));
    assert_eq!(fs::read_dir(host.state_dir().join("images/tmp")).unwrap().count(), 0);
    agent.terminate();
}

fn make(path: &Path) -> &Path {
    fs::create_dir(path).unwrap();
    path
}

fn pack(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_without_a_registry_runs_what_lies_on_it() {
    if !may_run() {
        return;
    }
    let host = Host::new();
    let work = host.dir.path().join("work");
    let directory = work.join("images.d");
    fs::create_dir_all(&directory).unwrap();
    // The built-in image under names of a registry that is not there.
    let store = open(&work.join("store"));
    let hello = save(&store, &["coracle/hello"]).await;
    let renamed = |name: &str| rename(&hello, name);
    fs::write(directory.join("a.tar"), renamed("127.0.0.1:1/boot")).unwrap();
    fs::write(directory.join("bad.tar.gz"), b"\x1f\x8bnonsense").unwrap();
    let config = work.join("agent.toml");
    fs::write(&config, format!("images = {:?}\n", directory.to_str().unwrap())).unwrap();
    let arguments = ["--config", config.to_str().unwrap()];

    let agent = host.start_with(&arguments);
    let run = |agent: &super::agent::Agent<'_>, image: &str| {
        let definition = json!({"family": "f", "networkMode": "none", "containerDefinitions": [
            {"name": "c", "image": image, "memory": 16}]});
        agent.ok("RegisterTaskDefinition", &definition);
        let task = agent.ok("RunTask", &json!({"taskDefinition": "f"}));
        let arn = task["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
        let task = agent.wait(&arn, "STOPPED");
        assert_eq!(task["containers"][0]["exitCode"], 0, "{task:#}");
    };
    run(&agent, "127.0.0.1:1/boot");
    // SIGHUP, and at once a task of what has come.
    fs::write(directory.join("b.tar"), renamed("127.0.0.1:1/late")).unwrap();
    super::agent::kill(agent.pid(), 1);
    wait_for("the new archive to be loaded", || host.log().contains("127.0.0.1:1/late"));
    run(&agent, "127.0.0.1:1/late");
    agent.kill();

    // Reported once, not at every start.
    let reports = |log: &str| log.matches("left out until it changes").count();
    assert_eq!(reports(&host.log()), 1, "{}", host.log());
    let agent = host.start_with(&arguments);
    run(&agent, "127.0.0.1:1/boot");
    assert_eq!(reports(&host.log()), 1, "{}", host.log());
    assert_eq!(host.log().matches("images loaded").count(), 2, "{}", host.log());
    agent.terminate();
}

/// An archive of the built-in image with its image called `name`.
fn rename(archive: &[u8], name: &str) -> Vec<u8> {
    let mut renamed = tar::Builder::new(Vec::new());
    for member in tar::Archive::new(archive).entries().unwrap() {
        let mut member = member.unwrap();
        let mut header = member.header().clone();
        let path = member.path().unwrap().into_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut member, &mut content).unwrap();
        if path.ends_with("index.json") || path.ends_with("manifest.json") {
            let text = String::from_utf8(content).unwrap();
            content =
                text.replace("docker.io/coracle/hello:latest", &format!("{name}:latest")).into();
        }
        header.set_size(content.len() as u64);
        renamed.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    renamed.into_inner().unwrap()
}
