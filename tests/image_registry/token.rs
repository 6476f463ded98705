//! A token server as registries have it: signs the tokens that a real `docker-registry` verifies.

use crate::front::{Front, Reply};
use crate::registry::{Registry, basic};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use std::process::Command;

/// A registry that wants tokens, and the server that gives them to `user`.
pub(crate) fn start(user: &'static str, password: &'static str) -> Option<(Registry, Front)> {
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl
        .args(["-nodes", "-subj", "/CN=token", "-days", "2", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    let Ok(made) = openssl.output() else {
        println!("skipped: openssl is not installed");
        return None;
    };
    assert!(made.status.success(), "{made:?}");
    let (key, chain) = (pem(&key), STANDARD.encode(pem(&certificate)));
    let sign = move |access: serde_json::Value| {
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [chain]});
        let now = coracle::sys::now().millis() / 1000;
        let claims = json!({"iss": "token", "sub": user, "aud": "test", "exp": now + 300, "nbf": now - 60,
            "iat": now, "jti": "1", "access": access});
        let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = pair.sign(&random, text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let push =
        sign(json!([{"type": "repository", "name": "a/private", "actions": ["pull", "push"]}]));
    let server = Front::start("127.0.0.1", "", move |request, _| {
        if request.header("authorization") != Some(basic(user, password)) {
            return Reply::Own("401 Unauthorized", String::new(), b"{}".to_vec());
        }
        assert!(request.path.contains("service=test"), "{request:?}");
        // A login asks for nothing yet.
        let access = if request.path.contains("scope=") {
            assert!(request.path.contains("&scope=repository%3Aa%2Fprivate%3Apull"), "{request:?}");
            json!([{"type": "repository", "name": "a/private", "actions": ["pull"]}])
        } else {
            json!([])
        };
        let token = sign(access);
        Reply::Own(
            "200 OK",
            String::new(),
            json!({"token": token, "expires_in": 300}).to_string().into_bytes(),
        )
    });
    let auth = format!(
        "auth: {{token: {{realm: \"http://{}/token\", service: test, issuer: token, rootcertbundle: {}}}}}\n",
        server.address,
        certificate.display()
    );
    let registry = Registry::start_with(&auth, Some(format!("Bearer {push}")))?;
    Some((registry, server))
}

fn pem(path: &std::path::Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}
