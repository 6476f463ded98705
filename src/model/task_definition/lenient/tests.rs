//! What people write, and what is read.

use super::{LIMIT, LenientError, read};
use serde_json::{Value, json};

fn content(text: &str) -> (Value, Vec<String>) {
    let read = read(text, "my file").unwrap();
    (serde_json::to_value(read.content).unwrap(), read.warnings)
}

#[test]
fn a_strict_definition_is_taken_as_it_is() {
    let text = r#"{"family": "f", "cpu": "256", "containerDefinitions": [{"name": "a", "image": "i", "memory": 64}]}"#;
    let (read, warnings) = content(text);
    assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn describe_output_is_unwrapped_and_its_own_members_dropped() {
    let text = json!({
        "taskDefinition": {
            "family": "f", "revision": 3, "status": "ACTIVE", "taskDefinitionArn": "arn:x",
            "requiresAttributes": [{"name": "x"}], "compatibilities": ["EC2"], "registeredAt": 1.5,
            "registeredBy": "me", "pidMode": null,
            "containerDefinitions": [{"name": "a", "image": "i", "command": null}]
        },
        "tags": [{"key": "k", "value": "v"}]
    });
    let read = read(&text.to_string(), "x").unwrap();
    assert_eq!(read.warnings, Vec::<String>::new());
    assert_eq!(read.tags.len(), 1);
    assert_eq!(
        serde_json::to_value(read.content).unwrap(),
        json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "i"}]})
    );
}

#[test]
fn bare_containers_get_the_family_of_the_file() {
    for text in [r#"[{"name": "a", "image": "i"}]"#, r#"{"name": "a", "image": "i"}"#] {
        let (read, warnings) = content(text);
        assert_eq!(
            read,
            json!({"family": "my-file", "containerDefinitions": [{"name": "a", "image": "i"}]})
        );
        assert!(warnings.iter().any(|w| w.contains("family is missing: 'my-file' is used")));
    }
    let read = read("[]", "").unwrap();
    assert_eq!(read.content.family.as_deref(), Some("task"));
}

#[test]
fn types_are_made_to_fit_where_one_thing_can_be_meant() {
    let text = json!({
        "family": "f", "cpu": 256, "memory": 512.0,
        "requiresCompatibilities": "EC2",
        "containerDefinitions": [{
            "name": "a", "image": "i", "memory": "64", "essential": "true", "cpu": "",
            "environment": {"PORT": 80, "DEBUG": false},
            "portMappings": {"containerPort": "80", "hostPort": 80.0},
            "logConfiguration": [{"logDriver": "awslogs", "options": [{"name": "a", "value": 1}]}],
            "dockerLabels": [], "healthCheck": []
        }]
    });
    let (read, warnings) = content(&text.to_string());
    assert_eq!(
        read,
        json!({
            "family": "f", "cpu": "256", "memory": "512",
            "requiresCompatibilities": ["EC2"],
            "containerDefinitions": [{
                "name": "a", "image": "i", "memory": 64, "essential": true,
                "environment": [{"name": "DEBUG", "value": "false"}, {"name": "PORT", "value": "80"}],
                "portMappings": [{"containerPort": 80, "hostPort": 80}],
                "logConfiguration": {"logDriver": "awslogs", "options": {"a": "1"}},
                "dockerLabels": {}
            }]
        })
    );
    assert!(warnings.contains(&"cpu should be a string: 256 is read as \"256\"".to_owned()));
    let path = "containerDefinitions[0].memory should be a whole number: \"64\" is read as 64";
    assert!(warnings.contains(&path.to_owned()), "{warnings:?}");
}

#[test]
fn unknown_members_are_named_and_near_ones_found() {
    let text = r#"{"family": "f", "containerDefinitions": [
        {"Name": "a", "image": "i", "Image": "j", "portBindings": [], "domainname": "d"}]}"#;
    let (read, warnings) = content(text);
    assert_eq!(read["containerDefinitions"][0], json!({"name": "a", "image": "i"}));
    for name in ["Image", "portBindings", "domainname"] {
        let warning =
            format!("containerDefinitions[0].{name} is not a member of a task definition: ignored");
        assert!(warnings.contains(&warning), "{warnings:?}");
    }
    assert!(warnings.contains(&"containerDefinitions[0].Name is read as name".to_owned()));
}

#[test]
fn tags_as_an_object_become_pairs() {
    let read =
        read(r#"{"family": "f", "tags": {"team": "x", "n": 1}, "containerDefinitions": []}"#, "x")
            .unwrap();
    assert_eq!(
        serde_json::to_value(read.tags).unwrap(),
        json!([{"key": "n", "value": "1"}, {"key": "team", "value": "x"}])
    );
}

#[test]
fn comments_and_trailing_commas_are_ignored_with_a_warning() {
    let (read, warnings) = content(
        "// hi\n{\"family\": \"f\", /* x */ \"containerDefinitions\": [{\"name\": \"a\",},],}",
    );
    assert_eq!(read, json!({"family": "f", "containerDefinitions": [{"name": "a"}]}));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn what_cannot_be_meant_in_one_way_is_refused_by_its_path() {
    for (text, path) in [
        (
            r#"{"containerDefinitions": [{"command": "echo hi"}]}"#,
            "containerDefinitions[0].command",
        ),
        (r#"{"containerDefinitions": [{"memory": "1 GB"}]}"#, "containerDefinitions[0].memory"),
        (r#"{"containerDefinitions": [{"essential": 1}]}"#, "containerDefinitions[0].essential"),
        (r#"{"containerDefinitions": [{"memory": 1.5}]}"#, "containerDefinitions[0].memory"),
        (r#"{"containerDefinitions": "a b"}"#, "containerDefinitions"),
        (r#"{"containerDefinitions": [["x"]]}"#, "containerDefinitions[0]"),
        ("7", "the document"),
    ] {
        match read(text, "x") {
            Err(LenientError::Shape { path: at, .. }) => assert_eq!(at, path, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn other_documents_and_broken_ones_are_told_apart() {
    assert_eq!(
        read(r#"{"serviceName": "s", "taskDefinition": "f:1"}"#, "x"),
        Err(LenientError::OtherDocument("a service definition"))
    );
    match read("{\n  \"family\": nope\n}", "x") {
        Err(LenientError::Syntax { line: 2, message, .. }) => {
            assert!(!message.contains(" at line"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(read(&" ".repeat(LIMIT + 1), "x"), Err(LenientError::TooLarge));
    assert!(matches!(read(&"[".repeat(100_000), "x"), Err(LenientError::Syntax { .. })));
}

#[test]
fn warnings_are_bounded() {
    let members: Vec<String> = (0..1000).map(|n| format!("\"x{n}\": 1")).collect();
    let (_, warnings) =
        content(&format!("{{{}, \"containerDefinitions\": []}}", members.join(",")));
    assert!(warnings.len() <= 202, "{}", warnings.len());
    assert!(warnings.last().unwrap().starts_with("and "));
}
