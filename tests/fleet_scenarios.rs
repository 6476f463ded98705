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
#[path = "fleet/story.rs"]
mod story;

use std::fs;
use std::path::PathBuf;

fn scenarios() -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/fleet");
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    found.sort();
    found
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how golden files are regenerated")]
fn every_scenario_goes_as_its_golden_says() {
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    let scenarios = scenarios();
    assert!(scenarios.len() >= 15, "the scenarios are missing");
    let mut differ = Vec::new();
    for path in scenarios {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let happened = story::run(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden = path.with_extension("golden");
        if update {
            fs::write(&golden, &happened).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&golden)
            .unwrap_or_else(|_| panic!("{name} has no golden; make it with UPDATE_GOLDEN=1"));
        if expected != happened {
            let at = expected.lines().zip(happened.lines()).take_while(|(a, b)| a == b).count();
            let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
            differ.push(format!(
                "{name}, line {}:\n  expected: {}\n  happened: {}",
                at + 1,
                line(&expected),
                line(&happened)
            ));
        }
    }
    assert!(differ.is_empty(), "scenarios that went differently:\n{}", differ.join("\n"));
}

#[test]
fn a_script_with_an_unknown_word_is_refused() {
    assert!(story::run("juggle 3 balls").is_err());
    assert!(story::run("box a colour=red").is_err());
    assert!(story::run("stop 4").is_err());
}
