//! The program: chooses what to be by its first argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: the shim must have one thread only.
    if std::env::args_os().nth(1).is_some_and(|first| first == "shim") {
        return coracle::runtime::shim::main();
    }
    ExitCode::from(2)
}
