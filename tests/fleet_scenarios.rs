//! Scenarios of the cluster planner: `tests/scenarios/fleet/*.txt` are scripts, the `.golden` beside each is what must
//! happen.
//!
//! Regenerate with `UPDATE_GOLDEN=1 cargo test --test fleet_scenarios`, then read the difference. The words of the
//! scripts are explained in `tests/scenarios/fleet/README.md`.

#![allow(
    clippy::needless_for_each,
    clippy::unused_self,
    clippy::expect_used,
    clippy::manual_let_else,
    clippy::struct_field_names,
    reason = "a test may fail by panicking"
)]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod fleet;
mod golden;
#[path = "fleet/story.rs"]
mod story;

#[test]
fn every_scenario_goes_as_its_golden_says() {
    golden::compare("tests/scenarios/fleet", 15, story::run);
}

#[test]
fn a_script_with_an_unknown_word_is_refused() {
    assert!(story::run("juggle 3 balls").is_err());
    assert!(story::run("box a colour=red").is_err());
    assert!(story::run("stop 4").is_err());
}
