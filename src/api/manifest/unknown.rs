//! Members that an operation's input does not have. The API ignores them, as AWS does; in a file they are a slip.

use crate::api::shapes::Shape;
use serde_json::{Map, Value};
use std::fmt;

/// A member that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    path: String,
    /// What may have been meant.
    meant: Option<&'static str>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: there is no such member", self.path)?;
        match self.meant {
            Some(meant) => write!(f, ": is {meant} meant?"),
            None => f.write_str(": leave it out"),
        }
    }
}

/// The first member of `members` that the structure `shape` does not have.
pub(super) fn first(shape: &'static Shape, members: &Map<String, Value>) -> Option<Unknown> {
    let Shape::Structure(known, _) = shape else { return None };
    for (name, value) in members {
        let Some((_, shape)) = known.iter().find(|(known, _)| known == name) else {
            let meant = known.iter().map(|(known, _)| *known).find(|known| similar(known, name));
            return Some(Unknown { path: name.chars().take(128).collect(), meant });
        };
        if let Some(found) = inside(shape, value, name) {
            return Some(found);
        }
    }
    None
}

fn inside(shape: &'static Shape, value: &Value, path: &str) -> Option<Unknown> {
    match (shape, value) {
        (Shape::Structure(..), Value::Object(members)) => {
            let found = first(shape, members)?;
            Some(Unknown { path: format!("{path}.{}", found.path), ..found })
        }
        (Shape::List(item), Value::Array(items)) => items
            .iter()
            .enumerate()
            .find_map(|(at, value)| inside(item, value, &format!("{path}[{at}]"))),
        (Shape::Map(entry), Value::Object(entries)) => {
            entries.iter().find_map(|(name, value)| inside(entry, value, &format!("{path}.{name}")))
        }
        _ => None,
    }
}

/// True when one is the other in other capitals, with or without hyphens, or with an `s` more.
fn similar(known: &str, given: &str) -> bool {
    let bare = |text: &str| {
        let letters: String =
            text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        letters.trim_end_matches('s').to_owned()
    };
    bare(known) == bare(given)
}

#[cfg(test)]
mod tests {
    use super::first;
    use crate::api::shapes::Operation;
    use serde_json::{Value, json};

    fn told(members: &Value) -> Option<String> {
        let shape = Operation::find("CreateService").unwrap().input;
        first(shape, members.as_object().unwrap()).map(|found| found.to_string())
    }

    #[test]
    fn slips_are_told_by_their_paths() {
        assert_eq!(told(&json!({"serviceName": "a", "tags": [{"key": "k", "value": 1}]})), None);
        assert_eq!(
            told(&json!({"desired_count": 1})).unwrap(),
            "desired_count: there is no such member: is desiredCount meant?"
        );
        assert_eq!(
            told(&json!({"networkConfiguration": {"awsvpcConfiguration": {"subnet": []}}}))
                .unwrap(),
            "networkConfiguration.awsvpcConfiguration.subnet: there is no such member: is subnets meant?"
        );
        assert_eq!(
            told(&json!({"loadBalancers": [{}, {"x": 1}]})).unwrap(),
            "loadBalancers[1].x: there is no such member: leave it out"
        );
    }
}
