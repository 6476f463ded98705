//! Task definitions that people really wrote: each is registered, or refused with the error that ECS gives.
//!
//! The documents are not part of the repository. `CORACLE_CORPUS` names their directory (`../shared/corpus` beside the
//! package unless set); without it the test says so and passes. What is kept here are their numbers and the errors.

#![expect(clippy::print_stdout, reason = "counts and why it is skipped are for whoever runs it")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use coracle::model::task_definition::lenient::{self, Read};
use coracle::model::task_definition::{Registration, TaskDefinitionContent, register};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const NO_MEMORY: &str = "At least one of 'memory' or 'memoryReservation' must be specified.";
const NO_EXECUTION_ROLE: &str = "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.";
const PORTS_DIFFER: &str =
    "When networkMode=awsvpc, the host ports and container ports in port mappings must match.";
const SERVICE: &str = "this is a service definition, not a task definition";

/// The documents that ECS refuses, and what its error says. All others must register.
const REFUSED: &[(&str, &str)] = &[
    ("006", NO_MEMORY),
    ("017", NO_MEMORY),
    ("020", NO_MEMORY),
    ("022", "Invalid 'links' setting. Unknown container: 'app-container'."),
    ("023", NO_MEMORY),
    ("025", "NetworkMode should be one of [bridge,host,awsvpc,none]"),
    ("027", NO_EXECUTION_ROLE),
    ("045", SERVICE),
    ("057", NO_MEMORY),
    ("059", NO_MEMORY),
    ("060", SERVICE),
    ("061", "Cannot depend on container + 'aws-collector' because it does not exist"),
    ("065", NO_MEMORY),
    ("066", "Unknown volume 'proc'."),
    ("071", PORTS_DIFFER),
    ("075", "Fargate launch type does not support FirelensConfiguration config file from 's3'"),
    ("079", NO_MEMORY),
    ("080", "Container.name should not be null or empty."),
    ("088", NO_MEMORY),
    ("098", NO_MEMORY),
    ("102", NO_MEMORY),
    ("105", NO_EXECUTION_ROLE),
    ("110", NO_EXECUTION_ROLE),
    ("112", SERVICE),
    ("114", "Unknown volume 'efs'."),
    ("122", "Container.name should not be null or empty."),
    ("123", "Container.image should not be null or empty."),
    ("131", NO_MEMORY),
    ("158", NO_MEMORY),
    ("163", NO_MEMORY),
    ("172", NO_EXECUTION_ROLE),
    ("182", "No Fargate configuration exists for given values: 1024 CPU, 1900 memory."),
    ("184", NO_MEMORY),
    ("186", "Tag keys must be between 1 and 128 characters in length."),
    ("191", "Container.image should not be null or empty."),
    ("196", PORTS_DIFFER),
    ("197", NO_MEMORY),
    ("201", NO_EXECUTION_ROLE),
    ("214", SERVICE),
];

/// Describe output that was published whole: what ECS derived must be what is derived here.
const DESCRIBED: &[&str] = &["031", "035", "137", "146", "178"];

fn corpus() -> Option<PathBuf> {
    let directory = std::env::var_os("CORACLE_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        PathBuf::from,
    );
    if directory.is_dir() {
        return Some(directory);
    }
    println!("skipped: there is no corpus at {} (set CORACLE_CORPUS)", directory.display());
    None
}

/// The texts of a directory by file name, those that end in `suffix`.
fn texts(directory: &Path, suffix: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if let Some(stem) = name.strip_suffix(suffix) {
            texts.insert(stem.to_owned(), std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    texts
}

/// Reads and registers as the CLI does.
fn outcome(name: &str, text: &str) -> Result<(Read, Registration), String> {
    let read = lenient::read(text, name).map_err(|error| error.to_string())?;
    let registration =
        register(read.content.clone(), &read.tags).map_err(|error| error.to_string())?;
    Ok((read, registration))
}

/// What is given out when it is described, as input again.
fn again(registration: &Registration) -> TaskDefinitionContent {
    let mut content = registration.content.clone();
    content.family = Some(registration.family.to_string());
    content
}

#[test]
fn every_document_is_registered_or_refused_as_ecs_does() {
    let Some(directory) = corpus() else { return };
    let refused: BTreeMap<&str, &str> = REFUSED.iter().copied().collect();
    let mut problems = Vec::new();
    let (mut registered, mut warnings, mut strict) = (0, 0, 0);
    let documents = texts(&directory, ".json");
    for (number, text) in &documents {
        match (outcome(number, text), refused.get(number.as_str())) {
            (Ok((read, registration)), None) => {
                registered += 1;
                warnings += read.warnings.len();
                if read.warnings.is_empty() && text.contains("\"containerDefinitions\"") {
                    // What needs no help is read as the API reads it.
                    match serde_json::from_str::<TaskDefinitionContent>(text) {
                        Ok(content) if content == read.content => strict += 1,
                        _ if text.contains("\"taskDefinition\"") => {}
                        _ => problems.push(format!("{number}: the API reads something else")),
                    }
                }
                match register(again(&registration), &read.tags) {
                    Ok(second) if second == registration => {}
                    Ok(_) => problems.push(format!("{number}: registering it again changes it")),
                    Err(error) => {
                        problems.push(format!("{number}: refused the second time: {error}"));
                    }
                }
            }
            (Ok(_), Some(expected)) => {
                problems.push(format!("{number}: registered, but ECS says: {expected}"));
            }
            (Err(error), Some(expected)) if error.contains(expected) => {}
            (Err(error), Some(expected)) => {
                problems.push(format!("{number}: {error} instead of: {expected}"));
            }
            (Err(error), None) => problems.push(format!("{number}: {error}")),
        }
    }
    println!(
        "{} documents: {registered} registered with {warnings} warnings ({strict} as the API would read them), {} refused",
        documents.len(),
        documents.len() - registered
    );
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert!(
        refused.keys().all(|number| documents.contains_key(*number)),
        "a number has no document"
    );
    assert!(!documents.is_empty(), "the corpus is empty");
}

#[test]
fn derived_members_are_those_that_ecs_derived() {
    let Some(directory) = corpus() else { return };
    let documents = texts(&directory, ".json");
    for number in DESCRIBED {
        let text = &documents[*number];
        let (_, registration) = outcome(number, text).unwrap();
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        let described = document.get("taskDefinition").unwrap_or(&document);
        let ours: BTreeSet<&str> =
            registration.requires_attributes.iter().map(|a| a.name.as_str()).collect();
        let theirs: BTreeSet<&str> = described["requiresAttributes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|attribute| attribute["name"].as_str().unwrap())
            .collect();
        assert_eq!(ours, theirs, "{number}");
        // The newest launch type is younger than these documents.
        let ours: Vec<&str> = registration
            .compatibilities
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "MANAGED_INSTANCES")
            .collect();
        if let Some(theirs) = described["compatibilities"].as_array() {
            let theirs: Vec<&str> = theirs.iter().map(|name| name.as_str().unwrap()).collect();
            assert_eq!(ours, theirs, "{number}");
        }
    }
}

#[test]
fn templates_are_met_without_a_panic() {
    let Some(directory) = corpus() else { return };
    let templates = texts(&directory.join("templated"), ".json.txt");
    assert!(!templates.is_empty(), "the corpus has no templates");
    for (name, text) in &templates {
        match outcome(name, text) {
            Ok((read, _)) => println!("{name}: registered, {} warnings", read.warnings.len()),
            Err(error) => println!("{name}: {error}"),
        }
    }
}
