//! `WWW-Authenticate`: what a registry asks for.

use super::AuthError;
use hyper::header::HeaderMap;
use std::collections::BTreeMap;

/// How a registry wants to be authenticated to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from a server.
    Bearer {
        /// The server.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What the token allows.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Chooses from the `WWW-Authenticate` fields: bearer before basic.
    pub(in crate::image::registry) fn parse(headers: &HeaderMap) -> Result<Self, AuthError> {
        let fields = headers.get_all("www-authenticate").iter();
        Self::of(&fields.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>())
    }

    /// The same of the fields' values.
    pub fn of(fields: &[&str]) -> Result<Self, AuthError> {
        let mut basic = false;
        for field in fields {
            let (scheme, rest) = field.trim().split_once(' ').unwrap_or((field.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                let mut parameters = parameters(rest);
                if let Some(realm) = parameters.remove("realm") {
                    return Ok(Self::Bearer {
                        realm,
                        service: parameters.remove("service"),
                        scope: parameters.remove("scope"),
                    });
                }
            }
            basic |= scheme.eq_ignore_ascii_case("basic");
        }
        if basic {
            return Ok(Self::Basic);
        }
        Err(AuthError::Challenge(fields.join(", ").chars().take(200).collect()))
    }
}

/// `name=value` and `name="value"`, separated by commas; names in lower case.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_ascii_lowercase();
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                    other => value.push(other),
                }
            }
            rest = &quoted[end..];
        } else {
            let end = after.find(',').unwrap_or(after.len());
            after[..end].trim().clone_into(&mut value);
            rest = &after[end..];
        }
        parameters.insert(name, value);
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn challenge(fields: &[&'static str]) -> Result<Challenge, AuthError> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append("www-authenticate", HeaderValue::from_static(field));
        }
        Challenge::parse(&headers)
    }

    #[test]
    fn challenges() {
        let bearer = r#"Bearer realm="https://auth.example/token",service="reg, \"x\"",scope="repository:a/b:pull,push""#;
        assert_eq!(
            challenge(&["Basic realm=x", bearer]).unwrap(),
            Challenge::Bearer {
                realm: "https://auth.example/token".to_owned(),
                service: Some("reg, \"x\"".to_owned()),
                scope: Some("repository:a/b:pull,push".to_owned()),
            }
        );
        assert_eq!(challenge(&["basic realm=\"r\""]).unwrap(), Challenge::Basic);
        for fields in [&[][..], &["Negotiate"], &["Bearer service=x"], &["Bearer realm"]] {
            assert!(challenge(fields).is_err(), "{fields:?}");
        }
        // Damaged fields end, whatever they hold.
        for text in ["=", "==\"", "a=\"\\", "a=\"b", ",,,=,", "realm=\"é"] {
            parameters(text);
        }
    }
}
