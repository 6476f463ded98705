//! What is done for one object.

use super::difference::Difference;
use super::object::{Object, Origin};
use serde::Serialize;
use serde_json::Value;

/// What an object needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Action {
    /// It is as declared.
    Nothing,
    Create,
    Update,
    /// A service that an earlier apply made and that is declared no more.
    Delete,
}

/// An object and what was done for it, or would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct Step {
    /// `service default/web`.
    pub(super) object: String,
    /// Where it is declared; nowhere when it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
    pub(super) action: Action,
    pub(super) differences: Vec<Difference>,
    /// The object as its operation answers it.
    pub(super) result: Value,
}

impl Step {
    pub(super) fn new(
        object: &Object,
        action: Action,
        differences: Vec<Difference>,
        result: Value,
    ) -> Self {
        let origin = Some(Origin::to_string(&object.origin));
        Self { object: object.content.to_string(), origin, action, differences, result }
    }

    /// For the log.
    pub(super) fn changes(&self) -> bool {
        self.action != Action::Nothing
    }
}
