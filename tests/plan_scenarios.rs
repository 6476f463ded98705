//! Scenarios of the pure core: `tests/scenarios/*.txt` are scripts, the `.golden` beside each is what must happen.
//!
//! Regenerate with `UPDATE_GOLDEN=1 cargo test --test plan_scenarios`, then read the difference. The words of the
//! scripts are explained in `tests/scenarios/README.md`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod golden;
mod node;
mod script;

#[test]
fn every_scenario_goes_as_its_golden_says() {
    golden::compare("tests/scenarios", 20, script::run);
}

#[test]
fn a_script_with_an_unknown_word_is_refused() {
    assert!(script::run("juggle 3 balls").is_err());
    assert!(script::run("definition web\n  container main image=hello colour=red\nend").is_err());
    assert!(script::run("stop 4").is_err());
}
