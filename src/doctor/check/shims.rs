//! The shims, which are the parents of tasks: do they run without an agent.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;

pub(super) const CHECK: Check = Check::new(
    "shims",
    "Every task that runs has a shim, and an agent that looks after it. Without an agent tasks go on, but nothing restarts, replaces or updates them.",
    "`systemctl start coracle`: the agent takes the running tasks over.",
    |subject| judge(&running(subject), !subject.is_down()),
)
.of(super::Of::Box);

/// The tasks that have a shim: `coracle shim TASK STATE RUN CGROUP`.
pub(super) fn running(subject: &Subject) -> Vec<String> {
    let run = subject.run_dir().to_string_lossy();
    let task = |pid: String| {
        pid.parse::<u32>().ok()?;
        let line = subject.text(&format!("/proc/{pid}/cmdline"))?;
        let mut arguments = line.split('\0').skip(1);
        let (verb, task, _state) = (arguments.next()?, arguments.next()?, arguments.next()?);
        (verb == "shim" && arguments.next() == Some(&run)).then(|| task.to_owned())
    };
    let mut tasks: Vec<_> = subject.names("/proc").into_iter().filter_map(task).collect();
    // One that is about to enter a container is there twice for a moment.
    tasks.sort();
    tasks.dedup();
    tasks
}

fn judge(tasks: &[String], up: bool) -> Finding {
    match (tasks.len(), up) {
        (0, true) => Finding::ok("no task runs"),
        (0, false) => Finding::ok("no task runs without an agent"),
        (1, true) => Finding::ok("1 task runs"),
        (count, true) => Finding::ok(format!("{count} tasks run")),
        (count, false) => {
            let (tasks, run) = if count == 1 { ("task", "runs") } else { ("tasks", "run") };
            Finding::warning(
                format!("{count} {tasks} {run} without an agent, and nothing restarts what ends"),
                "sudo systemctl start coracle: the agent takes them over",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn shims_of_this_run_directory_are_found() {
        let (dir, subject) = a_box(&[]);
        let run = dir.path().join("run/coracle");
        for (pid, line) in [
            ("7", format!("coracle\0shim\0abc\0/state\0{}\0coracle\0", run.display())),
            ("8", "coracle\0shim\0def\0/state\0/run/other\0coracle\0".to_owned()),
            ("9", "coracle\0agent\0".to_owned()),
            ("self", String::new()),
        ] {
            let path = dir.path().join("proc").join(pid);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("cmdline"), line).unwrap();
        }
        assert_eq!(running(&subject), ["abc"]);
        let alone = (CHECK.run)(&subject);
        assert!(alone.status == Status::Warning && alone.found.starts_with("1 task runs without"));
        assert_eq!(judge(&["a".to_owned()], true).status, Status::Ok);
        assert_eq!(judge(&[], false).status, Status::Ok);
    }
}
