//! `coracle node`: the boxes of a fleet, seen from its hub; on a box, that box.

use super::Connection;
use super::client::Client;
use super::output::{self, Format, id_of};
use crate::model::{Timestamp, capacity_provider};
use crate::sys;
use anyhow::Result;
use serde_json::{Value, json};

/// List the boxes of a fleet, look at one, take it out of use and back
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    Ls(List),
    Show(Show),
    Drain(Drain),
    Activate(Activate),
    Rm(Remove),
}

/// List the boxes
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only the boxes of this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Show the attributes too
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Show all that is known of a box
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Its id, or the first 6 or more characters of it; on a box: itself
    #[arg(value_name = "ID", default_value = "this")]
    id: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

/// Let a box take no more tasks, and services move theirs away
#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    target: Target,
}

/// Let a box that was drained take tasks again
#[derive(Debug, clap::Args)]
pub(super) struct Activate {
    #[command(flatten)]
    target: Target,
}

/// Deregister a box: it is refused from then on
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    #[command(flatten)]
    target: Target,
    /// Also when it has tasks: they count as stopped
    #[arg(long)]
    force: bool,
}

/// One box, and how to reach its hub.
#[derive(Debug, clap::Args)]
struct Target {
    /// Its id, or the first 6 or more characters of it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
}

impl Verb {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Ls(arguments) => arguments.run().await,
            Self::Show(arguments) => arguments.run().await,
            Self::Drain(arguments) => arguments.target.set("DRAINING").await,
            Self::Activate(arguments) => arguments.target.set("ACTIVE").await,
            Self::Rm(arguments) => arguments.run().await,
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// `3m ago`; empty when there is no time.
fn since(value: &Value) -> Option<String> {
    let at = serde_json::from_value::<Timestamp>(value.clone()).ok()?;
    Some(output::age(sys::now(), at))
}

/// What the box told of itself, or was put on it, without what every box has.
fn attributes(node: &Value) -> String {
    let all = node["attributes"].as_array().into_iter().flatten();
    let own = all.filter(|attribute| {
        let name = text(&attribute["name"]);
        let told = name.starts_with("coracle.") && name != capacity_provider::ATTRIBUTE;
        !told && !name.starts_with("com.amazonaws.") && !name.starts_with("ecs.")
    });
    let own = own.map(|attribute| match attribute["value"].as_str() {
        Some(value) => format!("{}={value}", text(&attribute["name"])),
        None => text(&attribute["name"]).to_owned(),
    });
    own.collect::<Vec<_>>().join(" ")
}

/// `yes`, or for how long not.
fn connected(node: &Value) -> String {
    if node["agentConnected"] == true {
        return "yes".to_owned();
    }
    match since(&node["device"]["connectedChangedAt"]) {
        Some(time) => format!("no, for {time}"),
        None => "no".to_owned(),
    }
}

/// `APPLIED`; while the newest document is on its way, what the box has beside it.
fn phase(node: &Value) -> String {
    let device = &node["device"];
    let (phase, document, seen) =
        (text(&device["phase"]), text(&device["document"]), text(&device["seen"]));
    if document != seen {
        let seen = if seen.is_empty() { "none" } else { seen };
        return format!("has {seen} of {document}");
    }
    phase.to_owned()
}

/// The key that a hub's boxes are to trust, while some of them may trust an older one.
async fn newest_key(client: &Client) -> Option<String> {
    // Who is no hub has none.
    let keys = client.hub_keys().await.ok()?;
    let rotating = keys["before"].as_array().is_some_and(|before| !before.is_empty());
    rotating.then(|| text(&keys["key"]).to_owned())
}

/// `3 forged, 1 malformed`; none if there are none.
fn counted(refused: &Value) -> Option<String> {
    let refused = refused.as_object().into_iter().flatten();
    let refused: Vec<_> = refused.map(|(why, count)| format!("{count} {why}")).collect();
    (!refused.is_empty()).then(|| refused.join(", "))
}

impl List {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let answer = client.nodes(self.cluster.as_deref()).await?;
        if self.format.is_json() {
            return output::json(&answer);
        }
        let key = newest_key(&client).await;
        let mut header =
            vec!["NODE", "CLUSTER", "STATUS", "CONNECTED", "TASKS", "PHASE", "VERSION"];
        if key.is_some() {
            header.push("HUB KEY");
        }
        if self.wide {
            header.push("ATTRIBUTES");
        }
        let row = |node: &Value| {
            let tasks = number(&node["runningTasksCount"]);
            let mut row = vec![
                output::short(text(&node["id"])).to_owned(),
                text(&node["cluster"]).to_owned(),
                text(&node["status"]).to_owned(),
                connected(node),
                tasks.to_string(),
                phase(node),
                text(&node["versionInfo"]["agentVersion"]).to_owned(),
            ];
            if let Some(key) = &key {
                let has = text(&node["device"]["hubKey"]);
                row.push(if has == key { "new" } else { "old" }.to_owned());
            }
            if self.wide {
                row.push(attributes(node));
            }
            row
        };
        let nodes = answer["nodes"].as_array().into_iter().flatten();
        output::table(&header, nodes.map(row).collect())
    }
}

impl Show {
    async fn run(self) -> Result<()> {
        let client = self.connection.client();
        let node = client.node(&self.id).await?;
        if self.format.is_json() {
            return output::json(&node);
        }
        let newest = newest_key(&client).await;
        let resource = |name: &str| {
            let of = |kind: &str| {
                let all = node[kind].as_array().into_iter().flatten();
                let found = all.into_iter().find(|resource| resource["name"] == name);
                found.map_or(0, |resource| number(&resource["integerValue"]))
            };
            format!("{} of {} free", of("remainingResources"), of("registeredResources"))
        };
        let mut rows = vec![
            ("node", text(&node["id"]).to_owned()),
            ("cluster", text(&node["cluster"]).to_owned()),
            ("status", text(&node["status"]).to_owned()),
            ("version", text(&node["versionInfo"]["agentVersion"]).to_owned()),
            ("cpu", resource("CPU")),
            ("memory", resource("MEMORY")),
            (
                "tasks",
                format!(
                    "{} running, {} pending",
                    number(&node["runningTasksCount"]),
                    number(&node["pendingTasksCount"])
                ),
            ),
            ("attributes", attributes(&node)),
        ];
        let ago = |value: &Value| since(value).map(|time| format!("{time} ago"));
        let mut more = |name: &'static str, value: Option<String>| {
            rows.extend(value.filter(|value| !value.is_empty()).map(|value| (name, value)));
        };
        let own = |value: &Value| value.as_str().map(str::to_owned);
        let device = &node["device"];
        if device.is_object() {
            more("connected", Some(connected(&node)));
            more("last heard of", ago(&device["lastHeardAt"]));
            more("document", own(&device["document"]));
            more("refused", ago(&device["revokedAt"]));
            more("certificate until", own(&device["certificate"]["notAfter"]));
            let old = newest.is_some_and(|key| key != text(&device["hubKey"]));
            let old = if old { " (the hub has a newer one)" } else { "" };
            more("hub key", own(&device["hubKey"]).map(|key| format!("{key}{old}")));
            let missed = number(&device["eventsMissed"]);
            more("events missed", (missed > 0).then(|| missed.to_string()));
            more("hub refused", counted(&node["refusedByHub"]));
        }
        let membership = &node["membership"];
        if membership.is_object() {
            more("hub", own(&membership["hub"]));
            more("joined", ago(&membership["joinedAt"]));
            let link = &membership["link"];
            let time = ago(&link["since"]).map(|time| format!(" ({time})")).unwrap_or_default();
            let is = if link["connected"] == true { "yes" } else { "no" };
            more("connected", link.is_object().then(|| format!("{is}{time}")));
            more("why not", own(&link["why"]));
            more("broker", own(&link["broker"]));
            more("refused", counted(&link["refused"]));
            more("events kept", Some(number(&membership["eventsKept"]).to_string()));
        }
        for of in [device, membership] {
            more("seen", own(&of["seen"]));
            more("applied", own(&of["applied"]));
            more("phase", own(&of["phase"]));
            more("reason", own(&of["reason"]));
        }
        let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        output::table(&["MEMBER", "VALUE"], rows)
    }
}

impl Remove {
    async fn run(self) -> Result<()> {
        let client = self.target.connection.client();
        let (cluster, id) = self.target.found().await?;
        let input = json!({ "cluster": cluster, "containerInstance": id, "force": self.force });
        let answer = client.ecs("DeregisterContainerInstance", &input).await?;
        if self.target.format.is_json() {
            return output::json(&answer);
        }
        output::line(&id)
    }
}

impl Target {
    /// Its cluster and its whole id.
    async fn found(&self) -> Result<(String, String)> {
        let node = self.connection.client().node(&self.id).await?;
        let id = id_of(text(&node["containerInstanceArn"])).to_owned();
        Ok((text(&node["cluster"]).to_owned(), id))
    }

    async fn set(self, status: &str) -> Result<()> {
        let (cluster, id) = self.found().await?;
        let input = json!({ "cluster": cluster, "containerInstances": [id], "status": status });
        let client = self.connection.client();
        let answer = client.ecs("UpdateContainerInstancesState", &input).await?;
        if let Some(failure) = answer["failures"].get(0) {
            anyhow::bail!("{id} cannot be made {status}: {}", text(&failure["reason"]));
        }
        if self.format.is_json() {
            return output::json(&answer);
        }
        output::line(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_in_a_line() {
        let node = json!({
            "agentConnected": false,
            "attributes": [
                { "name": "site", "value": "north" }, { "name": "ecs.os-type", "value": "linux" },
                { "name": "gpu" }, { "name": "coracle.phase", "value": "APPLIED" }
            ],
            "device": { "document": "1.7", "seen": "1.6", "phase": "APPLIED" }
        });
        assert_eq!(attributes(&node), "site=north gpu");
        assert_eq!(connected(&node), "no");
        assert_eq!(phase(&node), "has 1.6 of 1.7");
        let new = json!({ "device": { "document": "1.1" } });
        assert_eq!(phase(&new), "has none of 1.1");
        let done = json!({
            "agentConnected": true, "device": { "document": "1.7", "seen": "1.7", "phase": "APPLIED" }
        });
        assert_eq!((connected(&done), phase(&done)), ("yes".to_owned(), "APPLIED".to_owned()));
    }
}
