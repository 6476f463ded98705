use super::*;
use crate::store::Options;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-AbCdEf";

struct Shelf {
    dir: tempfile::TempDir,
    secrets: Secrets,
    minted: std::cell::Cell<u32>,
}

fn new_box() -> Shelf {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), Options::default()).unwrap();
    let secrets = Secrets::new(dir.path(), store);
    Shelf { dir, secrets, minted: std::cell::Cell::new(0) }
}

impl Shelf {
    fn put(&self, name: &str, value: &str, stage: Option<&str>) -> Result<String, SecretError> {
        let new = NewValue {
            name: Name::parse(name, false)?,
            value: SecretText::new(value.to_owned()),
            stage: stage.map(str::to_owned),
            version_id: None,
        };
        self.secrets.set(new, Timestamp(1), || {
            self.minted.set(self.minted.get() + 1);
            format!("{:032}", self.minted.get())
        })
    }

    fn set(&self, name: &str, value: &str) -> String {
        self.put(name, value, None).unwrap()
    }

    fn get(&self, reference: &str) -> Result<String, SecretError> {
        let reference = Reference::parse(reference, Kind::Parameter)?;
        Ok(self.secrets.resolve(&reference)?.expose().to_owned())
    }

    fn refusal(&self, reference: &str) -> String {
        self.get(reference).unwrap_err().to_string()
    }

    fn key(&self) -> std::path::PathBuf {
        self.dir.path().join("secret.key")
    }
}

#[test]
fn a_secret_is_found_by_its_arn_with_and_without_suffix_and_by_its_name() {
    let it = new_box();
    it.set("prod/db", "pass");
    for reference in
        [ARN, ARN.strip_suffix("-AbCdEf").unwrap(), "prod/db", &format!("{ARN}:::"), "prod/db:::"]
    {
        assert_eq!(it.get(reference).unwrap(), "pass", "{reference}");
    }
    // Its own name may look like a suffix.
    it.set("prod/my-secret", "other");
    let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/my-secret";
    assert_eq!(it.get(arn).unwrap(), "other");
    assert_eq!(it.get(&format!("{arn}-ZZZZZZ")).unwrap(), "other");
    // Set by ARN, found by name.
    it.set("arn:aws:secretsmanager:us-east-1:123456789012:secret:by/arn-a1B2c3", "third");
    assert_eq!(it.get("by/arn").unwrap(), "third");
    let missing =
        it.refusal("arn:aws:secretsmanager:us-east-1:123456789012:secret:no/thing-a1B2c3");
    assert_eq!(
        missing,
        "secret no/thing is not in this box's store; set it with `coracle secret set no/thing`"
    );
}

#[test]
fn parameters_are_found_by_path_name_and_arn() {
    let it = new_box();
    it.set("/prod/db/url", "u");
    it.set("arn:aws:ssm:us-east-1:123456789012:parameter/a/b", "ab");
    let new = NewValue {
        name: Name::parse("plain", true).unwrap(),
        value: SecretText::new("p".into()),
        stage: None,
        version_id: None,
    };
    it.secrets.set(new, Timestamp(1), || "0".repeat(32)).unwrap();
    for (reference, value) in [
        ("/prod/db/url", "u"),
        ("arn:aws:ssm:us-east-1:123456789012:parameter/prod/db/url", "u"),
        ("/a/b", "ab"),
        ("plain", "p"),
        ("arn:aws-cn:ssm:cn-north-1:123456789012:parameter/plain", "p"),
    ] {
        assert_eq!(it.get(reference).unwrap(), value, "{reference}");
    }
    // A plain name is a parameter first, as in ECS, and a secret when there is no such parameter.
    it.set("plain", "secret");
    assert_eq!(it.get("plain").unwrap(), "p");
    it.secrets.remove(&Name::parse("plain", true).unwrap()).unwrap();
    assert_eq!(it.get("plain").unwrap(), "secret");
    assert!(it.refusal("nothing").contains("`coracle secret set --ssm nothing`"));
    assert!(it.refusal("/no/thing").contains("`coracle secret set /no/thing`"));
    // A parameter keeps one value.
    it.set("/prod/db/url", "v");
    assert_eq!(it.get("/prod/db/url").unwrap(), "v");
    let all = it.secrets.list().unwrap();
    assert_eq!(all.iter().map(|s| s.versions.len()).max(), Some(1));
    assert!(it.put("/p", "v", Some("blue")).unwrap_err().to_string().contains("no stages"));
}

#[test]
fn a_json_key_picks_a_member() {
    let it = new_box();
    let object = r#"{"user":"admin","port":5432,"tls":true,"more":{"a":[1]},"none":null}"#;
    it.set("prod/db", object);
    for (key, value) in
        [("user", "admin"), ("port", "5432"), ("tls", "true"), ("more", r#"{"a":[1]}"#)]
    {
        assert_eq!(it.get(&format!("{ARN}:{key}::")).unwrap(), value);
    }
    for key in ["absent", "none"] {
        let refused = it.refusal(&format!("{ARN}:{key}::"));
        assert!(refused.starts_with(&format!("secret prod/db did not contain json key {key}")));
        assert!(!refused.contains("admin"), "{refused}");
    }
    it.set("text", "hunter2");
    let refused = it.refusal("text:user::");
    assert!(refused.contains("not a JSON object") && !refused.contains("hunter2"), "{refused}");
}

#[test]
fn stages_move_as_in_secrets_manager() {
    let it = new_box();
    let first = it.set("db", "1");
    it.set("db", "2");
    assert_eq!(it.get("db:::").unwrap(), "2");
    assert_eq!(it.get("db::AWSPREVIOUS:").unwrap(), "1");
    assert_eq!(it.get(&format!("db:::{first}")).unwrap(), "1");
    assert_eq!(it.get(&format!("db::AWSPREVIOUS:{first}")).unwrap(), "1");
    assert!(it.get(&format!("db::AWSCURRENT:{first}")).is_err());
    it.put("db", "blue", Some("blue")).unwrap();
    assert_eq!((it.get("db").unwrap(), it.get("db::blue:").unwrap()), ("2".into(), "blue".into()));
    it.set("db", "3");
    assert_eq!(it.get("db::AWSPREVIOUS:").unwrap(), "2");
    // The first one has no stage left.
    let refused = it.refusal(&format!("db:::{first}"));
    assert!(refused.contains("AWSCURRENT, blue, AWSPREVIOUS"), "{refused}");
    assert_eq!(it.secrets.list().unwrap()[0].versions.len(), 3);
    it.put("only-blue", "b", Some("blue")).unwrap();
    assert!(it.refusal("only-blue").contains("no version AWSCURRENT"));
}

#[test]
fn names_values_and_stages_that_cannot_be_are_refused() {
    let it = new_box();
    for name in ["", "a b", "a:b", "ü", "/a+b", "arn:aws:s3:::b/k", "arn:aws:ssm:r:1:parameter/"] {
        assert!(it.put(name, "v", None).is_err(), "{name}");
    }
    assert!(it.put(&"n".repeat(513), "v", None).is_err());
    for reference in ["db:key", "db:key:", "a:b:c:d:e", "arn:aws:secretsmanager:r:1:policy:x"] {
        assert!(Reference::parse(reference, Kind::Parameter).is_err(), "{reference}");
    }
    for value in [String::new(), "a\0b".to_owned(), "x".repeat(LARGEST + 1)] {
        assert!(it.put("db", &value, None).is_err());
    }
    it.set("db", &"x".repeat(LARGEST));
    assert!(it.put("db", "v", Some("a b")).is_err());
    let again = NewValue {
        name: Name::parse("db", false).unwrap(),
        value: SecretText::new("v".into()),
        stage: None,
        version_id: Some(format!("{:032}", 1)),
    };
    let refused = it.secrets.set(again, Timestamp(1), String::new).unwrap_err();
    assert!(matches!(refused, SecretError::VersionExists { .. }), "{refused}");
}

#[test]
fn the_store_holds_nothing_in_the_clear_and_the_key_is_closed() {
    let it = new_box();
    it.set("db", "canary-in-the-clear");
    let stored = fs::read(it.dir.path().join("store/data.mdb")).unwrap();
    assert!(!stored.windows(6).any(|w| w == b"canary"));
    assert!(stored.windows(9).any(|w| w == b"secret:db"));
    assert_eq!(fs::metadata(it.key()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(it.key()).unwrap().len(), 32);
    fs::set_permissions(it.key(), fs::Permissions::from_mode(0o644)).unwrap();
    it.get("db").unwrap();
    assert_eq!(fs::metadata(it.key()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn without_its_key_a_secret_is_an_error_that_names_the_remedy() {
    let it = new_box();
    it.set("db", "v");
    let key = fs::read(it.key()).unwrap();
    fs::remove_file(it.key()).unwrap();
    assert!(it.refusal("db").contains("is missing"));
    // No new key is made while something needs the old one.
    assert!(matches!(it.put("other", "v", None), Err(SecretError::Key(KeyError::Missing(_)))));
    assert!(!it.key().exists());
    for broken in [&b"short"[..], &[0; 33], b"", &[0; 32 * 5]] {
        fs::write(it.key(), broken).unwrap();
        assert!(it.refusal("db").contains("not a key file"), "{}", it.refusal("db"));
        assert_eq!(fs::read(it.key()).unwrap(), broken);
    }
    fs::write(it.key(), [7; 32]).unwrap();
    assert!(it.refusal("db").contains("not the one that this secret was sealed with"));
    // Putting the right one back needs no restart.
    fs::write(it.key(), key).unwrap();
    assert_eq!(it.get("db").unwrap(), "v");
    fs::remove_file(it.key()).unwrap();
    it.secrets.remove(&Name::parse("db", false).unwrap()).unwrap();
    it.set("db", "new");
    assert_eq!(it.get("db").unwrap(), "new");
}

#[test]
fn a_sealed_value_opens_only_where_it_belongs() {
    let it = new_box();
    it.set("db", "v");
    it.set("other", "w");
    let store = &it.secrets.store;
    let (mut db, other) = (
        store.secret("secret:db").unwrap().unwrap(),
        store.secret("secret:other").unwrap().unwrap(),
    );
    db["versions"][0]["sealed"] = other["versions"][0]["sealed"].clone();
    store.put_secrets(&[("secret:db".into(), Some(db.clone()))]).unwrap();
    assert!(matches!(it.get("db"), Err(SecretError::Damaged(_))));
    for sealed in ["", "AAAA", &"A".repeat(60)] {
        db["versions"][0]["sealed"] = sealed.into();
        store.put_secrets(&[("secret:db".into(), Some(db.clone()))]).unwrap();
        assert!(it.get("db").is_err());
    }
    assert_eq!(it.get("other").unwrap(), "w");
}

#[test]
fn a_rotated_key_opens_everything_and_what_was_sealed_before() {
    let it = new_box();
    it.set("db", "1");
    it.set("db", "2");
    it.set("/p", "3");
    let old = it.secrets.store.secret("secret:db").unwrap();
    let first = fs::read(it.key()).unwrap();
    assert_eq!(it.secrets.rotate_key().unwrap(), 3);
    assert_ne!(it.secrets.store.secret("secret:db").unwrap(), old);
    let ring = fs::read(it.key()).unwrap();
    assert_eq!((ring.len(), &ring[32..]), (64, &first[..]));
    assert_eq!(
        (it.get("db").unwrap(), it.get("db::AWSPREVIOUS:").unwrap()),
        ("2".into(), "1".into())
    );
    // The rotation is cut short: the new key is there, a record is sealed with the old one.
    it.secrets.store.put_secrets(&[("secret:db".into(), old)]).unwrap();
    assert_eq!(it.get("db").unwrap(), "2");
    for _ in 0..5 {
        it.secrets.rotate_key().unwrap();
    }
    assert_eq!(fs::read(it.key()).unwrap().len(), 128);
    assert_eq!((it.get("db").unwrap(), it.get("/p").unwrap()), ("2".into(), "3".into()));
}

#[test]
fn a_login_is_read_from_its_json() {
    let it = new_box();
    it.set("registry", r#"{"username":"u","password":"p:q","extra":1}"#);
    for reference in ["registry", "arn:aws:secretsmanager:r:1:secret:registry-AbCdEf"] {
        let (user, password) = it.secrets.login(reference).unwrap();
        assert_eq!((user.as_str(), password.expose()), ("u", "p:q"));
    }
    it.set("text", "hunter2");
    let refused = it.secrets.login("text").unwrap_err().to_string();
    assert!(refused.contains("registry login") && !refused.contains("hunter2"), "{refused}");
}

#[test]
fn values_are_not_printed() {
    let value = SecretText::new("hunter2".to_owned());
    let new =
        NewValue { name: Name::parse("db", false).unwrap(), value, stage: None, version_id: None };
    assert!(!format!("{new:?}").contains("hunter2"));
}
