//! Who asks, and whose metadata that may be.

use super::Metadata;
use crate::auth::EndpointIds;
use crate::model::{ContainerName, Task, TaskId, TaskStatus};
use crate::plan::World;
use std::net::IpAddr;
use std::time::Duration;

/// How long a container that has just been started may have to wait until its address is recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

/// Over which listener a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// That of the API, from the loopback address.
    Loopback,
    /// That on the bridge.
    Bridge,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Where it came in.
    pub door: Door,
    /// Where it came from.
    pub address: IpAddr,
}

/// The container that an ID stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) task: TaskId,
    pub(super) container: ContainerName,
}

/// What is known of an ID.
enum Known<T> {
    /// Good, and asked from an address of its task.
    Yes(T),
    /// Good, but its task has no address yet.
    NotYet,
    No,
}

impl Caller {
    /// Whether this is where `task` asks from.
    fn is(&self, world: &World, task: &Task) -> Known<()> {
        if task.last_status == TaskStatus::Stopped {
            return Known::No;
        }
        let definition = world.task_definitions.get(&task.task_definition);
        let mode = definition.and_then(|d| d.content.network_mode.as_deref()).unwrap_or("bridge");
        match (self.door, mode) {
            (Door::Loopback, "host") => Known::Yes(()),
            (Door::Bridge, "bridge" | "awsvpc") => {
                let mut addresses = addresses(task);
                if addresses.any(|address| address == self.address) {
                    Known::Yes(())
                } else if task.containers.iter().any(|c| c.network_interfaces.is_empty()) {
                    Known::NotYet
                } else {
                    Known::No
                }
            }
            _ => Known::No,
        }
    }
}

/// The addresses of all containers of a task.
fn addresses(task: &Task) -> impl Iterator<Item = IpAddr> {
    task.containers.iter().flat_map(|c| &c.network_interfaces).flat_map(|interface| {
        let v4 = interface.private_ipv4_address.map(IpAddr::V4);
        v4.into_iter().chain(interface.ipv6_address.map(IpAddr::V6))
    })
}

impl Metadata {
    /// The container whose metadata `id` is for, when `caller` may have it.
    pub(super) async fn asker(&self, caller: Caller, id: &str) -> Option<Asker> {
        self.known(caller, id, |tag, task| {
            let mut names = task.containers.iter().map(|c| &c.name);
            let container = names.find(|name| self.ids.is_of_metadata(tag, &task.id, name))?;
            Some(Asker { task: task.id.clone(), container: container.clone() })
        })
        .await
    }

    /// The task whose credentials `id` is for, when `caller` may have them.
    pub(super) async fn task_with_credentials(&self, caller: Caller, id: &str) -> Option<TaskId> {
        self.known(caller, id, |tag, task| {
            self.ids.is_of_credentials(tag, &task.id).then(|| task.id.clone())
        })
        .await
    }

    /// What `check` finds for the tag of `id`. A task that has just been started may not be recorded with its address
    /// yet: that is waited for.
    async fn known<T>(
        &self,
        caller: Caller,
        id: &str,
        check: impl Fn(&str, &Task) -> Option<T>,
    ) -> Option<T> {
        let (task, tag) = EndpointIds::claimed(id)?;
        let look = |world: &World| {
            let Some(task) = world.tasks.get(&task) else { return Known::No };
            let Some(found) = check(tag, task) else { return Known::No };
            match caller.is(world, task) {
                Known::Yes(()) => Known::Yes(found),
                Known::NotYet => Known::NotYet,
                Known::No => Known::No,
            }
        };
        let recorded = self.engine.wait_until(|world| !matches!(look(world), Known::NotYet));
        tokio::time::timeout(RECORDED_WITHIN, recorded).await.ok()?.ok()?;
        match self.engine.read(look) {
            Known::Yes(found) => Some(found),
            Known::NotYet | Known::No => None,
        }
    }
}
