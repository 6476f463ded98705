//! The variables that tell a container where its endpoints are: metadata, the agent's API, the task's credentials.
//!
//! In `bridge` and `awsvpc` mode those are at 169.254.170.2, as in ECS. In `host` mode they are on the loopback address
//! of the agent's API, since the box's network is nobody's to put an address into. Without a network there are none.
//!
//! What a definition sets under one of these names is replaced; `AWS_EXECUTION_ENV` and the region are only set when
//! neither definition nor image has them.

use crate::auth::EndpointIds;
use crate::model::{ContainerName, TaskId};
use crate::plan::StartContainer;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the endpoints are in a network of its own.
const LINK_LOCAL: &str = "http://169.254.170.2";
/// The region of installations that have not set one; SDKs know no such place.
const NO_REGION: &str = "local";

/// What a container can be told.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Makes the ids in addresses.
    pub ids: EndpointIds,
    /// Where the API listens, if it does.
    pub listen: Option<SocketAddr>,
    /// The roles that this box has credentials for.
    pub roles: Roles,
    /// The region of this installation.
    pub region: String,
}

/// The roles that this box has credentials for, as they stand in its settings: ARNs, and bare names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(pub BTreeSet<String>);

/// What matters of a container that is started.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    task: &'a TaskId,
    container: &'a ContainerName,
    /// `host`, or none when there is no network to reach anything over.
    network: Option<&'a str>,
    role: Option<&'a str>,
    launch_type: &'a str,
    /// The image's `NAME=VALUE`s.
    image: &'a [String],
}

impl<'a> Subject<'a> {
    pub(super) fn new(start: &'a StartContainer, image: &'a [String]) -> Self {
        let off = start.network_mode == "none" || start.definition.disable_networking == Some(true);
        Self {
            task: &start.run.task,
            container: &start.run.container,
            network: Some(start.network_mode.as_str()).filter(|_| !off),
            role: start.task_role.as_deref(),
            launch_type: &start.launch_type,
            image,
        }
    }
}

/// Why a task cannot have the role that it wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EndpointError {
    /// The box knows no source of its credentials.
    #[error(
        "ResourceInitializationError: the task role {0} has no credentials on this box: add [roles.\"{0}\"] to the agent's configuration and restart the agent, or leave taskRoleArn out"
    )]
    UnknownRole(String),
    /// The credentials could not be reached.
    #[error(
        "ResourceInitializationError: a container in host mode gets the credentials of the task role {role} on the loopback address, where the API does not listen: set `listen` to 127.0.0.1:PORT or 0.0.0.0:PORT"
    )]
    NoLoopback {
        /// Which.
        role: String,
    },
}

impl Roles {
    /// Whether there is an entry for `role`.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        let name = || role.starts_with("arn:").then(|| role.rsplit('/').next()).flatten();
        self.0.contains(role) || name().is_some_and(|name| self.0.contains(name))
    }
}

impl Endpoints {
    /// The loopback address of the API, when it listens there.
    #[must_use]
    pub fn loopback(&self) -> Option<SocketAddr> {
        let listen = self.listen?;
        match listen.ip() {
            ip if ip.is_loopback() => Some(listen),
            ip if ip.is_unspecified() => {
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port()))
            }
            _ => None,
        }
    }

    /// Adds the variables of `subject` to `environment`.
    pub(super) fn announce(
        &self,
        subject: &Subject<'_>,
        environment: &mut Vec<(String, String)>,
    ) -> Result<(), EndpointError> {
        let Some(network) = subject.network else { return Ok(()) };
        let host_mode = network == "host";
        if let Some(role) = subject.role.filter(|role| !self.roles.has(role)) {
            return Err(EndpointError::UnknownRole(role.to_owned()));
        }
        let base = match (host_mode, self.loopback(), subject.role) {
            (false, _, _) => LINK_LOCAL.to_owned(),
            (true, Some(address), _) => format!("http://{address}"),
            (true, None, Some(role)) => {
                return Err(EndpointError::NoLoopback { role: role.to_owned() });
            }
            (true, None, None) => return Ok(()),
        };
        let id = self.ids.metadata(subject.task, subject.container);
        let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
        set("ECS_CONTAINER_METADATA_URI", format!("{base}/v3/{id}"));
        set("ECS_CONTAINER_METADATA_URI_V4", format!("{base}/v4/{id}"));
        set("ECS_AGENT_URI", format!("{base}/api/{id}"));
        if subject.role.is_some() {
            let path = format!("/v2/credentials/{}", self.ids.credentials(subject.task));
            if host_mode {
                set("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{base}{path}"));
            } else {
                set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", path);
            }
        }
        self.announce_place(subject, environment);
        Ok(())
    }

    fn announce_place(&self, subject: &Subject<'_>, environment: &mut Vec<(String, String)>) {
        let is_set = |environment: &[(String, String)], name: &str| {
            environment.iter().any(|(set, _)| set == name)
                || subject.image.iter().any(|set| set.split('=').next() == Some(name))
        };
        if !is_set(environment, "AWS_EXECUTION_ENV") {
            let place = format!("AWS_ECS_{}", subject.launch_type);
            environment.push(("AWS_EXECUTION_ENV".to_owned(), place));
        }
        let regions = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        if self.region != NO_REGION && !regions.iter().any(|name| is_set(environment, name)) {
            environment.extend(regions.map(|name| (name.to_owned(), self.region.clone())));
        }
    }
}

#[cfg(test)]
mod tests;
