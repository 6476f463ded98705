//! Somebody at a terminal: runs `coracle` on a pseudo-terminal, types and looks.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::agent::PATIENCE;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

/// A program on a terminal of its own, which the test types on.
pub struct Typist {
    master: File,
    pub child: Child,
    shown: Receiver<Vec<u8>>,
    seen: String,
    slave: File,
}

impl Typist {
    pub fn start(run_dir: &Path, arguments: &[&str]) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        size(&master, 31, 97);
        // setsid -c makes the terminal its controlling one, so that it hears of sizes.
        let mut setsid = Command::new("setsid");
        setsid.args(["-c", env!("CARGO_BIN_EXE_coracle")]).args(arguments);
        let child = setsid
            .env("CORACLE_RUN_DIR", run_dir)
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap())
            .spawn()
            .unwrap();
        let master = File::from(master);
        let (sender, shown) = channel();
        let mut reader = master.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { master, child, shown, seen: String::new(), slave }
    }

    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `wanted` is shown, and forgets what came up to it.
    pub fn sees(&mut self, wanted: &str) {
        while !self.seen.contains(wanted) {
            match self.shown.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{error}: {wanted:?} is not shown, but {:?}", self.seen),
            }
        }
        let end = self.seen.find(wanted).unwrap() + wanted.len();
        self.seen.drain(..end);
    }

    pub fn resizes(&self, rows: u16, columns: u16) {
        size(&self.master, rows, columns);
    }

    /// The exit code, once it has ended; the terminal must be as it was.
    pub fn ends(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "the terminal is still raw");
        status.code()
    }
}

fn size(terminal: impl std::os::fd::AsFd, ws_row: u16, ws_col: u16) {
    tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}
