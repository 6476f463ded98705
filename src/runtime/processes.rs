//! The processes of a container, as the kernel lists them.

use super::spec::rootfs::RootFs;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id on the box.
    pub pid: i32,
    /// Its id in the container's process namespace.
    pub container_pid: i32,
    /// Whose it is.
    pub uid: u32,
    /// The name that the container's `/etc/passwd` has for that.
    pub user: Option<String>,
    /// CPU time.
    pub cpu: Duration,
    /// Bytes of memory that it has resident.
    pub resident: u64,
    /// What it was executed with, or its name in brackets when it hides that.
    pub command: Vec<String>,
}

/// Looks at those of `pids` that are still there.
pub(super) fn look(pids: impl IntoIterator<Item = i32>) -> Vec<Process> {
    let mut names: Option<BTreeMap<u32, String>> = None;
    pids.into_iter()
        .filter_map(|pid| {
            let mut process = read(pid)?;
            let names = names.get_or_insert_with(|| users(pid));
            process.user = names.get(&process.uid).cloned();
            Some(process)
        })
        .collect()
}

fn read(pid: i32) -> Option<Process> {
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
    let stat = String::from_utf8_lossy(&file("stat")?).into_owned();
    let status = String::from_utf8_lossy(&file("status")?).into_owned();
    let command = file("cmdline")?;
    parse(pid, &stat, &status, &command)
}

fn parse(pid: i32, stat: &str, status: &str, command: &[u8]) -> Option<Process> {
    // The name, in brackets, may hold anything.
    let (head, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let field = |number: usize| fields.get(number - 3).and_then(|f| f.trim().parse::<u64>().ok());
    let line = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).map(str::trim);
    let ticks = field(14)?.saturating_add(field(15)?);
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    let mut words: Vec<String> = command
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    // What is after the last NUL.
    if words.last().is_some_and(String::is_empty) {
        words.pop();
    }
    if words.is_empty() {
        words.push(format!("[{}]", head.split_once('(').map_or(head, |(_, name)| name)));
    }
    Some(Process {
        pid,
        container_pid: line("NSpid:")?.split_whitespace().next_back()?.parse().ok()?,
        // real, effective, saved, file system
        uid: line("Uid:")?.split_whitespace().nth(1)?.parse().ok()?,
        user: None,
        cpu: Duration::from_millis(ticks.saturating_mul(1000) / hertz),
        resident: field(24)?.saturating_mul(rustix::param::page_size() as u64),
        command: words,
    })
}

/// The users of the container that a process is in. Links in it do not lead out of it.
fn users(pid: i32) -> BTreeMap<u32, String> {
    let text = RootFs::open(Path::new(&format!("/proc/{pid}/root")))
        .and_then(|root| root.read("/etc/passwd"))
        .ok()
        .flatten()
        .unwrap_or_default();
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|f| f.parse().ok()))
        {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "4242 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 9 4096 3 0";
        let status = "Name:\ta\nUid:\t1\t1000\t1\t1\nNSpid:\t4242\t7\n";
        let process = parse(4242, stat, status, b"sh\0-c\0\0").unwrap();
        assert_eq!((process.pid, process.container_pid, process.uid), (4242, 7, 1000));
        assert_eq!(process.command, ["sh", "-c", ""]);
        assert_eq!(process.resident, 3 * rustix::param::page_size() as u64);
        assert_eq!(process.cpu, Duration::from_secs(200 / rustix::param::clock_ticks_per_second()));
        assert_eq!(parse(4242, stat, status, b"").unwrap().command, ["[a) b (c]"]);
    }

    #[test]
    fn this_process_is_there_and_one_that_is_not_is_left_out() {
        let own = i32::try_from(std::process::id()).unwrap();
        let seen = look([i32::MAX, own]);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].pid, own);
        assert!(seen[0].resident > 0);
    }
}
