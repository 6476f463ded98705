//! The system calls a container may make: a seccomp filter, assembled here.
//!
//! The profile is Docker's default: an allow list, some calls only with a capability, some only with certain
//! arguments. Anything else fails with `EPERM`, and what is newer than the list with `ENOSYS`, so that programs fall
//! back. Nothing is killed: programs probe for system calls.
//!
//! [`profile`] says what is allowed by name, [`table`] turns names into numbers per architecture, [`assembler`] makes
//! the program: a binary search over ranges of numbers, so that a call is judged in about ten steps.

mod assembler;
mod profile;
mod table;

use caps::CapsHashSet;
use std::io;

/// A filter as the kernel takes it.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    program: Vec<libc::sock_filter>,
}

/// Docker's default profile for a process with these capabilities.
pub(crate) fn default_filter(capabilities: &CapsHashSet) -> Filter {
    Filter { program: assembler::assemble(&table::architectures(capabilities)) }
}

impl Filter {
    /// Applies the filter to this thread, and to what it executes, for good.
    ///
    /// # Errors
    /// When the process has neither `CAP_SYS_ADMIN` nor `no_new_privs`, or the kernel no seccomp.
    #[expect(unsafe_code, reason = "seccomp(2) has no safe wrapper")]
    pub(crate) fn load(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len()).map_err(io::Error::other)?,
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: `program` points to `len` instructions, which the kernel copies and checks.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
