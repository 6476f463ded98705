//! Logins for registries: kept, listed and forgotten, never shown.

use super::{Answer, Api, LocalError, text, whole};
use crate::image::{Login, LoginError};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroize;

/// The longest user name and password.
const USER_LIMIT: usize = 1024;
const PASSWORD_LIMIT: usize = 64 << 10;

/// A login to keep.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    registry: String,
    user: String,
    password: String,
}

/// Registries and users.
pub(super) async fn list(api: &Api) -> Answer {
    let logins = api.engine.images()?.logins().await?;
    let shown: Vec<Value> = logins
        .iter()
        .map(|login| {
            let mut shown = json!({ "registry": login.registry });
            if let Some(user) = &login.user {
                shown["user"] = json!(user);
            }
            shown
        })
        .collect();
    Ok(whole(&json!({ "registries": shown })))
}

/// Keeps a login that the registry confirms. What was sent is wiped.
pub(super) async fn log_in(api: &Api, mut bytes: Vec<u8>) -> Answer {
    // No word of the parser's: it may quote the password.
    let parsed = serde_json::from_slice(&bytes).map_err(|_| {
        LocalError::bad(r#"the body of the request must be {"registry", "user", "password"}"#)
    });
    bytes.zeroize();
    let Wish { registry, user, password } = parsed?;
    let login = Login::new(user.clone(), password);
    let user_ok = !user.contains(':') && !user.chars().any(char::is_control);
    if user.is_empty() || user.len() > USER_LIMIT || !user_ok {
        return Err(LocalError::bad(format!(
            "the user must be 1 to {USER_LIMIT} bytes without colons and control characters"
        )));
    }
    if !login.is_within(PASSWORD_LIMIT) {
        return Err(LocalError::bad(format!(
            "the password must be 1 to {PASSWORD_LIMIT} bytes without control characters"
        )));
    }
    let registry = api.engine.images()?.log_in(&registry, login).await?;
    Ok(whole(&json!({ "registry": registry, "user": user })))
}

/// Forgets a login.
pub(super) async fn log_out(api: &Api, content: &Value) -> Answer {
    let registry = text(content, "registry")?;
    let (registry, found) = api.engine.images()?.log_out(registry).await?;
    Ok(whole(&json!({ "registry": registry, "found": found })))
}

impl From<LoginError> for LocalError {
    fn from(error: LoginError) -> Self {
        let status = match error {
            LoginError::Stored(_) | LoginError::Ending => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}
