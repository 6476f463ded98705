//! What differs between two JSON values, member by member.
//!
//! Items of a list that have names are compared with their namesakes: a container that comes first moves nothing
//! behind it.

use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Members that tell the items of a list apart.
const NAMES: [&str; 5] = ["name", "key", "containerPort", "capacityProvider", "portName"];

/// One member that differs; null is "not there".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Difference {
    pub(super) path: String,
    pub(super) old: Value,
    pub(super) new: Value,
}

/// The differences between `old` and `new`, in the order of the members' names.
pub(super) fn between(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut found, String::new(), old, new);
    found
}

/// The differences between two objects: what the one is made of against what the other is.
pub(super) fn of_objects(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    members(&mut found, "", old, new);
    found
}

fn compare(found: &mut Vec<Difference>, path: String, old: &Value, new: &Value) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => members(found, &path, old, new),
        // Something with an inside that comes or goes is told member by member.
        (Value::Null, Value::Object(new)) if !new.is_empty() => {
            members(found, &path, &Map::new(), new);
        }
        (Value::Object(old), Value::Null) if !old.is_empty() => {
            members(found, &path, old, &Map::new());
        }
        (Value::Array(old), Value::Array(new)) => items(found, &path, old, new),
        (Value::Null, Value::Array(new)) if is_of_objects(new) => items(found, &path, &[], new),
        (Value::Array(old), Value::Null) if is_of_objects(old) => items(found, &path, old, &[]),
        (old, new) => found.push(Difference { path, old: old.clone(), new: new.clone() }),
    }
}

fn members(
    found: &mut Vec<Difference>,
    path: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let side = |object: &Map<String, Value>| object.get(name).cloned().unwrap_or_default();
        compare(found, path, &side(old), &side(new));
    }
}

fn items(found: &mut Vec<Difference>, path: &str, old: &[Value], new: &[Value]) {
    if let Some(name) = NAMES.iter().find(|name| tells_apart(name, old) && tells_apart(name, new)) {
        let label = |item: &Value| match &item[*name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let find = |items: &[Value], wanted: &str| {
            items.iter().find(|item| label(item) == wanted).cloned().unwrap_or_default()
        };
        let before = found.len();
        let mut seen = BTreeSet::new();
        for wanted in old.iter().chain(new).map(label) {
            if seen.insert(wanted.clone()) {
                let path = format!("{path}[{wanted}]");
                let (old, new) = (find(old, &wanted), find(new, &wanted));
                compare(found, path, &without(name, old), &without(name, new));
            }
        }
        if found.len() == before {
            // The same items in another order, which may matter.
            let order = |items: &[Value]| items.iter().map(label).collect::<Vec<_>>().into();
            found.push(Difference { path: path.to_owned(), old: order(old), new: order(new) });
        }
    } else if is_of_objects(old) && is_of_objects(new) {
        for at in 0..old.len().max(new.len()) {
            let side = |items: &[Value]| items.get(at).cloned().unwrap_or_default();
            compare(found, format!("{path}[{at}]"), &side(old), &side(new));
        }
    } else {
        found.push(Difference { path: path.to_owned(), old: old.into(), new: new.into() });
    }
}

/// The path tells the name already, unless there is nothing but a name.
fn without(name: &str, mut item: Value) -> Value {
    if let Some(object) = item.as_object_mut().filter(|object| object.len() > 1) {
        object.remove(name);
    }
    item
}

/// True when all `items` have the member `name`, each with another value. An empty list has nothing to tell apart.
fn tells_apart(name: &str, items: &[Value]) -> bool {
    let mut seen = Vec::new();
    items.iter().all(|item| {
        let value = item.get(name).filter(|v| v.is_string() || v.is_number());
        value.is_some_and(|value| {
            !seen.contains(&value) && {
                seen.push(value);
                true
            }
        })
    })
}

fn is_of_objects(items: &[Value]) -> bool {
    items.iter().all(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(old: &Value, new: &Value) -> Vec<String> {
        let line = |d: Difference| format!("{}: {} → {}", d.path, d.old, d.new);
        between(old, new).into_iter().map(line).collect()
    }

    #[test]
    fn members_are_told_by_their_paths() {
        let old = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "gone": {"e": true}, "same": []});
        let new = json!({"a": 2, "b": {"c": [2, 1], "d": "x"}, "new": [{"f": 1}], "same": []});
        assert_eq!(
            told(&old, &new),
            ["a: 1 → 2", "b.c: [1,2] → [2,1]", "gone.e: true → null", "new[0].f: null → 1"]
        );
        assert!(told(&old, &old).is_empty());
    }

    #[test]
    fn items_with_names_are_compared_with_their_namesakes() {
        let old = json!({"containers": [
            {"name": "web", "image": "a:1", "environment": [{"name": "A", "value": "1"}]},
            {"name": "side", "image": "b"}
        ]});
        let new = json!({"containers": [
            {"name": "first", "image": "c"},
            {"name": "web", "image": "a:2", "environment": [{"name": "B", "value": "1"}]}
        ]});
        assert_eq!(
            told(&old, &new),
            [
                "containers[web].environment[A].value: \"1\" → null",
                "containers[web].environment[B].value: null → \"1\"",
                "containers[web].image: \"a:1\" → \"a:2\"",
                "containers[side].image: \"b\" → null",
                "containers[first].image: null → \"c\""
            ]
        );
    }

    #[test]
    fn another_order_is_a_difference() {
        let (a, b) = (json!({"name": "a"}), json!({"name": "b"}));
        assert_eq!(told(&json!([a, b]), &json!([b, a])), [": [\"a\",\"b\"] → [\"b\",\"a\"]"]);
        assert_eq!(told(&json!([{"x": 1}, {"x": 1}]), &json!([{"x": 1}])), ["[1].x: 1 → null"]);
        assert_eq!(told(&json!([]), &json!(["x"])), [": [] → [\"x\"]"]);
    }
}
