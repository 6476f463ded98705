//! `shape!`: a structure of the ECS model, whose members are all optional and absent from JSON when unset.
//!
//! Beside the serde structure the macro records names and types of the members as a [`Shape`], so that whoever must
//! know the schema (reading of files as people write them, cleaning of blanks) has it from the types themselves.

use std::collections::BTreeMap;

/// The JSON type of a member.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// Anything; opaque here.
    Any,
    /// A list of the given shape.
    List(fn() -> Shape),
    /// An object with free keys and values of the given shape.
    Map(fn() -> Shape),
    /// An object with known members.
    Structure(&'static [Member]),
}

impl Shape {
    /// For messages.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "a whole number",
            Self::Boolean => "true or false",
            Self::Any => "anything",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Structure(_) => "an object",
        }
    }
}

/// A member of a structure.
#[derive(Debug)]
pub(crate) struct Member {
    /// As the Rust field is called.
    pub(crate) field: &'static str,
    /// Its shape; a function because shapes refer to one another.
    pub(crate) shape: fn() -> Shape,
}

impl Member {
    /// The name in JSON: the field in `camelCase`, as serde has it.
    pub(crate) fn name(&self) -> String {
        let field = self.field.strip_prefix("r#").unwrap_or(self.field);
        let mut name = String::with_capacity(field.len());
        let mut upper = false;
        for letter in field.chars() {
            if letter == '_' {
                upper = true;
            } else if upper {
                name.push(letter.to_ascii_uppercase());
                upper = false;
            } else {
                name.push(letter);
            }
        }
        name
    }
}

/// A Rust type that stands for a part of the ECS model.
pub(crate) trait Shaped {
    /// Its shape.
    fn shape() -> Shape;
}

impl Shaped for String {
    fn shape() -> Shape {
        Shape::Text
    }
}

impl Shaped for i64 {
    fn shape() -> Shape {
        Shape::Integer
    }
}

impl Shaped for bool {
    fn shape() -> Shape {
        Shape::Boolean
    }
}

impl Shaped for serde_json::Value {
    fn shape() -> Shape {
        Shape::Any
    }
}

impl<T: Shaped> Shaped for Vec<T> {
    fn shape() -> Shape {
        Shape::List(T::shape)
    }
}

impl<T: Shaped> Shaped for BTreeMap<String, T> {
    fn shape() -> Shape {
        Shape::Map(T::shape)
    }
}

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

        impl crate::model::shape::Shaped for $name {
            fn shape() -> crate::model::shape::Shape {
                crate::model::shape::Shape::Structure(&[
                    $( crate::model::shape::Member {
                        field: stringify!($field),
                        shape: <$type as crate::model::shape::Shaped>::shape,
                    }, )*
                ])
            }
        }
    };
}

pub(crate) use shape;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::TaskOverride;
    use crate::model::task_definition::TaskDefinitionContent;
    use serde_json::{Value, json};

    /// A document in which every member of `shape` is set.
    fn full(shape: Shape) -> Value {
        match shape {
            Shape::Text => json!("text"),
            Shape::Integer => json!(7),
            Shape::Boolean => json!(true),
            Shape::Any => json!({"any": [1, null]}),
            Shape::List(inner) => json!([full(inner())]),
            Shape::Map(inner) => json!({"key": full(inner())}),
            Shape::Structure(members) => {
                Value::Object(members.iter().map(|m| (m.name(), full((m.shape)()))).collect())
            }
        }
    }

    #[test]
    fn names_in_the_schema_are_those_of_serde() {
        let document = full(TaskDefinitionContent::shape());
        let parsed: TaskDefinitionContent = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(parsed).unwrap(), document);
        let document = full(TaskOverride::shape());
        let parsed: TaskOverride = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(parsed).unwrap(), document);
        let Shape::Structure(members) = TaskDefinitionContent::shape() else { panic!() };
        assert!(members.iter().any(|m| m.name() == "containerDefinitions"));
    }
}
