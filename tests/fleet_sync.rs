//! Hub, broker and boxes of a fleet in virtual time: whatever is dropped, doubled, overtaken, restarted or killed, once all
//! is connected for a while they agree.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "it says how far it went")]

#[path = "fleet_sync/broker.rs"]
mod broker;
#[path = "fleet_sync/chance.rs"]
mod chance;
#[path = "fleet_sync/core.rs"]
mod core;
#[path = "fleet_sync/ground.rs"]
mod ground;
#[path = "fleet_sync/hub.rs"]
mod hub;
#[path = "fleet_sync/member.rs"]
mod member;
#[path = "fleet_sync/rules.rs"]
mod rules;
#[path = "fleet_sync/story.rs"]
mod story;
#[path = "fleet/wishes.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod wishes;

use ::core::fmt::Write as _;
use coracle::model::{ClusterName, ServiceKey, ServiceName};

/// A fault in what hub and boxes do, made on purpose: the rules must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A box takes a document that is older than its own.
    OlderDocuments,
    /// A box that starts again does not know how far it was.
    PositionNotKept,
    /// The hub does not send a document again that did not arrive.
    DocumentsSentOnce,
    /// The hub acknowledges events before they are committed.
    EventsAckedBeforeCommit,
    /// The hub acknowledges one event more than it has.
    EventsAckedTooFar,
    /// A box does not send events again that nobody acknowledged.
    EventsSentOnce,
    /// A box does not tell of its tasks again when it is asked to.
    NeverToldAgain,
    /// A box says once that it is connected, whether the hub has heard it or not.
    LiveSaidOnce,
}

const MUTANTS: [Mutant; 8] = [
    Mutant::OlderDocuments,
    Mutant::PositionNotKept,
    Mutant::DocumentsSentOnce,
    Mutant::EventsAckedBeforeCommit,
    Mutant::EventsAckedTooFar,
    Mutant::EventsSentOnce,
    Mutant::NeverToldAgain,
    Mutant::LiveSaidOnce,
];

fn key(service: &str) -> ServiceKey {
    let name = ServiceName::new(service).unwrap();
    ServiceKey { cluster: ClusterName::default_cluster(), name }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how a failure is looked into, and other seeds are tried"
)]
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays the schedules of these seeds; tells the story of the first that goes wrong.
fn play(seeds: std::ops::Range<u64>) {
    let mut steps = 0;
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let (story, result) = story::play(seed, false, None);
        steps += story.steps;
        if result.is_err() {
            tell(seed);
        }
    }
    println!("{count} schedules, {steps} steps");
}

fn tell(seed: u64) {
    let (story, result) = story::play(seed, true, None);
    let mut text = String::new();
    let _ = writeln!(text, "{}", story.trace);
    let broken = result.err().unwrap_or_default();
    panic!("{text}\nseed {seed}: {broken}");
}

/// Half of the hundred thousand; two of them run at a time.
fn half(first: u64) {
    let first = from_environment("FLEET_SEED").unwrap_or(0) + first;
    let count = from_environment("FLEET_SCHEDULES").unwrap_or(50_000);
    play(first..first + count);
}

#[test]
fn whatever_happens_they_agree() {
    half(0);
}

#[test]
fn whatever_else_happens_they_agree() {
    half(1_000_000);
}

#[test]
fn the_same_seed_gives_the_same_story() {
    for seed in 0..20 {
        let told = || story::play(seed, true, None).0.trace;
        assert_eq!(told(), told(), "seed {seed}");
    }
}

#[test]
fn what_is_wrong_is_found() {
    for mutant in MUTANTS {
        let found = (0..3000).find_map(|seed| {
            let (_, result) = story::play(seed, false, Some(mutant));
            result.err().map(|broken| (seed, broken))
        });
        let Some((seed, broken)) = found else { panic!("{mutant:?} was not found") };
        let broken: String = broken.lines().take(3).collect();
        println!("{mutant:?}: seed {seed}: {broken}");
    }
}
