//! The recipes of `images/`, run by a real agent.

use super::agent::{Agent, Host, wait_for};
use super::box_with_agent::may_run;
use super::netbox::on_a_box;
use coracle::image::manifest::Platform;
use coracle::image::recipe::{self, Build, RecipeError};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

fn cache() -> PathBuf {
    std::env::var_os("CORACLE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/coracle"),
        PathBuf::from,
    )
}

fn recipe_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(name)
}

/// Builds a recipe; false, with the reason printed, when packages cannot be had here.
fn built(name: &str, out: &Path, platform: Option<&str>) -> bool {
    let wanted = Build { platform: platform.map(str::to_owned), name: None, cache: Some(cache()) };
    match recipe::build_with(&recipe_of(name), out, &wanted) {
        Ok(_) => true,
        Err(RecipeError::Command { command, reason }) => {
            println!("skipped: {command} cannot fetch Debian packages here: {reason}");
            false
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

fn run(agent: &Agent<'_>, definition: &Value) -> String {
    agent.ok("RegisterTaskDefinition", definition);
    let task = agent.ok("RunTask", &json!({"taskDefinition": definition["family"]}));
    task["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

#[test]
fn nginx_redis_and_python_run() {
    if !may_run() {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let layouts: Vec<PathBuf> =
        ["python", "redis", "nginx"].iter().map(|name| work.path().join(name)).collect();
    let all_built =
        layouts.iter().all(|out| built(&out.file_name().unwrap().to_string_lossy(), out, None));
    if !all_built {
        return;
    }
    // On a box of its own: an agent with a bridge changes the network.
    on_a_box(async move |ground| {
        let host = Host::new();
        let agent = host.start();
        for layout in &layouts {
            host.cli(&["image", "load", layout.to_str().unwrap()]);
        }
        python(&agent);
        redis(&host, &agent);
        nginx(&agent);
        agent.terminate();
        ground.settle();
    });
}

fn python(agent: &Agent<'_>) {
    let program = "import sys, math; print(sys.version_info[0], math.sqrt(1764))";
    let arn = run(
        agent,
        &json!({"family": "python", "networkMode": "none", "containerDefinitions": [
            {"name": "c", "image": "coracle/python", "memory": 64,
                "command": ["/usr/bin/python3", "-c", program]}]}),
    );
    let task = agent.wait(&arn, "STOPPED");
    assert_eq!(task["containers"][0]["exitCode"], 0, "{task:#} {:?}", agent.output(&arn));
    assert_eq!(agent.output(&arn)[0].2.trim(), "3 42.0");
}

fn redis(host: &Host, agent: &Agent<'_>) {
    let health = json!({"command": ["CMD", "/usr/bin/redis-cli", "PING"], "interval": 5,
        "timeout": 30, "retries": 10});
    let arn = run(
        agent,
        &json!({"family": "redis", "networkMode": "none", "containerDefinitions": [
            {"name": "c", "image": "coracle/redis", "memory": 64, "healthCheck": health}]}),
    );
    agent.wait_until(&arn, "healthy", |task| task["healthStatus"] == "HEALTHY");
    let said = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(["exec", "--run-dir"])
        .arg(host.run_dir())
        .args([arn.rsplit('/').next().unwrap(), "/usr/bin/redis-cli", "PING"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "PONG", "{said:?}");
    stop(agent, &arn);
}

fn nginx(agent: &Agent<'_>) {
    let arn = run(
        agent,
        &json!({"family": "nginx", "networkMode": "bridge", "containerDefinitions": [
            {"name": "c", "image": "coracle/nginx", "memory": 64,
                "portMappings": [{"containerPort": 80, "hostPort": 8080}]}]}),
    );
    agent.wait(&arn, "RUNNING");
    wait_for("nginx to answer", || get(8080).is_some_and(|page| page.contains("Coracle")));
    // Its access log is the container's output.
    wait_for("the access log", || {
        agent.output(&arn).iter().any(|(_, _, line)| line.contains("GET / HTTP/1.0"))
    });
    // It ends in peace at its stop signal.
    let task = stop(agent, &arn);
    assert_eq!(task["containers"][0]["exitCode"], 0, "{task:#} {:?}", agent.output(&arn));
}

fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(super::agent::PATIENCE)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

fn stop(agent: &Agent<'_>, arn: &str) -> Value {
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(arn, "STOPPED")
}

#[test]
fn an_index_of_several_platforms_is_built_the_same_each_time() {
    let work = tempfile::tempdir().unwrap();
    let (one, two) = (work.path().join("one"), work.path().join("two"));
    if !built("multiarch", &one, None) || !built("multiarch", &two, None) {
        return;
    }
    let index = fs::read(one.join("index.json")).unwrap();
    assert_eq!(index, fs::read(two.join("index.json")).unwrap());
    let index: Value = serde_json::from_slice(&index).unwrap();
    let top = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    let index = fs::read(one.join("blobs/sha256").join(top)).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let platforms: Vec<String> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| serde_json::from_value::<Platform>(manifest["platform"].clone()).unwrap())
        .map(|platform| platform.to_string())
        .collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64", "linux/arm/v7"]);

    // Each has the program of its machine: ELF's number of it.
    for (platform, machine) in [("linux/amd64", 62_u8), ("linux/arm64", 183), ("linux/arm/v7", 40)]
    {
        let out = work.path().join(machine.to_string());
        assert!(built("multiarch", &out, Some(platform)));
        let mut program = Vec::new();
        for blob in fs::read_dir(out.join("blobs/sha256")).unwrap() {
            let blob = fs::read(blob.unwrap().path()).unwrap();
            for member in tar::Archive::new(blob.as_slice()).entries().unwrap() {
                let Ok(mut member) = member else { break };
                if member.path().is_ok_and(|path| path == Path::new("bin/busybox")) {
                    member.read_to_end(&mut program).unwrap();
                }
            }
        }
        assert_eq!(program.get(18), Some(&machine), "{platform}");
    }

    // Through the command line as an archive; loaded, it is the one for this machine.
    let file = work.path().join("m.tar");
    let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(["image", "build", "-t", "example.org/m:2", "-o"])
        .arg(&file)
        .arg(recipe_of("multiarch"))
        .env("CORACLE_CACHE", cache())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let index = said.trim().strip_prefix("example.org/m:2@").unwrap();
    let left: Vec<_> = fs::read_dir(work.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = super::open(&work.path().join("state"));
        let loaded = store.load(&file).await.unwrap();
        assert_eq!(loaded[0].0, "example.org/m:2");
        // By the digest of the index as well, also on the next box.
        let pinned = format!("example.org/m@{index}");
        assert_eq!(store.resolve(&pinned), Some(loaded[0].1.clone()));
        let saved = super::save(&store, &["example.org/m:2"]).await;
        let other = super::open(&work.path().join("other"));
        other.load_stream("a".into(), std::io::Cursor::new(saved)).await.unwrap();
        assert_eq!(other.resolve(&pinned), Some(loaded[0].1.clone()));
        let image = store.unpacked(&loaded[0].1).await.unwrap();
        let said = Command::new(image.layers[0].join("bin/busybox")).args(["echo", "hi"]).output();
        assert_eq!(said.unwrap().stdout, b"hi\n");
    });
}

#[test]
fn what_cannot_be_built_is_refused_by_name() {
    let work = tempfile::tempdir().unwrap();
    for (platform, expected) in [
        ("linux/s390x", "it is for: linux/amd64, linux/arm64, linux/arm/v7"),
        ("arm64", "is not a platform"),
    ] {
        let wanted = Build { platform: Some(platform.to_owned()), ..Build::default() };
        let error = recipe::build_with(&recipe_of("multiarch"), &work.path().join("o"), &wanted);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let wanted = Build { name: Some("Not/A name".to_owned()), ..Build::default() };
    let error = recipe::build_with(&recipe_of("multiarch"), &work.path().join("o"), &wanted);
    assert!(error.unwrap_err().to_string().contains("invalid reference"));
}
