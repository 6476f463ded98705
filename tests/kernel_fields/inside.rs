//! What this very binary does when a container runs it: it is mounted at [`PROGRAM`], and asked for one of the tests
//! here, which are ignored otherwise.

use super::with;
use serde_json::{Value, json};

/// The binary in a container.
pub(crate) const PROGRAM: &str = "/probe/program";

/// What makes the binary run the function `name` of this module.
pub(crate) fn arguments(name: &str) -> String {
    format!("--exact inside::{name} --ignored --nocapture --test-threads=1")
}

/// A task of one container that has the binary.
pub(crate) fn with_program(container: Value) -> Value {
    let own = std::env::current_exe().unwrap();
    let mount = json!({"mountPoints": [{"sourceVolume": "program", "containerPath": PROGRAM, "readOnly": true}]});
    json!({
        "volumes": [{"name": "program", "host": {"sourcePath": own}}],
        "containerDefinitions": [with(container, mount)],
    })
}

#[test]
#[ignore = "runs inside of a container"]
fn identity() {
    let (uid, euid) = (rustix::process::getuid(), rustix::process::geteuid());
    let never = i32::from(rustix::thread::no_new_privs().unwrap());
    println!("\nuid {uid} euid {euid} no_new_privs {never}");
}
