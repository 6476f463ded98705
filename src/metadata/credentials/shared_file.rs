//! AWS's shared credentials format: `[profile]`, then `name = value`.

use super::{Keys, SourceError};
use crate::model::Timestamp;
use std::io::Read;
use std::path::PathBuf;

/// The largest file that is read.
const LARGEST: u64 = 256 * 1024;

/// The keys of `profile` in the file.
pub(super) async fn read(path: PathBuf, profile: String) -> Result<Keys, SourceError> {
    let unreadable = |path: &PathBuf, source| SourceError::File { path: path.clone(), source };
    let of = path.clone();
    let text = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        std::fs::File::open(of)?.take(LARGEST).read_to_string(&mut text).map(|_| text)
    });
    let text = match text.await {
        Ok(text) => text.map_err(|source| unreadable(&path, source))?,
        Err(error) => return Err(unreadable(&path, std::io::Error::other(error))),
    };
    parse(&text, &profile).map_err(|reason| SourceError::Profile { path, reason })
}

/// Finds the profile. A member that is given twice has the later value, as in the AWS CLI.
fn parse(text: &str, profile: &str) -> Result<Keys, String> {
    let (mut inside, mut found) = (false, false);
    let mut keys = [const { None }; 4];
    let names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token", "expiration"];
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = section.trim() == profile;
            found |= inside;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| inside) else { continue };
        let name = name.trim().to_ascii_lowercase();
        // Tools that rotate such files write the end under either name.
        let name = if name == "x_security_token_expires" { "expiration" } else { name.as_str() };
        if let Some(at) = names.iter().position(|known| *known == name) {
            keys[at] = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    if !found {
        return Err(format!("it has no profile [{profile}]"));
    }
    let missing = |name: &str| format!("the profile [{profile}] has no {name}");
    let [id, secret, session_token, end] = keys;
    let expiration = match end {
        None => None,
        Some(end) => {
            let at: jiff::Timestamp = end
                .parse()
                .map_err(|_| format!("the expiration of [{profile}] is no RFC 3339 time"))?;
            Some(Timestamp(at.as_millisecond()))
        }
    };
    Ok(Keys {
        access_key_id: id.ok_or_else(|| missing(names[0]))?,
        secret_access_key: secret.ok_or_else(|| missing(names[1]))?,
        session_token,
        expiration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
        # comment\n\
        [default]\n\
        aws_access_key_id=AKIDEFAULT\n\
        aws_secret_access_key = s3cr=t+/\n\
        \n\
        [ other ]\n\
        AWS_Access_Key_Id = AKOTHER\n\
        aws_secret_access_key = two\n\
        aws_session_token = tok==\n\
        region = mars\n\
        expiration = 2030-01-02T03:04:05Z\n\
        [half]\n\
        aws_access_key_id = AKHALF\n\
        [late]\n\
        aws_access_key_id = A\n\
        aws_secret_access_key = b\n\
        x_security_token_expires = tomorrow\n";

    #[test]
    fn a_profile_is_found_among_others() {
        let keys = parse(TEXT, "default").unwrap();
        assert_eq!((keys.access_key_id.as_str(), keys.session_token), ("AKIDEFAULT", None));
        assert_eq!(keys.secret_access_key, "s3cr=t+/");
        let keys = parse(TEXT, "other").unwrap();
        assert_eq!(keys.access_key_id, "AKOTHER");
        assert_eq!(keys.session_token.as_deref(), Some("tok=="));
        assert_eq!(keys.expiration, Some(Timestamp::from_secs(1_893_553_445)));
    }

    #[test]
    fn what_is_missing_is_named_and_values_are_not() {
        assert!(parse(TEXT, "nobody").unwrap_err().contains("[nobody]"));
        let half = parse(TEXT, "half").unwrap_err();
        assert!(half.contains("aws_secret_access_key") && !half.contains("AKHALF"), "{half}");
        assert!(parse(TEXT, "late").unwrap_err().contains("expiration"));
        assert!(parse("", "default").is_err());
    }
}
