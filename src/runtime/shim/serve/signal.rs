//! Sending signals, and reading their names.

/// The process is this one's child and not reaped yet, so the number is its own.
#[expect(unsafe_code, reason = "real-time signals have no typed form")]
pub(super) fn send_signal(pid: i32, signal: i32) {
    // SAFETY: kill(2) takes plain numbers.
    let _ = unsafe { libc::kill(pid, signal) };
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
pub(super) fn stop_signal(name: Option<&str>) -> Result<i32, String> {
    let Some(name) = name.map(str::trim).filter(|n| !n.is_empty()) else {
        return Ok(libc::SIGTERM);
    };
    let unknown = || format!("invalid signal: {name}");
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number).ok_or_else(unknown);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = short.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() {
            Some(0)
        } else {
            rest.strip_prefix('+').and_then(|n| n.parse().ok())
        };
        return offset.map(|n: i32| 34 + n).filter(|n| (34..=64).contains(n)).ok_or_else(unknown);
    }
    if let Some(rest) = short.strip_prefix("RTMAX") {
        let offset = if rest.is_empty() {
            Some(0)
        } else {
            rest.strip_prefix('-').and_then(|n| n.parse().ok())
        };
        return offset.map(|n: i32| 64 - n).filter(|n| (34..=64).contains(n)).ok_or_else(unknown);
    }
    format!("SIG{short}")
        .parse::<nix::sys::signal::Signal>()
        .map(|s| s as i32)
        .map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_as_docker_reads_them() {
        assert_eq!(stop_signal(None), Ok(15));
        assert_eq!(stop_signal(Some("SIGQUIT")), Ok(3));
        assert_eq!(stop_signal(Some("int")), Ok(2));
        assert_eq!(stop_signal(Some("9")), Ok(9));
        assert_eq!(stop_signal(Some("SIGRTMIN+3")), Ok(37));
        assert_eq!(stop_signal(Some("RTMAX-1")), Ok(63));
        assert!(stop_signal(Some("SIGNONE")).is_err());
        assert!(stop_signal(Some("99")).is_err());
    }
}
