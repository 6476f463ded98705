//! Bearer tokens: a server apart from the registry gives them to whoever may have them.

use super::{AuthError, Credentials, basic};
use crate::image::registry::address::Url;
use crate::image::registry::transfer::{Ask, Client};
use hyper::header::HeaderMap;
use serde::Deserialize;

const TOKEN_LIMIT: u64 = 1 << 20;

/// Asks the token server that a challenge names.
pub(super) async fn token(
    client: &Client,
    server: Url,
    registry: &Url,
    service: Option<&str>,
    scope: Option<&str>,
    credentials: Option<&Credentials>,
) -> Result<String, AuthError> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    // A registry spoken to with TLS does not get to send passwords over a plain connection either.
    let trusted = server.is_akin(registry) && (server.secure || !registry.secure);
    let withheld = credentials.is_some() && !trusted;
    let credentials = credentials.filter(|_| trusted);
    let parts = [("service", service), ("scope", scope)];
    let parts = parts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query: Vec<String> =
        parts.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let query = query.join("&");
    let mut ask =
        Ask { url: server.clone(), headers: HeaderMap::new(), authorization: None, form: None };
    if let Some(Credentials::Identity(identity)) = credentials {
        let identity = encoded(identity);
        ask.form = Some(format!(
            "grant_type=refresh_token&client_id=coracle&refresh_token={identity}&{query}"
        ));
    } else {
        let separator = if server.path.contains('?') { '&' } else { '?' };
        if !query.is_empty() {
            ask.url.path = format!("{}{separator}{query}", server.path);
        }
        if let Some(Credentials::Password { user, password }) = credentials {
            ask.authorization = basic(user, password);
        }
    }
    let answered = client.ask(ask).await?;
    if !answered.status.is_success() {
        let hint = if withheld {
            "; the stored credentials were not sent to it, because it does not belong to the registry's domain"
        } else {
            ""
        };
        return Err(AuthError::Refused { server, status: answered.status.as_u16(), hint });
    }
    let body = client.body(answered, TOKEN_LIMIT).await?;
    let token: Token =
        serde_json::from_slice(&body).map_err(|_| AuthError::NoToken(server.clone()))?;
    token
        .token
        .or(token.access_token)
        .filter(|token| !token.is_empty())
        .ok_or(AuthError::NoToken(server))
}

/// Percent-encoding for a query or a form.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
