//! Keeps the broker's roster what the records of boxes say: whoever joined is admitted, whoever was deregistered or left is
//! refused. The records are the truth; a hub that was down for a while, or a broker that was, catches up.
//!
//! Which certificates are refused stands in the same records: a box that joins again has a new one, and the old ones stay
//! refused until they end.

use crate::engine::Handle;
use crate::fleet::broker::{Broker, Roster};
use crate::fleet::join::refused_serials;
use crate::model::fleet::Device;
use crate::model::{ClusterName, ContainerInstanceId};
use crate::plan::World;
use std::collections::BTreeMap;
use std::time::Duration;

/// Commits that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Between attempts when the store or the broker does not take a change.
const AGAIN: Duration = Duration::from_secs(2);

/// What the broker was told of each box; none: refused.
type Told = BTreeMap<ContainerInstanceId, Option<ClusterName>>;

/// The roster that the records say.
pub(super) fn of(world: &World) -> (Roster, Told) {
    let (refused, admitted): (Vec<_>, Vec<_>) =
        world.devices.values().partition(|device| device.revoked_at.is_some());
    let roster = Roster {
        admitted: admitted.iter().map(|d| (d.id.clone(), d.cluster.clone())).collect(),
        refused: refused.iter().map(|device| device.id.clone()).collect(),
        revoked: refused_serials(world),
    };
    let told = world.devices.values().map(|device| (device.id.clone(), wanted(device))).collect();
    (roster, told)
}

/// Brings every change to the broker, for as long as the engine runs.
pub(super) async fn keep(handle: Handle, broker: Broker, mut told: Told) {
    let mut commits = handle.watch();
    loop {
        let changed: Vec<Device> = handle.read(|world| {
            let differs = |device: &&Device| told.get(&device.id) != Some(&wanted(device));
            world.devices.values().filter(differs).cloned().collect()
        });
        let mut pause = TOGETHER;
        for device in changed {
            let wanted = wanted(&device);
            if let Err(error) = bring(&handle, &broker, &device).await {
                tracing::error!(device = %device.id, "cannot change who may take part, trying again: {error:#}");
                pause = AGAIN;
                continue;
            }
            told.insert(device.id, wanted);
        }
        tokio::time::sleep(pause).await;
        if pause == TOGETHER && commits.changed().await.is_err() {
            return;
        }
    }
}

async fn bring(handle: &Handle, broker: &Broker, device: &Device) -> anyhow::Result<()> {
    let id = device.id.clone();
    if let Some(cluster) = wanted(device) {
        broker.admit(id.clone(), cluster).await?;
        tracing::info!(device = %id, "the box may take part");
        return Ok(());
    }
    let serials = handle.read(refused_serials);
    broker.revoke(id.clone(), serials.into_iter().collect()).await?;
    tracing::info!(device = %id, "the box is refused from now on");
    Ok(())
}

fn wanted(device: &Device) -> Option<ClusterName> {
    device.revoked_at.is_none().then(|| device.cluster.clone())
}
