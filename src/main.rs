//! `coracle`: chooses between the shim and the command line; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: a shim must be and stay a process of one thread.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "shim") {
        return coracle::runtime::shim::main();
    }
    coracle::cli::main()
}
