//! Whether something sets the clock.

/// True when the kernel says that the clock is kept right by something on the network or a receiver; none when it does not say.
#[allow(unsafe_code, reason = "adjtimex(2) has no safe wrapper")]
#[must_use]
pub fn clock_is_synchronised() -> Option<bool> {
    let mut state = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `state` is zeroed memory of the type that the call fills; `modes` 0 sets nothing.
    let result = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    if result < 0 {
        return None;
    }
    // SAFETY: all its members are numbers, for which zeroes are valid, and the call has filled it.
    let state = unsafe { state.assume_init() };
    Some(result != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_says_whether() {
        // Reading needs no privilege.
        assert!(super::clock_is_synchronised().is_some());
    }
}
