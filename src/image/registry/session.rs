//! One repository at one endpoint: requests with authentication and retries.

use super::address::Url;
use super::auth::{self, Challenge, Credentials};
use super::error::PullError;
use super::transfer::{Answer, Ask, Client};
use crate::image::reference::Reference;
use crate::sys;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::Mutex;

/// Tries of one request, and of one blob without any progress.
pub(super) const TRIES: u32 = 4;
const ERROR_LIMIT: u64 = 64 << 10;
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Talks to one endpoint about one image.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    endpoint: Url,
    image: Reference,
    credentials: Option<Credentials>,
    /// What the last challenge was answered with. Layers share it; it expires in the middle of long pulls.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Session {
    /// Nothing is sent yet.
    pub(super) fn new(
        client: Client,
        endpoint: Url,
        image: Reference,
        credentials: Option<Credentials>,
    ) -> Self {
        Self { client, endpoint, image, credentials, authorization: Mutex::default() }
    }

    /// The image.
    pub(super) fn image(&self) -> &Reference {
        &self.image
    }

    /// Who is asked, for messages.
    pub(super) fn host(&self) -> String {
        self.endpoint.authority()
    }

    /// The HTTP client, for reading bodies.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks for `kind/name` of the repository (`manifests/latest`), trying again where that may help.
    pub(super) async fn get(
        &self,
        kind: &str,
        name: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, PullError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.get_once(kind, name, headers).await {
                Err(error) if tries < TRIES && error.is_transient() => pause(tries, None).await,
                Ok(answer) if tries < TRIES && is_busy(answer.status) => {
                    pause(tries, answer.headers.get(header::RETRY_AFTER)).await;
                }
                Ok(answer) => return self.judge(answer, name).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks once, and once more after answering a challenge.
    async fn get_once(
        &self,
        kind: &str,
        name: &str,
        headers: &HeaderMap,
    ) -> Result<Answer, PullError> {
        let url = self.endpoint.below(&format!("v2/{}/{kind}/{name}", self.image.repository()));
        let mut used = self.authorization.lock().await.clone();
        let mut challenged = false;
        loop {
            let ask = Ask {
                url: url.clone(),
                headers: headers.clone(),
                authorization: used.clone(),
                form: None,
            };
            let answer = self.client.ask(ask).await.map_err(|e| self.transfer_failed(e))?;
            // A challenge of somebody we were redirected to is none of the registry's.
            let ours = answer.url.origin() == url.origin();
            if answer.status != StatusCode::UNAUTHORIZED || challenged || !ours {
                return Ok(answer);
            }
            challenged = true;
            let mut authorization = self.authorization.lock().await;
            if *authorization == used || authorization.is_none() {
                let auth_failed =
                    |source| PullError::Auth { image: self.image.to_string(), source };
                let challenge = Challenge::parse(&answer.headers).map_err(auth_failed)?;
                let credentials = self.credentials.as_ref();
                let fresh = auth::answer(
                    &self.client,
                    &challenge,
                    &self.endpoint,
                    credentials,
                    &self.image,
                )
                .await
                .map_err(|error| match &error {
                    auth::AuthError::Refused { status: 401 | 403, .. } => PullError::Denied {
                        image: self.image.to_string(),
                        reason: error.to_string(),
                    },
                    _ => auth_failed(error),
                })?;
                if fresh.is_none() {
                    return Ok(answer);
                }
                *authorization = fresh;
            }
            // Else another layer answered the challenge meanwhile.
            used.clone_from(&authorization);
        }
    }

    /// Turns an answer that is not the content into an error.
    async fn judge(&self, answer: Answer, name: &str) -> Result<Answer, PullError> {
        let status = answer.status;
        if status.is_success() {
            return Ok(answer);
        }
        let url = answer.url.clone();
        let body = self.client.body(answer, ERROR_LIMIT).await.unwrap_or_default();
        let reason = reason(&body)
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned());
        let image = self.image.to_string();
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => PullError::Denied { image, reason },
            StatusCode::NOT_FOUND
                if name.starts_with("sha256:") && url.path.contains("/blobs/") =>
            {
                PullError::NoBlob { registry: self.host(), digest: name.to_owned(), image }
            }
            StatusCode::NOT_FOUND => PullError::NotFound { image },
            _ => PullError::Status { url, status: status.as_u16(), reason },
        })
    }

    /// An error of the connection, about this image.
    pub(super) fn transfer_failed(&self, source: super::transfer::TransferError) -> PullError {
        PullError::Transfer { image: self.image.to_string(), source }
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502..=504)
}

/// The first error of the registry's JSON, made harmless for logs.
fn reason(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<OneError>,
    }
    #[derive(Deserialize)]
    struct OneError {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let first = serde_json::from_slice::<Errors>(body).ok()?.errors.into_iter().next()?;
    let text = if first.message.is_empty() { first.code } else { first.message };
    Some(text.chars().filter(|c| !c.is_control()).take(300).collect())
}

/// Waits before the next try: half a second and twice as long each time, with jitter; or as long as the server asks for.
pub(super) async fn pause(tries: u32, retry_after: Option<&HeaderValue>) {
    let asked = retry_after
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs)
        .filter(|wait| *wait <= LONGEST_WAIT);
    let mut random = [0];
    sys::random(&mut random);
    let backoff = Duration::from_millis(500 << (tries - 1).min(5))
        + Duration::from_millis(u64::from(random[0]));
    tokio::time::sleep(asked.unwrap_or(backoff)).await;
}
