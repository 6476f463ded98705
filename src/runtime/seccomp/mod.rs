//! The system calls a container may make: a seccomp filter, assembled here.

use caps::CapsHashSet;
use std::io;

/// A filter as the kernel takes it.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    program: Vec<libc::sock_filter>,
}

/// Allows everything, until the profile is in.
pub(crate) fn default_filter(_capabilities: &CapsHashSet) -> Filter {
    Filter { program: vec![libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 }] }
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
