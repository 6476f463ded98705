use super::{Declared, read};
use crate::api::manifest::object::{Content, Source};
use crate::model::ClusterName;

fn declared(sources: &[(&str, &str)]) -> Declared {
    let source =
        |(name, text): &(&str, &str)| Source { name: (*name).to_owned(), text: (*text).to_owned() };
    let sources: Vec<Source> = sources.iter().map(source).collect();
    read(&sources, &ClusterName::new("edge").unwrap())
}

/// What was found, in order, each with its place.
fn found(sources: &[(&str, &str)]) -> Vec<String> {
    let declared = declared(sources);
    assert_eq!(declared.errors, []);
    declared.objects.iter().map(|o| format!("{} at {}", o.content, o.origin)).collect()
}

fn errors(sources: &[(&str, &str)]) -> Vec<String> {
    declared(sources).errors.iter().map(ToString::to_string).collect()
}

#[test]
fn several_objects_in_one_file_in_the_order_to_make_them() {
    let yaml = "
serviceName: web
taskDefinition: web
---
family: web
containerDefinitions:
  - {name: web, image: nginx, memory: 64}
---
# nothing
---
- clusterName: edge
- {cluster: other, serviceName: job, taskDefinition: 'web:3'}
";
    assert_eq!(
        found(&[("a.yaml", yaml)]),
        [
            "cluster edge at a.yaml, document 4, [0]",
            "task definition web at a.yaml, document 2",
            "service edge/web at a.yaml, document 1",
            "service other/job at a.yaml, document 4, [1]",
        ]
    );
}

#[test]
fn what_aws_prints_is_read() {
    let described = r#"{"services": [{"serviceArn": "arn:aws:ecs:eu-west-1:123456789012:service/prod/web",
        "clusterArn": "arn:aws:ecs:eu-west-1:123456789012:cluster/prod", "serviceName": "web", "status": "ACTIVE",
        "desiredCount": 2, "runningCount": 1, "taskDefinition": "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:7",
        "deployments": [], "events": [], "createdAt": 1.5}], "failures": []}"#;
    let definition = r#"{"taskDefinition": {"family": "web", "revision": 7, "status": "ACTIVE",
        "containerDefinitions": [{"name": "web", "image": "nginx"}]}, "tags": [{"key": "a", "value": "b"}]}"#;
    let sources = [
        ("service.json", described),
        ("web.json", definition),
        ("-", r#"{"cluster": {"clusterName": "prod", "clusterArn": "x", "status": "ACTIVE"}}"#),
        ("list.json", r#"[{"name": "a", "image": "b", "memory": 4}] // a bare list"#),
    ];
    assert_eq!(
        found(&sources),
        [
            "cluster prod at -, cluster",
            "task definition web at web.json",
            "task definition list at list.json",
            "service prod/web at service.json, services[0]",
        ]
    );
    let declared = declared(&sources);
    let Content::Service { members, .. } = &declared.objects[3].content else { panic!() };
    assert_eq!(
        members.keys().collect::<Vec<_>>(),
        ["cluster", "desiredCount", "serviceName", "taskDefinition"]
    );
    let Content::TaskDefinition(read) = &declared.objects[1].content else { panic!() };
    assert_eq!(read.tags.len(), 1);
    assert!(declared.warnings.iter().any(|w| w.starts_with("list.json: comments")));
}

#[test]
fn a_kind_decides_and_is_no_member() {
    let text = "kind: task-definition\nfamily: f\nkindly: x\n";
    let declared = declared(&[("f.yml", text)]);
    assert_eq!(declared.errors, []);
    assert_eq!(declared.warnings, ["f.yml: kindly is not a member of a task definition: ignored"]);
}

#[test]
fn errors_name_the_file_the_document_and_the_member() {
    let cases = [
        ("a.yaml", "a: [", "a.yaml: it is not YAML: line "),
        ("a.json", "{\"a\": }", "a.json: it is not JSON: line 1, column 7: expected value"),
        (
            "a",
            "serviceName: x\n---\n7\n",
            "a, document 2: expected an object or a list of objects, found 7",
        ),
        (
            "a",
            "x: 1",
            "a: there is neither containerDefinitions, serviceName nor clusterName in it: say what it is with kind",
        ),
        (
            "a",
            "kind: Pod",
            "a: kind: there is no \"Pod\": say what it is with kind: TaskDefinition, Service or Cluster",
        ),
        ("a", "{kind: Service}", "a: serviceName: a service must have a name"),
        (
            "a",
            "{serviceName: x, cluster: 'arn:aws:ecs:r:1:task/x'}",
            "a: cluster: Invalid arn syntax",
        ),
        ("a", "{clusterName: 'a b'}", "a: clusterName: "),
        (
            "a",
            "services: [{serviceName: x, desiredcount: 1}]",
            "a, services[0]: desiredcount: there is no such member: is desiredCount meant?",
        ),
        ("a", "{services: [], x: 1}", "a: x: beside lists of"),
        (
            "a",
            "family: f\ncontainerDefinitions: [{name: [], image: x}]",
            "a: containerDefinitions[0].name: expected a string, found a list",
        ),
    ];
    for (name, text, expected) in cases {
        let errors = errors(&[(name, text)]);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].starts_with(expected), "{}", errors[0]);
    }
    let large = format!("# {}", "x".repeat(1 << 20));
    assert_eq!(errors(&[("a", &large)]), ["a: it is larger than 1 MiB: split it"]);
}

#[test]
fn one_thing_is_declared_once() {
    let sources = [("a", "serviceName: web"), ("b", "serviceName: web\ncluster: edge")];
    assert_eq!(errors(&sources), ["b: service edge/web is declared in a already"]);
    let other = [("a", "serviceName: web"), ("b", "serviceName: web\ncluster: other")];
    assert_eq!(found(&other).len(), 2);
}
