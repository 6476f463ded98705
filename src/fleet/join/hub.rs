//! The hub's half: who may join, and what a box that joins is told.

use super::http::HubUrl;
use super::record::{Joined, Record};
use super::{
    Answer, Envelope, Farewell, LARGEST, LEAVE_PURPOSE, Leaving, Renewal, RenewalRequest, Request,
    Said, VERSION,
};
use crate::auth::fleet::{
    Certificate, CertificateInfo, CertifiedKey, Enrolment, Exchange, HubTrust, Kind, SealingKey,
    Subject, TokenId, VerifyingKey,
};
use crate::engine::{Handle, SubmitError};
use crate::fleet::broker;
use crate::model::container_instance::Attribute;
use crate::model::fleet::{ContentHash, Device, JoinToken, Position};
use crate::model::{ClusterName, ContainerInstanceId, Timestamp};
use crate::plan::fleet::{Enrol, FleetCommand};
use crate::sys;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Requests a second in the long run, and at once.
const STEADY: f64 = 50.0;
const BURST: f64 = 200.0;
/// Attributes that a token or a box may bring.
const ATTRIBUTES: usize = 64;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not what a box sends.
    #[error("this is not a request to join: {0}")]
    Malformed(&'static str),
    /// Neither token nor key prove it.
    #[error("{0}")]
    Denied(&'static str),
    /// It is proved, and cannot be carried out.
    #[error("{0}")]
    Conflict(String),
    /// Too many at once.
    #[error("too many boxes ask to join at once; try again in a few seconds")]
    Busy,
    /// The hub cannot write now.
    #[error("the hub cannot take it now: {0}")]
    Unavailable(String),
}

impl Refused {
    /// The status of HTTP that says so.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::Denied(_) => 403,
            Self::Conflict(_) => 409,
            Self::Busy => 429,
            Self::Unavailable(_) => 503,
        }
    }
}

impl From<SubmitError> for Refused {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(error) => Self::Conflict(error.to_string()),
            SubmitError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// What boxes are told of the broker.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Its URLs, to be tried in turn; none when it is where the hub is, as the box names the hub.
    pub urls: Vec<String>,
    /// Its port in that case.
    pub port: u16,
    /// Where its certificate comes from, in PEM; none for the public authorities.
    pub authorities: Option<String>,
    /// The one that the hub brought up: a box is let in there before it hears that it may.
    pub own: Option<broker::Broker>,
}

/// A token that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// What is joined with it.
    pub cluster: ClusterName,
    /// How often; none for any number.
    pub uses: Option<u32>,
    /// For how long; none for ever.
    pub lasts: Option<Duration>,
    /// What the boxes that join with it have.
    pub attributes: Vec<Attribute>,
}

/// The desk where boxes join.
pub struct Registrar {
    engine: Handle,
    trust: Arc<HubTrust>,
    broker: Broker,
    /// How long certificates of boxes are valid.
    lifetime: Duration,
    /// One join at a time, from the look at the world to the commit.
    turn: tokio::sync::Mutex<()>,
    rate: Mutex<Rate>,
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("broker", &self.broker).finish_non_exhaustive()
    }
}

struct Rate {
    left: f64,
    at: Duration,
}

impl Registrar {
    /// A desk for the hub of `engine`.
    #[must_use]
    pub fn new(engine: Handle, trust: Arc<HubTrust>, broker: Broker, lifetime: Duration) -> Self {
        let rate = Mutex::new(Rate { left: BURST, at: sys::uptime() });
        Self { engine, trust, broker, lifetime, turn: tokio::sync::Mutex::default(), rate }
    }

    /// The key that the hub shares with a box; none when the box is not known, or was not by this hub.
    #[must_use]
    pub fn sealing_key(&self, device: &Device) -> Option<SealingKey> {
        self.trust.vault.unwrap(device.id.as_str(), device.sealing_key.as_deref()?)
    }

    /// Makes a token; its whole text.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn create_token(
        &self,
        request: TokenRequest,
    ) -> Result<zeroize::Zeroizing<String>, Refused> {
        if request.attributes.len() > ATTRIBUTES {
            let text = format!("a token has at most {ATTRIBUTES} attributes");
            return Err(Refused::Conflict(text));
        }
        let token = self.trust.vault.mint(self.trust.keys.verifying_key().fingerprint());
        let text = token.expose();
        let now = sys::now();
        let record = JoinToken {
            id: token.id().to_string(),
            secret_sha256: ContentHash::of(text.as_bytes()),
            cluster: request.cluster,
            uses_left: request.uses,
            expires_at: request.lasts.map(|lasts| now.plus(lasts)),
            attributes: request.attributes,
            created_at: now,
            used: std::collections::BTreeMap::new(),
        };
        self.engine.submit(FleetCommand::CreateToken(record).into()).await?;
        Ok(text)
    }

    /// The tokens there are.
    #[must_use]
    pub fn tokens(&self) -> Vec<JoinToken> {
        self.engine.read(|world| world.join_tokens.values().cloned().collect())
    }

    /// Removes a token.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn remove_token(&self, id: String) -> Result<(), Refused> {
        self.engine.submit(FleetCommand::DeleteToken(id).into()).await?;
        Ok(())
    }

    /// Lets a box join: the body of the answer.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn join(&self, body: &[u8]) -> Result<serde_json::Value, Refused> {
        self.admit()?;
        let Proved { token, named, request, hash } = self.proved(body)?;
        let key = certified(&request.csr)?;
        let theirs = URL_SAFE_NO_PAD
            .decode(&request.exchange)
            .map_err(|_| Refused::Malformed("`exchange` is not base64url"))?;
        let hub: HubUrl =
            request.hub.parse().map_err(|_| Refused::Malformed("`hub` is not a hub's address"))?;
        if request.agent.attributes.len() > ATTRIBUTES {
            return Err(Refused::Malformed("the box brings too many attributes"));
        }
        let now = sys::now();
        let turn = self.turn.lock().await;
        let known = self.engine.read(|world| world.devices.get(&request.device).cloned());
        let record = known.as_ref().and_then(Record::of);
        if let (Some(device), Some(record)) = (&known, &record) {
            let revoked = device.revoked_at.is_some();
            if record.request == hash && !revoked {
                // The answer was lost, or is on its way.
                drop(turn);
                self.let_in(&request.device, &device.cluster).await;
                let cluster = device.cluster.clone();
                return Ok(self.answer(&hub, cluster, record, &request.device, named));
            }
            if request.attempt <= record.attempt {
                return Err(Refused::Denied("this request is an old one, sent again"));
            }
            if !revoked && record.info.key != key.fingerprint() {
                return Err(taken(&request.device));
            }
            if revoked && token.used.contains_key(&key.fingerprint()) {
                return Err(Refused::Denied(
                    "this box was deregistered; it needs a new token to join again: `coracle token create`",
                ));
            }
        }
        let exchange = Exchange::new();
        let joined = Joined {
            attempt: request.attempt,
            request: hash.clone(),
            exchange: URL_SAFE_NO_PAD.encode(exchange.public()),
        };
        let sealing = exchange
            .agree(&theirs, hash.as_bytes())
            .ok_or(Refused::Malformed("`exchange` is not an X25519 key"))?;
        let revoked = known.as_ref().is_some_and(|device| device.revoked_at.is_some());
        let issue = || self.issue(&request.device, &token.cluster, &key, now);
        let record = match record {
            None => Some(Record::new(issue(), joined)),
            Some(record) if revoked => {
                record.begin_anew(issue(), now).map(|record| record.joined(joined))
            }
            Some(record) if self.is_fresh(&record.info, now) => Some(record.joined(joined)),
            Some(record) => record.replace(issue(), now).map(|record| record.joined(joined)),
        };
        let record = record.ok_or_else(|| too_many(&request.device))?;
        let enrol = Enrol {
            device: request.device.clone(),
            token: token.id,
            // The same box once more costs no use of the token.
            nonce: key.fingerprint(),
            agent: request.agent,
            certificate: record.encode(),
            sealing_key: self.trust.vault.wrap(request.device.as_str(), &sealing),
        };
        self.engine.submit(FleetCommand::Enrol(Box::new(enrol)).into()).await?;
        // The broker takes all boxes that wait with one reload of its rules: nobody's turn is to last that long.
        drop(turn);
        self.let_in(&request.device, &token.cluster).await;
        tracing::info!(device = %request.device, cluster = %token.cluster, "a box joined");
        Ok(self.answer(&hub, token.cluster, &record, &request.device, named))
    }

    /// Waits until the hub's own broker knows the box.
    async fn let_in(&self, device: &ContainerInstanceId, cluster: &ClusterName) {
        if let Some(broker) = &self.broker.own
            && let Err(error) = broker.admit(device.clone(), cluster.clone()).await
        {
            // The roster is kept besides, and the box tries again.
            tracing::warn!(%error, %device, "the broker does not know the box yet");
        }
    }

    /// Renews the certificate of a box that asks over HTTP: the body of the answer.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn renew_over_http(&self, body: &[u8]) -> Result<serde_json::Value, Refused> {
        self.admit()?;
        if body.len() > LARGEST {
            return Err(Refused::Malformed("it is too large"));
        }
        let request: RenewalRequest = serde_json::from_slice(body)
            .map_err(|_| Refused::Malformed("it is not {device, csr}"))?;
        let answer = self.renew(&request.device, &request.csr).await?;
        Ok(signed(self.trust.keys.verifying_key(), answer))
    }

    /// Renews the certificate of a box, which proves itself by its request in PKCS#10 (base64url); as the hub signs it,
    /// as a message of the kind [`Kind::Join`].
    ///
    /// One that is young still stays: who repeats a request gets nothing by it.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn renew(&self, device: &ContainerInstanceId, csr: &str) -> Result<Vec<u8>, Refused> {
        let key = certified(csr)?;
        let now = sys::now();
        let _turn = self.turn.lock().await;
        let known = self.engine.read(|world| world.devices.get(device).cloned());
        let known = known.filter(|known| known.revoked_at.is_none());
        let found = known.and_then(|known| Some((Record::of(&known)?, known)));
        let Some((record, known)) =
            found.filter(|(record, _)| record.info.key == key.fingerprint())
        else {
            return Err(Refused::Denied("this box does not belong to this fleet (any more)"));
        };
        let record = if self.is_fresh(&record.info, now) {
            record
        } else {
            let certificate = self.issue(device, &known.cluster, &key, now);
            let record = record.replace(certificate, now).ok_or_else(|| too_many(device))?;
            let renewed = FleetCommand::Renewed {
                device: device.clone(),
                certificate: record.encode(),
                sealing_key: None,
            };
            self.engine.submit(renewed.into()).await?;
            tracing::info!(%device, "the certificate of a box was renewed");
            record
        };
        let renewal =
            Renewal { v: VERSION, device: device.clone(), certificate: record.certificate };
        Ok(self.trust.keys.sign(Kind::Join, &encode(&renewal)))
    }

    /// A box says that it leaves.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn left(&self, body: &[u8]) -> Result<serde_json::Value, Refused> {
        self.admit()?;
        let malformed = Refused::Malformed("it is not {farewell, csr, signature}");
        let leaving = Some(body).filter(|body| body.len() <= LARGEST);
        let leaving = leaving.and_then(|body| serde_json::from_slice::<Leaving>(body).ok());
        let Leaving { farewell: text, csr, signature } = leaving.ok_or(malformed)?;
        let key = certified(&csr)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let farewell: Farewell = serde_json::from_str(&text)
            .map_err(|_| Refused::Malformed("its `farewell` is not of this version"))?;
        let _turn = self.turn.lock().await;
        let known = self.engine.read(|world| world.devices.get(&farewell.device).cloned());
        let record = known.filter(|known| known.revoked_at.is_none());
        let record = record.as_ref().and_then(Record::of);
        let fits = record.is_some_and(|record| {
            record.info.key == key.fingerprint()
                && farewell.attempt > record.attempt
                && key.verify(&[LEAVE_PURPOSE, text.as_bytes()].concat(), &signature)
        });
        if !fits {
            return Err(Refused::Denied("this box does not belong to this fleet (any more)"));
        }
        self.engine.submit(FleetCommand::Left(farewell.device.clone()).into()).await?;
        tracing::info!(device = %farewell.device, "a box left");
        Ok(serde_json::json!({}))
    }

    /// Takes one request out of the rate.
    fn admit(&self) -> Result<(), Refused> {
        let now = sys::uptime();
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_sub(rate.at).as_secs_f64();
        let left = (rate.left + since * STEADY).min(BURST);
        *rate = Rate { left: if left >= 1.0 { left - 1.0 } else { left }, at: now };
        if left >= 1.0 { Ok(()) } else { Err(Refused::Busy) }
    }

    /// What is in a body that proves to know its token.
    fn proved(&self, body: &[u8]) -> Result<Proved, Refused> {
        if body.len() > LARGEST {
            return Err(Refused::Malformed("it is too large"));
        }
        let envelope: Envelope = serde_json::from_slice(body)
            .map_err(|_| Refused::Malformed("it is not {token, proof, request}"))?;
        let Envelope { token: id, proof, request } = envelope;
        let known = self.engine.read(|world| world.join_tokens.get(id.as_str()).cloned());
        let known = known.ok_or(Refused::Denied(
            "this hub does not know the token: it was removed, or is another hub's",
        ))?;
        let (named, token) = token_key(&self.trust, &known).ok_or(Refused::Denied(
            "the hub has other keys than when it made this token; make a new one with `coracle token create`",
        ))?;
        if !token.proof().is_of(request.as_bytes(), &proof) {
            return Err(Refused::Denied("the token is not whole, or was changed"));
        }
        let parsed: Request = serde_json::from_str(&request)
            .map_err(|_| Refused::Malformed("its `request` is not of this version"))?;
        if parsed.v != VERSION {
            return Err(Refused::Malformed("its `request` is of another version"));
        }
        let hash = ContentHash::of(request.as_bytes()).into();
        Ok(Proved { token: known, named, request: parsed, hash })
    }

    fn issue(
        &self,
        device: &ContainerInstanceId,
        cluster: &ClusterName,
        key: &CertifiedKey,
        now: Timestamp,
    ) -> Certificate {
        let (id, cluster, lifetime) = (device.clone(), cluster.clone(), self.lifetime);
        self.trust.authority.issue(&Subject::Device { id, cluster, lifetime }, key, now)
    }

    /// Whether more than half of the time is left.
    fn is_fresh(&self, certificate: &CertificateInfo, now: Timestamp) -> bool {
        certificate.not_after.since(now) > self.lifetime / 2
    }

    fn answer(
        &self,
        hub: &HubUrl,
        cluster: ClusterName,
        record: &Record,
        device: &ContainerInstanceId,
        named: VerifyingKey,
    ) -> serde_json::Value {
        let settings = self.engine.settings();
        // Its first document was made as it joined.
        let newest = self.engine.read(|world| world.devices.get(device).map(|d| d.position));
        let position = newest.map_or_else(Position::default, Position::before);
        let at_the_hub = || format!("mqtts://{}", HubUrl::authority(hub.host(), self.broker.port));
        let enrolment = Enrolment {
            device: device.clone(),
            cluster,
            scope: settings.scope,
            hub_key: self.trust.keys.verifying_key(),
            hub: hub.to_string(),
            broker: self.broker.urls.first().cloned().unwrap_or_else(at_the_hub),
            more_brokers: self.broker.urls.iter().skip(1).cloned().collect(),
            broker_authorities: self.broker.authorities.clone(),
            certificate: record.certificate.clone(),
            position,
            attributes: std::collections::BTreeMap::new(),
        };
        let (request, exchange) = (record.request.clone(), record.exchange.clone());
        let said = Said { v: VERSION, request, exchange, enrolment };
        signed(named, self.trust.keys.sign(Kind::Join, &encode(&said)))
    }
}

/// A request to join that is proved.
struct Proved {
    token: JoinToken,
    /// The key of the hub that the token names.
    named: VerifyingKey,
    request: Request,
    hash: String,
}

/// The key that a token names, and the whole token; none when the hub has that key no more.
pub(in crate::fleet) fn token_key(
    trust: &HubTrust,
    known: &JoinToken,
) -> Option<(VerifyingKey, crate::auth::fleet::JoinToken)> {
    let id = TokenId::try_from(known.id.clone()).ok()?;
    trust.keys.all().into_iter().find_map(|key| {
        let token = trust.vault.token(id.clone(), key.fingerprint());
        (ContentHash::of(token.expose().as_bytes()) == known.secret_sha256).then_some((key, token))
    })
}

fn signed(hub_key: VerifyingKey, jws: Vec<u8>) -> serde_json::Value {
    let answer = String::from_utf8(jws).unwrap_or_default();
    serde_json::to_value(Answer { hub_key, answer }).unwrap_or_default()
}

fn encode(message: &impl serde::Serialize) -> Vec<u8> {
    // Plain data of texts and numbers.
    serde_json::to_vec(message).unwrap_or_default()
}

fn certified(csr: &str) -> Result<CertifiedKey, Refused> {
    let der = URL_SAFE_NO_PAD.decode(csr).ok();
    der.and_then(|der| CertifiedKey::of_request(&der).ok())
        .ok_or(Refused::Malformed("`csr` is not a request for a certificate, signed by its key"))
}

fn taken(device: &ContainerInstanceId) -> Refused {
    Refused::Conflict(format!(
        "the box {device} is a member already, with another key; if it was set up anew, deregister the old one first: \
         aws ecs deregister-container-instance --force --container-instance {device}"
    ))
}

fn too_many(device: &ContainerInstanceId) -> Refused {
    Refused::Conflict(format!(
        "the box {device} was given too many certificates that are valid still"
    ))
}
