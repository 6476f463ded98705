//! What Docker's default profile allows, by name.

use caps::{Capability, CapsHashSet};

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// Fails with this number.
    Errno(u16),
    /// Allowed when the argument is as it should be, else `EPERM`.
    Argument {
        index: u8,
        test: Test,
    },
}

/// A test of the low 32 bits of an argument, which is all the kernel looks at in the calls that are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    OneOf(&'static [u32]),
    NoneOf(&'static [u32]),
    /// None of these bits.
    Without(u32),
}

pub(super) const REFUSED: Verdict = Verdict::Errno(1);
pub(super) const UNKNOWN: Verdict = Verdict::Errno(38);

/// Address families that reach out of a container's namespaces (AF_VSOCK), or into code of the kernel that nobody in a
/// container needs (AF_ALG).
const FORBIDDEN_FAMILIES: &[u32] = &[38, 40];
/// Linux, Linux with short inodes, 32 bits without and with short inodes, and the question what it is.
const PERSONALITIES: &[u32] = &[0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Every `CLONE_NEW*` of clone(2).
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// The verdict on a call. `capabilities` are those of the process's bounding set.
pub(super) fn verdict(name: &str, capabilities: &CapsHashSet) -> Verdict {
    use Capability as C;
    let has = |capability| capabilities.contains(&capability);
    if ALWAYS.binary_search(&name).is_ok() {
        return Verdict::Allow;
    }
    let allowed = match name {
        "socket" => return Verdict::Argument { index: 0, test: Test::NoneOf(FORBIDDEN_FAMILIES) },
        "personality" => return Verdict::Argument { index: 0, test: Test::OneOf(PERSONALITIES) },
        "clone" if !has(C::CAP_SYS_ADMIN) => {
            return Verdict::Argument { index: 0, test: Test::Without(NEW_NAMESPACES) };
        }
        // Its flags are in memory, where a filter cannot look; programs fall back to clone.
        "clone3" if !has(C::CAP_SYS_ADMIN) => return UNKNOWN,
        "clone" | "clone3" | "fanotify_init" | "fsconfig" | "fsmount" | "fsopen" | "fspick"
        | "lookup_dcookie" | "mount" | "mount_setattr" | "move_mount" | "open_tree"
        | "quotactl" | "quotactl_fd" | "setdomainname" | "sethostname" | "setns" | "umount"
        | "umount2" | "unshare" => has(C::CAP_SYS_ADMIN),
        "bpf" => has(C::CAP_SYS_ADMIN) || has(C::CAP_BPF),
        "perf_event_open" => has(C::CAP_SYS_ADMIN) || has(C::CAP_PERFMON),
        "syslog" => has(C::CAP_SYS_ADMIN) || has(C::CAP_SYSLOG),
        "open_by_handle_at" => has(C::CAP_DAC_READ_SEARCH),
        "reboot" => has(C::CAP_SYS_BOOT),
        "chroot" => has(C::CAP_SYS_CHROOT),
        "delete_module" | "finit_module" | "init_module" => has(C::CAP_SYS_MODULE),
        "acct" => has(C::CAP_SYS_PACCT),
        "kcmp" | "pidfd_getfd" | "process_madvise" => has(C::CAP_SYS_PTRACE),
        "iopl" | "ioperm" => has(C::CAP_SYS_RAWIO),
        "settimeofday" | "stime" | "clock_settime" | "clock_settime64" => has(C::CAP_SYS_TIME),
        "vhangup" => has(C::CAP_SYS_TTY_CONFIG),
        "get_mempolicy" | "mbind" | "set_mempolicy" | "set_mempolicy_home_node" => {
            has(C::CAP_SYS_NICE)
        }
        _ => false,
    };
    if allowed { Verdict::Allow } else { REFUSED }
}

/// Allowed to everybody, on every architecture that has them; sorted.
#[rustfmt::skip]
pub(super) static ALWAYS: &[&str] = &[
    "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "arm_fadvise64_64",
    "arm_sync_file_range", "bind", "breakpoint", "brk", "cacheflush", "cachestat", "capget", "capset", "chdir",
    "chmod", "chown", "chown32", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64",
    "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "close", "close_range",
    "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "execve",
    "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate",
    "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl",
    "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat",
    "fstat64", "fstatat", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futex",
    "futex_requeue",
    "futex_time64", "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_robust_list", "get_thread_area",
    "getcpu", "getcwd", "getdents", "getdents64", "getegid", "getegid32", "geteuid", "geteuid32", "getgid",
    "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid",
    "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage",
    "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32", "getxattr", "getxattrat",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy",
    "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "ioctl", "ioprio_get",
    "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
    "lchown32", "lgetxattr", "link", "linkat", "listen", "listmount", "listxattr", "listxattrat", "llistxattr",
    "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "madvise", "map_shadow_stack", "membarrier",
    "memfd_create", "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2",
    "mlockall", "mmap", "mmap2", "modify_ldt", "mprotect", "mq_getsetattr", "mq_notify", "mq_open",
    "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "mremap",
    "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap",
    "name_to_handle_at", "nanosleep", "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open",
    "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll",
    "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "pselect6", "pselect6_time64", "ptrace", "pwrite64", "pwritev", "pwritev2", "read",
    "readahead", "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg",
    "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat", "renameat2", "restart_syscall",
    "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
    "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam",
    "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget", "semop", "semtimedop",
    "semtimedop_time64", "send", "sendfile", "sendfile64", "sendmmsg", "sendmsg", "sendto", "set_robust_list",
    "set_thread_area", "set_tid_address", "set_tls", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid",
    "setgid32", "setgroups", "setgroups32", "setitimer", "setpgid", "setpriority", "setregid", "setregid32",
    "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32", "setrlimit", "setsid",
    "setsockopt", "setuid", "setuid32", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt", "shmget", "shutdown",
    "sigaltstack", "signalfd", "signalfd4", "sigprocmask", "sigreturn", "socketcall", "socketpair", "splice",
    "stat", "stat64", "statfs", "statfs64", "statmount", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
    "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
    "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times", "tkill", "truncate",
    "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat", "uretprobe", "utime", "utimensat",
    "utimensat_time64", "utimes", "vfork", "vmsplice", "wait4", "waitid", "waitpid", "write", "writev",
];
