//! `coracle stats`: what containers use.

use super::Connection;
use super::client::{Client, Error, Stats, Unreachable};
use super::output::{self, Format};
use anyhow::Result;
use rustix::termios::isatty;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::Duration;

/// Between two readings.
const PAUSE: Duration = Duration::from_secs(1);

/// Show what running containers use, again each second
///
/// CPU is the share of one core, so 200% are two cores. MEMORY leaves out the page cache that is not in active use. With
/// --output json each line is a reading in the form of Docker's stats.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only these tasks: their ids, the first 6 or more characters of them, or ARNs
    #[arg(value_name = "TASK")]
    tasks: Vec<String>,
    /// Only this box of a hub: the id of its container instance, or the beginning of it
    #[arg(long, value_name = "ID", conflicts_with = "tasks")]
    instance: Option<String>,
    /// Show one reading and end
    #[arg(long)]
    no_stream: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Readings by the run that they are of.
type Readings = HashMap<String, Value>;

impl Arguments {
    pub(super) async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let mut told = BTreeSet::new();
        let mut before = by_id(&self.read(&client, &mut told).await?);
        let clear = !self.no_stream && !self.format.is_json() && isatty(io::stdout());
        loop {
            // A share of time needs some time.
            tokio::time::sleep(PAUSE).await;
            let mut now = self.read(&client, &mut told).await?;
            for reading in &mut now {
                if let Some(before) = reading["id"].as_str().and_then(|id| before.get(id)) {
                    reading["preread"] = before["read"].clone();
                    reading["precpu_stats"] = before["cpu_stats"].clone();
                }
            }
            before = by_id(&now);
            self.show(&now, clear)?;
            if self.no_stream {
                return Ok(());
            }
        }
    }

    /// A reading; what cannot be read of a fleet is told once.
    async fn read(
        &self,
        client: &Client,
        told: &mut BTreeSet<String>,
    ) -> Result<Vec<Value>, Error> {
        if self.tasks.is_empty() {
            let Stats { containers, unreachable } =
                client.stats(None, self.instance.as_deref()).await?;
            for Unreachable { error } in unreachable {
                if !told.contains(&error) {
                    output::complain("note", &error);
                    told.insert(error);
                }
            }
            return Ok(containers);
        }
        let mut all = Vec::new();
        for task in &self.tasks {
            all.extend(client.stats(Some(task), None).await?.containers);
        }
        Ok(all)
    }

    fn show(&self, readings: &[Value], clear: bool) -> Result<()> {
        if self.format.is_json() {
            return output::line(&json!({ "containers": readings }).to_string());
        }
        if clear {
            // Home, and all below.
            output::bytes(b"\x1b[H\x1b[J")?;
        }
        let header = [
            "TASK",
            "CONTAINER",
            "CPU",
            "MEMORY / LIMIT",
            "MEM",
            "NET IN / OUT",
            "BLOCK IN / OUT",
            "PIDS",
        ];
        output::table(&header, readings.iter().map(row).collect())
    }
}

fn by_id(readings: &[Value]) -> Readings {
    let id = |reading: &Value| reading["id"].as_str().unwrap_or_default().to_owned();
    readings.iter().map(|reading| (id(reading), reading.clone())).collect()
}

fn row(reading: &Value) -> Vec<String> {
    let memory = &reading["memory_stats"];
    let cache = ["total_inactive_file", "inactive_file"];
    let cache = cache.iter().find_map(|key| memory["stats"][key].as_u64()).unwrap_or(0);
    let used = number(&memory["usage"]).saturating_sub(cache);
    let limit = number(&memory["limit"]);
    let text = |member: &str| reading[member].as_str().unwrap_or_default();
    vec![
        output::short(text("task")).to_owned(),
        text("name").to_owned(),
        cpu(reading).map_or_else(|| "-".to_owned(), percent),
        format!("{} / {}", output::size(used), output::size(limit)),
        if limit == 0 { "-".to_owned() } else { percent(per_mille(used, limit)) },
        network(reading),
        block(reading),
        number(&reading["pids_stats"]["current"]).to_string(),
    ]
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The share of one core between two readings, in thousandths.
fn cpu(reading: &Value) -> Option<u64> {
    let (now, before) = (&reading["cpu_stats"], &reading["precpu_stats"]);
    let since = |now: &Value, before: &Value| Some(now.as_u64()?.saturating_sub(before.as_u64()?));
    let used = since(&now["cpu_usage"]["total_usage"], &before["cpu_usage"]["total_usage"])?;
    let of_box = since(&now["system_cpu_usage"], &before["system_cpu_usage"])?;
    (of_box > 0).then(|| per_mille(used.saturating_mul(number(&now["online_cpus"])), of_box))
}

fn per_mille(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 1000 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

fn percent(per_mille: u64) -> String {
    format!("{}.{}%", per_mille / 10, per_mille % 10)
}

fn network(reading: &Value) -> String {
    let Some(all) = reading["networks"].as_object() else { return "-".to_owned() };
    let sum = |member: &str| all.values().map(|interface| number(&interface[member])).sum();
    format!("{} / {}", output::size(sum("rx_bytes")), output::size(sum("tx_bytes")))
}

fn block(reading: &Value) -> String {
    let all = reading["blkio_stats"]["io_service_bytes_recursive"].as_array();
    let sum = |operation: &str| {
        let rows = all.into_iter().flatten().filter(|row| row["op"] == operation);
        rows.map(|row| number(&row["value"])).sum()
    };
    format!("{} / {}", output::size(sum("Read")), output::size(sum("Write")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu_stats(used: u64, of_box: u64) -> Value {
        json!({ "cpu_usage": { "total_usage": used }, "system_cpu_usage": of_box, "online_cpus": 2 })
    }

    #[test]
    fn a_reading_becomes_a_row() {
        let mut reading = json!({
            "task": "0123456789abcdef",
            "name": "web",
            "cpu_stats": cpu_stats(750, 3000),
            "precpu_stats": cpu_stats(250, 1000),
            "memory_stats": { "usage": 3 << 20, "limit": 4 << 20, "stats": { "inactive_file": 1 << 20 } },
            "blkio_stats": { "io_service_bytes_recursive": [
                { "major": 8, "minor": 0, "op": "Read", "value": 512 },
                { "major": 8, "minor": 0, "op": "Total", "value": 512 },
            ] },
            "pids_stats": { "current": 3 },
        });
        let expected =
            ["0123456789ab", "web", "50.0%", "2.0 MiB / 4.0 MiB", "50.0%", "-", "512 B / 0 B", "3"];
        assert_eq!(row(&reading), expected);
        reading["networks"] = json!({ "eth0": { "rx_bytes": 1024, "tx_bytes": 1 } });
        reading["precpu_stats"] = json!({ "cpu_usage": { "total_usage": 0 } });
        assert_eq!(row(&reading)[2], "-");
        assert_eq!(row(&reading)[5], "1.0 KiB / 1 B");
    }
}
