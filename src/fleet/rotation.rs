//! The hub's key is followed by another, and goes when nobody trusts it any more.
//!
//! From the moment when there is a new key all that the hub says is signed by it and by those before it, and every document
//! names it. A box takes whatever the key that it trusts has signed, and trusts the new one from then on; its report says
//! which that is. A box that is away finds its document at the broker when it returns, be it after weeks. An old key goes when
//! every box has said that it trusts the newest, and no join token that could still be used names the old one.

use crate::auth::fleet::{HubTrust, RotateError};
use crate::engine::Handle;
use crate::fleet::join::token_key;
use crate::model::ContainerInstanceId;
use crate::model::fleet::JoinToken;
use crate::sys;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at who trusts an old key, at least; tokens end without anybody saying so.
const AGAIN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_mins(1);
/// Ids that are shown of boxes that trust an old key.
const SHOWN: usize = 100;

/// A hub's keys, and who trusts them.
#[derive(Debug, Clone)]
pub struct Rotation {
    engine: Handle,
    trust: Arc<HubTrust>,
}

/// Who trusts which key: by the key, or by none for boxes that have not said.
#[derive(Default)]
struct Users {
    boxes: BTreeMap<Option<String>, BTreeSet<ContainerInstanceId>>,
    tokens: BTreeMap<String, usize>,
}

impl Rotation {
    /// Of the hub of `engine`.
    #[must_use]
    pub fn new(engine: Handle, trust: Arc<HubTrust>) -> Self {
        Self { engine, trust }
    }

    /// Makes a new key, durably: `{key, waiting, tokens}`.
    ///
    /// # Errors
    /// [`RotateError`]; then nothing has changed.
    pub async fn rotate(&self) -> Result<Value, RotateError> {
        let keys = Arc::clone(&self.trust.keys);
        let rotated = tokio::task::spawn_blocking(move || keys.rotate()).await;
        let key = rotated.map_err(|_| RotateError::Interrupted)??;
        tracing::info!(key = %key.fingerprint(), "the hub has a new key; boxes follow");
        Ok(self.status())
    }

    /// `{"key", "before": [{"key", "tokens"}], "waiting", "nodes": […]}`: the newest key, those before it with the join
    /// tokens that name them, and how many boxes do not trust the newest yet, some of them by their ids.
    #[must_use]
    pub fn status(&self) -> Value {
        let users = self.users();
        let mut keys = self.trust.keys.all().into_iter().map(|key| key.fingerprint().to_string());
        let newest = keys.next().unwrap_or_default();
        let before: Vec<Value> = keys
            .map(|key| json!({ "key": key, "tokens": users.tokens.get(&key).unwrap_or(&0) }))
            .collect();
        let waiting = |key: &Option<String>| !before.is_empty() && key.as_ref() != Some(&newest);
        let waiting: Vec<&ContainerInstanceId> =
            users.boxes.iter().filter(|(key, _)| waiting(key)).flat_map(|(_, ids)| ids).collect();
        let shown = &waiting[..waiting.len().min(SHOWN)];
        json!({ "key": newest, "before": before, "waiting": waiting.len(), "nodes": shown })
    }

    fn users(&self) -> Users {
        let now = sys::now();
        let mut users = Users::default();
        let usable = |token: &&JoinToken| {
            token.uses_left != Some(0) && token.expires_at.is_none_or(|at| at > now)
        };
        let tokens: Vec<JoinToken> = self.engine.read(|world| {
            for device in world.devices.values().filter(|device| device.revoked_at.is_none()) {
                users.boxes.entry(device.hub_key.clone()).or_default().insert(device.id.clone());
            }
            world.join_tokens.values().filter(usable).cloned().collect()
        });
        for token in tokens {
            if let Some((key, _)) = token_key(&self.trust, &token) {
                *users.tokens.entry(key.fingerprint().to_string()).or_default() += 1;
            }
        }
        users
    }

    /// Gives up old keys as soon as nobody needs them, for as long as the engine runs.
    pub async fn keep(self) {
        let mut commits = self.engine.watch();
        let mut keys = self.trust.keys.changes();
        loop {
            keys.mark_unchanged();
            if self.trust.keys.next().is_none() {
                tokio::select! {
                    // Its sender is in `self`.
                    _ = keys.changed() => {}
                    ended = until_the_end(&mut commits) => return ended,
                }
                continue;
            }
            self.retire().await;
            tokio::time::sleep(AGAIN).await;
            tokio::select! {
                _ = keys.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                changed = commits.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn retire(&self) {
        let users = self.users();
        let newest = self.trust.keys.verifying_key().fingerprint().to_string();
        // A box that has not said which key it trusts may trust any; one that trusts an old key needs all that follow, as
        // it may have been told to trust one of them meanwhile.
        if users.boxes.keys().any(|key| key.as_ref() != Some(&newest)) {
            return;
        }
        let keys = Arc::clone(&self.trust.keys);
        let retired = tokio::task::spawn_blocking(move || {
            keys.retire(|key| users.tokens.contains_key(&key.to_string()))
        });
        match retired.await {
            Ok(Ok(0)) => {}
            Ok(Ok(gone)) => tracing::info!(gone, "nobody needs the hub's older keys any more"),
            Ok(Err(error)) => tracing::error!(%error, "the hub's older keys cannot be removed"),
            Err(error) => tracing::error!(%error, "the hub's older keys were not removed"),
        }
    }
}

async fn until_the_end<T>(commits: &mut tokio::sync::watch::Receiver<T>) {
    while commits.changed().await.is_ok() {}
}
