//! Certificates for registries and for those who ask them.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::path::{Path, PathBuf};

/// PEM files of a certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A certificate authority, with its certificate in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) certificate: PathBuf,
}

impl Authority {
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certificate = directory.join(format!("{name}.pem"));
        std::fs::write(&certificate, issuer.pem()).unwrap();
        Self { issuer, certificate }
    }

    /// A certificate for `host`, changed as a test wants.
    pub(crate) fn sign(
        &self,
        directory: &Path,
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let (key, mut params) = (KeyPair::generate().unwrap(), params(host));
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        write(directory, host, &certificate.pem(), &key)
    }
}

/// A certificate that signs itself and says that it is an authority's, as `openssl req -x509` makes them.
pub(crate) fn self_signed(directory: &Path, host: &str) -> Pair {
    let (key, mut params) = (KeyPair::generate().unwrap(), params(host));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    write(directory, host, &certificate.pem(), &key)
}

fn params(host: &str) -> CertificateParams {
    CertificateParams::new(vec![host.to_owned()]).unwrap()
}

fn write(directory: &Path, host: &str, certificate: &str, key: &KeyPair) -> Pair {
    let file = |end: &str| directory.join(format!("{host}.{end}.pem"));
    let pair = Pair { certificate: file("certificate"), key: file("key") };
    std::fs::write(&pair.certificate, certificate).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    pair
}
