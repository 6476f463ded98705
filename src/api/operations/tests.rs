//! `docs/api.md` and the code say the same.

use crate::api::shapes;
use crate::api::unavailable::{self, Answer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Verdict and explanation by operation.
fn rows() -> BTreeMap<String, (String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("| `")) {
        let columns: Vec<_> = line.splitn(3, " | ").collect();
        let [operation, verdict, how] = columns[..] else { panic!("three columns: {line}") };
        let operation = operation.trim_end_matches('`').to_owned();
        let row = (verdict.to_owned(), how.trim_end_matches('|').trim().to_owned());
        let twice = rows.insert(operation.clone(), row);
        assert!(twice.is_none(), "{operation} has two rows");
    }
    rows
}

/// The operations that have an arm of their own in the dispatch.
fn dispatched() -> BTreeSet<&'static str> {
    let arms = include_str!("../operations.rs").lines().filter(|line| line.contains("=>"));
    arms.flat_map(|line| line.split("=>").next().unwrap_or_default().split('"').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_operation_has_a_row_and_every_row_an_operation() {
    let known: BTreeSet<String> = shapes::operations().iter().map(|o| o.name.to_owned()).collect();
    assert_eq!(rows().into_keys().collect::<BTreeSet<_>>(), known);
    for operation in dispatched() {
        assert!(known.contains(operation), "{operation} is dispatched and is in no model");
    }
}

#[test]
fn what_is_said_to_be_refused_is_refused_as_said_and_nothing_else_is() {
    let (rows, dispatched) = (rows(), dispatched());
    for operation in shapes::operations() {
        let (verdict, how) = &rows[operation.name];
        let refusal = match unavailable::of(operation.name) {
            _ if dispatched.contains(operation.name) => None,
            Answer::Empty(_) => None,
            Answer::NotFound(exception, _) => Some(exception.name()),
            Answer::Refused(_) => Some(unavailable::refusal(operation).name()),
        };
        if let Some(exception) = refusal {
            assert_eq!(verdict, "refused", "{}", operation.name);
            let said = how.starts_with(&format!("`{exception}`"));
            assert!(said, "{} answers {exception}: {how}", operation.name);
            assert!(operation.may_answer(exception), "{}: {exception}", operation.name);
        } else {
            let fits = verdict == "honoured" || (verdict == "differently" && !how.is_empty());
            assert!(fits, "{} is answered, and is said to be {verdict}", operation.name);
        }
    }
}
