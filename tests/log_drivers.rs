//! Log drivers, seen from the receivers' side: real sockets, real containers.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]
#![allow(clippy::needless_pass_by_value, reason = "definitions are written in place")]

mod agent;
mod port;

use agent::{Agent, Host, PATIENCE, wait_for};
use port::bound_soon;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

fn logging(name: &str, script: &str, driver: &str, options: Value) -> Value {
    json!({
        "name": name, "image": "coracle/busybox", "memory": 32, "stopTimeout": 2,
        "command": ["sh", "-c", script],
        "logConfiguration": {"logDriver": driver, "options": options}
    })
}

fn udp() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    (socket, address)
}

fn datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65536];
    let count = socket.recv(&mut buffer).unwrap();
    buffer.truncate(count);
    buffer
}

fn unixgram(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn unix_datagram(socket: &UnixDatagram) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 20];
    let count = socket.recv(&mut buffer).unwrap();
    buffer.truncate(count);
    buffer
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A free address that nobody listens on yet.
fn absent() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Accepts one connection and reads lines from it.
fn lines_of(listener: &TcpListener) -> impl Iterator<Item = String> + use<> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream).lines().map(Result::unwrap)
}

fn kept(agent: &Agent<'_>, arn: &str) -> Vec<String> {
    agent.output(arn).into_iter().map(|(_, _, text)| text.trim_end().to_owned()).collect()
}

#[test]
fn syslog_comes_over_every_transport_in_every_format() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let (udp, udp_address) = udp();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_address = format!("tcp://{}", tcp.local_addr().unwrap());
    let (stream_path, datagram_path) = (host.dir.path().join("s"), host.dir.path().join("d"));
    let stream = UnixListener::bind(&stream_path).unwrap();
    let local = unixgram(&datagram_path);
    let containers = json!([
        logging(
            "udp",
            "echo over udp; sleep 1000",
            "syslog",
            json!({"syslog-address": udp_address, "syslog-format": "rfc5424micro", "tag": "{{.Name}}/{{.ID}}", "syslog-facility": "local7"})
        ),
        logging(
            "tcp",
            "echo over tcp >&2; sleep 1000",
            "syslog",
            json!({"syslog-address": tcp_address, "syslog-format": "rfc3164", "mode": "blocking", "tag": "{{.DaemonName}}"})
        ),
        logging(
            "stream",
            "echo over stream; sleep 1000",
            "syslog",
            json!({"syslog-address": format!("unix://{}", stream_path.display()), "syslog-format": "rfc5424"})
        ),
        logging(
            "local",
            "echo over datagram; sleep 1000",
            "syslog",
            json!({"syslog-address": format!("unixgram://{}", datagram_path.display()), "tag": "t"})
        ),
    ]);
    let arn = agent.run(&agent.register_all("syslog", containers));
    let id = &arn.rsplit('/').next().unwrap()[..12];

    let line = text(datagram(&udp));
    let (head, message) = line.split_once(" - ").unwrap();
    assert_eq!(message, "over udp");
    let fields: Vec<&str> = head.split(' ').collect();
    assert_eq!(fields[0], "<190>1", "{line}");
    assert!(fields[1].ends_with('Z') && fields[1].contains('.'), "{line}");
    assert!(fields[3].contains("udp") && fields[3].ends_with(&format!("/{id}")), "{line}");

    let line = lines_of(&tcp).next().unwrap();
    assert!(line.starts_with("<27>") && line.contains(" coracle["), "{line}");
    assert!(line.ends_with("]: over tcp"), "{line}");

    let (connection, _) = stream.accept().unwrap();
    let line = BufReader::new(connection).lines().next().unwrap().unwrap();
    assert!(line.starts_with("<30>1 20") && line.ends_with(" - over stream"), "{line}");
    assert!(line.contains(id), "{line}");

    let line = text(unix_datagram(&local));
    assert!(line.starts_with("<30>") && line.ends_with("]: over datagram"), "{line}");

    // What is sent away is kept as well.
    wait_for("the local copies", || kept(&agent, &arn).len() == 4);
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
}

#[test]
fn the_journal_gets_fields() {
    // A box of its own, so that no real journal is touched.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
    std::fs::create_dir_all("/run/systemd/journal").unwrap();
    let journal = unixgram(Path::new("/run/systemd/journal/socket"));

    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let mut container = logging(
        "web",
        "echo out; echo err >&2; printf 'no newline'",
        "journald",
        json!({"tag": "x-{{.Name}}", "env": "PLACE", "labels-regex": "^tier"}),
    );
    container["environment"] = json!([{"name": "PLACE", "value": "two\nlines"}]);
    container["dockerLabels"] = json!({"tier.name": "front", "other": "no"});
    let arn = agent.run(&agent.register("journal", container));
    let mut found = Vec::new();
    for _ in 0..3 {
        found.push(journal_fields(&unix_datagram(&journal)));
    }
    found.sort_by_key(|fields| fields["MESSAGE"].clone());
    let messages: Vec<&str> = found.iter().map(|f| f["MESSAGE"].as_str()).collect();
    assert_eq!(messages, ["err", "no newline", "out"]);
    let priorities: Vec<&str> = found.iter().map(|f| f["PRIORITY"].as_str()).collect();
    assert_eq!(priorities, ["3", "6", "6"]);
    let fields = &found[2];
    let id = arn.rsplit('/').next().unwrap();
    assert_eq!(fields["CONTAINER_ID"], id[..12]);
    assert!(fields["CONTAINER_ID_FULL"].starts_with(id));
    assert!(fields["CONTAINER_NAME"].contains("web"));
    assert_eq!(fields["CONTAINER_TAG"], format!("x-{}", fields["CONTAINER_NAME"]));
    assert_eq!(fields["SYSLOG_IDENTIFIER"], fields["CONTAINER_TAG"]);
    assert_eq!(fields["IMAGE_NAME"], "coracle/busybox");
    assert_eq!(fields["PLACE"], "two\nlines");
    assert_eq!(fields["TIER_NAME"], "front");
    assert!(!fields.contains_key("OTHER"));
    agent.wait(&arn, "STOPPED");
}

/// Reads the journal's native protocol.
fn journal_fields(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|b| *b == b'\n').unwrap();
        let line = std::str::from_utf8(&bytes[..end]).unwrap();
        bytes = &bytes[end + 1..];
        let (name, value) = if let Some((name, value)) = line.split_once('=') {
            (name, value.to_owned())
        } else {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let length = usize::try_from(length).unwrap();
            let value = text(bytes[8..8 + length].to_vec());
            assert_eq!(bytes[8 + length], b'\n');
            bytes = &bytes[9 + length..];
            (line, value)
        };
        fields.insert(name.to_owned(), value);
    }
    fields
}

#[test]
fn fluentd_gets_events() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let daemon = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = host.dir.path().join("fluentd");
    let local = UnixListener::bind(&path).unwrap();
    let long = "echo first; head -c 20000 /dev/zero | tr '\\0' x; echo; sleep 1000";
    let mut container = logging(
        "web",
        long,
        "fluentd",
        json!({"fluentd-address": daemon.local_addr().unwrap().to_string(), "tag": "app.{{.Name}}",
               "fluentd-async": "true", "fluentd-sub-second-precision": "true", "labels": "tier"}),
    );
    container["dockerLabels"] = json!({"tier": "front"});
    let other = logging(
        "other",
        "echo other >&2; sleep 1000",
        "fluentd",
        json!({"fluentd-address": format!("unix://{}", path.display()), "fluentd-retry-wait": "100ms"}),
    );
    let arn = agent.run(&agent.register_all("fluentd", json!([container, other])));

    let (stream, _) = daemon.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    let event = msgpack(&mut stream);
    assert!(event[0].as_str().unwrap().starts_with("app."), "{event}");
    assert_eq!(event[1]["ext"], 0);
    assert_eq!(event[2]["log"], "first");
    assert_eq!(event[2]["source"], "stdout");
    assert_eq!(event[2]["tier"], "front");
    let id = arn.rsplit('/').next().unwrap();
    assert!(event[2]["container_id"].as_str().unwrap().starts_with(id), "{event}");
    let (one, two) = (msgpack(&mut stream), msgpack(&mut stream));
    assert_eq!(
        (&one[2]["partial_ordinal"], &one[2]["partial_last"]),
        (&json!("1"), &json!("false"))
    );
    assert_eq!(
        (&two[2]["partial_ordinal"], &two[2]["partial_last"]),
        (&json!("2"), &json!("true"))
    );
    let length = |event: &Value| event[2]["log"].as_str().unwrap().len();
    assert_eq!(length(&one) + length(&two), 20000);

    let (stream, _) = local.accept().unwrap();
    let event = msgpack(&mut BufReader::new(stream));
    assert_eq!(event[0], id[..12]);
    assert!(event[1].is_i64());
    assert_eq!(event[2]["source"], "stderr");
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
}

/// Reads one MessagePack value of the kinds that the forward protocol has.
fn msgpack(from: &mut impl Read) -> Value {
    fn bytes<const N: usize>(from: &mut impl Read) -> [u8; N] {
        let mut bytes = [0; N];
        from.read_exact(&mut bytes).unwrap();
        bytes
    }
    fn string(from: &mut impl Read, length: usize) -> Value {
        let mut text = vec![0; length];
        from.read_exact(&mut text).unwrap();
        Value::String(String::from_utf8(text).unwrap())
    }
    fn map(from: &mut impl Read, count: usize) -> Value {
        let pair = |from: &mut _| (msgpack(from).as_str().unwrap().to_owned(), msgpack(from));
        Value::Object((0..count).map(|_| pair(from)).collect())
    }
    let [kind] = bytes(from);
    match kind {
        0x80..=0x8f => map(from, usize::from(kind & 0x0f)),
        0x90..=0x9f => (0..kind & 0x0f).map(|_| msgpack(from)).collect(),
        0xa0..=0xbf => string(from, usize::from(kind & 0x1f)),
        0xd3 => json!(i64::from_be_bytes(bytes(from))),
        0xd7 => {
            let [kind] = bytes(from);
            json!({"ext": kind, "value": u64::from_be_bytes(bytes(from))})
        }
        0xd9 => {
            let [length] = bytes(from);
            string(from, usize::from(length))
        }
        0xda => {
            let length = u16::from_be_bytes(bytes(from));
            string(from, usize::from(length))
        }
        0xde => {
            let count = u16::from_be_bytes(bytes(from));
            map(from, usize::from(count))
        }
        other => panic!("not expected: {other:#x}"),
    }
}

#[test]
fn gelf_comes_compressed_chunked_and_over_tcp() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let (zipped, zipped_address) = udp();
    let (plain, plain_address) = udp();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let containers = json!([
        logging(
            "zipped",
            "echo small; sleep 1000",
            "gelf",
            json!({"gelf-address": zipped_address})
        ),
        logging(
            "plain",
            "head -c 9000 /dev/zero | tr '\\0' y; echo; sleep 1000",
            "gelf",
            json!({"gelf-address": plain_address, "gelf-compression-type": "none"})
        ),
        logging(
            "tcp",
            "echo one >&2; echo; echo two >&2; sleep 1000",
            "gelf",
            json!({"gelf-address": format!("tcp://{}", tcp.local_addr().unwrap()), "tag": "t"})
        ),
    ]);
    let arn = agent.run(&agent.register_all("gelf", containers));

    let mut json = String::new();
    let packet = datagram(&zipped);
    flate2::read::GzDecoder::new(&*packet).read_to_string(&mut json).unwrap();
    let message: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&message["version"], &message["short_message"]), (&json!("1.1"), &json!("small")));
    assert_eq!(
        (&message["level"], &message["_image_name"]),
        (&json!(6), &json!("coracle/busybox"))
    );
    assert!(message["timestamp"].as_f64().unwrap() > 1e9);

    let mut parts = BTreeMap::new();
    loop {
        let chunk = datagram(&plain);
        assert_eq!(chunk[..2], [0x1e, 0x0f]);
        let count = usize::from(chunk[11]);
        parts.insert(chunk[10], chunk[12..].to_vec());
        if parts.len() == count {
            break;
        }
    }
    let message: Value =
        serde_json::from_slice(&parts.into_values().flatten().collect::<Vec<_>>()).unwrap();
    assert_eq!(message["short_message"].as_str().unwrap().len(), 9000);

    let (stream, _) = tcp.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut messages = BufReader::new(stream).split(0);
    for expected in ["one", "two"] {
        let message: Value = serde_json::from_slice(&messages.next().unwrap().unwrap()).unwrap();
        assert_eq!((&message["short_message"], &message["level"]), (&json!(expected), &json!(3)));
        assert_eq!(message["_tag"], "t");
    }
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
}

/// A receiver that is not there keeps nothing from starting, and loses nothing when it comes, goes and comes back, even
/// while there is no agent.
#[test]
fn a_receiver_may_come_late_and_go() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let address = absent();
    let script = "echo early; while read line; do echo $line; done </in/fifo";
    let fifo = host.dir.path().join("in");
    std::fs::create_dir(&fifo).unwrap();
    nix::unistd::mkfifo(&fifo.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666))
        .unwrap();
    let mut container =
        logging("main", script, "syslog", json!({"syslog-address": format!("tcp://{address}")}));
    container["mountPoints"] = json!([{"sourceVolume": "in", "containerPath": "/in"}]);
    agent.ok(
        "RegisterTaskDefinition",
        &json!({
            "family": "late", "networkMode": "none", "containerDefinitions": [container],
            "volumes": [{"name": "in", "host": {"sourcePath": fifo}}]
        }),
    );
    let arn = agent.run("late");
    agent.wait(&arn, "RUNNING");
    let say = |text: &str| {
        use std::io::Write;
        writeln!(std::fs::File::options().write(true).open(fifo.join("fifo")).unwrap(), "{text}")
            .unwrap();
    };
    wait_for("the local log to say so", || {
        kept(&agent, &arn).iter().any(|line| {
            line.starts_with(&format!("coracle: syslog at tcp://{address} cannot be reached"))
        })
    });
    // The writer's end stays open in the container's loop for one line at a time; keep one of ours.
    let _open = std::fs::File::options().read(true).write(true).open(fifo.join("fifo")).unwrap();
    say("while away");
    agent.kill();

    let listener = bound_soon(|| TcpListener::bind(address));
    let mut lines = lines_of(&listener);
    assert!(lines.next().unwrap().ends_with(": early"));
    assert!(lines.next().unwrap().ends_with(": while away"));
    say("while here");
    assert!(lines.next().unwrap().ends_with(": while here"));
    // Gone again.
    drop((lines, listener));
    say("while gone");
    let agent = host.start();
    wait_for("the line to be kept", || kept(&agent, &arn).contains(&"while gone".to_owned()));
    let listener = bound_soon(|| TcpListener::bind(address));
    let mut lines = lines_of(&listener);
    assert!(lines.next().unwrap().ends_with(": while gone"));
    say("back");
    assert!(lines.next().unwrap().ends_with(": back"));
    wait_for("the local log to say so", || {
        kept(&agent, &arn).iter().any(|line| line.ends_with("is reached again"))
    });
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
    let all = kept(&agent, &arn);
    let own: Vec<&str> =
        all.iter().map(String::as_str).filter(|line| !line.starts_with("coracle: ")).collect();
    assert_eq!(own, ["early", "while away", "while here", "while gone", "back"]);
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let address = absent();
    let script = "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; sleep 1000";
    let container = logging(
        "main",
        script,
        "syslog",
        json!({"syslog-address": format!("tcp://{address}"), "mode": "non-blocking", "max-buffer-size": "8k"}),
    );
    let arn = agent.run(&agent.register("drops", container));
    // Nobody takes anything, and the container is through all the same.
    wait_for("the last line", || kept(&agent, &arn).contains(&"line 999".to_owned()));
    let listener = bound_soon(|| TcpListener::bind(address));
    let lines = lines_of(&listener);
    let (mut received, mut dropped) = (0, 0);
    for line in lines {
        let (_, text) = line.split_once("]: ").unwrap();
        if let Some(note) = text.strip_prefix("coracle: ") {
            dropped += note.split(' ').next().unwrap().parse::<usize>().unwrap();
        } else {
            assert_eq!(text, format!("line {received}"));
            received += 1;
        }
        if received + dropped == 1000 {
            break;
        }
    }
    assert!(received > 20 && dropped > 100, "{received} {dropped}");
    wait_for("the local log to say so", || {
        kept(&agent, &arn)
            .iter()
            .any(|line| line.contains(&format!("{dropped} lines were dropped")))
    });
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
}

#[test]
fn in_blocking_mode_the_container_waits_and_nothing_is_lost() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let address = absent();
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
    let container = logging(
        "main",
        script,
        "syslog",
        json!({"syslog-address": format!("tcp://{address}"), "mode": "blocking"}),
    );
    let arn = agent.run(&agent.register("blocks", container));
    agent.wait(&arn, "RUNNING");
    // Write, into standard output.
    let write = if cfg!(target_arch = "x86_64") { "1 0x1 " } else { "64 0x1 " };
    wait_for("the container to wait", || {
        host.container_pids().iter().any(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/syscall"))
                .is_ok_and(|call| call.starts_with(write))
                && std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|w| w != "0")
        })
    });
    let listener = bound_soon(|| TcpListener::bind(address));
    for (number, line) in lines_of(&listener).take(20000).enumerate() {
        assert!(line.ends_with(&format!("]: line {number}")), "{line}");
    }
    let task = agent.wait(&arn, "STOPPED");
    assert_eq!(task["containers"][0]["exitCode"], 0);
}

#[test]
fn none_keeps_nothing_and_slips_are_refused_by_name() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let arn = agent.run(&agent.register("none", logging("main", "echo x", "none", json!({}))));
    agent.wait(&arn, "STOPPED");
    assert_eq!(kept(&agent, &arn), Vec::<String>::new());

    for (driver, options, named) in [
        ("json-file", json!({"max-sise": "1m"}), "options.max-sise"),
        ("syslog", json!({"syslog-address": "tcp+tls://h:1"}), "options.syslog-address"),
        ("fluentd", json!({"tag": "{{.Nonsense}}"}), "options.tag"),
        ("gelf", json!({}), "options.gelf-address"),
        ("splunk", json!({"splunk-url": "u", "splunk-token": "t"}), "logConfiguration.logDriver"),
    ] {
        let container = logging("main", "true", driver, options);
        let input =
            json!({"family": "bad", "networkMode": "none", "containerDefinitions": [container]});
        let registered = agent.call("RegisterTaskDefinition", &input);
        let refused =
            registered.and_then(|_| agent.call("RunTask", &json!({"taskDefinition": "bad"})));
        let error = refused.unwrap_err();
        assert!(error.message.contains(named), "{driver}: {error:?}");
    }
}

/// A receiver that is known by name. The names are those of a box of its own.
#[test]
fn a_receiver_may_be_given_by_name() {
    use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
    let names = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(names.path(), "127.0.0.1 receiver.test\n").unwrap();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
    mount_bind(names.path(), "/etc/hosts").unwrap();
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://receiver.test:{}", tcp.local_addr().unwrap().port());
    let container =
        logging("main", "echo named; sleep 1000", "syslog", json!({"syslog-address": address}));
    let arn = agent.run(&agent.register("named", container));
    assert!(lines_of(&tcp).next().unwrap().ends_with("]: named"));
    let unknown = logging(
        "main",
        "sleep 1000",
        "syslog",
        json!({"syslog-address": "udp://nowhere.invalid:514"}),
    );
    let other = agent.run(&agent.register("unnamed", unknown));
    wait_for("the local log to say so", || {
        kept(&agent, &other).iter().any(|line| line.contains("the name cannot be resolved"))
    });
    for arn in [arn, other] {
        agent.ok("StopTask", &json!({"task": arn}));
        agent.wait(&arn, "STOPPED");
    }
}

/// What a task wrote last reaches a receiver that is there, and one that is not holds the end of the task up for
/// seconds only.
#[test]
fn the_last_words_are_delivered() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done";
    let here = format!("tcp://{}", tcp.local_addr().unwrap());
    let nowhere = format!("tcp://{}", absent());
    let containers = json!([
        logging("here", script, "syslog", json!({"syslog-address": here})),
        logging("nowhere", "echo lost", "syslog", json!({"syslog-address": nowhere})),
    ]);
    let arn = agent.run(&agent.register_all("last", containers));
    let (stream, _) = tcp.accept().unwrap();
    agent.wait(&arn, "STOPPED");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    for (number, line) in lines.take(3000).enumerate() {
        assert!(line.ends_with(&format!("]: line {number}")), "{line}");
    }
    wait_for("the shim to end", || host.shims().is_empty());
    assert!(kept(&agent, &arn).iter().any(|l| l.ends_with("1 messages were not delivered")));
}

#[test]
fn twenty_megabytes_pass_and_the_death_of_the_agent_loses_none() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let script =
        "seq 1 2000000; head -c 20000000 /dev/zero | tr '\\0' x; echo; echo done; sleep 1000";
    let container =
        logging("main", script, "json-file", json!({"max-size": "1g", "labels": "tier"}));
    let container = {
        let mut container = container;
        container["dockerLabels"] = json!({"tier": "front"});
        container
    };
    let arn = agent.run(&agent.register("much", container));
    agent.wait(&arn, "RUNNING");
    let peak = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let shim = host.shims()[0];
    let before = peak(shim);
    agent.kill();
    let id = arn.rsplit('/').next().unwrap();
    let path = host.state_dir().join("logs").join(id).join("main.log");
    let end = || {
        use std::io::{Seek, SeekFrom};
        let Ok(mut file) = std::fs::File::open(&path) else { return String::new() };
        let length = file.seek(SeekFrom::End(0)).unwrap();
        file.seek(SeekFrom::Start(length.saturating_sub(200))).unwrap();
        let mut end = String::new();
        file.read_to_string(&mut end).unwrap();
        end
    };
    wait_for("the last line", || end().contains(r#""log":"done\n""#));
    assert!(peak(shim) < before + 8_192, "{before} {}", peak(shim));
    let agent = host.start();
    let file = BufReader::new(std::fs::File::open(&path).unwrap());
    let mut lines = file.lines().map(|l| serde_json::from_str::<Value>(&l.unwrap()).unwrap());
    for number in 1..=2_000_000_u32 {
        let line = lines.next().unwrap();
        assert_eq!(line["log"].as_str().unwrap().trim_end(), number.to_string());
        assert_eq!(line["attrs"]["tier"], "front");
    }
    let mut length = 0;
    for line in lines {
        let text = line["log"].as_str().unwrap();
        if text == "done\n" {
            break;
        }
        assert!(text.len() <= 16384);
        length += text.trim_end().len();
    }
    assert_eq!(length, 20_000_000);
    agent.ok("StopTask", &json!({"task": arn}));
    agent.wait(&arn, "STOPPED");
}

fn coracle(host: &Host, arguments: &[&str]) -> std::process::Child {
    use std::process::{Command, Stdio};
    Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(arguments)
        .arg("--run-dir")
        .arg(host.run_dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_command_shows_tasks_and_families() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let echo = |name: &str, text: &str| {
        logging(
            name,
            &format!("echo {text}; echo {text} again"),
            "awslogs",
            json!({"awslogs-group": "g", "awslogs-region": "r", "awslogs-stream-prefix": "p"}),
        )
    };
    let first =
        agent.run(&agent.register_all("web", json!([echo("app", "one"), echo("side", "aside")])));
    agent.wait(&first, "STOPPED");
    let second = agent.run(&agent.register("web", echo("app", "two")));
    agent.wait(&second, "STOPPED");
    let other = agent.run(&agent.register("other", echo("app", "three")));
    agent.wait(&other, "STOPPED");
    let short = |arn: &str| arn.rsplit('/').next().unwrap()[..12].to_owned();
    let lines = |arguments: &[&str]| -> Vec<String> {
        let all = [&["logs"], arguments].concat();
        host.cli(&all).lines().map(str::to_owned).collect()
    };

    let app = |arn: &str, text: &str| format!("{}/app | {text}", short(arn));
    assert_eq!(
        lines(&["web", "-c", "app"]),
        [
            app(&first, "one"),
            app(&first, "one again"),
            app(&second, "two"),
            app(&second, "two again")
        ]
    );
    assert_eq!(lines(&["web"]).len(), 6);
    assert_eq!(lines(&["web:2"]), [app(&second, "two"), app(&second, "two again")]);
    assert_eq!(
        lines(&["web", "--tail", "1", "-c", "app"]),
        [app(&first, "one again"), app(&second, "two again")]
    );
    assert_eq!(lines(&[&short(&other)]), ["three", "three again"]);
    assert_eq!(lines(&[&other]), ["three", "three again"]);
    assert_eq!(lines(&[&first, "-c", "side"]), ["aside", "aside again"]);
    assert!(lines(&[&first]).contains(&"side | aside".to_owned()));

    // Between the two tasks.
    let between = agent.describe(&second)["createdAt"].as_f64().unwrap().to_string();
    assert_eq!(
        lines(&["web", "--since", &between]),
        [app(&second, "two"), app(&second, "two again")]
    );
    assert_eq!(
        lines(&["web", "--until", &between, "-c", "app"]),
        [app(&first, "one"), app(&first, "one again")]
    );
    assert_eq!(
        lines(&["web", "--until", &between, "--tail", "1", "-c", "app"]),
        [app(&first, "one again")]
    );
    assert_eq!(lines(&["web", "--since", "1h", "-c", "app"]).len(), 4);
    assert_eq!(lines(&["web", "--since", "2099-01-01"]), Vec::<String>::new());
    let stamped = lines(&[&other, "--timestamps"]);
    assert!(stamped[0].starts_with("20") && stamped[0].ends_with("Z three"), "{stamped:?}");

    // A family is followed into tasks that are not there yet, and a reader who has enough ends it without a word.
    let mut follow = coracle(&host, &["logs", "-f", "--tail", "0", "web"]);
    let mut shown = BufReader::new(follow.stdout.take().unwrap()).lines();
    let third = agent.run(&agent.register(
        "web",
        logging("app", "echo new; while :; do echo more; sleep 0.05; done", "json-file", json!({})),
    ));
    assert_eq!(shown.next().unwrap().unwrap(), app(&third, "new"));
    drop(shown);
    assert!(follow.wait().unwrap().success());
    let mut complaints = String::new();
    follow.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(complaints, "");
    agent.ok("StopTask", &json!({"task": third}));
    agent.wait(&third, "STOPPED");

    let missing = coracle(&host, &["logs", "nothing-of-that-name"]).wait_with_output().unwrap();
    assert!(!missing.status.success());
}

#[test]
fn a_terminal_is_not_commanded() {
    let host = Host::new();
    let agent = host.start();
    host.load_busybox(&agent);
    let script = r"printf '\033[31mred\033[0m \033]0;owned\007\n'";
    let arn = agent.run(&agent.register("escape", logging("main", script, "json-file", json!({}))));
    agent.wait(&arn, "STOPPED");
    let raw = "\u{1b}[31mred\u{1b}[0m \u{1b}]0;owned\u{7}";
    assert_eq!(host.cli(&["logs", &arn]).trim_end(), raw);
    let on_a_terminal = |more: &str| {
        let program = env!("CARGO_BIN_EXE_coracle");
        let run = host.run_dir();
        let command = format!("{program} logs {arn} {more} --run-dir {}", run.display());
        let shown =
            std::process::Command::new("script").args(["-qec", &command, "/dev/null"]).output();
        String::from_utf8(shown.unwrap().stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(on_a_terminal(""), "\u{1b}[31mred\u{1b}[0m \\u{1b}]0;owned\\u{7}");
    assert_eq!(on_a_terminal("--raw"), raw);
}
