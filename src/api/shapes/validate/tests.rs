use super::*;
use crate::api::shapes::operations;
use proptest::prelude::*;
use serde_json::json;

fn checked(operation: &str, mut body: Value) -> Result<Value, String> {
    let operation = Operation::find(operation).unwrap();
    check(operation, &mut body).map_err(|e| e.to_string())?;
    Ok(body)
}

#[test]
fn every_operation_is_found_by_its_name_and_takes_a_structure() {
    assert_eq!(operations().len(), 88);
    for operation in operations() {
        assert_eq!(Operation::find(operation.name), Some(operation));
        assert!(matches!(operation.input, Shape::Structure(..)), "{}", operation.name);
    }
    assert_eq!(Operation::find("RunTasks"), None);
}

#[test]
fn wrong_types_are_named_with_their_place() {
    let register = |body| checked("RegisterTaskDefinition", body).unwrap_err();
    let container = |member: &str, value: Value| {
        register(json!({"family": "f", "containerDefinitions": [{"name": "a"}, {member: value}]}))
    };
    for (message, expected) in [
        (
            container("cpu", json!("10")),
            "STRING_VALUE cannot be converted to Integer: containerDefinitions[1].cpu",
        ),
        (
            container("cpu", json!(1.5)),
            "NUMBER_VALUE cannot be converted to Integer: containerDefinitions[1].cpu",
        ),
        (
            container("image", json!(1)),
            "NUMBER_VALUE cannot be converted to String: containerDefinitions[1].image",
        ),
        (
            container("image", json!(true)),
            "TRUE_VALUE cannot be converted to String: containerDefinitions[1].image",
        ),
        (
            container("essential", json!("true")),
            "STRING_VALUE cannot be converted to Boolean: containerDefinitions[1].essential",
        ),
        (
            container("image", json!({})),
            "Start of structure or map found where not expected: containerDefinitions[1].image",
        ),
        (
            container("image", json!([])),
            "Start of list found where not expected: containerDefinitions[1].image",
        ),
        (
            container("environment", json!([{"name": "A", "value": 1}])),
            "NUMBER_VALUE cannot be converted to String: containerDefinitions[1].environment[0].value",
        ),
        (
            container("dockerLabels", json!({"a.b": 1})),
            "NUMBER_VALUE cannot be converted to String: containerDefinitions[1].dockerLabels[\"a.b\"]",
        ),
        (
            container("portMappings", json!("80")),
            "STRING_VALUE cannot be converted to List: containerDefinitions[1].portMappings",
        ),
        (
            container("healthCheck", json!("x")),
            "STRING_VALUE cannot be converted to Structure: containerDefinitions[1].healthCheck",
        ),
        (register(json!([])), "Start of list found where not expected: the request"),
        (register(json!("x")), "STRING_VALUE cannot be converted to Structure: the request"),
    ] {
        assert_eq!(message, format!("SerializationException: {expected}"));
    }
}

#[test]
fn absent_is_absent_however_it_is_written() {
    assert_eq!(
        checked(
            "ListTasks",
            json!({"cluster": null, "desiredStatus": "", "unknown": {"x": 1}, "maxResults": 5.0})
        ),
        Ok(json!({"unknown": {"x": 1}, "maxResults": 5}))
    );
    assert_eq!(
        checked("CreateCluster", json!({"tags": [{"key": "a", "value": null}]})),
        Ok(json!({"tags": [{"key": "a"}]}))
    );
    assert!(checked("CreateCluster", json!({"tags": [null]})).unwrap_err().contains("tags[0]"));
}

#[test]
fn required_enumerations_and_bounds() {
    for (operation, body, expected) in [
        ("DescribeTasks", json!({}), "Tasks cannot be empty."),
        ("DescribeTasks", json!({"tasks": []}), "Tasks cannot be empty."),
        ("DescribeContainerInstances", json!({}), "Container instance cannot be empty."),
        ("UpdateContainerInstancesState", json!({}), "Container instances cannot be empty."),
        ("StopTask", json!({"task": ""}), "Task cannot be empty."),
        (
            "ListTasks",
            json!({"launchType": "BOAT"}),
            "1 validation error detected: Value 'BOAT' at 'launchType' failed to satisfy constraint: Member must satisfy enum value set: [EC2, FARGATE, EXTERNAL, MANAGED_INSTANCES]",
        ),
        (
            "DescribeClusters",
            json!({"include": ["TAGS", "X"]}),
            "1 validation error detected: Value 'X' at 'include.2.member' failed to satisfy constraint: Member must satisfy enum value set: [ATTACHMENTS, CONFIGURATIONS, SETTINGS, STATISTICS, TAGS]",
        ),
        (
            "PutAttributes",
            json!({"attributes": [{"value": "v"}]}),
            "1 validation error detected: Value null at 'attributes.1.member.name' failed to satisfy constraint: Member must not be null",
        ),
        (
            "RunTask",
            json!({"taskDefinition": "x", "count": 3_000_000_000_u32}),
            "1 validation error detected: Value '3000000000' at 'count' failed to satisfy constraint: Member must have value less than or equal to 2147483647",
        ),
    ] {
        assert_eq!(
            checked(operation, body).unwrap_err(),
            format!("InvalidParameterException: {expected}")
        );
    }
}

/// Any JSON, with member names that the model knows among them.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("ACTIVE")),
    ];
    let name = prop_oneof![
        "[a-z]{1,3}",
        Just("tags".to_owned()),
        Just("key".to_owned()),
        Just("overrides".to_owned()),
        Just("containerOverrides".to_owned()),
        Just("containerDefinitions".to_owned()),
        Just("environment".to_owned()),
        Just("name".to_owned()),
        Just("cluster".to_owned()),
        Just("count".to_owned()),
        Just("include".to_owned()),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn checking_twice_is_checking_once(at in 0..88_usize, body in any_json()) {
        let operation = &operations()[at];
        let mut once = body;
        if check(operation, &mut once).is_ok() {
            let mut twice = once.clone();
            prop_assert_eq!(check(operation, &mut twice), Ok(()));
            prop_assert_eq!(twice, once);
        }
    }
}
