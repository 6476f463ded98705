//! Certificates: verified, named, not verified, shown; and what is said of those that are refused.

use crate::certificates::{Authority, self_signed};
use crate::front::{Front, Reply};
use crate::images::push_simple;
use crate::registry::Registry;
use coracle::image::{ClientCertificate, ImageStore, Options};
use std::path::{Path, PathBuf};

const HOST: &str = "127.0.0.1";

async fn pull(options: Options, name: &str) -> Result<String, String> {
    let state = tempfile::tempdir().unwrap();
    let images = ImageStore::open(state.path(), options).unwrap();
    let pulled = images.pull(name, |_| {}).await;
    pulled.map(|digest| digest.to_string()).map_err(|error| error.to_string())
}

/// Trusts what `file` says for `registry`, which makes a registry on this machine one with TLS.
fn trusting(registry: &str, file: &Path) -> Options {
    Options {
        certificate_authorities: [(registry.to_owned(), file.to_owned())].into(),
        ..Options::default()
    }
}

#[tokio::test]
async fn certificates_that_are_refused_say_why() {
    let Some(plain) = Registry::start() else { return };
    let (manifest, _) = push_simple(&plain, "a", b"x");
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let authority = Authority::new(dir, "authority");
    let other = Authority::new(dir, "other");

    let good = authority.sign(dir, HOST, |_| {});
    let registry = plain.start_with_tls(&good.certificate, &good.key).unwrap();
    let name = format!("{}/a", registry.address);
    let trusted = trusting(&registry.address, &authority.certificate);
    assert_eq!(pull(trusted, &name).await.unwrap(), manifest.to_string());
    let error = pull(trusting(&registry.address, &other.certificate), &name).await.unwrap_err();
    assert!(error.contains("an authority that this box does not trust"), "{error}");
    assert!(error.contains("ca_file"), "{error}");
    let without = format!("{}/a", plain.address);
    let error = pull(trusting(&plain.address, &other.certificate), &without).await.unwrap_err();
    assert!(error.contains("does not speak TLS") && error.contains("insecure = true"), "{error}");

    type Change = fn(&mut rcgen::CertificateParams);
    let changes: [(&str, Change); 3] = [
        ("the clock of this box says", |params| {
            params.not_before = rcgen::date_time_ymd(2999, 1, 1);
        }),
        ("it expired at 2001-01-01", |params| {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }),
        ("another host name", |params| {
            params.subject_alt_names =
                vec![rcgen::SanType::DnsName("other.test".try_into().unwrap())];
        }),
    ];
    for (expected, change) in changes {
        let pair = authority.sign(dir, HOST, change);
        let registry = plain.start_with_tls(&pair.certificate, &pair.key).unwrap();
        let options = trusting(&registry.address, &authority.certificate);
        let error = pull(options, &format!("{}/a", registry.address)).await.unwrap_err();
        assert!(error.starts_with("CannotPullContainerError: "), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_taken_when_it_is_named() {
    let Some(plain) = Registry::start() else { return };
    let (manifest, _) = push_simple(&plain, "a", b"x");
    let directory = tempfile::tempdir().unwrap();
    let pair = self_signed(directory.path(), HOST);
    let registry = plain.start_with_tls(&pair.certificate, &pair.key).unwrap();
    let name = format!("{}/a", registry.address);
    let named = trusting(&registry.address, &pair.certificate);
    assert_eq!(pull(named, &name).await.unwrap(), manifest.to_string());
    // For another name it is of no use, named or not.
    let pair = self_signed(directory.path(), "other.test");
    let registry = plain.start_with_tls(&pair.certificate, &pair.key).unwrap();
    let named = trusting(&registry.address, &pair.certificate);
    let error = pull(named, &format!("{}/a", registry.address)).await.unwrap_err();
    assert!(error.contains("another host name"), "{error}");
}

#[tokio::test]
async fn insecure_is_any_certificate_or_none() {
    let Some(plain) = Registry::start() else { return };
    let (manifest, _) = push_simple(&plain, "a", b"x");
    let directory = tempfile::tempdir().unwrap();
    let pair = self_signed(directory.path(), "other.test");
    let registry = plain.start_with_tls(&pair.certificate, &pair.key).unwrap();
    for address in [&registry.address, &plain.address] {
        let insecure = Options { insecure: [address.to_owned()].into(), ..Options::default() };
        let pulled = pull(insecure, &format!("{address}/a")).await;
        assert_eq!(pulled.unwrap(), manifest.to_string());
    }
    // It goes for that registry alone: not for one that it redirects to.
    let target = registry.address.clone();
    let front = Front::start("localhost", &plain.address, move |request, _| {
        if request.path.contains("/blobs/") {
            let field = format!("Location: https://{target}{}\r\n", request.path);
            return Reply::Own("307 Temporary Redirect", field, Vec::new());
        }
        Reply::Same
    });
    let address = front.address.replace(HOST, "localhost");
    let insecure = Options { insecure: [address.clone()].into(), ..Options::default() };
    let error = pull(insecure, &format!("{address}/a")).await.unwrap_err();
    assert!(error.contains("cannot be trusted"), "{error}");
}

#[tokio::test]
async fn a_mirror_has_its_own_settings() {
    let Some(mut plain) = Registry::start() else { return };
    let (manifest, _) = push_simple(&plain, "a", b"x");
    let directory = tempfile::tempdir().unwrap();
    let pair = self_signed(directory.path(), HOST);
    let mirror = plain.start_with_tls(&pair.certificate, &pair.key).unwrap();
    let name = format!("{}/a", plain.address);
    let mirrors = [(plain.address.clone(), vec![mirror.address.clone()])];
    plain.stop();
    let named =
        Options { mirrors: mirrors.clone().into(), ..trusting(&mirror.address, &pair.certificate) };
    assert_eq!(pull(named, &name).await.unwrap(), manifest.to_string());
    let insecure = Options {
        insecure: [mirror.address.clone()].into(),
        mirrors: mirrors.into(),
        ..Options::default()
    };
    assert_eq!(pull(insecure, &name).await.unwrap(), manifest.to_string());
}

#[tokio::test]
async fn a_registry_that_wants_a_certificate() {
    let Some(plain) = Registry::start() else { return };
    let (manifest, _) = push_simple(&plain, "a", b"x");
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let authority = Authority::new(dir, "authority");
    let server = authority.sign(dir, HOST, |_| {});
    let registry =
        plain.start_with_clients(&server.certificate, &server.key, &authority.certificate).unwrap();
    let name = format!("{}/a", registry.address);
    let client = authority.sign(dir, "box.test", |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let with = |identity: Option<(PathBuf, PathBuf)>| Options {
        client_certificates: identity
            .map(|(certificate, key)| {
                (registry.address.clone(), ClientCertificate { certificate, key })
            })
            .into_iter()
            .collect(),
        ..trusting(&registry.address, &authority.certificate)
    };
    let known = with(Some((client.certificate.clone(), client.key.clone())));
    assert_eq!(pull(known, &name).await.unwrap(), manifest.to_string());
    assert!(pull(with(None), &name).await.is_err());
    let wrong = with(Some((client.certificate.clone(), server.key)));
    let error = pull(wrong, &name).await.unwrap_err();
    assert!(error.contains("client_key"), "{error}");
    let absent = with(Some((dir.join("absent"), client.key)));
    let error = pull(absent, &name).await.unwrap_err();
    assert!(error.contains("client_cert") && error.contains("absent"), "{error}");
}
