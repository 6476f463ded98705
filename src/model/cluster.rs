//! A cluster: a named group of container instances.

use super::ids::ClusterName;
use super::placement::CapacityProviderStrategyItem;
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
    /// The pools that services and tasks of this cluster may name.
    #[serde(default)]
    pub capacity_providers: Vec<String>,
    /// Where tasks go that say neither a launch type nor a strategy.
    #[serde(default)]
    pub default_capacity_provider_strategy: Vec<CapacityProviderStrategyItem>,
    /// `serviceConnectDefaults` as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_connect_defaults: Option<Value>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

impl Cluster {
    /// A new one of which only the name is known.
    #[must_use]
    pub fn new(name: ClusterName, created_at: Timestamp) -> Self {
        Self {
            name,
            active: true,
            created_at,
            settings: Vec::new(),
            configuration: None,
            capacity_providers: Vec::new(),
            default_capacity_provider_strategy: Vec::new(),
            service_connect_defaults: None,
            tags: Vec::new(),
        }
    }
}
