use super::*;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

/// A shell script in a directory of its own.
struct Script {
    dir: tempfile::TempDir,
}

impl Script {
    fn new(text: &str) -> Self {
        let script = Self { dir: tempfile::tempdir().unwrap() };
        // Another test that forks while this file is open would keep it from being run: sh reads it instead.
        let mut file = std::fs::File::create(script.dir.path().join("issue")).unwrap();
        write!(file, "cd {}\n{text}\n", script.dir.path().display()).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o700)).unwrap();
        script
    }

    fn source(&self) -> Vec<String> {
        let path = self.dir.path().join("issue");
        vec!["/bin/sh".to_owned(), path.to_str().unwrap().to_owned()]
    }

    fn credentials(&self) -> Credentials {
        Credentials::new([("r".to_owned(), RoleSource::Command(self.source()))].into())
    }

    fn runs(&self) -> usize {
        std::fs::read_to_string(self.dir.path().join("runs")).unwrap_or_default().lines().count()
    }
}

fn printing(expiration: &str) -> String {
    format!(
        "echo run >> runs\n\
         echo '{{\"Version\":1,\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\"{expiration}}}'"
    )
}

fn in_an_hour() -> String {
    format!(",\"Expiration\":\"{}\"", describe::time(sys::now().plus(Duration::from_hours(1))))
}

#[tokio::test]
async fn what_a_command_prints_is_shared_until_it_is_about_to_end() {
    let script = Script::new(&printing(&in_an_hour()));
    let credentials = script.credentials();
    let all = (0..5).map(|_| credentials.of("r"));
    for keys in futures(all).await {
        assert_eq!(keys.unwrap().session_token.as_deref(), Some("t"));
    }
    assert_eq!(script.runs(), 1);
}

/// Awaits all, side by side.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn credentials_without_an_end_are_asked_for_each_time() {
    let script = Script::new(&printing(""));
    let credentials = script.credentials();
    for _ in 0..2 {
        assert_eq!(credentials.of("r").await.unwrap().expiration, None);
    }
    assert_eq!(script.runs(), 2);
}

#[tokio::test]
async fn a_command_that_fails_is_told_without_its_output() {
    for (text, told) in [
        ("echo '{\"Version\":1,\"AccessKeyId\":\"leaky\"}'", "JSON"),
        (
            "echo '{\"Version\":2,\"AccessKeyId\":\"leaky\",\"SecretAccessKey\":\"leaky\"}'",
            "version 2",
        ),
        ("echo leaky; echo no ticket >&2; exit 3", "no ticket"),
        ("yes leaky", "ended with"),
        (&printing(",\"Expiration\":\"soon\""), "Expiration"),
    ] {
        let error = Script::new(text).credentials().of("r").await.unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains("leaky"), "{error}");
    }
    let past = printing(",\"Expiration\":\"2001-01-01T00:00:00Z\"");
    let error = Script::new(&past).credentials().of("r").await.unwrap_err();
    assert!(matches!(error, SourceError::Expired), "{error}");
    let nothing = RoleSource::Command(vec!["/nonexistent/program".to_owned()]);
    let credentials = Credentials::new([("r".to_owned(), nothing)].into());
    assert!(matches!(credentials.of("r").await, Err(SourceError::Run { .. })));
    assert!(matches!(credentials.of("other").await, Err(SourceError::NoEntry)));
}

#[tokio::test]
async fn old_credentials_serve_while_new_ones_cannot_be_had() {
    let script = Script::new("exit 1");
    let credentials = script.credentials();
    let keys = Keys {
        access_key_id: "old".to_owned(),
        secret_access_key: "s".to_owned(),
        session_token: None,
        expiration: Some(sys::now().plus(Duration::from_mins(5))),
    };
    let at = Timestamp(sys::now().millis() - 3_600_000);
    let slot: Slot = Arc::new(Mutex::new(Some(Printed { keys, at })));
    credentials.printed.lock().unwrap().insert(script.source(), slot);
    assert_eq!(credentials.of("r").await.unwrap().access_key_id, "old");
}

#[tokio::test]
async fn a_file_is_read_anew_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let source = RoleSource::File { path: path.clone(), profile: "p".to_owned() };
    let credentials = Credentials::new([("r".to_owned(), source)].into());
    assert!(matches!(credentials.of("r").await, Err(SourceError::File { .. })));
    for id in ["one", "two"] {
        let text = format!("[p]\naws_access_key_id={id}\naws_secret_access_key=s\n");
        std::fs::write(&path, text).unwrap();
        assert_eq!(credentials.of("r").await.unwrap().access_key_id, id);
    }
}

#[test]
fn fresh_is_what_no_client_would_renew() {
    let printed = |life: u64| Printed {
        keys: Keys {
            access_key_id: String::new(),
            secret_access_key: String::new(),
            session_token: None,
            expiration: Some(Timestamp::from_secs(0).plus(Duration::from_secs(life))),
        },
        at: Timestamp::from_secs(0),
    };
    let hour = printed(3600);
    assert!(hour.is_fresh(Timestamp::from_secs(60)));
    assert!(!hour.is_fresh(Timestamp::from_secs(3600 - 15 * 60)), "clients would ask again");
    let short = printed(600);
    assert!(short.is_fresh(Timestamp::from_secs(200)));
    assert!(!short.is_fresh(Timestamp::from_secs(400)));
}
