//! TLS towards the broker: the pinned authorities, this end's certificate, and a clock that may be wrong.
//!
//! A box without a battery wakes up in 1970 and gets the time from the network it has yet to reach. When the clock cannot
//! be right, the broker's certificate is checked in everything but its time: the chain to the pinned authority, the name,
//! and the proof that the broker has its key.

use super::error::LinkError;
use super::settings::Tls;
use crate::auth::fleet::BROKER_NAME;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

/// A clock before this is wrong: the program is not as old (2026-01-01).
const EARLIEST: u64 = 1_767_225_600;
/// A clock after this is taken to be wrong as well (2056-01-01).
const LATEST: u64 = 2_713_910_400;
/// The certificates of one chain, and some.
const MOST_CERTIFICATES: usize = 10;

/// Reads certificates and keys. Made once and used for all connections, so that sessions of TLS are resumed.
pub(super) fn client(tls: &Tls) -> Result<Arc<ClientConfig>, LinkError> {
    let settings = |what: &str, reason: &dyn std::fmt::Display| {
        LinkError::TlsSettings(format!("{what}: {reason}"))
    };
    let mut roots = RootCertStore::empty();
    match &tls.authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for authority in certificates(pem) {
                let authority = authority.map_err(|e| settings("the broker's authority", &e))?;
                roots.add(authority).map_err(|e| settings("the broker's authority", &e))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| settings("the broker's authority", &e))?;
    let own = tls.authorities.as_ref().and_then(|_| ServerName::try_from(BROKER_NAME).ok());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| settings("the versions of TLS", &e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { chain, own }));
    let mut config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = certificates(certificate)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| settings("this client's certificate", &e))?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|e| settings("this client's key", &e))?;
            config
                .with_client_auth_cert(certificate, key)
                .map_err(|e| settings("this client's certificate and key", &e))?
        }
    };
    config.resumption = Resumption::in_memory_sessions(2);
    Ok(Arc::new(config))
}

fn certificates(
    pem: &[u8],
) -> impl Iterator<Item = Result<CertificateDer<'static>, rustls::pki_types::pem::Error>> + '_ {
    CertificateDer::pem_slice_iter(pem)
}

/// Checks a broker's certificate as usual, but its time only when the clock can be right.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    /// The name that a pinned authority gives to its own broker alone.
    own: Option<ServerName<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let of = |name: &ServerName<'_>, time| {
            self.chain.verify_server_cert(end_entity, intermediates, name, ocsp, time)
        };
        let at = |time| match of(name, time) {
            // A hub's own broker may be reached under a name that the hub does not know of.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.own.is_some() => of(self.own.as_ref().unwrap_or(name), time),
            other => other,
        };
        if is_plausible(now) {
            return at(now);
        }
        // Some time at which the whole chain was valid: that of its youngest certificate.
        let mut time = UnixTime::since_unix_epoch(Duration::from_secs(EARLIEST));
        let mut latest = EARLIEST;
        for _ in 0..MOST_CERTIFICATES {
            match at(time) {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if not_before.as_secs() > latest => {
                    latest = not_before.as_secs();
                    time = not_before;
                }
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) if latest == EARLIEST && not_after < time => {
                    // Expired before this program was made.
                    time = not_after;
                }
                other => return other,
            }
        }
        at(time)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn is_plausible(now: UnixTime) -> bool {
    (EARLIEST..LATEST).contains(&now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    /// A broker's certificate that is valid from one year to another, at a clock, by our authority or another.
    fn verify(years: (i32, i32), clock: u64, name: &str, ours: bool) -> Result<(), Error> {
        let authority = || {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let root = params.self_signed(&key).unwrap().der().clone();
            (root, Issuer::new(params, key))
        };
        let (root, issuer) = authority();
        let issuer = if ours { issuer } else { authority().1 };
        let mut params = CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = Verifier { chain: chain.build().unwrap(), own: None };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(clock));
        verifier.verify_server_cert(certificate.der(), &[], &name, &[], now).map(drop)
    }

    const HUB: &str = "hub.example";
    /// In the middle of 2027.
    const RIGHT: u64 = 1_813_708_800;

    #[test]
    fn a_clock_that_can_be_right_counts() {
        assert_eq!(verify((2020, 2040), RIGHT, HUB, true), Ok(()));
        for years in [(2020, 2027), (2028, 2040)] {
            let refused = verify(years, RIGHT, HUB, true);
            assert!(matches!(refused, Err(Error::InvalidCertificate(_))), "{years:?}: {refused:?}");
        }
    }

    #[test]
    fn a_clock_that_cannot_be_right_does_not() {
        for clock in [0, 86_400, EARLIEST - 1, LATEST, 1 << 40] {
            for years in [(2020, 2040), (2020, 2025), (2026, 2027), (2030, 2031), (2050, 2070)] {
                assert_eq!(verify(years, clock, HUB, true), Ok(()), "{clock} {years:?}");
            }
        }
    }

    #[test]
    fn with_any_clock_it_must_be_the_right_broker() {
        for clock in [0, RIGHT] {
            let other_name = verify((2020, 2040), clock, "other.example", true);
            assert!(matches!(other_name, Err(Error::InvalidCertificate(_))), "{other_name:?}");
            for years in [(2020, 2040), (2030, 2031), (2020, 2025)] {
                let foreign = verify(years, clock, HUB, false);
                assert!(matches!(foreign, Err(Error::InvalidCertificate(_))), "{foreign:?}");
            }
        }
    }
}
