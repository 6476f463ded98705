//! The gate of a hub: what the API is asked goes to the desk where boxes join.

use super::hub;
use crate::api::{Gate, GateAnswer, GateRefusal, GateRequest};
use crate::auth::fleet::RotateError;
use crate::fleet::join::{Refused, Registrar, TokenRequest};
use crate::fleet::rotation::Rotation;
use crate::model::container_instance::Attribute;
use crate::model::fleet::JoinToken;
use crate::model::{ClusterName, Timestamp};
use crate::store::Store;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A hub's.
#[derive(Debug)]
pub(super) struct HubGate {
    pub(super) desk: Arc<Registrar>,
    pub(super) rotation: Rotation,
    pub(super) store: Store,
    pub(super) state_dir: PathBuf,
}

impl Gate for HubGate {
    fn ask(&self, request: GateRequest) -> GateAnswer<'_> {
        Box::pin(async move {
            match request {
                GateRequest::Enrol(body) => self.desk.join(&body).await.map_err(GateRefusal::from),
                GateRequest::Renew(body) => {
                    self.desk.renew_over_http(&body).await.map_err(GateRefusal::from)
                }
                GateRequest::Left(body) => self.desk.left(&body).await.map_err(GateRefusal::from),
                GateRequest::CreateToken(wanted) => self.create(wanted).await,
                GateRequest::Tokens => {
                    let tokens: Vec<Value> = self.desk.tokens().iter().map(shown).collect();
                    Ok(json!({ "tokens": tokens }))
                }
                GateRequest::RemoveToken(id) => {
                    self.desk.remove_token(id.clone()).await.map_err(GateRefusal::from)?;
                    Ok(json!({ "id": id }))
                }
                GateRequest::HubKeys => Ok(self.rotation.status()),
                GateRequest::RotateHubKey => self.rotation.rotate().await.map_err(|error| {
                    let status = if matches!(error, RotateError::TooMany) { 409 } else { 500 };
                    GateRefusal { status, message: error.to_string() }
                }),
                GateRequest::Backup(path) => {
                    let (store, state) = (self.store.clone(), self.state_dir.clone());
                    let work = move || hub::write_backup(&store, &state, &path);
                    match tokio::task::spawn_blocking(work).await {
                        Ok(Ok(answer)) => Ok(answer),
                        Ok(Err(error)) => Err(broken(format!("{error:#}"))),
                        Err(error) => Err(broken(error.to_string())),
                    }
                }
                GateRequest::Join(_) | GateRequest::Leave => Err(GateRefusal {
                    status: 409,
                    message: "this is a hub: boxes join it and leave it, it does neither"
                        .to_owned(),
                }),
            }
        })
    }
}

/// What a token is to be like.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    cluster: Option<ClusterName>,
    uses: Option<u32>,
    /// Seconds; none for ever.
    expires_after: Option<u64>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

impl HubGate {
    async fn create(&self, wanted: Value) -> Result<Value, GateRefusal> {
        let wanted: Wanted = serde_json::from_value(wanted).map_err(|error| GateRefusal {
            status: 400,
            message: format!("the body of the request is not as expected: {error}"),
        })?;
        if wanted.uses == Some(0) {
            let message = "a token that may be used 0 times is of no use".to_owned();
            return Err(GateRefusal { status: 400, message });
        }
        let request = TokenRequest {
            cluster: wanted.cluster.unwrap_or_else(ClusterName::default_cluster),
            uses: wanted.uses,
            lasts: wanted.expires_after.map(Duration::from_secs),
            attributes: attributes(wanted.attributes),
        };
        let text = self.desk.create_token(request).await.map_err(GateRefusal::from)?;
        let id = text.split('.').nth(1).unwrap_or_default();
        Ok(json!({ "id": id, "token": *text }))
    }
}

/// An empty value is none.
pub(super) fn attributes(given: BTreeMap<String, String>) -> Vec<Attribute> {
    let attribute = |(name, value): (String, String)| Attribute {
        name,
        value: Some(value).filter(|v| !v.is_empty()),
    };
    given.into_iter().map(attribute).collect()
}

fn broken(message: String) -> GateRefusal {
    GateRefusal { status: 500, message }
}

impl From<Refused> for GateRefusal {
    fn from(refused: Refused) -> Self {
        Self { status: refused.status(), message: refused.to_string() }
    }
}

/// A token as it is listed; its secret is kept nowhere.
fn shown(token: &JoinToken) -> Value {
    let mut shown = json!({
        "id": token.id, "cluster": token.cluster, "createdAt": token.created_at,
        "attributes": token.attributes, "joined": token.used.len(),
    });
    if let Some(uses) = token.uses_left {
        shown["usesLeft"] = uses.into();
    }
    if let Some(at) = token.expires_at {
        let at: Timestamp = at;
        shown["expiresAt"] = json!(at);
    }
    shown
}
