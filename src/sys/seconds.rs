//! The year 2038 on 32-bit processors.
//!
//! The standard library for 32-bit musl has seconds of 32 bits. Past January 2038, which a box without a battery may be told by
//! mistake, musl refuses to say the time so, and the library panics: in a dependency that wants to know what time it is, for
//! [`super::now`] asks the kernel itself. So the function that the library calls is this one instead of musl's: there the time
//! stops at its last second.

use std::ffi::{c_int, c_long};

/// `struct timespec` of the standard library.
#[repr(C)]
struct Time32 {
    seconds: i32,
    nanoseconds: c_long,
}

/// musl's own.
#[repr(C)]
struct Time64 {
    seconds: i64,
    nanoseconds: c_long,
    padding: c_int,
}

#[allow(unsafe_code, reason = "the library's way to the clock is a C function")]
unsafe extern "C" {
    /// What musl has C programs of today call for `clock_gettime`.
    fn __clock_gettime64(clock: c_int, time: *mut Time64) -> c_int;
}

/// clock_gettime(2), for code that was compiled for seconds of 32 bits.
///
/// # Safety
/// `time` must be valid to be written.
#[allow(unsafe_code, reason = "the library's way to the clock is a C function")]
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Time32) -> c_int {
    let mut found = Time64 { seconds: 0, nanoseconds: 0, padding: 0 };
    // SAFETY: `found` is of the type that musl fills.
    let result = unsafe { __clock_gettime64(clock, &raw mut found) };
    if result == 0 {
        let seconds = i32::try_from(found.seconds).unwrap_or(i32::MAX);
        // SAFETY: the caller gave it to be written.
        unsafe { time.write(Time32 { seconds, nanoseconds: found.nanoseconds }) };
    }
    result
}
