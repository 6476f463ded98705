//! Keeps the C library's allocator small. It is made for large machines: it gives each thread an arena of its own, and
//! raises what it keeps for itself with every large block that is freed.

/// Tells the allocator to be sparing; before the first thread starts. Elsewhere than with glibc there is nothing to tell.
pub(super) fn be_sparing() {
    #[cfg(target_env = "gnu")]
    {
        /// The defaults of both, which stay what they are once they are set.
        const THRESHOLD: libc::c_int = 128 * 1024;
        let settings = [
            // Two workers that mostly wait do not contend for one.
            (libc::M_ARENA_MAX, 1),
            (libc::M_MMAP_THRESHOLD, THRESHOLD),
            (libc::M_TRIM_THRESHOLD, THRESHOLD),
        ];
        for (parameter, value) in settings {
            // SAFETY: mallopt(3) takes plain numbers, and no other thread runs yet.
            #[expect(unsafe_code, reason = "the allocator is the C library's")]
            // A value that it refuses leaves the default, which is only larger.
            let _ = unsafe { libc::mallopt(parameter, value) };
        }
    }
}
