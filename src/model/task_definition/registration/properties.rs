//! Properties of reading and registration over documents made from the schema itself.

use super::{Registration, register};
use crate::model::shape::{Member, Shape, Shaped};
use crate::model::task_definition::{ContainerDefinition, TaskDefinitionContent, lenient};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use std::cell::Cell;

/// Words that mean something somewhere, so that documents get past the first rule.
const WORDS: [&str; 40] = [
    "",
    "a",
    "app",
    "side",
    "a b",
    "/x",
    "x/y",
    "host",
    "bridge",
    "awsvpc",
    "none",
    "task",
    "256",
    "1 GB",
    ".25 vcpu",
    "512",
    "tcp",
    "udp",
    "1-5",
    "START",
    "SUCCESS",
    "HEALTHY",
    "awslogs",
    "json-file",
    "awsfirelens",
    "fluentbit",
    "nofile",
    "EC2",
    "FARGATE",
    "EXTERNAL",
    "net.core.somaxconn",
    "1",
    "arn:aws:iam::111122223333:role/r",
    "NET_ADMIN",
    "read",
    "noexec",
    "no-new-privileges",
    "memberOf",
    "é\u{0}\u{1f980}",
    "enabled",
];

const NUMBERS: [i64; 14] =
    [-1, 0, 1, 2, 5, 30, 64, 80, 300, 512, 65_535, 65_536, i64::MAX, i64::MIN];

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![9 => select(&WORDS[..]).prop_map(Value::from), 1 => any::<String>().prop_map(Value::from)]
}

/// A value of `shape`, or with `wrong` set sometimes of another one.
fn value(shape: Shape, wrong: bool) -> BoxedStrategy<Value> {
    let right = match shape {
        Shape::Text => text().boxed(),
        Shape::Integer => {
            prop_oneof![9 => select(&NUMBERS[..]), 1 => any::<i64>()].prop_map(Value::from).boxed()
        }
        Shape::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Any => Just(json!({"x": [null, ""]})).boxed(),
        Shape::List(inner) => {
            prop::collection::vec(value(inner(), wrong), 0..3).prop_map(Value::from).boxed()
        }
        Shape::Map(inner) => {
            prop::collection::vec((select(&WORDS[..]), value(inner(), wrong)), 0..3)
                .prop_map(|pairs| {
                    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>().into()
                })
                .boxed()
        }
        Shape::Structure(members) => structure(members, 6, wrong),
    };
    if wrong {
        let other = prop_oneof![
            Just(Value::Null),
            Just(json!([])),
            Just(json!({})),
            Just(json!(1.5)),
            Just(json!("80")),
            Just(json!(true)),
            Just(json!({"name": "a", "value": 1})),
            Just(json!([[]])),
            Just(json!({"Key": null})),
        ];
        prop_oneof![6 => right, 1 => other].boxed()
    } else {
        right
    }
}

/// Some of the members.
fn structure(members: &'static [Member], most: usize, wrong: bool) -> BoxedStrategy<Value> {
    let indices: Vec<usize> = (0..members.len()).collect();
    subsequence(indices, 0..=members.len().min(most))
        .prop_flat_map(move |chosen| {
            let values: Vec<BoxedStrategy<Value>> =
                chosen.iter().map(|index| value((members[*index].shape)(), wrong)).collect();
            let names: Vec<String> = chosen.iter().map(|index| members[*index].name()).collect();
            values.prop_map(move |values| {
                names.iter().cloned().zip(values).collect::<Map<_, _>>().into()
            })
        })
        .boxed()
}

fn members(shape: Shape) -> &'static [Member] {
    match shape {
        Shape::Structure(members) => members,
        _ => panic!("a structure"),
    }
}

/// Any document of the schema.
fn document(wrong: bool) -> BoxedStrategy<Value> {
    structure(members(TaskDefinitionContent::shape()), 18, wrong)
}

/// A document that registers, with a few members replaced.
fn near_document() -> impl Strategy<Value = Value> {
    let task = structure(members(TaskDefinitionContent::shape()), 2, false);
    let container = structure(members(ContainerDefinition::shape()), 3, false);
    (task, container).prop_map(|(task, container)| {
        let mut app = json!({"name": "app", "image": "busybox", "memory": 64});
        app.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let mut document = json!({"family": "f", "containerDefinitions": [
            app, {"name": "side", "image": "busybox", "memory": 64, "essential": false}]});
        let mut task = task.as_object().unwrap().clone();
        task.remove("containerDefinitions");
        document.as_object_mut().unwrap().extend(task);
        document
    })
}

/// Registering what came out changes nothing, and it survives its JSON.
fn check_accepted(registration: &Registration) {
    let json = serde_json::to_string(&registration.content).unwrap();
    let mut content: TaskDefinitionContent = serde_json::from_str(&json).unwrap();
    assert_eq!(content, registration.content);
    content.family = Some(registration.family.to_string());
    assert_eq!(register(content, &[]).as_ref(), Ok(registration));
    assert!(registration.compatibilities.iter().any(|name| name == "EC2"));
    assert!(registration.requires_attributes.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn accepted_definitions_are_fixed_points() {
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, cases: 512, ..Config::default() });
    runner
        .run(&near_document(), |document| {
            match register(serde_json::from_value(document).unwrap(), &[]) {
                Ok(registration) => {
                    check_accepted(&registration);
                    accepted.set(accepted.get() + 1);
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused.set(refused.get() + 1);
                }
            }
            Ok(())
        })
        .unwrap();
    // Otherwise the documents would prove nothing.
    assert!(accepted.get() > 20 && refused.get() > 20, "{} {}", accepted.get(), refused.get());
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 128, ..Config::default() })]

    #[test]
    fn any_document_of_the_schema_is_met(document in document(false)) {
        let content: TaskDefinitionContent = serde_json::from_value(document.clone()).unwrap();
        prop_assert_eq!(serde_json::to_value(&content).unwrap(), document);
        if let Ok(registration) = register(content, &[]) {
            check_accepted(&registration);
        }
    }

    #[test]
    fn any_document_near_the_schema_is_read_or_refused(document in document(true)) {
        if let Ok(read) = lenient::read(&document.to_string(), "file") {
            // What was read needs no more fitting.
            let again = lenient::read(&serde_json::to_string(&read.content).unwrap(), "file").unwrap();
            prop_assert_eq!(&again.content, &read.content);
            prop_assert!(again.warnings.is_empty(), "{:?}", again.warnings);
            if let Ok(registration) = register(read.content, &read.tags) {
                check_accepted(&registration);
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in r#"[\[\]{}",:/*a1 \n\\é-]{0,40}"#) {
        if let Ok(read) = lenient::read(&text, "file") {
            prop_assert!(read.content.family.is_some());
        }
    }
}
