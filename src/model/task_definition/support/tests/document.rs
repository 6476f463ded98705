//! `docs/task-definition.md` and the code say the same.
//!
//! The document has a table for each part of a task definition. Its first column names a member, the second says
//! `honoured`, `differently` or `refused`, the third how, the last one the tests that observe it.

use crate::model::shape::{Shape, Shaped};
use crate::model::task_definition::TaskDefinitionContent;
use crate::model::task_definition::support::unsupported;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The headings of the tables, and where in a task definition they are.
const PARTS: [(&str, &str); 3] =
    [("## Task", ""), ("## Containers", "containerDefinitions[]."), ("## Volumes", "volumes[].")];

#[derive(Debug)]
struct Row {
    verdict: String,
    tests: Vec<String>,
}

/// The rows by the path of their member.
fn rows() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/task-definition.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut rows = BTreeMap::new();
    let mut part = None;
    for line in text.lines() {
        if line.starts_with("## ") {
            part = PARTS.iter().find(|(heading, _)| line == *heading).map(|(_, prefix)| prefix);
        }
        let (Some(prefix), Some(line)) = (part, line.strip_prefix("| `")) else { continue };
        let columns: Vec<_> = line.split(" | ").collect();
        let [member, verdict, how, tests] = columns[..] else { panic!("four columns: {line}") };
        let member = member.trim_end_matches('`');
        assert!(!how.trim().is_empty(), "nothing is said of {member}");
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let row = Row { verdict: verdict.to_owned(), tests };
        let twice = rows.insert(format!("{prefix}{member}"), row);
        assert!(twice.is_none(), "{member} has two rows");
    }
    rows
}

fn paths(shape: Shape, path: &str, all: &mut BTreeSet<String>) {
    match shape {
        Shape::Structure(members) => {
            for member in members {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", member.name());
                paths((member.shape)(), &path, all);
                all.insert(path);
            }
        }
        Shape::List(of) => paths(of(), &format!("{path}[]"), all),
        _ => {}
    }
}

/// Whether a row for the member or for one that it is in says `refused`.
fn refused(rows: &BTreeMap<String, Row>, path: &str) -> bool {
    let above = path.match_indices(['.', '[']).map(|(at, _)| &path[..at]);
    above.chain([path]).any(|path| rows.get(path).is_some_and(|row| row.verdict == "refused"))
}

#[test]
fn every_member_has_a_row_and_every_row_a_member() {
    let rows = rows();
    let mut members = BTreeSet::new();
    paths(TaskDefinitionContent::shape(), "", &mut members);
    for row in rows.keys() {
        assert!(members.contains(row), "{row} is no member of a task definition");
    }
    // What a list or a structure holds is said of its members.
    let parent = |path: &String| {
        members
            .iter()
            .any(|m| m.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '['])))
    };
    for member in &members {
        let said = rows.contains_key(member) || refused(&rows, member) || parent(member);
        assert!(said, "docs/task-definition.md has no row for {member}");
    }
}

#[test]
fn what_is_said_to_be_refused_is_refused_by_name_and_nothing_else_is() {
    for (path, row) in rows() {
        let (field, document) = sample(&path);
        let content: TaskDefinitionContent = serde_json::from_value(document).unwrap();
        let found: Vec<_> = unsupported(&content).into_iter().map(|u| u.field).collect();
        match row.verdict.as_str() {
            "refused" => assert_eq!(found, [field], "{path} is said to be refused"),
            "honoured" | "differently" => {
                assert!(found.is_empty(), "{path} is said to be {}: {found:?}", row.verdict);
            }
            other => panic!("{path}: {other:?} is no verdict"),
        }
    }
}

/// A definition with nothing but the member at `path`, and what it is called in an error.
fn sample(path: &str) -> (String, Value) {
    let value = match path.rsplit(['.', ']']).next().unwrap_or_default() {
        "operatingSystemFamily" => json!("WINDOWS_SERVER_2022_CORE"),
        "isolationMode" => json!("ISOLATED_SANDBOX"),
        "resourceRequirements" => json!([{"type": "GPU", "value": "1"}]),
        "inferenceAccelerators" => json!([{"deviceName": "a", "deviceType": "b"}]),
        "credentialSpecs" => json!(["credentialspec:a"]),
        "enableFaultInjection" | "configuredAtLaunch" => json!(true),
        "proxyConfiguration"
        | "ephemeralStorage"
        | "firelensConfiguration"
        | "attestationPolicy" => json!({}),
        name if name.ends_with("VolumeConfiguration") => json!({}),
        // What is honoured is tried with values in the tests of its row.
        _ => return (path.to_owned(), json!({})),
    };
    let field = path.replace("[]", "[0]");
    let document = path.rsplit('.').fold(value, |value, name| match name.strip_suffix("[]") {
        Some(list) => json!({list: [value]}),
        None => json!({name: value}),
    });
    (field, document)
}

#[test]
fn the_tests_that_are_named_exist() {
    let mut known = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in [root.join("src"), root.join("tests")] {
        functions(&directory, &mut known);
    }
    for (path, row) in rows() {
        assert!(row.verdict == "refused" || !row.tests.is_empty(), "{path} names no test");
        for test in row.tests {
            assert!(known.contains(&test), "{path} names the test {test}, which there is not");
        }
    }
}

/// The names of the test functions in the Rust and Python files below `directory`.
fn functions(directory: &Path, known: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, known);
            continue;
        }
        let keyword = match path.extension().and_then(|e| e.to_str()) {
            Some("rs") => "fn ",
            Some("py") => "def ",
            _ => continue,
        };
        let text = std::fs::read_to_string(&path).unwrap();
        let mut marked = keyword == "def ";
        for line in text.lines() {
            let line = line.trim();
            if let Some(rest) =
                line.strip_prefix(keyword).or_else(|| line.strip_prefix("async fn "))
            {
                if marked && let Some((name, _)) = rest.split_once('(') {
                    known.insert(name.to_owned());
                }
                marked = keyword == "def ";
            }
            marked |= line.contains("test]");
        }
    }
}
