//! A box of a fleet: what it takes from its hub, and what it tells it.
//!
//! ```text
//!            want ─► documents ── signed? for this box? newer? ── bodies, secrets ─► Accept (one transaction) ─► PUBACK
//!  link ──►  doc  ─┘                                                                     │ engine: commits
//!            ack  ─► outbox  ◄── events of the store ◄───────────────────────────────────┤
//!             └────► logs    ◄── files of the shims                                      │
//!            cmd  ─► acceptor ─► tunnels, certificate                                    ▼
//!            hub  ─► back-off                            state (register), log/events (outbox), log/TASK, live
//! ```
//!
//! * [`keep`] waits until the box is a member, and then is at it until it leaves. Workloads never wait for it: what the
//!   newest document wants is in the store, and the engine begins with that before there is a network.
//! * `member`: one membership's loop. `documents`: the way of a document, `bodies` and `secrets` beside it, `fetch` for
//!   large ones. `register`: when a report is due, and `outbox`: which events are; both pure. `renewal`: the certificate's.
//!   `refusals`: what was refused, counted. [`logs`]: the output of containers, beside the loop.
//!
//! What comes has an effect once it is verified, and is durable before the broker hears that it arrived. A message is
//! acknowledged all the same when it waits for something for more than a few seconds, since it holds up all that comes
//! after it: documents are retained, and come again with each connection.

mod documents;
mod fetch;
pub mod logs;
mod member;
mod outbox;
mod refusals;
mod register;
mod renewal;
mod secrets;

use crate::auth::fleet::DeviceIdentity;
use crate::engine::Handle;
use crate::fleet::link;
use crate::fleet::tunnel::TunnelStream;
use crate::model::fleet::LinkStatus;
use crate::plan::World;
use member::Member;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// Between two looks at files that cannot be read.
const AGAIN: Duration = Duration::from_secs(30);

/// Takes a stream of the hub's to the local API; false when it cannot.
pub type Accept = Arc<dyn Fn(TunnelStream) -> bool + Send + Sync>;

/// How a box speaks to the broker, as far as the hub does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// Silence after which each end asks whether the other is still there; the link's own unless set.
    pub keep_alive: Option<Duration>,
    /// The version of MQTT.
    pub version: link::Version,
    /// A file with one line `USER:PASSWORD`, for a broker that asks for it; read when the link starts.
    pub credentials: Option<PathBuf>,
    /// The authorities of the broker's certificate, in place of those that the hub named.
    pub authorities: Option<PathBuf>,
}

/// What a box of a fleet needs.
#[derive(Clone)]
pub struct Parts {
    /// The engine of the box.
    pub engine: Handle,
    /// Where its identity is.
    pub state_dir: PathBuf,
    /// How to speak to the broker.
    pub link: LinkSettings,
    /// Which logs the hub gets.
    pub logs: logs::Settings,
    /// Who serves what the hub asks for.
    pub accept: Accept,
    /// Where whoever asks sees how the link is.
    pub status: watch::Sender<LinkStatus>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("link", &self.link).finish_non_exhaustive()
    }
}

/// Keeps the box in its fleet, whenever it belongs to one, until the engine ends.
pub async fn keep(parts: Parts) {
    let is_member = |world: &World| world.membership.is_some();
    while parts.engine.wait_until(is_member).await.is_ok() {
        if let Some(member) = begin(&parts).await {
            member.run().await;
            parts.status.send_replace(LinkStatus::default());
        } else {
            // Somebody has to look after the files, or the box leaves.
            let gone = parts.engine.wait_until(|world| !is_member(world));
            let _ = tokio::time::timeout(AGAIN, gone).await;
        }
    }
}

async fn begin(parts: &Parts) -> Option<Member> {
    let dir = parts.state_dir.clone();
    let opened = blocking(move || DeviceIdentity::open(&dir)).await?;
    let identity = match opened {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            tell(parts, "the files of its membership are gone: `coracle leave`, then join again");
            return None;
        }
        Err(error) => {
            tell(parts, &format!("the files of its membership cannot be used: {error}"));
            return None;
        }
    };
    let enrolment = identity.enrolment();
    let fits = parts.engine.read(|world| {
        world.membership.as_ref().is_some_and(|membership| {
            membership.device == enrolment.device && membership.cluster == enrolment.cluster
        })
    });
    if !fits {
        tell(
            parts,
            "the files of its membership are of another one: `coracle leave`, then join again",
        );
        return None;
    }
    let credentials = match &parts.link.credentials {
        None => None,
        Some(path) => {
            let credentials = login(&read(parts, "login at the broker", path).await?);
            if credentials.is_none() {
                let rule =
                    "the file with its login at the broker does not hold one line USER:PASSWORD";
                tell(parts, rule);
                return None;
            }
            credentials
        }
    };
    let authorities = match &parts.link.authorities {
        None => None,
        Some(path) => Some(read(parts, "broker's authorities", path).await?),
    };
    let until = identity.enrolment().certificate.info().not_after;
    parts.status.send_modify(|status| status.certificate_until = Some(until));
    match Member::new(parts, identity, credentials, authorities) {
        Ok(member) => Some(member),
        Err(error) => {
            tell(parts, &format!("the hub named a broker that cannot be used: {error}"));
            None
        }
    }
}

/// The file at `path`; none, with the reason told, for one that cannot be read.
async fn read(parts: &Parts, what: &str, path: &Path) -> Option<Vec<u8>> {
    let file = path.to_owned();
    match blocking(move || std::fs::read(file)).await? {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let path = path.display();
            tell(parts, &format!("the {what} in {path} cannot be read: {error}"));
            None
        }
    }
}

/// `USER:PASSWORD`, in one line.
#[must_use]
pub fn login(line: &[u8]) -> Option<link::Credentials> {
    let line = line.trim_ascii();
    let at = line.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(line[..at].to_vec()).ok()?;
    let password = Zeroizing::new(String::from_utf8(line[at + 1..].to_vec()).ok()?);
    (!line.contains(&b'\n')).then_some(link::Credentials { user, password })
}

fn tell(parts: &Parts, why: &str) {
    let said = parts.status.borrow().why.as_deref() == Some(why);
    if !said {
        tracing::error!("this box belongs to a fleet, but {why}");
        parts.status.send_modify(|status| status.why = Some(why.to_owned()));
    }
}

/// Runs what blocks; none when the program ends.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
