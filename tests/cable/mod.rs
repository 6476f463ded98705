//! A box behind a link of its own that can be cut: a network namespace, to which nobody can connect.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether there can be a fleet here; if not, the reason was printed.
#[expect(clippy::print_stdout, reason = "whoever runs the tests must see what is skipped")]
pub(crate) fn possible() -> bool {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    for program in ["mosquitto", "ip", "nsenter"] {
        let look = format!("PATH=$PATH:/usr/sbin command -v {program}");
        let found = Command::new("sh").args(["-c", &look]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            println!("skipped: {program} is not installed");
            return false;
        }
    }
    true
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// A pair of interfaces, one of them in the namespace of a box.
pub(crate) struct Cable {
    /// Of the interface here, and of the namespace.
    pub(crate) name: String,
    /// The address by which the box reaches this side.
    pub(crate) near: String,
}

impl Cable {
    /// One that no other test has.
    pub(crate) fn next() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self::new(std::process::id() % 1_500 * 10 + NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    fn new(number: u32) -> Self {
        let (high, low) = (number / 64, number % 64 * 4);
        let name = format!("ctb{number}");
        let near = format!("10.214.{high}.{}", low + 1);
        let far = format!("10.214.{high}.{}", low + 2);
        ip(&format!("netns add {name}"));
        let cable = Self { name, near };
        let Self { name, near } = &cable;
        ip(&format!("link add {name} type veth peer name up0 netns {name}"));
        ip(&format!("address add {near}/30 dev {name}"));
        ip(&format!("-n {name} address add {far}/30 dev up0"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} link set up0 up"));
        cable.mend();
        cable
    }

    pub(crate) fn cut(&self) {
        ip(&format!("link set {} down", self.name));
    }

    pub(crate) fn mend(&self) {
        ip(&format!("link set {} up", self.name));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.name]).output();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}
