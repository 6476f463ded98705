//! The certificate of a box, and the other files of its identity: renewed over the broker, over HTTP when the broker no longer
//! takes it.

use super::Member;
use crate::auth::fleet::{Certificate, DeviceIdentity, FileError, VerifyingKey};
use crate::fleet::device::blocking;
use crate::fleet::device::renewal::Renewal;
use crate::fleet::join::{self, JoinError};
use crate::fleet::link::{SessionId, Tls};
use crate::fleet::message::{self, RenewRequest};
use crate::fleet::topic::{Part, Topic};
use crate::model::fleet::VERSION;
use crate::sys;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

impl Member {
    pub(super) fn ask_for_certificate(&mut self, session: &SessionId) {
        let request = RenewRequest {
            v: VERSION,
            session: session.to_string(),
            request: join::device::renewal_request(&self.identity),
        };
        let Ok(id) = Part::new(message::RENEW) else { return };
        let topic = Topic::rpc(&self.cluster, &self.device, id);
        tracing::info!("asking the hub for a new certificate");
        self.say(session, &topic, &message::write(&request), sys::uptime());
    }

    pub(super) async fn renewed(&mut self, answer: &[u8]) {
        let certificate = match join::device::renewed(&self.identity, answer) {
            Ok(certificate) => certificate,
            Err(error) => {
                tracing::warn!(%error, "the hub's answer holds no new certificate");
                return self.refuse("cmd", "malformed");
            }
        };
        self.keep_certificate(certificate).await;
    }

    /// The hub can be reached where it was when this box joined, or not.
    pub(super) async fn renewed_over_http(&mut self, answer: Result<Certificate, JoinError>) {
        match answer {
            // It is not for the certificate's age that the broker refuses this box.
            Ok(certificate) if certificate == self.identity.enrolment().certificate => {}
            Ok(certificate) => {
                self.keep_certificate(certificate).await;
                self.link.reconnect_now();
            }
            Err(error) => tracing::warn!(%error, "there is no new certificate"),
        }
    }

    async fn keep_certificate(&mut self, certificate: Certificate) {
        match self.change_identity(move |identity| identity.renew(certificate)).await {
            Some(Ok(true)) => {
                self.renewal = renewal(&self.identity);
                let until = self.identity.enrolment().certificate.info().not_after;
                self.status.send_modify(|status| status.certificate_until = Some(until));
                self.link.set_tls(tls(&self.identity, self.authorities.as_deref()));
                tracing::info!("this box has a new certificate");
            }
            Some(Ok(false)) => self.refuse("cmd", "foreign"),
            Some(Err(error)) => tracing::error!(%error, "the new certificate cannot be kept"),
            None => {}
        }
    }

    /// The hub signs with another key from now on.
    pub(in crate::fleet::device) async fn repin(
        &mut self,
        key: VerifyingKey,
    ) -> Result<(), FileError> {
        self.change_identity(move |identity| identity.repin(key)).await.unwrap_or(Ok(()))?;
        self.acceptor.key_changed(self.key());
        self.register.changed();
        Ok(())
    }

    /// Changes the files of the identity, which blocks.
    async fn change_identity<T: Send + 'static>(
        &mut self,
        change: impl FnOnce(&mut DeviceIdentity) -> T + Send + 'static,
    ) -> Option<T> {
        let mut changed = self.identity.clone();
        let (identity, answer) = blocking(move || {
            let answer = change(&mut changed);
            (changed, answer)
        })
        .await?;
        self.identity = identity;
        Some(answer)
    }
}

/// The answer to a request over HTTP, if there is one under way.
pub(super) async fn answered(
    request: &mut Option<JoinHandle<Result<Certificate, JoinError>>>,
) -> Result<Certificate, JoinError> {
    loop {
        let Some(under_way) = request else { return std::future::pending().await };
        let ended = under_way.await;
        *request = None;
        if let Ok(answer) = ended {
            return answer;
        }
    }
}

pub(super) fn renewal(identity: &DeviceIdentity) -> Renewal {
    Renewal::new(identity.certified_at(), identity.enrolment().certificate.info().not_after)
}

/// What the broker is trusted by, and this box at the broker.
pub(super) fn tls(identity: &DeviceIdentity, authorities: Option<&[u8]>) -> Tls {
    let enrolment = identity.enrolment();
    let named = enrolment.broker_authorities.as_ref().map(|pem| pem.as_bytes().to_vec());
    let certificate = enrolment.certificate.pem();
    let key = identity.key().pem();
    Tls {
        authorities: authorities.map(<[u8]>::to_vec).or(named),
        identity: Some((certificate.into_bytes(), Zeroizing::new(key.as_bytes().to_vec()))),
    }
}
