//! A capture of packets, put together again: TCP into streams, streams into MQTT's messages.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Whether packets can be captured here; if not, the reason was printed.
#[expect(clippy::print_stdout, reason = "whoever runs the tests must see what is skipped")]
pub(crate) fn possible() -> bool {
    let found = Command::new("tcpdump").arg("--version").output().is_ok();
    if !found {
        println!("skipped: tcpdump is not installed");
    }
    found
}

/// A tcpdump that writes all packets from and to an address.
pub(crate) struct Capture {
    directory: TempDir,
    address: String,
    tcpdump: Child,
}

/// The last that is said before a capture ends.
const LAST: &[u8] = b"here the capture ends";

/// What one end of a connection said.
pub(crate) struct Flow {
    pub(crate) bytes: Vec<u8>,
}

impl Capture {
    /// Returns when it listens.
    pub(crate) fn start(address: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("coracle").tempdir_in("/var/tmp").unwrap();
        let mut tcpdump = Command::new("tcpdump")
            .args([
                "-i",
                "any",
                "-y",
                "LINUX_SLL",
                "-s",
                "0",
                "-U",
                "--immediate-mode",
                "-n",
                "-Z",
                "root",
                "-B",
                "16384",
                "-w",
            ])
            .arg(directory.path().join("pcap"))
            .args(["tcp", "and", "host", address])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(tcpdump.stderr.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        assert!(lines.any(|line| line.contains("listening on")), "tcpdump ended");
        // It goes on saying things, and ends when nobody listens.
        std::thread::spawn(move || lines.for_each(drop));
        Self { directory, address: address.to_owned(), tcpdump }
    }

    /// Ends it; what each end of each connection said.
    pub(crate) fn end(mut self) -> Vec<Flow> {
        // What is still on its way to the file would be missing.
        let path = self.directory.path().join("pcap");
        let listener = TcpListener::bind((self.address.as_str(), 0)).unwrap();
        let mut line = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        line.write_all(LAST).unwrap();
        let written = || std::fs::read(&path).unwrap().windows(LAST.len()).any(|part| part == LAST);
        crate::agent::wait_for("the last packet to be captured", written);
        let process = rustix::process::Pid::from_child(&self.tcpdump);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        self.tcpdump.wait().unwrap();
        flows(&std::fs::read(self.directory.path().join("pcap")).unwrap())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

fn be16(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn le32(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

/// The streams in a file of libpcap's with the header of Linux's own packets.
fn flows(pcap: &[u8]) -> Vec<Flow> {
    assert!(pcap.len() > 24 && le32(pcap) == 0xa1b2_c3d4, "another kind of file");
    assert_eq!(le32(&pcap[20..]), 113, "another kind of link");
    /// Addresses and ports; with each beginning another.
    type Key = (Vec<u8>, u32);
    let mut begun: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut segments: BTreeMap<Key, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
    let mut at = 24;
    while at + 16 <= pcap.len() {
        let (captured, whole) = (le32(&pcap[at + 8..]), le32(&pcap[at + 12..]));
        assert_eq!(captured, whole, "a packet was cut");
        let packet = &pcap[at + 16..(at + 16 + captured).min(pcap.len())];
        at += 16 + captured;
        if packet.len() < 56 || be16(&packet[14..]) != 0x0800 || packet[16 + 9] != 6 {
            continue;
        }
        let ip = &packet[16..];
        let (head, length) = (usize::from(ip[0] & 15) * 4, be16(&ip[2..]));
        let tcp = &ip[head..length.min(ip.len())];
        let key = [&ip[12..20], &tcp[..4]].concat();
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        if tcp[13] & 2 != 0 {
            begun.insert(key, seq.wrapping_add(1));
            continue;
        }
        // Of a connection from before nothing is known.
        let Some(first) = begun.get(&key).copied() else { continue };
        let data = &tcp[usize::from(tcp[12] >> 4) * 4..];
        if !data.is_empty() {
            let place = segments.entry((key, first)).or_default();
            let known = place.entry(seq.wrapping_sub(first)).or_default();
            if known.len() < data.len() {
                *known = data.to_vec();
            }
        }
    }
    let whole = |parts: BTreeMap<u32, Vec<u8>>| {
        let mut bytes = Vec::new();
        for (offset, part) in parts {
            let offset = offset as usize;
            // What was sent again is there already; after a hole nothing can be told of what follows.
            if offset > bytes.len() {
                break;
            }
            let known = bytes.len() - offset;
            bytes.extend_from_slice(part.get(known..).unwrap_or_default());
        }
        Flow { bytes }
    };
    segments.into_values().map(whole).collect()
}

/// Topic and payload of each message that is published in a stream; none if it is no stream of MQTT 5.
pub(crate) fn packets_of_mqtt(stream: &[u8]) -> Vec<(String, Vec<u8>)> {
    let is_mqtt = stream.first().is_some_and(|byte| matches!(byte, 0x10 | 0x20));
    let mut messages = Vec::new();
    let mut rest = if is_mqtt { stream } else { &[] };
    while let Some(kind) = rest.first() {
        let Some((length, used)) = number(&rest[1..]) else { break };
        let Some(body) = rest.get(1 + used..1 + used + length) else { break };
        rest = &rest[1 + used + length..];
        if kind >> 4 != 3 {
            continue;
        }
        let end = 2 + be16(body);
        let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
        let properties = end + if kind & 6 == 0 { 0 } else { 2 };
        let (length, used) = number(&body[properties..]).unwrap();
        messages.push((topic, body[properties + used + length..].to_vec()));
    }
    messages
}

/// A number of variable length, and how long it is.
fn number(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 127) << (7 * at);
        if byte & 128 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// How something may be written: as it is, in hexadecimal, in base64 at each of the three places.
pub(crate) fn writings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap();
    let hex: String = bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect();
    let mut all = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for before in 0..3 {
        let shifted = [&vec![0; before][..], bytes].concat();
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            // The first and the last group have bits of what is around in them.
            let from = if before == 0 { 0 } else { 4 };
            all.push(text.as_bytes()[from..text.len() / 4 * 4 - 4].to_vec());
        }
    }
    all
}

pub(crate) fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    count(bytes, wanted) > 0
}

pub(crate) fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    assert!(wanted.len() >= 7, "what is this short is anywhere");
    let first = wanted[0];
    let mut found = 0;
    for at in 0..bytes.len().saturating_sub(wanted.len() - 1) {
        if bytes[at] == first && bytes[at..].starts_with(wanted) {
            found += 1;
        }
    }
    found
}
