//! Runs all checks at once, each on a thread of its own, and waits for none of them longer than its time.

use super::check::{ALL, Check};
use super::finding::Finding;
use super::report::Report;
use super::subject::Subject;
use crate::sys;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

/// Runs the checks that are for this subject; `each` is told the findings in the order of the table, as they come.
pub fn examine(subject: Subject, mut each: impl FnMut(&'static Check, &Finding)) -> Report {
    let subject = Arc::new(subject);
    let begun = sys::uptime();
    let started: Vec<_> = ALL
        .iter()
        .filter(|check| check.of.includes(subject.role()))
        .map(|check| (*check, start(check, &subject)))
        .collect();
    let mut findings = Vec::with_capacity(started.len());
    for (check, started) in started {
        let finding = match started {
            Err(finding) => finding,
            Ok(answer) => {
                let left = (begun + check.patience).saturating_sub(sys::uptime());
                match answer.recv_timeout(left) {
                    Ok(finding) => finding,
                    Err(RecvTimeoutError::Timeout) => late(check),
                    Err(RecvTimeoutError::Disconnected) => broken(),
                }
            }
        };
        each(check, &finding);
        findings.push((check, finding));
    }
    Report(findings)
}

/// Begins one check. A thread that hangs is left behind: it ends with the program.
fn start(check: &'static Check, subject: &Arc<Subject>) -> Result<Receiver<Finding>, Finding> {
    if check.needs_root && !subject.is_root() {
        return Err(Finding::skipped("it needs root: run `sudo coracle doctor`"));
    }
    let (tell, answer) = channel();
    let subject = Arc::clone(subject);
    let work = move || {
        // Whoever waited for too long is gone.
        let _ = tell.send((check.run)(&subject));
    };
    std::thread::Builder::new().name(check.name.to_owned()).spawn(work).map(|_| answer).map_err(
        |error| {
            let what = format!("no thread could be started for it: {error}");
            Finding::error(what, "see what takes all processes of this box: ps -eLf | wc -l")
        },
    )
}

fn late(check: &Check) -> Finding {
    Finding::error(
        format!("it did not end within {} s: what it looks at hangs", check.patience.as_secs()),
        "see what the kernel says of disks and networks: dmesg | tail -n 50",
    )
}

fn broken() -> Finding {
    Finding::error("the check itself failed", "run it again with RUST_BACKTRACE=1, and report that")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Of;
    use crate::doctor::finding::Status;
    use std::time::Duration;

    const HANGS: Check = Check {
        name: "hangs",
        about: "",
        remedy: "",
        of: Of::Both,
        needs_root: false,
        patience: Duration::ZERO,
        run: |_| {
            std::thread::park();
            Finding::ok("")
        },
    };
    static FAILS: Check = Check { name: "fails", run: |_| panic!("as it should"), ..HANGS };
    static OF_ROOT: Check = Check { name: "root", needs_root: true, ..HANGS };

    #[test]
    fn a_check_that_hangs_or_fails_is_an_error_and_one_of_root_is_skipped() {
        let subject = Arc::new(Subject::at("/nonexistent"));
        let answer = start(&HANGS, &subject).unwrap();
        assert_eq!(answer.recv_timeout(HANGS.patience), Err(RecvTimeoutError::Timeout));
        assert!(late(&HANGS).found.contains("within 0 s"));
        let answer = start(&FAILS, &subject).unwrap();
        let ended = answer.recv_timeout(Duration::from_mins(1));
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
        assert_eq!(start(&OF_ROOT, &subject).unwrap_err().status, Status::Skipped);
    }
}
