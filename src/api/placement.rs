//! Members of requests that say where tasks go.

use super::error::ApiError;
use crate::model::placement::CapacityProviderStrategyItem;
use serde::Deserialize;

/// An item of `capacityProviderStrategy` as it is given.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolShare {
    capacity_provider: String,
    weight: Option<i64>,
    base: Option<i64>,
}

/// Reads `capacityProviderStrategy`; names may be ARNs.
pub(super) fn pool_shares(
    strategy: Vec<PoolShare>,
) -> Result<Vec<CapacityProviderStrategyItem>, ApiError> {
    let number = |what: &str, value: Option<i64>| {
        let number = u32::try_from(value.unwrap_or(0));
        number.map_err(|_| ApiError::invalid(format!("The {what} must not be negative.")))
    };
    let item = |share: PoolShare| {
        let name = share.capacity_provider;
        Ok(CapacityProviderStrategyItem {
            weight: number("weight", share.weight)?,
            base: number("base", share.base)?,
            capacity_provider: name.rsplit('/').next().unwrap_or_default().to_owned(),
        })
    };
    strategy.into_iter().map(item).collect()
}
