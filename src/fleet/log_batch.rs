//! A piece of the log of a container, on its way from a box to its hub.
//!
//! ```text
//! {"v":1,"task":…,"container":…,"epoch":0,"from":81920,"hole":{"from":40960}}⏎   a line of JSON, then
//! {"log":"…","stream":"stdout","time":"…"}⏎ …                                      lines as they stand in the file
//! ```
//!
//! Deflated, sealed, on `log/{task}`. A place in a log is counted in bytes of all that was ever written to it, so whatever
//! comes twice, late or in another order is told by its place; the hub answers each with how far it has the log. What a
//! box does not have any more it declares as a hole; without that the hub takes nothing that leaves something out.

use super::message::{self, INFLATED_LIMIT, ReadError};
use super::topic::{Channel, Topic};
use crate::auth::fleet::SealingKey;
use crate::model::fleet::VERSION;
use crate::model::{ContainerName, TaskId};
use crate::runtime::logs::Hole;
use serde::{Deserialize, Serialize};

/// The longest line of JSON at the beginning.
const HEAD: usize = 2048;

/// Lines of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    /// Which, and where they begin.
    pub head: Head,
    /// As in the file.
    pub lines: Vec<u8>,
}

/// Which lines they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`VERSION`].
    pub v: u32,
    /// The task.
    pub task: TaskId,
    /// The container in it.
    pub container: ContainerName,
    /// Which numbering.
    #[serde(default)]
    pub epoch: u64,
    /// Where the lines begin.
    pub from: u64,
    /// What the box does not have any more before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole: Option<Hole>,
}

impl LogBatch {
    /// As it goes out on this topic.
    #[must_use]
    pub fn seal_up(&self, key: &SealingKey, topic: &Topic) -> Vec<u8> {
        let mut payload = message::write(&self.head);
        payload.push(b'\n');
        payload.extend_from_slice(&self.lines);
        message::seal_deflated(key, topic, &payload)
    }

    /// What [`Self::seal_up`] made, on the topic of its task.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open_up(key: &SealingKey, topic: &Topic, sealed: &[u8]) -> Result<Self, ReadError> {
        let mut payload = message::open_inflated(key, topic, sealed)?;
        if payload.len() > INFLATED_LIMIT {
            return Err(ReadError::TooLarge(INFLATED_LIMIT));
        }
        let end = payload.iter().take(HEAD).position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| ReadError::Malformed("it has no first line".to_owned()))?;
        let head: Head = message::read(&payload[..end], HEAD)?;
        if head.v != VERSION || !is_of(topic, &head.task) {
            return Err(ReadError::Malformed("it is of another task than its topic".to_owned()));
        }
        payload.drain(..=end);
        Ok(Self { head, lines: payload })
    }
}

fn is_of(topic: &Topic, task: &TaskId) -> bool {
    matches!(topic, Topic::Device(.., Channel::Log(stream)) if stream.as_str() == task.as_str())
}

/// How the hub's answers name the log of a container.
#[must_use]
pub fn stream(task: &TaskId, container: &ContainerName) -> String {
    format!("{task}/{container}")
}

/// The container that [`stream`] names.
#[must_use]
pub fn of_stream(stream: &str) -> Option<(TaskId, ContainerName)> {
    let (task, container) = stream.split_once('/')?;
    Some((TaskId::new(task).ok()?, ContainerName::new(container).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::topic::Part;
    use crate::model::{ClusterName, ContainerInstanceId};

    fn topic(task: &str) -> Topic {
        let device = ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap();
        Topic::log(&ClusterName::default_cluster(), &device, Part::new(task).unwrap())
    }

    fn batch(lines: Vec<u8>) -> LogBatch {
        let head = Head {
            v: VERSION,
            task: TaskId::new("abc").unwrap(),
            container: ContainerName::new("web").unwrap(),
            epoch: 0,
            from: 81_920,
            hole: Some(Hole { from: 4096, until: None }),
        };
        LogBatch { head, lines }
    }

    #[test]
    fn a_batch_counts_on_the_topic_of_its_task_alone() {
        let key = SealingKey::from_bytes(&[7; 32]).unwrap();
        let sent = batch(b"{\"log\":\"a\\n\"}\n\n{}".to_vec());
        let sealed = sent.seal_up(&key, &topic("abc"));
        assert_eq!(LogBatch::open_up(&key, &topic("abc"), &sealed).unwrap(), sent);
        let why =
            |sealed: &[u8], on| LogBatch::open_up(&key, &topic(on), sealed).unwrap_err().counter();
        assert_eq!(why(&sealed, "def"), "forged");
        assert_eq!(why(&sent.seal_up(&key, &topic("def")), "def"), "malformed");
        assert_eq!(
            why(&batch(vec![b'x'; INFLATED_LIMIT]).seal_up(&key, &topic("abc")), "abc"),
            "oversized"
        );
        let raw = |text: &[u8]| message::seal_deflated(&key, &topic("abc"), text);
        assert_eq!(why(&raw(b"{}"), "abc"), "malformed");
        assert_eq!(why(&raw(b"{\"v\":9}\n"), "abc"), "unsupported");
        let climbs = br#"{"v":1,"task":"abc","container":"../../x","from":0}"#;
        assert_eq!(why(&raw(&[&climbs[..], b"\n"].concat()), "abc"), "malformed");
    }

    #[test]
    fn streams_have_names() {
        let head = batch(Vec::new()).head;
        let name = stream(&head.task, &head.container);
        assert_eq!(of_stream(&name), Some((head.task, head.container)));
        assert_eq!(of_stream("events"), None);
    }
}
