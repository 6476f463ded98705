//! What the ECS API's model says about the inputs of its operations.
//!
//! [`table`] is generated from botocore's copy of the model by `generate.py` and checked in. [`check`] is the one
//! validator that walks a request along it. What the model does not say (lengths, names, how members go together) is
//! checked by `model` and `plan`.

#[rustfmt::skip]
mod table;
mod validate;

pub(crate) use validate::check;

/// Bounds of an `integer` without bounds of its own.
const I32_MIN: i64 = -2_147_483_648;
const I32_MAX: i64 = 2_147_483_647;

/// A type of the model.
#[derive(Debug, PartialEq)]
pub(crate) enum Shape {
    /// Members by name, and the names of those that are required.
    Structure(&'static [(&'static str, &'static Shape)], &'static [&'static str]),
    /// A list of one type.
    List(&'static Shape),
    /// A map from text to one type.
    Map(&'static Shape),
    /// Any text.
    Text,
    /// One of these texts.
    Enum(&'static [&'static str]),
    /// A whole number and its bounds.
    Integer(i64, i64),
    /// A number and its bounds.
    Double(f64, f64),
    /// `true` or `false`.
    Boolean,
    /// Epoch seconds, with a fraction or without.
    Timestamp,
}

/// An operation of the model.
#[derive(Debug, PartialEq)]
pub(crate) struct Operation {
    /// As in `X-Amz-Target`.
    pub(crate) name: &'static str,
    /// Its input, a structure.
    pub(crate) input: &'static Shape,
    /// The exceptions it may answer with.
    pub(crate) errors: &'static [&'static str],
}

impl Operation {
    /// The operation called `name`.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        let at = table::OPERATIONS.binary_search_by(|o| o.name.cmp(name)).ok()?;
        table::OPERATIONS.get(at)
    }

    /// True when the model lets it answer with the exception called `name`.
    pub(crate) fn may_answer(&self, name: &str) -> bool {
        self.errors.contains(&name)
    }
}

/// All operations, sorted by name.
#[cfg(test)]
pub(crate) fn operations() -> &'static [Operation] {
    table::OPERATIONS
}
