//! Tags, as `{key, value}` pairs.

use super::shape::{Member, Shape, Shaped};
use serde::{Deserialize, Serialize};

/// One tag. The key is 1 to 128 characters, the value 0 to 256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<String>,
}

impl Shaped for Tag {
    fn shape() -> Shape {
        Shape::Structure(&[
            Member { field: "key", shape: String::shape },
            Member { field: "value", shape: String::shape },
        ])
    }
}
