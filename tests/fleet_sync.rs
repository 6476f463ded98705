//! Hub, broker and boxes of a fleet in virtual time: whatever is dropped, doubled, overtaken, restarted or killed, once all
//! is connected for a while they agree. Schedules of one to four boxes, each from a seed: ten thousand of them, and a hundred
//! thousand in `tests/run`.
//!
//! The cores are the real ones (`plan`: commands, planners, documents, progress, events), and so is what a commit is: all
//! changes of a round or none. Played are the broker, the containers, and the loops of `fleet::device` and `fleet::hub`, in
//! as few lines as say when what is sent, acknowledged and sent again.
//!
//! * What happens: messages are dropped, doubled and overtaken with the connection up; links are cut, sessions expire,
//!   wills come late, the broker restarts with all, some or none of what it held, retained messages are erased; hub and agents
//!   die before or after a commit or in between; boxes lose their power, leave, are deregistered, come back; the hub is
//!   restored from a backup; clocks are set to 1970 or by hours; tasks and services come, change, fail and go.
//! * On the way: no generation goes back on a box or at the hub (I1); no stopped task comes back and no standalone task runs
//!   twice; an event is deleted only when the hub has it, and the hub counts as missed no more than were dropped (I4).
//! * In the end, all being connected: each box has applied or failed the hub's document, with a reason, and both have the
//!   same tasks (I2); services are whole; what callers were told is so; `check` finds nothing. Then the network alone goes on
//!   being bad for a while, and not one container starts or stops (I3). That commands of an old session have no effect
//!   (I5) is in `fleet_parsers`.
//!
//! That the rules can fail is a test here: each [`Mutant`] must be found. (That events are sent once only is no fault: the hub
//! asks for what it lacks.) They have also found, in the core as it once was:
//! services that were not placed when a box connected; a hub restored from a backup that waited forever for events that it
//! had acknowledged before; a numbering that did not begin anew with a new membership; reports that were ignored forever when
//! the `live` of their connection was lost, or when a box that had joined again was at a lower position than before; a box that
//! counted as connected by a report retained from before its last will; a task that counted as over while its box ran it on
//! under the same assignment, after the box was deregistered and came back; and tasks that ended by a clock in 1970, or while
//! the box was away for long, which the hub forgot as soon as it heard of them.
//!
//! `FLEET_SEED=N FLEET_SCHEDULES=1` plays one; a schedule that goes wrong is told step by step.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "it says how far it went")]
#![allow(
    clippy::needless_for_each,
    clippy::semicolon_if_nothing_returned,
    clippy::enum_variant_names,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    clippy::nonminimal_bool,
    clippy::single_match_else,
    reason = "the model is to read as what it is of"
)]

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
    /// A box does not tell of its tasks again when it is asked to.
    NeverToldAgain,
    /// A box says once that it is connected, whether the hub has heard it or not.
    LiveSaidOnce,
}

const MUTANTS: [Mutant; 7] = [
    Mutant::OlderDocuments,
    Mutant::PositionNotKept,
    Mutant::DocumentsSentOnce,
    Mutant::EventsAckedBeforeCommit,
    Mutant::EventsAckedTooFar,
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

/// Half of the schedules; two of them run at a time.
fn half(first: u64) {
    let first = from_environment("FLEET_SEED").unwrap_or(0) + first;
    let count = from_environment("FLEET_SCHEDULES").unwrap_or(5_000);
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
