//! `initProcessEnabled`: a first process that hands signals on and reaps what others leave.
//!
//! The container's process forks in its last step: the child becomes the program, the parent stays as process 1 with
//! the same few privileges. It ends when the program ends, with its exit code, which ends the container.

use super::process::default_signals;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::io;

/// Forks; returns in the child alone.
#[expect(unsafe_code, reason = "fork and waiting for any signal have no safe interface")]
pub(super) fn fork_program() -> io::Result<()> {
    // SAFETY: all zeroes is a valid set, and the call fills it.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours; blocking is undone in the child.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
    // Before the program can look: it gets a name of its own with its execution, and does not inherit the other.
    let _ = rustix::thread::set_name(c"init");
    // Where it is not the first process of its namespace, what others leave comes to it all the same.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => {
            foreground();
            default_signals();
            Ok(())
        }
        ForkResult::Parent { child } => {
            // Whoever waits for the program to be executed waits for these to close.
            // SAFETY: nothing in this process uses a descriptor again.
            unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_int::MAX, 0) };
            let code = tend(child, &all);
            // SAFETY: ends this copy without running what was registered for the original's end.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Gives the program a process group of its own, in the foreground of the terminal if there is one: what the terminal
/// signals must not come a second time through the first process.
fn foreground() {
    let _ = rustix::process::setpgid(None, None);
    // Fails where standard input is no terminal. The signal that a change from the background brings is still blocked.
    let _ = nix::unistd::tcsetpgrp(io::stdin(), nix::unistd::getpid());
}

/// Hands signals on and reaps until the program ends; its code.
#[expect(unsafe_code, reason = "real-time signals have no typed form")]
fn tend(program: Pid, all: &libc::sigset_t) -> i32 {
    loop {
        // SAFETY: the set is valid, and nobody wants to know more than the number.
        let signal = unsafe { libc::sigwaitinfo(all, std::ptr::null_mut()) };
        if signal > 0 && signal != libc::SIGCHLD {
            // SAFETY: kill(2) takes plain numbers; the program has not been reaped.
            unsafe { libc::kill(program.as_raw(), signal) };
            continue;
        }
        loop {
            match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == program => return code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                    return 128 + signal as i32;
                }
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}
