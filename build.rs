//! Compiles the program of the built-in image `coracle/hello` for the target, with `rustc` and the linker that cargo
//! uses, so that a fresh clone can run a container without a registry; and makes the release binary smaller with what that
//! linker can do (docs/footprint.md, "The binary").

#![allow(
    clippy::disallowed_methods,
    reason = "the environment is how cargo speaks to a build script"
)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What makes the release binary smaller, each group on its own: a linker that does not know one is spared it.
const SMALLER: [&[&str]; 2] = [
    ONCE,
    // No unwind tables. Whoever wants a backtrace (RUST_BACKTRACE) is told that there is none: libgcc, asked to walk without
    // tables, would abort before the panic's message is out. `getpid` is at hand in every libc and harms nobody.
    &[
        "-Wl,-T,link/release.ld",
        "-Wl,--wrap=_Unwind_Backtrace",
        "-Wl,--defsym=__wrap__Unwind_Backtrace=getpid",
    ],
];

/// Functions of the same machine code are kept once. Nothing of ours compares functions by address.
///
/// Not on 32-bit ARM: there lld takes functions for the same that load different constants from mergeable sections of
/// different objects, such as the ids of two types (llvm/llvm-project#138764).
const ONCE: &[&str] = &["-Wl,--icf=all"];

fn main() -> ExitCode {
    match compile().and_then(|()| make_smaller()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("cargo::error={reason}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link/release.ld");
    println!("cargo::rerun-if-changed=images/hello/hello.rs");
    println!("cargo::rerun-if-changed=images/hello/recipe.json");
    let out = PathBuf::from(variable("OUT_DIR")?).join("hello");
    let target = variable("TARGET")?;

    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--edition=2024", "--crate-type=bin", "--crate-name=hello", "--target", &target]);
    // Only options that every linker driver knows, zig's included.
    for option in [
        "panic=abort",
        "opt-level=s",
        "strip=symbols",
        "relocation-model=static",
        "target-feature=+crt-static",
        "force-unwind-tables=no",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
    ] {
        rustc.args(["-C", option]);
    }
    if target.contains("musl") {
        // The target's own start files would clash with ours.
        rustc.args(["-C", "link-self-contained=no"]);
    }
    use_linker(&mut rustc);
    rustc.arg("-o").arg(&out).arg("images/hello/hello.rs");
    match rustc.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("rustc ended with {status} on images/hello/hello.rs")),
        Err(error) => Err(format!("cannot run rustc: {error}")),
    }
}

/// Gives the binary those of the options in [`SMALLER`] that the linker takes, in a release build alone: tests unwind.
fn make_smaller() -> Result<(), String> {
    if variable("PROFILE")? != "release" {
        return Ok(());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let source = out.join("probe.rs");
    std::fs::write(&source, "fn main() {}")
        .map_err(|error| format!("cannot write a probe: {error}"))?;
    let is_arm = variable("CARGO_CFG_TARGET_ARCH")? == "arm";
    for options in SMALLER.into_iter().filter(|options| !(is_arm && *options == ONCE)) {
        if links(&source, &out.join("probe"), options)? {
            for option in options {
                println!("cargo::rustc-link-arg-bins={option}");
            }
        } else {
            println!(
                "cargo::warning=the linker does not take {}: the binary gets larger",
                options.join(" ")
            );
        }
    }
    Ok(())
}

/// Whether a program can be linked with these options as the binary is.
fn links(source: &Path, program: &Path, options: &[&str]) -> Result<bool, String> {
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args([
        "--edition=2024",
        "--crate-type=bin",
        "-C",
        "panic=abort",
        "--target",
        &variable("TARGET")?,
    ]);
    for flag in env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().split('\u{1f}') {
        if !flag.is_empty() {
            rustc.arg(flag);
        }
    }
    for option in options {
        rustc.arg("-C").arg(format!("link-arg={option}"));
    }
    use_linker(&mut rustc);
    rustc.arg("-o").arg(program).arg(source).stderr(Stdio::null());
    match rustc.status() {
        Ok(status) => Ok(status.success()),
        Err(error) => Err(format!("cannot run rustc: {error}")),
    }
}

fn use_linker(rustc: &mut Command) {
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
}

/// A variable that cargo sets for build scripts.
fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}
