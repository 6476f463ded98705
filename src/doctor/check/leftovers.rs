//! What stayed of tasks that nobody knows: control groups, mounts, run directories, and a bridge that nobody uses.

use super::Check;
use super::cgroups::Groups;
use super::forwarding::bridges;
use super::shims::running;
use crate::doctor::finding::Finding;
use crate::doctor::mount::mounts;
use crate::doctor::subject::{Subject, names};
use crate::store::inspect;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHECK: Check = Check::new(
    "leftovers",
    "Nothing is left of tasks that no record knows: no control group, mount or directory, and no bridge without an agent.",
    "`systemctl restart coracle`: the agent removes at its start what it does not know. On a box that is to have none: `coracle reset`.",
    look,
)
.of(super::Of::Box)
.as_root();

fn look(subject: &Subject) -> Finding {
    let Some(config) = subject.config() else { return Finding::skipped("this is a hub") };
    let groups = Groups::of(subject);
    let parent = config.cgroup_parent.trim_matches('/');
    let run = subject.run_dir().join("tasks");
    let mut found: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    let mut note = |task: String, what| {
        found.entry(task).or_default().insert(what);
    };
    for controller in ["memory", "pids"] {
        let Some(at) = groups.at(controller) else { continue };
        let directory = subject.path(&at.join(parent).to_string_lossy());
        for name in names(&directory) {
            if directory.join(&name).is_dir() {
                note(name, "control group");
            }
        }
    }
    for name in names(&run) {
        note(name, "directory");
    }
    for mount in mounts(subject) {
        let below = mount.point.strip_prefix(&run).ok();
        if let Some(task) = below.and_then(|path| path.components().next()) {
            note(task.as_os_str().to_string_lossy().into_owned(), "mount");
        }
    }
    // After all that: a task is in the store before anything of it is on the box.
    let known = match inspect::read(&subject.state_dir().join("store")) {
        Ok(None) => BTreeSet::new(),
        Ok(Some(read)) if read.schema == crate::store::schema::CURRENT => {
            read.world.tasks.into_keys().map(|id| id.to_string()).collect()
        }
        _ => return Finding::skipped("the records of tasks cannot be read: see the check store"),
    };
    found.retain(|task, _| !known.contains(task));
    let idle = subject.is_down() && running(subject).is_empty();
    let bridges = if idle { bridges(subject) } else { Vec::new() };
    judge(&found, &bridges)
}

fn judge(unknown: &BTreeMap<String, BTreeSet<&'static str>>, bridges: &[String]) -> Finding {
    const REMEDY: &str = "sudo systemctl restart coracle: the agent removes at its start what it does not know; on a box that is to have none: sudo coracle reset";
    let mut wrong = Vec::new();
    if let Some((task, what)) = unknown.first_key_value() {
        let what = what.iter().copied().collect::<Vec<_>>().join(", ");
        let more = match unknown.len() - 1 {
            0 => String::new(),
            more => format!(", and of {more} more"),
        };
        let what =
            format!("something is left of task {task}, which no record knows ({what}){more}");
        wrong.push(Finding::warning(what, REMEDY));
    }
    if !bridges.is_empty() {
        let what =
            format!("no agent and no task runs, and the bridge {} is there", bridges.join(", "));
        wrong.push(Finding::warning(what, REMEDY));
    }
    Finding::all(wrong, || Finding::ok("nothing is left of tasks that are gone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn groups_mounts_and_directories_of_unknown_tasks() {
        let mount = "30 22 0:26 / /cg rw - cgroup2 cgroup2 rw\n";
        let (dir, subject) = a_box(&[("/cg/cgroup.controllers", "memory pids")]);
        let run = dir.path().join("run/coracle/tasks");
        let text =
            format!("{mount}31 1 0:9 / {}/abc/main/rootfs rw - overlay o rw\n", run.display());
        std::fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        std::fs::write(dir.path().join("proc/self/mountinfo"), text).unwrap();
        std::fs::create_dir_all(dir.path().join("cg/coracle/abc/main")).unwrap();
        let found = look(&subject);
        assert_eq!(found.status, Status::Warning);
        assert!(found.found.contains("task abc") && found.found.contains("control group, mount"));
        let (_dir, clean) = a_box(&[]);
        assert_eq!(look(&clean).status, Status::Ok);
        let bridge = judge(&BTreeMap::new(), &["coracle0".to_owned()]);
        assert!(bridge.found.contains("coracle0") && bridge.status == Status::Warning);
    }
}
