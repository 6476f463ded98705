//! The ids in the addresses that containers are given: of their metadata, and of their task's credentials.
//!
//! An id is `TASK-TAG`. The tag is a keyed hash, so that an id can be checked without being stored anywhere, is the same
//! after every restart, and cannot be guessed by who knows the task.

use super::keys::Keys;
use crate::model::{ContainerName, TaskId};
use ring::hmac::{self, HMAC_SHA256};

/// Bytes of the hash that an id carries: 128 bits.
const TAG: usize = 16;

/// Makes and checks ids.
#[derive(Clone)]
pub struct EndpointIds {
    key: hmac::Key,
}

impl std::fmt::Debug for EndpointIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointIds").finish_non_exhaustive()
    }
}

impl EndpointIds {
    /// Ids that go with the root key of this installation; another root key makes others.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        let root = hmac::Key::new(HMAC_SHA256, keys.root().secret_access_key.as_bytes());
        let derived = hmac::sign(&root, b"coracle endpoint ids 1");
        Self { key: hmac::Key::new(HMAC_SHA256, derived.as_ref()) }
    }

    /// The id under which a container finds its metadata.
    #[must_use]
    pub fn metadata(&self, task: &TaskId, container: &ContainerName) -> String {
        self.id("metadata", task, container.as_str())
    }

    /// The id under which the containers of a task find its credentials.
    #[must_use]
    pub fn credentials(&self, task: &TaskId) -> String {
        self.id("credentials", task, "")
    }

    /// The task that an id claims to belong to, and its tag. Nothing is checked by that.
    #[must_use]
    pub fn claimed(id: &str) -> Option<(TaskId, &str)> {
        let (task, tag) = id.rsplit_once('-')?;
        let well_formed = tag.len() == 2 * TAG && tag.bytes().all(|b| b.is_ascii_hexdigit());
        Some((TaskId::new(task).ok().filter(|_| well_formed)?, tag))
    }

    /// Whether `tag` is that of the container's metadata.
    #[must_use]
    pub fn is_of_metadata(&self, tag: &str, task: &TaskId, container: &ContainerName) -> bool {
        self.is_tag(tag, "metadata", task, container.as_str())
    }

    /// Whether `tag` is that of the task's credentials.
    #[must_use]
    pub fn is_of_credentials(&self, tag: &str, task: &TaskId) -> bool {
        self.is_tag(tag, "credentials", task, "")
    }

    fn id(&self, kind: &str, task: &TaskId, part: &str) -> String {
        format!("{task}-{}", self.tag(kind, task, part))
    }

    fn tag(&self, kind: &str, task: &TaskId, part: &str) -> String {
        use std::fmt::Write;
        // No part can hold the separator.
        let hash = hmac::sign(&self.key, format!("{kind}/{task}/{part}").as_bytes());
        hash.as_ref().iter().take(TAG).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn is_tag(&self, tag: &str, kind: &str, task: &TaskId, part: &str) -> bool {
        // The time that a comparison takes must not tell how much of the tag is right: what is compared is a keyed hash
        // of both.
        let given = hmac::sign(&self.key, tag.as_bytes());
        let own = hmac::sign(&self.key, self.tag(kind, task, part).as_bytes());
        given.as_ref() == own.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AccessKey;

    #[test]
    fn ids_are_stable_told_apart_and_bound_to_the_key() {
        let root = AccessKey::generate();
        let ids = EndpointIds::new(&Keys::with_root(root.clone()));
        let (task, other) = (TaskId::new("t1").unwrap(), TaskId::new("t2").unwrap());
        let (app, log) = (ContainerName::new("app").unwrap(), ContainerName::new("log").unwrap());
        let id = ids.metadata(&task, &app);
        assert_eq!(id, EndpointIds::new(&Keys::with_root(root)).metadata(&task, &app));
        let (claimed, tag) = EndpointIds::claimed(&id).unwrap();
        assert_eq!(claimed, task);
        assert!(ids.is_of_metadata(tag, &task, &app));
        assert!(!ids.is_of_metadata(tag, &task, &log));
        assert!(!ids.is_of_metadata(tag, &other, &app));
        assert!(!ids.is_of_credentials(tag, &task));
        let credentials = ids.credentials(&task);
        let (_, tag) = EndpointIds::claimed(&credentials).unwrap();
        assert!(ids.is_of_credentials(tag, &task) && !ids.is_of_credentials(tag, &other));
        let foreign = EndpointIds::new(&Keys::with_root(AccessKey::generate()));
        assert!(!foreign.is_of_credentials(tag, &task));
    }

    #[test]
    fn what_is_no_id_claims_nothing() {
        let tag = "0".repeat(32);
        for bad in ["", "t", "-", "t-", &format!("-{tag}"), &format!("a/b-{tag}"), "t-00"] {
            assert!(EndpointIds::claimed(bad).is_none(), "{bad}");
        }
        assert!(EndpointIds::claimed(&format!("t-{tag}")).is_some());
        assert!(EndpointIds::claimed(&format!("t-{}", tag.replace('0', "g"))).is_none());
    }
}
