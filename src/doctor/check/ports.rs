//! Ports of the box that are wanted here, and that something else listens on.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::{Subject, names};
use crate::model::{DesiredStatus, TaskStatus};
use crate::plan::World;
use crate::plan::placement::Needs;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHECK: Check = Check::new(
    "ports",
    "The ports that the agent, the hub, and tasks yet to start want are free.",
    "Stop what listens there (`ss -lptn`), or choose another port: `listen` in the configuration, `hostPort` in the task definition.",
    look,
)
.as_root();

/// A port, and whether it is one of UDP.
type Port = (u16, bool);

/// Who wants a port.
struct Wanted {
    port: Port,
    by: String,
    remedy: String,
}

fn look(subject: &Subject) -> Finding {
    let listeners = listeners(subject);
    let mut wanted = Vec::new();
    if subject.is_down() {
        let mut own = |address: std::net::SocketAddr, key: &str| {
            let remedy = format!("or set {key} in {} to another address", subject.file.display());
            wanted.push(Wanted {
                port: (address.port(), false),
                by: format!("the {}", subject.who()),
                remedy,
            });
        };
        own(subject.listen(), "listen");
        if let Some(hub) = subject.hub().filter(|hub| hub.broker.is_none()) {
            own(hub.mqtt_listen, "mqtt_listen");
        }
    }
    if let Some(world) = subject.world().filter(|_| subject.config().is_some()) {
        wanted.extend(of_tasks(world));
    }
    wanted.retain(|wanted| wanted.port.0 != 0 && listeners.contains_key(&wanted.port));
    let sockets = wanted.iter().filter_map(|wanted| listeners.get(&wanted.port)).copied().collect();
    let holders = if wanted.is_empty() { BTreeMap::new() } else { holders(subject, &sockets) };
    judge(&wanted, |port| holders.get(listeners.get(&port)?).cloned())
}

/// The ports of tasks that are to run here and have not come to that.
fn of_tasks(world: &World) -> Vec<Wanted> {
    let waiting =
        |status: TaskStatus| matches!(status, TaskStatus::Provisioning | TaskStatus::Pending);
    let tasks = world
        .tasks
        .values()
        .filter(|task| waiting(task.last_status) && task.desired_status == DesiredStatus::Running);
    let ports = tasks.filter_map(|task| {
        let assignment = world.assignments.get(&task.assignment())?;
        let definition = world.task_definitions.get(&assignment.task_definition)?;
        let needs = Needs::of_assignment(definition, assignment);
        Some(needs.ports.into_iter().map(|port| Wanted {
            port,
            by: format!("task {} ({})", task.id, assignment.task_definition),
            remedy: "or choose another hostPort in the task definition".to_owned(),
        }))
    });
    ports.flatten().collect()
}

/// What listens on this box: the port and its socket.
fn listeners(subject: &Subject) -> BTreeMap<Port, u64> {
    let mut all = BTreeMap::new();
    for (file, udp) in [("tcp", false), ("tcp6", false), ("udp", true), ("udp6", true)] {
        let text = subject.text(&format!("/proc/net/{file}")).unwrap_or_default();
        all.extend(text.lines().filter_map(|line| listener(line, udp)));
    }
    all
}

/// A line like `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 …`.
fn listener(line: &str, udp: bool) -> Option<(Port, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let state = *fields.get(3)?;
    // Listening; UDP has no such state.
    if state != if udp { "07" } else { "0A" } {
        return None;
    }
    let port = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
    Some(((port, udp), fields.get(9)?.parse().ok()?))
}

/// The programs that have these sockets open.
fn holders(subject: &Subject, sockets: &BTreeSet<u64>) -> BTreeMap<u64, String> {
    let mut holders = BTreeMap::new();
    for pid in subject.names("/proc").iter().filter(|name| name.parse::<u32>().is_ok()) {
        let directory = subject.path(&format!("/proc/{pid}/fd"));
        for descriptor in names(&directory) {
            let Ok(target) = std::fs::read_link(directory.join(descriptor)) else { continue };
            let target = target.to_string_lossy();
            let socket =
                target.strip_prefix("socket:[").and_then(|t| t.trim_end_matches(']').parse().ok());
            if let Some(socket) = socket.filter(|socket| sockets.contains(socket)) {
                let name = subject.text(&format!("/proc/{pid}/comm")).unwrap_or_default();
                holders.entry(socket).or_insert(format!("{} (process {pid})", name.trim()));
            }
        }
    }
    holders
}

fn judge(taken: &[Wanted], holder: impl Fn(Port) -> Option<String>) -> Finding {
    let wrong = taken.iter().map(|Wanted { port, by, remedy }| {
        let protocol = if port.1 { "UDP" } else { "TCP" };
        let holder = holder(*port).unwrap_or_else(|| "something else".to_owned());
        Finding::error(
            format!("{protocol} port {}, which {by} wants, is taken by {holder}", port.0),
            format!("stop {holder}, {remedy}"),
        )
    });
    Finding::all(wrong.collect(), || Finding::ok("no port that is wanted is taken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn a_port_that_is_taken_is_told_with_its_holder() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |port: u16, state| {
            format!(
                "   0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100\n"
            )
        };
        let taken = format!("{head}{}", line(51678, "0A"));
        let (dir, subject) = a_box(&[("/proc/net/tcp", &taken), ("/proc/77/comm", "nginx\n")]);
        std::fs::create_dir_all(dir.path().join("proc/77/fd")).unwrap();
        std::os::unix::fs::symlink("socket:[4711]", dir.path().join("proc/77/fd/5")).unwrap();
        let found = look(&subject);
        assert_eq!(found.status, Status::Error);
        assert!(
            found.found.contains("51678") && found.found.contains("nginx (process 77)"),
            "{found:?}"
        );
        assert!(found.remedy.unwrap().contains("set listen in"));
        let connected = format!("{head}{}", line(51678, "01"));
        let (_dir, subject) = a_box(&[("/proc/net/tcp", &connected)]);
        assert_eq!(look(&subject).status, Status::Ok);
        assert_eq!(listener(&line(53, "07"), true), Some(((53, true), 4711)));
    }
}
