//! The hub's own mosquitto: who may read and write what, with mosquitto's own clients and certificates of every kind; and
//! `coracle hub` as a whole through deaths of either. No root needed, but mosquitto and its clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, says why it is skipped, and looks into the environment"
)]

mod mqtt;

use coracle::fleet::broker::{Broker, BrokerError, Roster};
use mqtt::{
    Identity, LAST, Listener, Place, cluster, denied, directory, hub, id, mosquittos, publish,
    try_publish,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const DOC: &str = "doc/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What a device may read and write of its own, and read of its cluster.
const READ: [&str; 3] = ["want", "cmd", "ack"];
const WRITE: [&str; 4] = ["state", "live", "log/events", "rpc/one"];
const SHARED: [&str; 2] = ["hub", DOC];

fn roster(boxes: &[(char, &str)]) -> Roster {
    let admitted = boxes.iter().map(|(digit, name)| (id(*digit), cluster(name))).collect();
    Roster { admitted, ..Roster::default() }
}

fn own(digit: char, name: &str, below: &str) -> String {
    format!("coracle/1/{name}/{}/{below}", id(digit))
}

/// Every topic that there is, of two devices in one cluster and one in another, and some that should not be.
fn all_topics() -> Vec<String> {
    let mut topics = Vec::new();
    for (digit, name) in [('a', "north"), ('b', "north"), ('c', "south")] {
        for below in READ.iter().chain(&WRITE) {
            topics.push(own(digit, name, below));
        }
        // The right device under the wrong cluster is none.
        topics.push(own(digit, "west", "want/more"));
    }
    for name in ["north", "south"] {
        topics.extend(SHARED.map(|below| format!("coracle/1/{name}/{below}")));
    }
    topics.extend(["coracle/1/north", "coracle/2/north/hub", "other"].map(str::to_owned));
    topics
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_certificate_opens_nothing_of_another_device() {
    let place = Place::new();
    let boxes = [('a', "north"), ('b', "north"), ('c', "south")];
    let Some(broker) = place.start(roster(&boxes)).await else { return };
    let (door, at) = (broker.door().clone(), broker.address());
    let thief = place.identity(&id('a'), "north");

    // Reading: whatever it subscribes to, it gets its own and nothing else.
    let mut expected: Vec<String> = READ.iter().map(|below| own('a', "north", below)).collect();
    expected.extend(SHARED.map(|below| format!("coracle/1/north/{below}")));
    expected.sort();
    // What is published outside of the fleet's topics is denied to the hub as well, and not part of this.
    let topics: Vec<_> =
        all_topics().into_iter().filter(|topic| topic.starts_with("coracle/1/")).collect();
    for retained in [false, true] {
        for filters in [vec!["#"], topics.iter().map(String::as_str).collect(), vec!["$share/x/#"]]
        {
            let mut listener = Listener::start(place.device("mosquitto_sub", at, &thief), &filters);
            for topic in &topics {
                publish(&door, topic, "secret", retained);
            }
            publish(&door, &own('a', "north", "want"), LAST, false);
            let mut got = listener.topics_until_last();
            got.sort();
            // What was retained by the round before comes once more.
            got.dedup();
            assert_eq!(got, expected, "retained: {retained}, filters: {filters:?}");
        }
    }

    // Writing: only its own reports arrive, and all else is refused by name.
    let fresh = || {
        let mut command = hub("mosquitto_sub", &door);
        command.arg("-R");
        command
    };
    let mut listener = Listener::start(fresh(), &["#"]);
    let mut expected: Vec<String> = WRITE.iter().map(|below| own('a', "north", below)).collect();
    for topic in all_topics() {
        let output = try_publish(place.device("mosquitto_pub", at, &thief), &topic);
        let allowed = expected.contains(&topic);
        assert_eq!(denied(&output), !allowed, "{topic}: {output:?}");
    }
    // Under the name of another nothing changes: the certificate says who it is.
    let mut disguised = place.device("mosquitto_pub", at, &thief);
    disguised.args(["-i", id('b').as_str(), "-u", "hub", "-P", "hub"]);
    assert!(denied(&try_publish(disguised, &own('b', "north", "state"))));
    publish(&door, "coracle/1/north/last", LAST, false);
    let mut got = listener.topics_until_last();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);

    // As a will, which the broker publishes for it.
    let mut listener = Listener::start(fresh(), &["coracle/1/+/+/live"]);
    for (digit, name) in boxes {
        let mut client = place.device("mosquitto_sub", at, &thief);
        client.args(["--will-topic", &own(digit, name, "live"), "--will-payload", "will"]);
        drop(Listener::start(client, &["x"]));
    }
    publish(&door, &own('a', "north", "live"), LAST, false);
    assert_eq!(listener.topics_until_last(), [own('a', "north", "live")]);

    // Without a certificate of this authority nobody comes in.
    let elsewhere = Place::new();
    let who = elsewhere.identity(&id('a'), "north");
    let output = try_publish(place.device("mosquitto_pub", at, &who), "x");
    assert!(!output.status.success(), "{output:?}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_cut_off_at_once_and_nobody_else_notices() {
    let place = Place::new();
    let Some(broker) = place.start(Roster::default()).await else { return };
    let (door, at) = (broker.door().clone(), broker.address());
    for (digit, name) in [('a', "north"), ('b', "north")] {
        broker.admit(id(digit), cluster(name)).await.unwrap();
        broker.admit(id(digit), cluster(name)).await.unwrap();
    }
    let (bad, good) = (place.identity(&id('a'), "north"), place.identity(&id('b'), "north"));
    let want = |digit| own(digit, "north", "want");
    let listen = |digit, who: &Identity| {
        Listener::start(place.device("mosquitto_sub", at, who), &[&want(digit)])
    };
    let (revoked, mut kept) = (listen('a', &bad), listen('b', &good));

    broker.revoke(id('a'), vec![bad.serial.clone()]).await.unwrap();
    revoked.cut();
    let output = try_publish(place.device("mosquitto_pub", at, &bad), &own('a', "north", "state"));
    assert!(!output.status.success(), "{output:?}");
    publish(&door, &want('b'), LAST, false);
    assert_eq!(kept.topics_until_last(), Vec::<String>::new());

    // Another certificate of the same device, which nobody put on the list, opens nothing.
    let older = place.identity(&id('a'), "north");
    let output =
        try_publish(place.device("mosquitto_pub", at, &older), &own('a', "north", "state"));
    assert!(denied(&output), "{output:?}");
    broker.revoke(id('a'), vec![bad.serial.clone()]).await.unwrap();

    // It joins again: with a new certificate; the old one stays what it is.
    broker.admit(id('a'), cluster("north")).await.unwrap();
    let mut again = listen('a', &place.identity(&id('a'), "north"));
    publish(&door, &want('a'), LAST, false);
    again.topics_until_last();
    let output = try_publish(place.device("mosquitto_pub", at, &bad), &own('a', "north", "state"));
    assert!(!output.status.success(), "{output:?}");

    // The next broker knows all that.
    kill_one(&place.path().join("run"), Signal::SIGKILL);
    again.cut();
    broker.revoke(id('c'), Vec::new()).await.unwrap();
    let mut kept = patiently(|| {
        let output =
            try_publish(place.device("mosquitto_pub", at, &good), &own('b', "north", "state"));
        output.status.success().then(|| listen('b', &good))
    });
    let output = try_publish(place.device("mosquitto_pub", at, &bad), &own('a', "north", "state"));
    assert!(!output.status.success() && !denied(&output), "{output:?}");
    publish(&door, &want('b'), LAST, false);
    kept.topics_until_last();
    broker.stop().await;
    assert_eq!(mosquittos(&place.path().join("run")), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_with_what_it_has_kept_or_without() {
    let place = Place::new();
    let run = place.path().join("run");
    let Some(broker) = place.start(roster(&[('a', "north")])).await else { return };
    let door = broker.door().clone();
    let want = own('a', "north", "want");
    publish(&door, &want, "the newest", true);
    // Ended by somebody else, it has the time to write; killed, it has what it wrote before.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let before = kill_one(&run, signal);
        patiently(|| mosquittos(&run).first().copied().filter(|now| *now != before));
        let text = patiently(|| {
            let mut command = hub("mosquitto_sub", &door);
            let output = command.args(["-C", "1", "-W", "20", "-t", &want]).output().unwrap();
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        });
        assert_eq!(text, "the newest\n");
    }
    broker.stop().await;

    // A database that it cannot read is put aside.
    let database = place.path().join("state/broker/mosquitto.db");
    std::fs::write(&database, "this is no database, and long enough to be looked at").unwrap();
    let broker = place.start(Roster::default()).await.unwrap();
    assert!(place.path().join("state/broker/mosquitto.db.unreadable").exists());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_starting_is_said() {
    let place = Place::new();
    let Some(broker) = place.start(Roster::default()).await else { return };
    let other = Place::new();
    let mut settings = other.settings();
    settings.listen = broker.address();
    let error = Broker::start(settings, Roster::default()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Listen { .. }), "{error}");
    assert!(error.to_string().contains("--mqtt-listen"), "{error}");
    broker.stop().await;

    if nix::unistd::geteuid().is_root() {
        let closed = Place::new();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(closed.path(), mode).unwrap();
        let error = Broker::start(closed.settings(), Roster::default()).await.unwrap_err();
        assert!(error.to_string().contains("chmod o+x"), "{error}");
    }
}

/// Waits for something that shows by itself soon, and cannot be waited for.
fn patiently<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it did not come about within a minute");
}

/// Signals the one mosquitto there is.
fn kill_one(run_dir: &Path, signal: Signal) -> i32 {
    let [process] = mosquittos(run_dir)[..] else { panic!("one mosquitto is to run") };
    kill(Pid::from_raw(process), signal).unwrap();
    process
}

/// The directories of hubs.
struct Home(TempDir);

/// One life of a hub.
struct Hub {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Home {
    fn new() -> Self {
        Self(directory())
    }

    fn run_dir(&self) -> std::path::PathBuf {
        self.0.path().join("run")
    }

    fn arguments(&self, mqtt: &str) -> Vec<String> {
        let text = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
        let state = text(self.0.path().join("state"));
        let fixed =
            ["hub", "--listen", "127.0.0.1:0", "--mqtt-listen", mqtt, "--state-dir", &state];
        let mut all: Vec<String> = fixed.map(str::to_owned).to_vec();
        all.extend(["--run-dir".to_owned(), text(self.run_dir())]);
        all
    }

    fn start(&self) -> Hub {
        self.start_as(env!("CARGO_BIN_EXE_coracle"), &[])
    }

    fn start_as(&self, program: &str, before: &[&str]) -> Hub {
        let mut command = Command::new(program);
        command.args(before).args(self.arguments("127.0.0.1:0"));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut hub = Hub { child, log };
        hub.wait_for("the hub answers");
        hub
    }

    /// A client verb.
    fn verb(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        let output = command.args(arguments).arg("--run-dir").arg(self.run_dir()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Hub {
    fn wait_for(&mut self, text: &str) {
        let mut all = String::new();
        while !all.contains(text) {
            let read = self.log.read_line(&mut all).unwrap();
            assert_ne!(read, 0, "the hub ended before it said {text:?}:\n{all}");
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_mosquitto() -> bool {
    let found =
        Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin command -v mosquitto"]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: mosquitto is not installed");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_runs_elsewhere_is_used_and_none_is_started() {
    // It has the hub's own authority; all else is not the hub's.
    let place = Place::new();
    let Some(elsewhere) = place.start(Roster::default()).await else { return };
    let run = place.path().join("hub");
    let arguments = |url: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.args(["hub", "--listen", "127.0.0.1:0", "--broker", url]).args(more);
        command.arg("--state-dir").arg(place.path().join("state")).arg("--run-dir").arg(&run);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let authority = place.path().join("ca.pem");
    let mut command = arguments(
        &format!("mqtts://{}", elsewhere.address()),
        &["--broker-ca", authority.to_str().unwrap()],
    );
    let mut child = command.spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut hub = Hub { child, log };
    hub.wait_for("connected to the broker");
    assert_eq!(mosquittos(&run), Vec::<i32>::new());
    hub.signal(Signal::SIGTERM);
    let mut rest = String::new();
    hub.log.read_to_string(&mut rest).unwrap();
    assert!(hub.child.wait().unwrap().success(), "{rest}");
    elsewhere.stop().await;

    for (url, more, why) in [
        ("https://broker", [].as_slice(), "mqtts://"),
        ("mqtts://user:word@broker", &[], "--broker-credentials"),
        ("mqtts://broker", &["--broker-ca", "/nowhere/ca.pem"], "/nowhere/ca.pem"),
        ("mqtts://broker", &["--broker-credentials", "/nowhere/user"], "/nowhere/user"),
        ("mqtts://broker", &["--mqtt-listen", "127.0.0.1:0"], "--mqtt-listen"),
    ] {
        let output = arguments(url, more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{url} {more:?}: {said}");
    }
}

#[test]
fn a_hub_and_its_broker_outlive_each_other() {
    if !has_mosquitto() {
        return;
    }
    let home = Home::new();
    let mut hub = home.start();
    home.verb(&["ps"]);
    let first = kill_one(&home.run_dir(), Signal::SIGKILL);
    hub.wait_for("mosquitto is up again");
    assert!(!mosquittos(&home.run_dir()).contains(&first));
    home.verb(&["ps"]);

    // The hub dies: its broker ends, or is ended by the next hub; never are there two.
    hub.signal(Signal::SIGKILL);
    drop(hub);
    let mut hub = home.start();
    assert_eq!(mosquittos(&home.run_dir()).len(), 1);
    home.verb(&["ps"]);

    hub.signal(Signal::SIGTERM);
    let mut rest = String::new();
    hub.log.read_to_string(&mut rest).unwrap();
    assert!(hub.child.wait().unwrap().success(), "{rest}");
    assert_eq!(mosquittos(&home.run_dir()), Vec::<i32>::new(), "{rest}");
}

#[test]
fn one_that_a_killed_hub_has_left_is_ended() {
    if !has_mosquitto() {
        return;
    }
    let home = Home::new();
    let hub = home.start();
    hub.signal(Signal::SIGTERM);
    let Hub { .. } = hub;
    patiently(|| mosquittos(&home.run_dir()).is_empty().then_some(()));
    // As if it had been killed between fork and the request to end with it.
    let configuration = home.run_dir().join("broker/mosquitto.conf");
    let program =
        if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
    let mut left =
        Command::new(program).arg("-c").arg(&configuration).stderr(Stdio::null()).spawn().unwrap();
    patiently(|| (mosquittos(&home.run_dir()).len() == 1).then_some(()));
    let _hub = home.start();
    // Reaped here, as it is a child of the test.
    left.wait().unwrap();
    assert_eq!(mosquittos(&home.run_dir()).len(), 1);
}

#[test]
fn what_is_in_the_way_of_a_hub_is_said() {
    if !has_mosquitto() {
        return;
    }
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(home.arguments(&address))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--mqtt-listen"), "{said}");
    assert!(said.contains(&address), "{said}");

    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can hide mosquitto");
        return;
    }
    let hide = "for d in $(echo $PATH:/usr/sbin:/usr/local/sbin | tr : ' '); do \
                [ -e $d/mosquitto ] && mount --bind /dev/null $d/mosquitto; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, "sh", env!("CARGO_BIN_EXE_coracle")]);
    let output = command.args(home.arguments("127.0.0.1:0")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("apt-get install mosquitto") && said.contains("--broker URL"), "{said}");
}

#[test]
fn a_hub_needs_no_privilege() {
    if !has_mosquitto() {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: the other tests run without privilege already");
        return;
    }
    let home = Home::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(home.0.path(), mode).unwrap();
    // Where it was built may be closed to others.
    let program = home.0.path().join("coracle");
    if std::fs::hard_link(env!("CARGO_BIN_EXE_coracle"), &program).is_err() {
        std::fs::copy(env!("CARGO_BIN_EXE_coracle"), &program).unwrap();
    }
    let user =
        ["--reuid", "65534", "--regid", "65534", "--clear-groups", program.to_str().unwrap()];
    let _hub = home.start_as("setpriv", &user);
    let [process] = mosquittos(&home.run_dir())[..] else { panic!("one mosquitto is to run") };
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    assert!(status.contains("Uid:\t65534"), "{status}");
}
