//! Keeps the broker's roster what the records of boxes say: whoever joined is admitted, whoever was deregistered or left is
//! refused. The records are the truth; a hub that was down for a while, or a broker that was, catches up.
//!
//! Serial numbers of refused certificates are kept by themselves, until the certificate ends: a box that joins again has a
//! new one, and the old one stays refused.

use crate::auth::fleet::CertificateInfo;
use crate::engine::Handle;
use crate::fleet::broker::{Broker, Roster};
use crate::model::fleet::Device;
use crate::model::{ClusterName, ContainerInstanceId, Timestamp};
use crate::plan::World;
use crate::store::{Store, StoreError};
use crate::sys;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Where the store keeps the serial numbers, each with the certificate's end.
const REVOKED: &str = "revokedCertificates";
/// Commits that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Between attempts when the store or the broker does not take a change.
const AGAIN: Duration = Duration::from_secs(2);

/// What the broker was told of each box; none: refused.
type Told = BTreeMap<ContainerInstanceId, Option<ClusterName>>;

/// The roster that the store holds.
pub(super) fn of(world: &World, store: &Store) -> Result<(Roster, Told), StoreError> {
    let (refused, admitted): (Vec<_>, Vec<_>) =
        world.devices.values().partition(|device| device.revoked_at.is_some());
    let revoked =
        revoke(store, &refused.iter().map(|device| (*device).clone()).collect::<Vec<_>>())?;
    let roster = Roster {
        admitted: admitted.iter().map(|d| (d.id.clone(), d.cluster.clone())).collect(),
        refused: refused.iter().map(|device| device.id.clone()).collect(),
        revoked: revoked.into_keys().collect(),
    };
    let told = world.devices.values().map(|device| (device.id.clone(), wanted(device))).collect();
    Ok((roster, told))
}

/// Brings every change to the broker, for as long as the engine runs.
pub(super) async fn keep(handle: Handle, store: Store, broker: Broker, mut told: Told) {
    let mut commits = handle.watch();
    loop {
        let changed: Vec<Device> = handle.read(|world| {
            let differs = |device: &&Device| told.get(&device.id) != Some(&wanted(device));
            world.devices.values().filter(differs).cloned().collect()
        });
        let mut pause = TOGETHER;
        for device in changed {
            let wanted = wanted(&device);
            if let Err(error) = bring(&store, &broker, &device).await {
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

async fn bring(store: &Store, broker: &Broker, device: &Device) -> anyhow::Result<()> {
    let id = device.id.clone();
    if let Some(cluster) = wanted(device) {
        broker.admit(id.clone(), cluster).await?;
        tracing::info!(device = %id, "the box may take part");
        return Ok(());
    }
    let (store, refused) = (store.clone(), device.clone());
    let noted = tokio::task::spawn_blocking(move || revoke(&store, &[refused])).await??;
    broker.revoke(id.clone(), noted.into_keys().collect()).await?;
    tracing::info!(device = %id, "the box is refused from now on");
    Ok(())
}

fn wanted(device: &Device) -> Option<ClusterName> {
    device.revoked_at.is_none().then(|| device.cluster.clone())
}

/// Notes the certificates of these boxes as refused; all that are.
fn revoke(store: &Store, boxes: &[Device]) -> Result<BTreeMap<String, Timestamp>, StoreError> {
    let kept = store.get_meta(REVOKED)?;
    let before: BTreeMap<String, Timestamp> =
        kept.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
    let mut revoked = before.clone();
    for device in boxes {
        let info = device.certificate.clone();
        let info = info.and_then(|value| serde_json::from_value::<CertificateInfo>(value).ok());
        revoked.extend(info.map(|info| (info.serial, info.not_after)));
    }
    // One that has ended is refused for that.
    let now = sys::now();
    revoked.retain(|serial, not_after| *not_after > now && !serial.is_empty());
    if revoked.keys().collect::<BTreeSet<_>>() != before.keys().collect() {
        store.put_meta(REVOKED, &serde_json::json!(revoked))?;
    }
    Ok(revoked)
}
