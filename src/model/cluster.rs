//! A cluster: a named group of container instances.

use super::ids::ClusterName;
use super::tag::Tag;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A cluster as it is stored; counters are computed when it is described.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// The name.
    pub name: ClusterName,
    /// `ACTIVE`, or `INACTIVE` once deleted.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// `settings` as given (`[{name: containerInsights, value}]`).
    #[serde(default)]
    pub settings: Vec<Value>,
    /// `configuration` as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Value>,
    /// `capacityProviders` as given.
    #[serde(default)]
    pub capacity_providers: Vec<String>,
    /// `defaultCapacityProviderStrategy` as given.
    #[serde(default)]
    pub default_capacity_provider_strategy: Vec<Value>,
    /// `serviceConnectDefaults` as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_connect_defaults: Option<Value>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}
