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

/// `EPERM`, `ok`, …
fn named(result: i64, errno: i32) -> String {
    if result >= 0 {
        return "ok".to_owned();
    }
    match errno {
        libc::EPERM => "EPERM".to_owned(),
        libc::ENOSYS => "ENOSYS".to_owned(),
        other => format!("errno{other}"),
    }
}

/// Makes the call in a copy of this process, so that one which succeeds changes nothing for the others.
#[expect(unsafe_code, reason = "system calls by number")]
fn in_a_copy(call: impl FnOnce() -> (i64, i32)) -> String {
    let (read, write) = rustix::pipe::pipe().unwrap();
    // SAFETY: the tests run on the only thread there is, and the copy makes one call and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let (result, errno) = call();
        let _ = rustix::io::write(&write, named(result, errno).as_bytes());
        // SAFETY: ends the copy.
        unsafe { libc::_exit(0) };
    }
    drop(write);
    let mut text = [0; 32];
    let length = rustix::io::read(&read, &mut text).unwrap();
    let mut status = 0;
    // SAFETY: waits for the copy.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if libc::WIFSIGNALED(status) {
        return format!("SIG{}", libc::WTERMSIG(status)).replace("SIG11", "SIGSEGV");
    }
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[expect(unsafe_code, reason = "system calls by number")]
fn by_number(number: i64, arguments: [i64; 6]) -> String {
    in_a_copy(|| {
        // SAFETY: arguments are null or small numbers; what the kernel makes of them ends with the copy.
        let result = unsafe {
            libc::syscall(
                number,
                arguments[0],
                arguments[1],
                arguments[2],
                arguments[3],
                arguments[4],
                arguments[5],
            )
        };
        (result, std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    })
}

/// The way of 32-bit programs.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "system calls by number")]
fn by_interrupt(number: i32) -> String {
    in_a_copy(|| {
        let result: i64;
        // SAFETY: arguments are zeroes; the registers that the kernel changes are named.
        unsafe {
            std::arch::asm!(
                "push rbx", "xor ebx, ebx", "int 0x80", "pop rbx",
                inlateout("rax") i64::from(number) => result,
                in("rcx") 0, in("rdx") 0, in("rsi") 0, in("rdi") 0,
                lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
            );
        }
        // The lower half is the result, and an error is its negative.
        let low = u32::try_from(result & 0xffff_ffff).unwrap_or(0).cast_signed();
        (i64::from(low), -low.min(0))
    })
}

#[test]
#[ignore = "runs inside of a container"]
fn system_calls() {
    println!();
    let tell = |what: &str, result: String| println!("call {} {result}", what.replace(' ', "_"));
    let none = [0; 6];
    let first = |a: i64| [a, 0, 0, 0, 0, 0];
    for (what, number, arguments) in [
        ("keyctl", libc::SYS_keyctl, none),
        ("add_key", libc::SYS_add_key, none),
        ("request_key", libc::SYS_request_key, none),
        ("bpf", libc::SYS_bpf, none),
        ("unshare user", libc::SYS_unshare, first(i64::from(libc::CLONE_NEWUSER))),
        ("unshare mounts", libc::SYS_unshare, first(i64::from(libc::CLONE_NEWNS))),
        ("clone user", libc::SYS_clone, first(i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD))),
        ("setns", libc::SYS_setns, first(-1)),
        ("mount", libc::SYS_mount, none),
        ("umount2", libc::SYS_umount2, none),
        ("pivot_root", libc::SYS_pivot_root, none),
        ("fsopen", libc::SYS_fsopen, none),
        ("fsconfig", libc::SYS_fsconfig, first(-1)),
        ("fsmount", libc::SYS_fsmount, first(-1)),
        ("fspick", libc::SYS_fspick, first(-1)),
        ("open_tree", libc::SYS_open_tree, first(-1)),
        ("move_mount", libc::SYS_move_mount, first(-1)),
        ("mount_setattr", libc::SYS_mount_setattr, first(-1)),
        ("personality", libc::SYS_personality, first(0x0004_0000)),
        ("socket alg", libc::SYS_socket, [38, 5, 0, 0, 0, 0]),
        ("socket vsock", libc::SYS_socket, [40, 1, 0, 0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, none),
        ("kexec_file_load", libc::SYS_kexec_file_load, none),
        ("init_module", libc::SYS_init_module, none),
        ("finit_module", libc::SYS_finit_module, first(-1)),
        ("delete_module", libc::SYS_delete_module, none),
        ("reboot", libc::SYS_reboot, none),
        ("swapon", libc::SYS_swapon, none),
        ("swapoff", libc::SYS_swapoff, none),
        ("acct", libc::SYS_acct, first(1)),
        ("settimeofday", libc::SYS_settimeofday, first(1)),
        ("clock_settime", libc::SYS_clock_settime, none),
        ("perf_event_open", libc::SYS_perf_event_open, none),
        ("userfaultfd", libc::SYS_userfaultfd, none),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, first(-1)),
        ("syslog", libc::SYS_syslog, first(3)),
        ("quotactl", libc::SYS_quotactl, none),
        ("kcmp", libc::SYS_kcmp, none),
        ("process_madvise", libc::SYS_process_madvise, first(-1)),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, first(-1)),
        ("fanotify_init", libc::SYS_fanotify_init, none),
        ("mbind", libc::SYS_mbind, none),
        ("set_mempolicy", libc::SYS_set_mempolicy, none),
        ("migrate_pages", libc::SYS_migrate_pages, none),
        ("move_pages", libc::SYS_move_pages, none),
        ("io_uring_setup", libc::SYS_io_uring_setup, none),
        ("nfsservctl", libc::SYS_nfsservctl, none),
        ("vhangup", libc::SYS_vhangup, none),
        ("sethostname", libc::SYS_sethostname, none),
        ("setdomainname", libc::SYS_setdomainname, none),
        #[cfg(target_arch = "x86_64")]
        ("iopl", libc::SYS_iopl, first(3)),
        #[cfg(target_arch = "x86_64")]
        ("ioperm", libc::SYS_ioperm, [0, 1, 1, 0, 0, 0]),
        #[cfg(target_arch = "x86_64")]
        ("_sysctl", libc::SYS__sysctl, none),
        #[cfg(target_arch = "x86_64")]
        ("ustat", libc::SYS_ustat, none),
        #[cfg(target_arch = "x86_64")]
        ("sysfs", libc::SYS_sysfs, first(3)),
    ] {
        tell(&format!("refused:{what}"), by_number(number, arguments));
    }
    // Programs fall back from these.
    tell("unknown:clone3", by_number(libc::SYS_clone3, none));
    tell("unknown:9999", by_number(9999, none));
    tell("allowed:personality", by_number(libc::SYS_personality, first(0xffff_ffff)));
    tell("allowed:ptrace", by_number(libc::SYS_ptrace, none));
    tell("allowed:chroot", by_number(libc::SYS_getpid, none));
    tell("allowed:socket", by_number(libc::SYS_socket, [1, 1, 0, 0, 0, 0]));
    #[cfg(target_arch = "x86_64")]
    {
        const X32: i64 = 0x4000_0000;
        for (what, number) in
            [("keyctl", libc::SYS_keyctl), ("mount", libc::SYS_mount), ("bpf", libc::SYS_bpf)]
        {
            tell(&format!("other:x32 {what}"), by_number(X32 | number, none));
        }
        for (what, number) in
            [("keyctl", 288), ("mount", 21), ("bpf", 357), ("kexec_load", 283), ("vm86old", 113)]
        {
            tell(&format!("other:i386 {what}"), by_interrupt(number));
        }
    }
    println!("call end -");
}
