//! Hostile bytes change nothing: each test shows what is taken as well, so that none can pass by refusing everything.

use super::der::{self, Reader};
use super::*;
use crate::model::{ClusterName, ContainerInstanceId, Scope, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn edit(message: &[u8], member: &str, change: impl FnOnce(&str) -> String) -> Vec<u8> {
    let mut json: serde_json::Value = serde_json::from_slice(message).unwrap();
    json[member] = change(json[member].as_str().unwrap()).into();
    json.to_string().into_bytes()
}

#[test]
fn a_signed_message_is_taken_as_what_it_is_and_as_nothing_else() {
    let (hub, other) = (HubKey::ephemeral(), HubKey::ephemeral());
    let key = hub.verifying_key();
    let message = hub.sign(Kind::Document, b"the document");
    assert_eq!(key.verify(Kind::Document, &message, 4096).unwrap(), b"the document");
    let refused = |message: &[u8]| key.verify(Kind::Document, message, 4096).unwrap_err();

    assert_eq!(
        key.verify(Kind::Document, &message, message.len() - 1),
        Err(JwsError::TooLarge { size: message.len(), at_most: message.len() - 1 })
    );
    for kind in [Kind::Body, Kind::Command, Kind::Ack, Kind::Hub, Kind::Join] {
        assert_eq!(refused(&hub.sign(kind, b"the document")).counter(), "foreign", "{kind:?}");
    }
    assert_eq!(refused(&other.sign(Kind::Document, b"the document")).counter(), "foreign");
    let changed = edit(&message, "payload", |_| URL_SAFE_NO_PAD.encode("another document"));
    assert_eq!(refused(&changed), JwsError::Signature);
    let unsigned = edit(&message, "signature", |_| String::new());
    assert_eq!(refused(&unsigned), JwsError::Signature);
    // Signed by another key under the name of this one.
    let forged = other.sign(Kind::Document, b"the document");
    let theirs: serde_json::Value = serde_json::from_slice(&forged).unwrap();
    let theirs = edit(&message, "signature", |_| theirs["signature"].as_str().unwrap().to_owned());
    assert_eq!(refused(&theirs), JwsError::Signature);
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","kid":"x"}"#,
        r#"{"typ":"coracle-document+jws","alg":"EdDSA"}"#,
    ] {
        let other = edit(&message, "protected", |_| URL_SAFE_NO_PAD.encode(header));
        assert_eq!(refused(&other).counter(), "foreign", "{header}");
    }
    let text = String::from_utf8(message).unwrap();
    let nested = "[".repeat(2000);
    for malformed in [
        "",
        "null",
        "[]",
        &nested,
        &text[..text.len() - 1],
        &format!("{text} {text}"),
        &text.replacen('{', r#"{"header":{"alg":"none"},"#, 1),
        &text.replacen('{', r#"{"payload":"e30","#, 1),
        &text.replace("\"signature\":\"", "\"signature\":\"="),
    ] {
        assert_eq!(refused(malformed.as_bytes()), JwsError::Malformed, "{malformed}");
    }
}

#[test]
fn the_hubs_key_is_kept() {
    let state = tempfile::tempdir().unwrap();
    let hub = HubKey::open(state.path()).unwrap();
    let key = hub.verifying_key();
    assert_eq!(HubKey::open(state.path()).unwrap().verifying_key(), key);
    let text = serde_json::to_string(&key).unwrap();
    assert_eq!(serde_json::from_str::<VerifyingKey>(&text).unwrap(), key);
    assert!(serde_json::from_str::<VerifyingKey>("\"AAAA\"").is_err());

    std::fs::write(state.path().join("keys/hub.pk8"), b"short").unwrap();
    let error = HubKey::open(state.path()).unwrap_err().to_string();
    assert!(error.contains("keys/hub.pk8 is not the key of a hub"), "{error}");
}

#[test]
fn a_token_goes_through_text_and_proves_itself_without_being_sent() {
    let hub = HubKey::ephemeral();
    let state = tempfile::tempdir().unwrap();
    let vault = Vault::open(state.path()).unwrap();
    let fingerprint = hub.verifying_key().fingerprint();
    let token = vault.mint(fingerprint.clone());
    let text = token.expose();
    // The hub knows it by its id, also after a restart.
    let again = Vault::open(state.path()).unwrap().token(token.id().clone(), fingerprint.clone());
    assert_eq!(*again.expose(), *text);
    let elsewhere = tempfile::tempdir().unwrap();
    let elsewhere = Vault::open(elsewhere.path()).unwrap();
    assert_ne!(*elsewhere.token(token.id().clone(), fingerprint.clone()).expose(), *text);
    let read: JoinToken = format!(" {}\n", *text).parse().unwrap();
    assert_eq!((read.id(), read.hub()), (token.id(), token.hub()));
    let proof = read.proof().of(b"request");
    assert!(token.proof().is_of(b"request", &proof));
    assert!(!token.proof().is_of(b"another", &proof));
    assert!(!token.proof().is_of(b"request", ""));
    let other = vault.mint(fingerprint);
    assert!(!other.proof().is_of(b"request", &proof));
    assert!(!format!("{token:?} {:?}", token.proof()).contains(&text[22..54]));

    for bad in ["", "coracle1", "eyJhbGciOi", "coracle2.a.b.c"] {
        assert_eq!(bad.parse::<JoinToken>().unwrap_err(), TokenError::Foreign, "{bad}");
    }
    for bad in [
        "coracle1.",
        &text[..text.len() - 1],
        &format!("{}.x", *text),
        &text.replacen("coracle1.", "coracle1.x", 1),
        &text.to_uppercase().replacen("CORACLE1", "coracle1", 1),
    ] {
        assert_eq!(bad.parse::<JoinToken>().unwrap_err(), TokenError::Malformed, "{bad}");
    }
}

#[test]
fn both_sides_agree_on_a_key_that_opens_for_its_purpose_only() {
    let (device, hub) = (Exchange::new(), Exchange::new());
    let (devices, hubs) = (*device.public(), *hub.public());
    let key = device.agree(&hubs, b"join").unwrap();
    let same = hub.agree(&devices, b"join").unwrap();
    assert_eq!(key.expose(), same.expose());
    let sealed = key.seal(b"box/name/1", b"secret");
    assert_eq!(&**same.open(b"box/name/1", &sealed).unwrap(), b"secret");
    assert_eq!(same.open(b"box/name/2", &sealed).unwrap_err(), SealError::Mismatch);
    assert_ne!(sealed, key.seal(b"box/name/1", b"secret"));
    for at in 1..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(key.open(b"box/name/1", &changed).unwrap_err(), SealError::Mismatch);
    }
    assert_eq!(key.open(b"", &[]).unwrap_err(), SealError::Malformed);
    assert_eq!(key.open(b"", &[2; 40]).unwrap_err(), SealError::Malformed);

    let other = Exchange::new();
    assert_ne!(other.agree(&hubs, b"join").unwrap().expose(), key.expose());
    let (a, b) = (Exchange::new(), Exchange::new());
    let public = *a.public();
    let key = a.agree(b.public(), b"one").unwrap();
    assert_ne!(b.agree(&public, b"two").unwrap().expose(), key.expose());
    // A point of small order would make the key known to everybody.
    for theirs in [&[0; 32][..], &[0; 31], &[]] {
        assert!(Exchange::new().agree(theirs, b"join").is_none());
    }
}

fn openssl(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn device(id: &str) -> Subject {
    Subject::Device {
        id: ContainerInstanceId::new(id).unwrap(),
        cluster: ClusterName::new("edge").unwrap(),
        lifetime: DEVICE_LIFETIME,
    }
}

#[test]
fn certificates_are_what_openssl_and_brokers_take() {
    let state = tempfile::tempdir().unwrap();
    let authority = Authority::open(state.path(), NOW).unwrap();
    let again = Authority::open(state.path(), NOW).unwrap();
    assert_eq!(authority.certificate(), again.certificate());
    let (server, client) = (PrivateKey::generate(), PrivateKey::generate());
    let names = ["hub.example", "127.0.0.1", "fd00::1"].map(str::to_owned).to_vec();
    let broker = authority.issue(&Subject::Broker(names), server.public(), NOW);
    let id = "0123456789abcdef0123456789abcdef";
    let leaf = authority.issue(&device(id), client.public(), NOW);
    let info = leaf.info();
    assert_eq!(info.not_after, NOW.plus(DEVICE_LIFETIME));
    assert_eq!(info.key, client.public().fingerprint());
    // A hub whose clock is not set issues nothing that has ended already.
    let early = authority.issue(&device(id), client.public(), Timestamp(0));
    assert_eq!(early.info().not_after, PLAUSIBLE.plus(DEVICE_LIFETIME));
    // Beyond 2050 times are written in another way.
    assert!(authority.certificate().info().not_after > NOW.plus(Duration::from_hours(19 * 8760)));
    let far = Timestamp::from_secs(2_840_000_000);
    let late = authority.issue(&device(id), client.public(), far);
    assert_eq!(late.info().not_after, far.plus(DEVICE_LIFETIME));

    let dir = state.path();
    for (name, pem) in [
        ("ca.pem", authority.certificate().pem()),
        ("broker.pem", broker.pem()),
        ("leaf.pem", leaf.pem()),
        ("late.pem", late.pem()),
        ("key.pem", client.pem().to_string()),
        ("request.pem", pem("CERTIFICATE REQUEST", &client.request())),
    ] {
        std::fs::write(dir.join(name), pem).unwrap();
    }
    let verify = |purpose: &str, file: &str| {
        let arguments = [
            "verify",
            "-x509_strict",
            "-CAfile",
            "ca.pem",
            "-purpose",
            purpose,
            "-attime",
            "1796000000",
            file,
        ];
        openssl(dir, &arguments)
    };
    for (purpose, file, good) in [
        ("sslserver", "broker.pem", true),
        ("sslclient", "leaf.pem", true),
        ("sslserver", "leaf.pem", false),
        ("sslclient", "broker.pem", false),
    ] {
        let (verified, text) = verify(purpose, file);
        assert_eq!(verified, good, "{purpose} {file}: {text}");
    }
    let (_, text) =
        openssl(dir, &["x509", "-in", "leaf.pem", "-noout", "-subject", "-dates", "-serial"]);
    assert!(
        text.contains("O = edge, CN = 0123456789abcdef")
            || text.contains("O=edge, CN=0123456789abcdef"),
        "{text}"
    );
    assert!(text.contains("notBefore=Jan  1 00:00:00 2020 GMT"), "{text}");
    assert!(text.to_lowercase().contains(&format!("serial={}", info.serial)), "{text}");
    let (_, text) =
        openssl(dir, &["x509", "-in", "broker.pem", "-noout", "-ext", "subjectAltName"]);
    assert!(text.contains("DNS:hub.example, IP Address:127.0.0.1, IP Address:FD00:0"), "{text}");
    let (_, text) = openssl(dir, &["x509", "-in", "late.pem", "-noout", "-enddate"]);
    assert!(text.contains("2060"), "{text}");
    let (good, text) = openssl(dir, &["req", "-in", "request.pem", "-noout", "-verify"]);
    assert!(good, "{text}");
    // The other way round: what openssl asks for is understood.
    let asked = [
        "req",
        "-new",
        "-key",
        "key.pem",
        "-subj",
        "/CN=root/O=x",
        "-outform",
        "DER",
        "-out",
        "theirs.der",
    ];
    let (good, text) = openssl(dir, &asked);
    assert!(good, "{text}");
    let theirs = std::fs::read(dir.join("theirs.der")).unwrap();
    assert_eq!(CertifiedKey::of_request(&theirs).unwrap(), *client.public());
}

#[test]
fn what_is_revoked_is_refused_by_openssl_and_nothing_else_is() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path();
    let authority = Authority::open(dir, NOW).unwrap();
    let id = "0123456789abcdef0123456789abcdef";
    let (good, bad) = (PrivateKey::generate(), PrivateKey::generate());
    let good = authority.issue(&device(id), good.public(), NOW);
    let bad = authority.issue(&device(id), bad.public(), NOW);
    std::fs::write(dir.join("ca.pem"), authority.certificate().pem()).unwrap();
    std::fs::write(dir.join("good.pem"), good.pem()).unwrap();
    std::fs::write(dir.join("bad.pem"), bad.pem()).unwrap();
    let verify = |file: &str, list: &str| {
        std::fs::write(dir.join("revoked.pem"), list).unwrap();
        // Also on a hub whose clock is not set.
        openssl(
            dir,
            &[
                "verify",
                "-crl_check",
                "-CAfile",
                "ca.pem",
                "-CRLfile",
                "revoked.pem",
                "-attime",
                "1600000000",
                file,
            ],
        )
    };
    let none = authority.revocation_list([], NOW);
    assert!(verify("good.pem", &none).0 && verify("bad.pem", &none).0);
    let list = authority.revocation_list([bad.info().serial.as_str(), "no serial"], NOW);
    assert!(verify("good.pem", &list).0);
    let (taken, text) = verify("bad.pem", &list);
    assert!(!taken && text.contains("revoked"), "{text}");
}

#[test]
fn a_sealing_key_is_kept_wrapped_for_its_box() {
    let state = tempfile::tempdir().unwrap();
    let vault = Vault::open(state.path()).unwrap();
    let key = SealingKey::from_bytes(&[7; 32]).unwrap();
    let wrapped = vault.wrap("a", &key);
    assert_eq!(vault.unwrap("a", &wrapped).unwrap().expose(), key.expose());
    assert!(vault.unwrap("b", &wrapped).is_none() && vault.unwrap("a", "x").is_none());
    std::fs::write(state.path().join("keys/fleet.key"), b"short").unwrap();
    assert!(Vault::open(state.path()).unwrap_err().to_string().contains("32 bytes"));
}

#[test]
fn rustls_takes_the_chain() {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
    use rustls::server::WebPkiClientVerifier;
    let state = tempfile::tempdir().unwrap();
    let authority = Authority::open(state.path(), NOW).unwrap();
    let key = PrivateKey::generate();
    let leaf = authority.issue(&device("0123456789abcdef0123456789abcdef"), key.public(), NOW);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(authority.certificate().der().to_vec())).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let der = CertificateDer::from(leaf.der().to_vec());
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    verifier.verify_client_cert(&der, &[], at(1_795_000_000)).unwrap();
    assert!(verifier.verify_client_cert(&der, &[], at(1_895_000_000)).is_err());
    let pkcs8 = PrivateKeyDer::try_from(key.pkcs8().to_vec()).unwrap();
    rustls::crypto::ring::sign::any_supported_type(&pkcs8).unwrap();
}

#[test]
fn a_request_that_is_not_one_is_refused() {
    let (key, other) = (PrivateKey::generate(), PrivateKey::generate());
    let request = key.request();
    assert_eq!(CertifiedKey::of_request(&request).unwrap(), *key.public());
    // The key of another, asked for without having it.
    let point = |key: &PrivateKey| key.public().info()[26..].to_vec();
    let at = request.windows(65).position(|bytes| bytes == point(&key)).unwrap();
    let mut stolen = request.clone();
    stolen[at..at + 65].copy_from_slice(&point(&other));
    assert_eq!(CertifiedKey::of_request(&stolen).unwrap_err(), RequestError::Signature);
    assert_eq!(CertifiedKey::of_request(&[]).unwrap_err(), RequestError::Malformed);
    let long = [request.clone(), vec![0; 5000]].concat();
    assert_eq!(CertifiedKey::of_request(&long).unwrap_err(), RequestError::Malformed);
    let nested = (0..3000).fold(Vec::new(), |inner, _| der::value(der::SEQUENCE, &inner));
    assert_eq!(CertifiedKey::of_request(&nested).unwrap_err(), RequestError::Malformed);
    for length in 0..request.len() {
        assert!(CertifiedKey::of_request(&request[..length]).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_disturb_a_reader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = CertifiedKey::of_request(&bytes);
        let _ = Certificate::read(&bytes);
        let mut reader = Reader::new(&bytes);
        let mut read = 0;
        while let Some((_, _, whole)) = reader.next() {
            read += whole.len();
        }
        prop_assert!(read <= bytes.len());
    }

    #[test]
    fn a_changed_request_is_never_another_key(at in 0_usize..400, bit in 0_u32..8) {
        let key = PrivateKey::generate();
        let mut request = key.request();
        let at = at % request.len();
        request[at] ^= 1 << bit;
        // A signature may have been changed into another form of itself; the key stays what was signed.
        if let Ok(read) = CertifiedKey::of_request(&request) {
            prop_assert_eq!(&read, key.public());
        }
    }

    #[test]
    fn a_changed_message_is_never_taken(at in 0_usize..1000, bit in 0_u32..8, payload in prop::collection::vec(any::<u8>(), 0..64)) {
        let hub = HubKey::ephemeral();
        let mut message = hub.sign(Kind::Ack, &payload);
        let at = at % message.len();
        message[at] ^= 1 << bit;
        prop_assert!(hub.verifying_key().verify(Kind::Ack, &message, 4096).is_err());
    }

    #[test]
    fn what_is_written_is_read(tag in 0_u8..31, content in prop::collection::vec(any::<u8>(), 0..70000)) {
        let written = der::value(tag, &content);
        let mut reader = Reader::new(&written);
        prop_assert_eq!(reader.next(), Some((tag, content.as_slice(), written.as_slice())));
        prop_assert!(reader.is_empty());
    }
}

fn enrolment(state: &Path, key: &PrivateKey) -> Enrolment {
    let id = ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap();
    let authority = Authority::open(state, NOW).unwrap();
    Enrolment {
        device: id.clone(),
        cluster: ClusterName::new("edge").unwrap(),
        scope: Scope::default(),
        hub_key: HubKey::open(state).unwrap().verifying_key(),
        hub: "http://hub:51678".to_owned(),
        broker: "mqtts://hub:8883".to_owned(),
        more_brokers: Vec::new(),
        broker_authorities: Some(authority.certificate().pem()),
        certificate: authority.issue(&device(id.as_str()), key.public(), NOW),
        position: crate::model::fleet::Position { epoch: 1, generation: 6 },
        attributes: [("site".to_owned(), "a".to_owned())].into(),
    }
}

#[test]
fn a_box_is_a_member_or_it_is_not() {
    let (hub, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (hub, state) = (hub.path(), state.path());
    assert!(DeviceIdentity::open(state).unwrap().is_none());
    let key = DeviceKey::open(state).unwrap();
    let said = enrolment(hub, &key);
    let sealing = SealingKey::from_bytes(&[7; 32]).unwrap();
    // A join that was cut short leaves nothing.
    std::fs::create_dir(state.join("fleet.new")).unwrap();
    std::fs::write(state.join("fleet.new/enrolment.json"), b"half").unwrap();
    assert!(DeviceIdentity::open(state).unwrap().is_none());
    assert!(!state.join("fleet.new").exists());

    DeviceIdentity::create(state, &said, &sealing).unwrap();
    let mut identity = DeviceIdentity::open(state).unwrap().unwrap();
    assert_eq!(identity.enrolment(), &said);
    assert_eq!(identity.sealing().expose(), sealing.expose());
    assert_eq!(identity.key().public(), key.public());
    use std::os::unix::fs::PermissionsExt;
    for file in ["keys/device.pk8", "fleet/enrolment.json", "fleet/sealing.key"] {
        let mode = std::fs::metadata(state.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    // Another box's certificate is not taken, one's own is.
    let foreign = enrolment(hub, &PrivateKey::generate()).certificate;
    assert!(!identity.renew(foreign).unwrap());
    let renewed = enrolment(hub, &key).certificate;
    assert!(identity.renew(renewed.clone()).unwrap());
    let identity = DeviceIdentity::open(state).unwrap().unwrap();
    assert_eq!(identity.enrolment().certificate, renewed);
    // A second join of a member does not replace it by accident.
    assert!(DeviceIdentity::create(state, &said, &sealing).is_err());

    assert!(!DeviceIdentity::is_leaving(state));
    for _ in 0..2 {
        DeviceIdentity::leave(state).unwrap();
        assert!(DeviceIdentity::is_leaving(state));
        assert!(DeviceIdentity::open(state).unwrap().is_none());
    }
    DeviceIdentity::forget(state).unwrap();
    DeviceIdentity::forget(state).unwrap();
    assert!(!DeviceIdentity::is_leaving(state));
    assert_eq!(DeviceKey::open(state).unwrap().public(), key.public(), "it is the same box");
}
