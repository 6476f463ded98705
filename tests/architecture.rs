//! The walls of the house: which module may use which, what the pure core may not touch, how long a file may be, where
//! `unsafe` may stand. Each test lists everything that breaks its rule.
//!
//! The layers are read from the table in `src/lib.rs`, so the map and the rule cannot come apart. Sources are read as
//! tokens, without comments, texts and test modules: tests may use what they like.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be read or run")]

mod source;

use source::{Source, sources};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The longest file, and the length that nine of ten files stay under.
const LONGEST: usize = 800;
const USUAL: usize = 500;

/// What a module may use although the table alone does not allow it, each for a reason.
const ALSO: &[(&str, &str)] = &[
    // The binary: chooses between the two.
    ("main", "cli"),
    ("main", "runtime"),
    // `coracle image build` makes files from files, without an agent.
    ("cli", "image"),
    // Containers in host mode and programs on the box come in over the API's listener.
    ("api", "metadata"),
    // A setting is spelled with the planner's own word for it.
    ("config", "plan"),
    // So is a subnet with the network's.
    ("config", "net"),
];

/// All that the command line may use: it is a client of the socket, and wires nothing.
const CLIENT: [&str; 6] = ["model", "config", "daemon", "doctor", "sys", "telemetry"];

/// The files with `unsafe` code: where the kernel or LMDB leaves no other way.
const UNSAFE: &[&str] = &[
    // Says to mosquitto, between fork and exec, that it ends with the hub.
    "src/fleet/broker/child.rs",
    // Maps the database file.
    "src/store/environment.rs",
    // bpf(2) has no safe wrapper.
    "src/runtime/cgroup/device_program.rs",
    // Loads the filter, in the moment before exec.
    "src/runtime/seccomp/mod.rs",
    // The shim forks whoever enters a container, and sends real-time signals, which have no typed form.
    "src/runtime/shim/creator.rs",
    "src/runtime/shim/enter.rs",
    "src/runtime/shim/forward/resolve.rs",
    "src/runtime/shim/shared.rs",
    "src/runtime/shim/serve/signal.rs",
    "src/runtime/shim/mod.rs",
    // Unshares the network namespaces of the task.
    "src/runtime/shim/namespace.rs",
    // A container's first process forks the program, and hands on the same signals.
    "src/runtime/init.rs",
    // adjtimex(2) has no safe wrapper.
    "src/sys/clock.rs",
    // Is called by the standard library instead of musl's function.
    "src/sys/seconds.rs",
    // madvise(2) on the program itself.
    "src/sys/memory.rs",
    // Registers the descriptor of inotify(7).
    "src/runtime/logs/watch.rs",
    // The same for the streams of a command.
    "src/runtime/session.rs",
    // fork and exec of the shim.
    "src/runtime/process.rs",
];

/// Words that the pure core must not hold: no I/O, no clock, no order of iteration that differs from run to run.
const IMPURE: [&str; 11] = [
    "HashMap",
    "HashSet",
    "SystemTime",
    "Instant",
    "tokio",
    "async",
    "Mutex",
    "thread",
    "tracing",
    "println",
    "eprintln",
];
/// A digest is a function of its bytes; a key or a random number is not.
const IMPURE_PATHS: [[&str; 2]; 10] = [
    ["std", "fs"],
    ["std", "env"],
    ["std", "io"],
    ["std", "net"],
    ["std", "process"],
    ["ring", "rand"],
    ["ring", "aead"],
    ["ring", "agreement"],
    ["ring", "hmac"],
    ["ring", "signature"],
];

/// `Some(layer)`, or `None` for a leaf.
type Layers = BTreeMap<String, Option<u32>>;

/// Reads rows like ``| L4 | [`runtime`] | …`` and ``| leaf | [`config`], [`sys`] | …`` of the map.
fn layers() -> Layers {
    let map = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut layers = Layers::new();
    for line in map.lines() {
        let Some(row) = line.strip_prefix("//! | ") else { continue };
        let mut cells = row.split('|').map(str::trim);
        let (Some(layer), Some(modules)) = (cells.next(), cells.next()) else { continue };
        let layer = match (layer, layer.strip_prefix('L').map(str::parse)) {
            ("leaf", _) => None,
            (_, Some(Ok(number))) => Some(number),
            _ => continue,
        };
        for module in modules.split(',') {
            let name = module.trim().trim_matches(['[', ']', '`']);
            assert!(layers.insert(name.to_owned(), layer).is_none(), "{name} stands there twice");
        }
    }
    assert!(layers.len() > 10, "the table of src/lib.rs was not found: {layers:?}");
    layers
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn may_use(layers: &Layers, from: &str, to: &str) -> bool {
    if from == to || ALSO.contains(&(from, to)) {
        return true;
    }
    match from {
        "cli" => return CLIENT.contains(&to),
        // It may know the command line no more than anything else does.
        "daemon" => return to != "cli",
        _ => {}
    }
    match (layers.get(from), layers.get(to)) {
        // Leaves know plain data, and the pure core knows no leaf.
        (Some(None), _) => to == "model",
        (Some(Some(from)), Some(None)) => *from >= 2,
        (Some(Some(from)), Some(Some(to))) => from > to,
        _ => false,
    }
}

#[test]
fn modules_look_only_down() {
    let layers = layers();
    let mut broken = String::new();
    for source in sources(&root().join("src")) {
        let from = source.module();
        // The map itself declares all of them.
        if from == "lib" {
            continue;
        }
        if from != "main" && !layers.contains_key(from) {
            let _ = writeln!(broken, "{}: {from} is not in the table of src/lib.rs", source.path);
        }
        for (line, to) in source.uses(|name| layers.contains_key(name)) {
            if !may_use(&layers, from, &to) {
                let _ = writeln!(broken, "{}:{line}: {from} may not use {to}", source.path);
            }
        }
    }
    assert!(broken.is_empty(), "\n{broken}");
}

#[test]
fn the_rule_refuses_what_it_should() {
    let layers = layers();
    let pairs = [
        ("plan", "store", false),
        ("plan", "model", true),
        ("plan", "sys", false),
        ("store", "sys", true),
        ("runtime", "image", false),
        ("image", "runtime", false),
        ("engine", "runtime", true),
        ("engine", "api", false),
        ("api", "engine", true),
        ("cli", "engine", false),
        ("cli", "daemon", true),
        ("daemon", "cli", false),
        ("cli", "doctor", true),
        ("doctor", "daemon", false),
        ("doctor", "fleet", true),
        ("sys", "store", false),
        ("api", "doctor", false),
        ("main", "engine", false),
    ];
    for (from, to, allowed) in pairs {
        assert_eq!(may_use(&layers, from, to), allowed, "{from} -> {to}");
    }
}

#[test]
fn the_core_is_pure() {
    let mut broken = String::new();
    let pure = |source: &Source| matches!(source.module(), "plan" | "model");
    for source in sources(&root().join("src")).iter().filter(|source| pure(source)) {
        for (line, word) in source.words() {
            if IMPURE.contains(&word) {
                let _ = writeln!(broken, "{}:{line}: {word}", source.path);
            }
        }
        for (line, path) in source.paths() {
            // An address is plain data.
            let is_address = path.len() == 3 && path[2].ends_with("Addr");
            if IMPURE_PATHS
                .iter()
                .any(|impure| path.starts_with(impure.map(str::to_owned).as_slice()))
                && !is_address
            {
                let _ = writeln!(broken, "{}:{line}: {}", source.path, path.join("::"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{broken}");
}

#[test]
fn files_are_short() {
    let mut lengths = Vec::new();
    let mut broken = String::new();
    for folder in ["src", "tests", "benches"] {
        for source in sources(&root().join(folder)) {
            let lines = source.text.lines().count();
            lengths.push(lines);
            if lines > LONGEST {
                let _ = writeln!(broken, "{}: {lines} lines, {LONGEST} at most", source.path);
            }
        }
    }
    lengths.sort_unstable();
    let usual = lengths[lengths.len() * 9 / 10];
    if usual > USUAL {
        let _ = writeln!(broken, "one file in ten has {usual} lines or more, {USUAL} at most");
    }
    assert!(broken.is_empty(), "\n{broken}");
}

#[test]
fn modules_say_what_they_are_for() {
    let mut broken = String::new();
    for folder in ["src", "tests"] {
        for source in sources(&root().join(folder)) {
            // `foo/tests.rs` goes with `foo`.
            if !source.text.starts_with("//!") && !source.path.ends_with("/tests.rs") {
                let _ = writeln!(broken, "{}: does not begin with `//!`", source.path);
            }
        }
    }
    assert!(broken.is_empty(), "\n{broken}");
}

#[test]
fn unsafe_stands_only_where_it_must() {
    let mut broken = String::new();
    for source in sources(&root().join("src")) {
        if UNSAFE.contains(&source.path.as_str()) {
            continue;
        }
        for (line, _) in source.words().filter(|(_, word)| *word == "unsafe") {
            let _ = writeln!(broken, "{}:{line}: unsafe", source.path);
        }
    }
    assert!(broken.is_empty(), "\n{broken}");
}
