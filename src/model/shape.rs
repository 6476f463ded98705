//! `shape!`: a structure of the ECS model, whose members are all optional and absent from JSON when unset.

/// Declares a serde structure with every member an `Option`, named in `camelCase`, left out of JSON when `None`.
macro_rules! shape {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$fmeta:meta])* $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $( $(#[$fmeta])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>, )*
        }
    };
}

pub(crate) use shape;
