//! The signatures below were made by botocore 1.44.5; `tests/api` compares with the installed botocore on many more.

use super::super::AccessKey;
use super::*;
use hyper::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

const ID: &str = "CORACLEEXAMPLE234567";
const NOW: Timestamp = Timestamp(1_795_249_800_000);
const LIST: &str = "b164dda0666a62bb386553e97a0420add6ca4bc965a0f371cb367164cda6fc44";
const ODD: &str = "1174d19250e0ac711bd83c5c4f83ee34e731ab8fd30bf53193ccde3e17b8ac4f";

fn keys() -> Keys {
    Keys::with_root(AccessKey {
        access_key_id: ID.to_owned(),
        secret_access_key: "wJalrXUtnFEMI-K7MDENG_bPxRfiCYEXAMPLEKEY".to_owned(),
    })
}

fn authorization(scope: &str, headers: &str, signature: &str) -> String {
    format!("{ALGORITHM} Credential={ID}/{scope}, SignedHeaders={headers}, Signature={signature}")
}

/// A request that can be spoilt.
#[derive(Clone, Debug)]
struct Sent {
    path: &'static str,
    query: &'static str,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sent {
    fn list_clusters() -> Self {
        let headers = "content-type;host;x-amz-date;x-amz-target";
        let authorization = authorization("20261121/eu-central-1/ecs/aws4_request", headers, LIST);
        let mut sent =
            Self { path: "/", query: "", headers: HeaderMap::new(), body: b"{}".to_vec() };
        sent.set("host", "127.0.0.1:51678");
        sent.set("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters");
        sent.set("content-type", "application/x-amz-json-1.1");
        sent.set("x-amz-date", "20261121T083000Z");
        sent.set("authorization", &authorization);
        sent
    }

    fn odd() -> Self {
        let headers = "content-type;host;x-amz-date;x-amz-target;x-odd";
        let authorization = authorization("20261121/eu-central-1/ecs/aws4_request", headers, ODD);
        let mut sent = Self::list_clusters();
        sent.path = "/a%20b//./c/../d%2Fe/~x/";
        sent.query = "b=2&a=1&a=%2F&c";
        sent.body = "{\"ü\": 1}".as_bytes().to_vec();
        sent.set("x-amz-target", "x");
        sent.set("content-type", "text/plain; charset=utf-8");
        sent.set("x-odd", "  two   words  ");
        sent.set("authorization", &authorization);
        sent
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn verify_at(&self, now: Timestamp) -> Result<String, AuthError> {
        let request = SignedRequest {
            method: "POST",
            path: self.path,
            query: self.query,
            headers: &self.headers,
            body: &self.body,
        };
        verify(&request, &keys(), now).map(ToOwned::to_owned)
    }

    fn verify(&self) -> Result<String, AuthError> {
        self.verify_at(NOW)
    }
}

#[test]
fn what_botocore_signs_is_believed() {
    assert_eq!(Sent::list_clusters().verify().as_deref(), Ok(ID));
    assert_eq!(Sent::odd().verify().as_deref(), Ok(ID));
}

#[test]
fn the_clock_may_be_off_by_a_quarter_of_an_hour() {
    let sent = Sent::list_clusters();
    let shifted = |minutes: i64, seconds: i64| Timestamp(NOW.0 + (minutes * 60 + seconds) * 1000);
    for near in [shifted(15, 0), shifted(-15, 0)] {
        assert!(sent.verify_at(near).is_ok());
    }
    assert_eq!(
        sent.verify_at(shifted(15, 1)).unwrap_err().to_string(),
        "Signature expired: 20261121T083000Z is now earlier than 20261121T083001Z (20261121T084501Z - 15 min.)"
    );
    assert_eq!(
        sent.verify_at(shifted(-16, 0)).unwrap_err().to_string(),
        "Signature not yet current: 20261121T083000Z is still later than 20261121T082900Z (20261121T081400Z + 15 min.)"
    );
    // A box without a clock starts in 1970.
    assert!(matches!(sent.verify_at(Timestamp(0)), Err(AuthError::InvalidSignature(_))));
}

#[test]
fn each_way_to_be_wrong_has_its_exception() {
    use AuthError::{
        IncompleteSignature, InvalidSignature, MissingAuthenticationToken, UnrecognizedClient,
    };
    let sent = Sent::list_clusters;
    let headers = "content-type;host;x-amz-date;x-amz-target";
    let scope = "20261121/eu-central-1/ecs/aws4_request";
    let signed = |value: &str| sent().with("authorization", value).verify();

    assert_eq!(sent().without("authorization").verify(), Err(MissingAuthenticationToken));
    assert_eq!(
        signed(&authorization(scope, headers, LIST).replace(ID, "AKIAEXAMPLE")),
        Err(UnrecognizedClient)
    );
    assert_eq!(
        sent()
            .with("x-amz-security-token", "abc")
            .with(
                "authorization",
                &authorization(
                    scope,
                    "content-type;host;x-amz-date;x-amz-security-token;x-amz-target",
                    LIST
                ),
            )
            .verify(),
        Err(UnrecognizedClient)
    );

    for (what, result) in [
        (
            "another service",
            signed(&authorization("20261121/eu-central-1/s3/aws4_request", headers, LIST)),
        ),
        (
            "another region than signed",
            signed(&authorization("20261121/local/ecs/aws4_request", headers, LIST)),
        ),
        (
            "another day",
            signed(&authorization("20261120/eu-central-1/ecs/aws4_request", headers, LIST)),
        ),
        ("another signature", signed(&authorization(scope, headers, &LIST.replace('b', "c")))),
        ("half a signature", signed(&authorization(scope, headers, &LIST[..32]))),
        ("no signature", signed(&authorization(scope, headers, ""))),
        (
            "an unsigned body",
            sent()
                .with("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
                .with(
                    "authorization",
                    &authorization(
                        scope,
                        "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target",
                        LIST,
                    ),
                )
                .verify(),
        ),
    ] {
        assert!(matches!(result, Err(InvalidSignature(_))), "{what}: {result:?}");
    }

    let mut presigned = sent().without("authorization");
    presigned.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00";
    let mut twice = sent();
    twice.headers.append("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 x"));
    for (what, result) in [
        ("presigned", presigned.verify()),
        ("two headers", twice.verify()),
        ("basic authentication", signed("Basic Zm9v")),
        ("asymmetric", signed("AWS4-ECDSA-P256-SHA256 Credential=x")),
        ("nothing but the algorithm", signed(ALGORITHM)),
        ("no pairs", signed(&format!("{ALGORITHM} Credential"))),
        ("a short scope", signed(&authorization("20261121/ecs/aws4_request", headers, LIST))),
        ("no day", signed(&authorization("today/eu-central-1/ecs/aws4_request", headers, LIST))),
        ("not hexadecimal", signed(&authorization(scope, headers, "zz"))),
        ("upper-case names", signed(&authorization(scope, "Host;x-amz-date", LIST))),
        (
            "host not signed",
            signed(&authorization(scope, "content-type;x-amz-date;x-amz-target", LIST)),
        ),
        ("target not signed", signed(&authorization(scope, "content-type;host;x-amz-date", LIST))),
        (
            "a signed header that is not there",
            signed(&authorization(scope, &format!("{headers};x-more"), LIST)),
        ),
        ("no date", sent().without("x-amz-date").verify()),
        ("a broken date", sent().with("x-amz-date", "2026-11-21T08:30").verify()),
        ("an impossible date", sent().with("x-amz-date", "20261321T083000Z").verify()),
        (
            "the same parameter twice",
            signed(&format!("{}, Signature=00", authorization(scope, headers, LIST))),
        ),
    ] {
        assert!(matches!(result, Err(IncompleteSignature(_))), "{what}: {result:?}");
    }
}

#[test]
fn the_date_header_of_http_will_do() {
    let (text, at) = date::of(
        &Sent::list_clusters()
            .without("x-amz-date")
            .with("date", "Sat, 21 Nov 2026 08:30:00 GMT")
            .headers,
    )
    .unwrap();
    assert_eq!((text.as_str(), at), ("20261121T083000Z", NOW));
}

proptest! {
    #[test]
    fn any_change_of_what_was_signed_is_noticed(
        body in prop::collection::vec(any::<u8>(), 0..40), value in "[!-~]{1,30}", odd in any::<bool>()
    ) {
        let sent = if odd { Sent::odd() } else { Sent::list_clusters() };
        if body != sent.body {
            let mut changed = sent.clone();
            changed.body.clone_from(&body);
            prop_assert!(changed.verify().is_err());
        }
        for name in ["host", "content-type", "x-amz-target"] {
            if sent.headers[name].to_str().unwrap() != value {
                prop_assert!(sent.clone().with(name, &value).verify().is_err(), "{}", name);
            }
        }
    }

    #[test]
    fn no_header_makes_it_panic(header in "\\PC{0,80}", tail in "[ -~]{0,120}") {
        for text in [header, format!("{ALGORITHM} {tail}")] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                let mut sent = Sent::list_clusters();
                sent.headers.insert("authorization", value);
                prop_assert!(sent.verify().is_err());
            }
        }
    }

    #[test]
    fn a_canonical_path_is_absolute_and_has_no_dots(path in "(/|/\\.|/\\.\\.|[a-z%2F ~]){0,12}") {
        let canonical = canonical::path(&path);
        prop_assert!(canonical.starts_with('/'));
        prop_assert!(!canonical.contains("//"));
        prop_assert!(canonical.split('/').all(|segment| segment != "." && segment != ".."));
    }

    #[test]
    fn the_order_of_a_query_does_not_matter(
        mut pairs in prop::collection::vec(("[a-z]{1,3}", "[a-zA-Z0-9%]{0,4}"), 0..6)
    ) {
        let text = |pairs: &[(String, String)]| {
            pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&")
        };
        let forward = canonical::query(&text(&pairs));
        pairs.reverse();
        prop_assert_eq!(canonical::query(&text(&pairs)), forward.clone());
        prop_assert_eq!(canonical::query(&forward), forward);
    }
}
