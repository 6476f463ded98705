//! libFuzzer's entry: `CORACLE_FUZZ` names the reader that gets the input.

#![no_main]

mod targets;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("CORACLE_FUZZ").expect("CORACLE_FUZZ names a target");
        targets::find(&name).expect("no such target")
    });
    target(input);
});
