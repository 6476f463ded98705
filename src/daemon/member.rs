//! A box that joins a fleet or leaves it, with its agent running or not.
//!
//! What a box belongs to stands in two places: the keys in `STATE/fleet`, and the membership in the store. To join is to
//! make the first and then the second, to leave is to rename the first and then to remove the second; the start of an
//! agent ([`catch_up`]) goes on where that was cut short. A store that has a membership whose keys are gone for no such
//! reason goes on running what it ran, and says so.

use super::{gate, host};
use crate::api::{Gate, GateAnswer, GateRefusal, GateRequest};
use crate::auth::fleet::{DeviceIdentity, DeviceKey, Enrolment, JoinToken};
use crate::config::Config;
use crate::engine::Handle;
use crate::fleet::join::device::{self, Applicant};
use crate::fleet::join::{HubUrl, JoinError};
use crate::model::fleet::AgentInformation;
use crate::plan::command::RegisterThisInstance;
use crate::plan::fleet::{FleetCommand, NewMember};
use crate::plan::{Ids, Settings, World, fleet};
use crate::store::{Store, StoreError};
use crate::sys;
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The key under which the store counts the requests of this box to a hub.
const ATTEMPT: &str = "joinAttempt";

/// The settings of a box that belongs to a fleet: the hub's cluster, region and account, and what was given at the join.
///
/// # Errors
/// When the identity cannot be read.
pub(super) fn as_member(mut config: Config) -> anyhow::Result<Config> {
    if let Some(identity) = DeviceIdentity::open(&config.state_dir)? {
        let enrolment = identity.enrolment();
        config.cluster = enrolment.cluster.clone();
        config.scope = enrolment.scope.clone();
        config.instance_attributes.extend(enrolment.attributes.clone());
    }
    Ok(config)
}

/// Goes on with a join or a leave that was cut short. True when the box belongs to a fleet then.
///
/// # Errors
/// When the identity cannot be read, or the box has got tasks of its own since.
pub(super) async fn catch_up(handle: &Handle, config: &Config) -> anyhow::Result<bool> {
    let identity = DeviceIdentity::open(&config.state_dir)?;
    let known = handle.read(|world| world.membership.is_some());
    match identity {
        Some(identity) if !known => {
            let told = host::this_instance(config, &handle.settings())?;
            let member = new_member(identity.enrolment(), told);
            handle.submit(FleetCommand::Join(Box::new(member)).into()).await?;
            Ok(true)
        }
        Some(_) => Ok(true),
        None if DeviceIdentity::is_leaving(&config.state_dir) => {
            handle.submit(FleetCommand::Leave.into()).await?;
            DeviceIdentity::forget(&config.state_dir)?;
            Ok(false)
        }
        None if known => {
            tracing::error!(
                state = %config.state_dir.display(),
                "this box belongs to a fleet, but its keys in the state directory are gone: it goes on with what it ran; `coracle leave` and `coracle join` make it whole"
            );
            Ok(true)
        }
        None => Ok(false),
    }
}

fn new_member(enrolment: &Enrolment, told: RegisterThisInstance) -> NewMember {
    NewMember {
        cluster: enrolment.cluster.clone(),
        device: enrolment.device.clone(),
        hub: enrolment.hub.clone(),
        position: enrolment.position,
        events: Ids::from_seed(sys::seed()).hex32(),
        capacity: told.capacity,
        attributes: told.attributes,
        agent_version: told.agent_version,
    }
}

/// What a box joins, and with what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    url: String,
    token: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// The gate of a box whose agent runs.
#[derive(Debug)]
pub(super) struct BoxGate {
    pub(super) handle: Handle,
    pub(super) store: Store,
    pub(super) config: Config,
    /// One join or leave at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Gate for BoxGate {
    fn ask(&self, request: GateRequest) -> GateAnswer<'_> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            let answered = match request {
                GateRequest::Join(wish) => self.join(wish).await,
                GateRequest::Leave => self.leave().await,
                _ => {
                    let message =
                        "this is not a hub but a box: boxes join `coracle hub`".to_owned();
                    return Err(GateRefusal { status: 404, message });
                }
            };
            answered.map_err(|error| GateRefusal { status: 409, message: format!("{error:#}") })
        })
    }
}

impl BoxGate {
    async fn join(&self, wish: Value) -> anyhow::Result<Value> {
        let wish: Wish =
            serde_json::from_value(wish).context("the body of the request is not as expected")?;
        self.handle.read(fleet::free)?;
        let told = told(&self.config, &self.handle.settings(), &wish)?;
        let applied = apply(&self.config, &self.store, &wish, told.clone()).await?;
        let member = new_member(&applied, told);
        if let Err(error) = self.handle.submit(FleetCommand::Join(Box::new(member)).into()).await {
            // It got a task of its own meanwhile.
            let state = self.config.state_dir.clone();
            blocking(move || {
                DeviceIdentity::leave(&state)?;
                DeviceIdentity::forget(&state)
            })
            .await??;
            return Err(error.into());
        }
        if applied.scope != self.config.scope {
            tracing::info!(
                "ARNs on this box carry the hub's region and account from the next start of its agent on"
            );
        }
        tracing::info!(hub = %applied.hub, cluster = %applied.cluster, "this box joined a fleet");
        Ok(shown(&applied))
    }

    async fn leave(&self) -> anyhow::Result<Value> {
        let (state, store) = (self.config.state_dir.clone(), self.store.clone());
        let left = blocking(move || end(&state, &store)).await??;
        if left.is_none() && self.handle.read(|world| world.membership.is_none()) {
            bail!("this box belongs to no fleet");
        }
        let mut answer = match left {
            Some((identity, attempt)) => tell(&identity, attempt).await,
            None => json!({}),
        };
        self.handle.submit(FleetCommand::Leave.into()).await?;
        let state = self.config.state_dir.clone();
        blocking(move || DeviceIdentity::forget(&state)).await??;
        answer["tasks"] = "stopping".into();
        tracing::info!("this box left its fleet");
        Ok(answer)
    }
}

/// Asks the hub, and keeps what it says: the box is a member then, as far as its files go.
async fn apply(
    config: &Config,
    store: &Store,
    wish: &Wish,
    told: RegisterThisInstance,
) -> anyhow::Result<Enrolment> {
    let url: HubUrl = wish.url.parse()?;
    let token: JoinToken = wish.token.parse()?;
    let (state, counter) = (config.state_dir.clone(), store.clone());
    let (key, attempt) = blocking(move || {
        if let Some(identity) = DeviceIdentity::open(&state)? {
            bail!(
                "this box belongs to the fleet of {} already; `coracle leave` ends that",
                identity.enrolment().hub
            );
        }
        Ok((DeviceKey::open(&state)?, next_attempt(&counter)?))
    })
    .await??;
    let RegisterThisInstance { id, capacity, attributes, agent_version, .. } = told;
    let agent = AgentInformation { version: agent_version, capacity, attributes };
    let applicant = Applicant { device: id, key: &key, attempt, agent };
    let (mut enrolment, sealing) = device::join(&url, &token, applicant).await?;
    enrolment.attributes.clone_from(&wish.attributes);
    let (state, kept) = (config.state_dir.clone(), enrolment.clone());
    blocking(move || DeviceIdentity::create(&state, &kept, &sealing)).await??;
    Ok(enrolment)
}

/// What the box tells of itself: what it always does, and what it was given for this fleet.
fn told(config: &Config, settings: &Settings, wish: &Wish) -> anyhow::Result<RegisterThisInstance> {
    let mut told = host::this_instance(config, settings)?;
    told.attributes.retain(|attribute| !wish.attributes.contains_key(&attribute.name));
    told.attributes.extend(gate::attributes(wish.attributes.clone()));
    Ok(told)
}

/// A number above all before it, durable before anybody sees it.
fn next_attempt(store: &Store) -> Result<u64, StoreError> {
    let last = store.get_meta(ATTEMPT)?.and_then(|value| value.as_u64()).unwrap_or_default();
    store.put_meta(ATTEMPT, &json!(last + 1))?;
    Ok(last + 1)
}

/// Ends the membership, durably; who it was, to tell the hub.
fn end(state: &Path, store: &Store) -> anyhow::Result<Option<(DeviceIdentity, u64)>> {
    let Some(identity) = DeviceIdentity::open(state)? else { return Ok(None) };
    let attempt = next_attempt(store)?;
    DeviceIdentity::leave(state)?;
    Ok(Some((identity, attempt)))
}

/// Tells the hub, which may be out of reach.
async fn tell(identity: &DeviceIdentity, attempt: u64) -> Value {
    let mut answer = shown(identity.enrolment());
    let told: Result<(), JoinError> = device::leave(identity, attempt).await;
    answer["hubTold"] = told.is_ok().into();
    if let Err(error) = told {
        let device = &identity.enrolment().device;
        answer["warning"] = format!(
            "the hub does not know it yet ({error}); there: aws ecs deregister-container-instance --force --container-instance {device}"
        )
        .into();
    }
    answer
}

fn shown(enrolment: &Enrolment) -> Value {
    let Enrolment { device, cluster, hub, broker, .. } = enrolment;
    json!({ "device": device, "cluster": cluster, "hub": hub, "broker": broker })
}

/// Joins a fleet, or leaves it, while no agent runs; the next one goes on from there.
///
/// # Errors
/// When the hub refuses or cannot be reached, or the box has something of its own.
pub fn without_agent(config: &Config, wish: Option<Value>) -> anyhow::Result<Value> {
    super::private_dir(&config.state_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let store = Store::open(&config.store_dir(), crate::store::Options::default())?;
    runtime.block_on(async {
        let Some(wish) = wish else {
            let Some((identity, attempt)) = end(&config.state_dir, &store)? else {
                bail!("this box belongs to no fleet");
            };
            let mut answer = tell(&identity, attempt).await;
            answer["tasks"] = "stop when the agent starts".into();
            return Ok(answer);
        };
        let wish: Wish = serde_json::from_value(wish)?;
        let world: World = store.load()?;
        fleet::free(&world)?;
        let settings = super::settings(config, &store)?;
        let told = told(config, &settings, &wish)?;
        Ok(shown(&apply(config, &store, &wish, told).await?))
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a task of the agent ended early")
}
