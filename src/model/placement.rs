//! What a caller may say of where tasks go.

use serde::{Deserialize, Serialize};

/// `placementStrategy[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStrategy {
    /// `spread`, `binpack` or `random`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// An attribute or `instanceId` for `spread`, `cpu` or `memory` for `binpack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// `capacityProviderStrategy[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityProviderStrategyItem {
    /// The pool of boxes.
    pub capacity_provider: String,
    /// Its share of the tasks beyond the base.
    #[serde(default)]
    pub weight: u32,
    /// How many tasks it gets before anything is shared.
    #[serde(default)]
    pub base: u32,
}
