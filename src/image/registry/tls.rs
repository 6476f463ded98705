//! TLS of registries: whom is trusted, what is shown to them, and in plain words what went wrong.

use super::ClientCertificate;
use super::error::TransferError;
use crate::model::Timestamp;
use crate::sys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage, RootCertStore,
    SignatureScheme,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Where distributions keep the certificates of their authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// What a file of settings is for, in errors.
const AUTHORITIES: &str = "ca_file";
const CERTIFICATE: &str = "client_cert";
const KEY: &str = "client_key";

/// What is special about one registry.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    /// Its host name. It alone is shown the certificate, and it alone need not be verified.
    pub host: String,
    /// PEM files with certificate authorities beside the system's.
    pub authorities: Vec<PathBuf>,
    /// Any certificate of the host will do.
    pub unverified: bool,
    /// What it is shown.
    pub identity: Option<ClientCertificate>,
}

/// The settings of TLS, made when they are first needed: reading all certificates takes time and memory.
#[derive(Debug)]
pub(super) struct Tls {
    trust: Trust,
    own: OnceLock<Arc<ClientConfig>>,
    others: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    pub(super) fn new(trust: Trust) -> Self {
        Self { trust, own: OnceLock::new(), others: OnceLock::new() }
    }

    /// The settings for a connection to `host`.
    pub(super) async fn settings(&self, host: &str) -> Result<Arc<ClientConfig>, TransferError> {
        let special = self.trust.unverified || self.trust.identity.is_some();
        let own = special && host == self.trust.host;
        let cell = if own { &self.own } else { &self.others };
        if let Some(settings) = cell.get() {
            return Ok(settings.clone());
        }
        let mut trust = self.trust.clone();
        if !own {
            (trust.unverified, trust.identity) = (false, None);
        }
        let made = match tokio::task::spawn_blocking(move || client(&trust)).await {
            Ok(made) => made?,
            Err(_) => return Err(TransferError::Ending),
        };
        Ok(cell.get_or_init(|| Arc::new(made)).clone())
    }
}

fn client(trust: &Trust) -> Result<ClientConfig, TransferError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if trust.unverified {
        Arc::new(Unverified(provider.clone()))
    } else {
        let named: Vec<_> = trust
            .authorities
            .iter()
            .map(|file| certificates(file, AUTHORITIES))
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        let roots = Arc::new(roots(&named));
        let chain = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| TransferError::Tls(Error::General(error.to_string())))?;
        if named.is_empty() { chain } else { Arc::new(Named { chain, named }) }
    };
    let settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TransferError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(identity) = &trust.identity else { return Ok(settings.with_no_client_auth()) };
    let chain = certificates(&identity.certificate, CERTIFICATE)?;
    let wrong = |path: &Path, reason: String| TransferError::File {
        what: KEY,
        path: path.to_owned(),
        reason,
    };
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|error| wrong(&identity.key, error.to_string()))?;
    settings
        .with_client_auth_cert(chain, key)
        .map_err(|error| wrong(&identity.key, error.to_string()))
}

/// The system's certificate authorities, or those built in when the system has none, and the named ones.
fn roots(named: &[CertificateDer<'static>]) -> RootCertStore {
    let system = BUNDLES.iter().find_map(|bundle| {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(Path::new(bundle)).ok()?;
        let (added, _) = roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        (added > 0).then_some(roots)
    });
    let mut roots =
        system.unwrap_or_else(|| RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    roots.add_parsable_certificates(named.iter().cloned());
    roots
}

fn certificates(
    path: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TransferError> {
    let failed = |reason: String| TransferError::File { what, path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("the file has no certificate".to_owned()));
    }
    Ok(certificates)
}

/// Verifies as usual, but takes a certificate that the owner named himself whoever signed it: those that registries at
/// home sign for themselves are often marked as an authority's, which a server's must not be.
#[derive(Debug)]
struct Named {
    chain: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.named.contains(end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.chain.verify_server_cert(end_entity, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Takes any certificate, as the owner of an insecure registry chose; whoever shows it must have its key, though.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const UNKNOWN: &str = "it is signed by an authority that this box does not trust; if it is the right one, name that \
    authority's certificate as ca_file of the registry in agent.toml";

/// Why a handshake with `host` failed, and what to do about it.
pub(super) fn refused(host: &str, source: std::io::Error) -> TransferError {
    let Some(error) = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        // Nothing, or an end, in place of a handshake.
        return TransferError::Connect { host: host.to_owned(), source };
    };
    let day = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
    };
    let clock = || {
        let Timestamp(now) = sys::now();
        jiff::Timestamp::from_second(now / 1000).map_or_else(|_| String::new(), |at| at.to_string())
    };
    let certificate = |reason: String, clock_is_wrong: bool| TransferError::Certificate {
        host: host.to_owned(),
        reason,
        clock_is_wrong,
    };
    match error {
        Error::InvalidCertificate(
            // The second: of an authority with the same name, but another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => certificate(UNKNOWN.to_owned(), false),
        Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            let (from, now) = (day(*not_before), clock());
            certificate(
                format!(
                    "it is valid from {from} on, and the clock of this box says {now}, which is likely wrong"
                ),
                true,
            )
        }
        Error::InvalidCertificate(CertificateError::NotValidYet) => {
            let now = clock();
            certificate(
                format!(
                    "it is not valid yet, and the clock of this box says {now}, which is likely wrong"
                ),
                true,
            )
        }
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            let (until, now) = (day(*not_after), clock());
            certificate(format!("it expired at {until}; the clock of this box says {now}"), false)
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => certificate("it is for another host name".to_owned(), false),
        // A certificate that signs itself and says that it is an authority's.
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            certificate(UNKNOWN.to_owned(), false)
        }
        Error::InvalidCertificate(other) => certificate(other.to_string(), false),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            TransferError::NotTls { host: host.to_owned() }
        }
        other => TransferError::Handshake { host: host.to_owned(), source: other.clone() },
    }
}
