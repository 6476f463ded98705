//! Times, and what the kernel says of processes and of the loopback.

use std::time::Duration;

/// Seconds, in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64());
    }

    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() as f64 * share).ceil() as usize;
        sorted[at.clamp(1, sorted.len()) - 1]
    }

    pub(crate) fn largest(&self) -> f64 {
        self.at(1.0)
    }

    pub(crate) fn line(&self) -> String {
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| self.at(share));
        format!("p50 {p50:.3} s, p99 {p99:.3} s, last {most:.3} s")
    }

    /// How many came in the second in which most did, beginning anywhere.
    pub(crate) fn busiest_second(&self) -> usize {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (mut first, mut most) = (0, 0);
        for last in 0..sorted.len() {
            while sorted[last] - sorted[first] >= 1.0 {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// In KiB.
    pub(crate) pss: u64,
}

impl Usage {
    pub(crate) fn mib(self) -> f64 {
        self.pss as f64 / 1024.0
    }
}

pub(crate) fn usage(pid: u32) -> Usage {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    Usage { pss: line.trim().trim_end_matches(" kB").parse().unwrap() }
}

/// Processor time of a process so far.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // The kernel counts in hundredths here, whatever it ticks with.
    Duration::from_millis(ticks * 10)
}

/// Bytes and packets that went over the loopback so far.
pub(crate) fn loopback() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap();
    let fields: Vec<u64> = line.split_whitespace().map(|field| field.parse().unwrap()).collect();
    (fields[0], fields[1])
}
