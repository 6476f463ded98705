//! The box's half: it asks, and checks the answer.

use super::http::{self, HubUrl, Unanswered};
use super::{
    Answer, Envelope, Farewell, JOIN, LARGEST, LEAVE, LEAVE_PURPOSE, Leaving, RENEW, Renewal,
    RenewalRequest, Request, Said, VERSION,
};
use crate::auth::fleet::{
    Certificate, DeviceIdentity, Enrolment, Exchange, JoinToken, JwsError, Kind, PrivateKey,
    SealingKey, VerifyingKey,
};
use crate::model::ContainerInstanceId;
use crate::model::fleet::{AgentInformation, ContentHash};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use hyper::body::Bytes;
use std::time::Duration;

/// How often a request is sent before its sender gives up, and how long it waits in between.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// Why a box is no member, or has no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No hub there.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The hub refused.
    #[error("the hub at {hub} refuses: {why}")]
    Refused {
        /// Which.
        hub: String,
        /// In its words.
        why: String,
    },
    /// Something else answers there.
    #[error("what answers at {0} is not a hub of this version")]
    Protocol(String),
    /// The answer is another hub's.
    #[error("what answers at {0} is not the hub that made the token: its key is another")]
    WrongHub(String),
    /// The answer is nobody's.
    #[error("the answer of {hub} is not taken: {source}")]
    Forged {
        /// Of which hub.
        hub: String,
        /// Why.
        source: JwsError,
    },
    /// The answer is to another request, of another box or for another key.
    #[error("the answer of {0} is to another request")]
    Another(String),
}

/// Who asks to join.
#[derive(Debug)]
pub struct Applicant<'a> {
    /// The box's id.
    pub device: ContainerInstanceId,
    /// Its key.
    pub key: &'a PrivateKey,
    /// Larger than at any request before, also at those that were not answered.
    pub attempt: u64,
    /// What it tells of itself.
    pub agent: AgentInformation,
}

/// A request to join that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    hub: String,
    exchange: Exchange,
    hash: String,
    device: ContainerInstanceId,
    key: String,
}

/// Joins the fleet of the hub at `url`. Nothing is written: that is [`DeviceIdentity::create`].
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    url: &HubUrl,
    token: &JoinToken,
    applicant: Applicant<'_>,
) -> Result<(Enrolment, SealingKey), JoinError> {
    let (body, pending) = begin(url, token, applicant);
    let answer = ask(url, JOIN, body.as_bytes()).await?;
    pending.finish(token, &answer)
}

/// The request, and what its answer is checked by.
pub(super) fn begin(
    url: &HubUrl,
    token: &JoinToken,
    applicant: Applicant<'_>,
) -> (String, Pending) {
    let Applicant { device, key, attempt, agent } = applicant;
    let exchange = Exchange::new();
    let request = text(&Request {
        v: VERSION,
        device: device.clone(),
        csr: URL_SAFE_NO_PAD.encode(key.request()),
        exchange: URL_SAFE_NO_PAD.encode(exchange.public()),
        attempt,
        hub: url.to_string(),
        agent,
    });
    let hash = ContentHash::of(request.as_bytes()).into();
    let proof = token.proof().of(request.as_bytes());
    let body = text(&Envelope { token: token.id().clone(), proof, request });
    let key = key.public().fingerprint();
    (body, Pending { hub: url.to_string(), exchange, hash, device, key })
}

impl Pending {
    /// Takes the answer, if the hub that made the token signed it for this request.
    pub(super) fn finish(
        self,
        token: &JoinToken,
        answer: &Answer,
    ) -> Result<(Enrolment, SealingKey), JoinError> {
        if answer.hub_key.fingerprint() != *token.hub() {
            return Err(JoinError::WrongHub(self.hub));
        }
        // The key to trust may be another, which follows the one that the token names: that one says so.
        let said: Said = payload(&self.hub, &answer.hub_key, answer.answer.as_bytes())?;
        let theirs = URL_SAFE_NO_PAD.decode(&said.exchange).unwrap_or_default();
        let sealing = self.exchange.agree(&theirs, self.hash.as_bytes());
        let fits = said.request == self.hash
            && said.enrolment.device == self.device
            && said.enrolment.certificate.info().key == self.key;
        match sealing {
            Some(sealing) if fits => Ok((said.enrolment, sealing)),
            _ => Err(JoinError::Another(self.hub)),
        }
    }
}

/// Asks the hub of a member for a new certificate, over HTTP.
///
/// # Errors
/// [`JoinError`].
pub async fn renew(identity: &DeviceIdentity) -> Result<Certificate, JoinError> {
    let enrolment = identity.enrolment();
    let url: HubUrl =
        enrolment.hub.parse().map_err(|_| JoinError::Protocol(enrolment.hub.clone()))?;
    let request =
        RenewalRequest { device: enrolment.device.clone(), csr: renewal_request(identity) };
    let answer = ask(&url, RENEW, text(&request).as_bytes()).await?;
    renewed(identity, answer.answer.as_bytes())
}

/// Tells the hub of a box that it leaves; tried once.
///
/// # Errors
/// [`JoinError`]; then an operator has to deregister the box at the hub.
pub async fn leave(identity: &DeviceIdentity, attempt: u64) -> Result<(), JoinError> {
    let enrolment = identity.enrolment();
    let url: HubUrl =
        enrolment.hub.parse().map_err(|_| JoinError::Protocol(enrolment.hub.clone()))?;
    let leaving = farewell(identity, attempt);
    let (status, body) = http::post(&url, LEAVE, leaving.as_bytes()).await?;
    if status.is_success() { Ok(()) } else { Err(refusal(&url, &body)) }
}

pub(super) fn farewell(identity: &DeviceIdentity, attempt: u64) -> String {
    let farewell = text(&Farewell { device: identity.enrolment().device.clone(), attempt });
    let signature = identity.key().sign(&[LEAVE_PURPOSE, farewell.as_bytes()].concat());
    let signature = URL_SAFE_NO_PAD.encode(signature);
    text(&Leaving { farewell, csr: renewal_request(identity), signature })
}

/// What a member sends to have its certificate renewed: PKCS#10 in base64url.
#[must_use]
pub fn renewal_request(identity: &DeviceIdentity) -> String {
    URL_SAFE_NO_PAD.encode(identity.key().request())
}

/// The certificate in what the hub answers to [`renewal_request`], whichever way that came.
///
/// # Errors
/// [`JoinError`].
pub fn renewed(identity: &DeviceIdentity, answer: &[u8]) -> Result<Certificate, JoinError> {
    let enrolment = identity.enrolment();
    let another = || JoinError::Another(enrolment.hub.clone());
    let renewal: Renewal = payload(&enrolment.hub, &enrolment.hub_key, answer)?;
    let fits = renewal.device == enrolment.device
        && renewal.certificate.info().key == identity.key().public().fingerprint();
    if fits { Ok(renewal.certificate) } else { Err(another()) }
}

fn payload<T: serde::de::DeserializeOwned>(
    hub: &str,
    key: &VerifyingKey,
    answer: &[u8],
) -> Result<T, JoinError> {
    let payload = key
        .verify(Kind::Join, answer, LARGEST)
        .map_err(|source| JoinError::Forged { hub: hub.to_owned(), source })?;
    serde_json::from_slice(&payload).map_err(|_| JoinError::Protocol(hub.to_owned()))
}

/// Posts until there is an answer that another attempt would not change.
async fn ask(url: &HubUrl, path: &str, body: &[u8]) -> Result<Answer, JoinError> {
    let mut attempt = 1;
    loop {
        let answered = http::post(url, path, body).await;
        let later = match &answered {
            Err(_) => true,
            Ok((status, _)) => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
        };
        if !later || attempt == ATTEMPTS {
            let (status, body) = answered?;
            return read(url, status, &body);
        }
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

fn read(url: &HubUrl, status: StatusCode, body: &Bytes) -> Result<Answer, JoinError> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|_| JoinError::Protocol(url.to_string()));
    }
    Err(refusal(url, body))
}

fn refusal(url: &HubUrl, body: &[u8]) -> JoinError {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(why) = answer["error"].as_str() else { return JoinError::Protocol(url.to_string()) };
    // Nobody has signed it: it is shown, and not believed.
    let why = why.chars().filter(|c| !c.is_control()).take(512).collect();
    JoinError::Refused { hub: url.to_string(), why }
}

fn text(message: &impl serde::Serialize) -> String {
    // Plain data of texts and numbers.
    serde_json::to_string(message).unwrap_or_default()
}
