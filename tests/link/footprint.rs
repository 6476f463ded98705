//! What a link costs while nothing happens.

use crate::client::{Client, settings};
use crate::mosquitto::{Authority, Mosquitto, Options};
use coracle::fleet::link::{Settings, Tls, Version};
use std::process::Command;
use zeroize::Zeroizing;

/// Of one link with TLS, in KiB.
const MOST: usize = 200;
const LINKS: usize = 40;
const PORT: &str = "CORACLE_TEST_PORT";
const FILES: &str = "CORACLE_TEST_FILES";

/// Measured in a process of its own, as other tests take memory meanwhile.
#[test]
fn an_idle_link_costs_little() {
    let authority = Authority::new("ours");
    let broker = Mosquitto::start(Options { tls: Some(authority.clone()), ..Options::default() });
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.client("box");
    for (name, contents) in [("ca", authority.pem()), ("certificate", certificate), ("key", key)] {
        std::fs::write(files.path().join(name), contents).unwrap();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "footprint::measure", "--ignored", "--nocapture"])
        .env(PORT, broker.port.to_string())
        .env(FILES, files.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let line = text.lines().find_map(|line| line.split("each link: ").nth(1)).unwrap();
    let each: usize = line.trim().parse().unwrap();
    println!("{each} KiB");
    assert!(each < MOST, "{each} KiB");
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn measure() {
    let read = |name: &str| {
        let directory = std::env::var_os(FILES).unwrap();
        std::fs::read(std::path::Path::new(&directory).join(name)).unwrap()
    };
    let url = format!("mqtts://127.0.0.1:{}", std::env::var(PORT).unwrap());
    let start = async |number: usize| {
        let identity = Some((read("certificate"), Zeroizing::new(read("key"))));
        let settings = Settings {
            tls: Tls { authorities: Some(read("ca")), identity },
            ..settings(&url, &format!("box-{number}"), Version::V5)
        };
        Client::listening(settings, &["down/+"]).await
    };
    // What is there once, however many links there are.
    let mut links = vec![start(0).await];
    let before = resident();
    for number in 1..=LINKS {
        links.push(start(number).await);
    }
    println!("each link: {}", resident().saturating_sub(before) / LINKS);
}

/// In KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
