//! From texts to objects: JSON or YAML, one object or many, in whatever AWS's own tools wrap them.
//!
//! | a document | is read as |
//! | --- | --- |
//! | a list | its items, each a document; a list of containers alone is a task definition |
//! | `{"clusters"}`, `{"taskDefinitions"}`, `{"services"}` | the items of these lists |
//! | `{"taskDefinition": {…}}`, `{"service": {…}}`, `{"cluster": {…}}` | what an operation answered: the object in it |
//! | `{"containerDefinitions"}`, `{"serviceName"}`, `{"clusterName"}` | a task definition, a service, a cluster |
//! | `{"kind": "TaskDefinition" / "Service" / "Cluster"}` | just that |
//!
//! Members that only an answer has (ARNs, states, times) are left out. For task definitions what is unknown is told and
//! left out, as `coracle run` does; for the others it is an error.

use super::object::{Content, ManifestError, Object, Origin, Source};
use super::unknown;
use super::yaml;
use crate::api::identifiers;
use crate::api::shapes::Operation;
use crate::model::ClusterName;
use crate::model::task_definition::lenient;
use serde_json::{Map, Value};
use std::path::Path;

/// Members of DescribeServices that say what became of a service.
const DESCRIBED_SERVICE: [&str; 18] = [
    "serviceArn",
    "clusterArn",
    "status",
    "runningCount",
    "pendingCount",
    "deployments",
    "taskSets",
    "events",
    "createdAt",
    "createdBy",
    "roleArn",
    "platformFamily",
    "currentServiceDeployment",
    "currentServiceRevisions",
    "resourceManagementType",
    "activeDaemonRevisions",
    "failures",
    "clientToken",
];

/// Members of DescribeClusters that say what became of a cluster.
const DESCRIBED_CLUSTER: [&str; 9] = [
    "clusterArn",
    "status",
    "registeredContainerInstancesCount",
    "runningTasksCount",
    "pendingTasksCount",
    "activeServicesCount",
    "statistics",
    "attachments",
    "attachmentsStatus",
];

/// What the texts declare, and what people should know of it.
#[derive(Debug, Default)]
pub(super) struct Declared {
    /// In the order to carry them out.
    pub(super) objects: Vec<Object>,
    pub(super) warnings: Vec<String>,
    pub(super) errors: Vec<ManifestError>,
}

/// Reads all of `sources`; services that name no cluster are of `cluster`.
pub(super) fn read(sources: &[Source], cluster: &ClusterName) -> Declared {
    let mut reader = Reader { declared: Declared::default(), cluster };
    for source in sources {
        if let Err(error) = reader.source(source) {
            reader.declared.errors.push(error);
        }
    }
    let mut declared = reader.declared;
    declared.objects.sort_by_key(|object| object.content.rank());
    twice(&mut declared);
    declared
}

/// Two declarations of one thing would undo each other at every turn.
fn twice(declared: &mut Declared) {
    let mut seen: std::collections::BTreeMap<String, &Origin> = std::collections::BTreeMap::new();
    for object in &declared.objects {
        let name = object.content.to_string();
        match seen.get(&name) {
            None => drop(seen.insert(name, &object.origin)),
            Some(first) => declared.errors.push(ManifestError::Twice {
                object: name,
                first: first.to_string(),
                second: object.origin.clone(),
            }),
        }
    }
}

struct Reader<'a> {
    declared: Declared,
    cluster: &'a ClusterName,
}

impl Reader<'_> {
    fn source(&mut self, source: &Source) -> Result<(), ManifestError> {
        if source.text.len() > lenient::LIMIT {
            return Err(ManifestError::TooLarge { source_name: source.name.clone() });
        }
        let documents = self.documents(source)?;
        let many = documents.len() > 1;
        for (at, document) in documents.into_iter().enumerate() {
            let origin = Origin {
                source: source.name.clone(),
                document: many.then_some(at + 1),
                path: String::new(),
            };
            self.document(document, origin);
        }
        Ok(())
    }

    fn documents(&mut self, source: &Source) -> Result<Vec<Value>, ManifestError> {
        let text = source.text.trim_start_matches('\u{feff}');
        let yaml = || {
            yaml::read(text)
                .map_err(|error| ManifestError::Yaml { source_name: source.name.clone(), error })
        };
        let end = Path::new(&source.name).extension().and_then(|end| end.to_str());
        if matches!(end, Some("yaml" | "yml")) {
            return yaml();
        }
        // A document of JSON begins with a bracket, or with a comment that YAML does not know.
        let json = end == Some("json") || text.trim_start().starts_with(['{', '[', '/']);
        if !json {
            return yaml();
        }
        let (document, warnings) = match lenient::parse_json(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let error = ManifestError::Json { source_name: source.name.clone(), error };
                // Nor is all that begins with a bracket JSON.
                let other = if end == Some("json") { None } else { yaml().ok() };
                return other.ok_or(error);
            }
        };
        let told = warnings.into_iter().map(|warning| format!("{}: {warning}", source.name));
        self.declared.warnings.extend(told);
        Ok(vec![document])
    }

    fn document(&mut self, document: Value, origin: Origin) {
        match document {
            Value::Null => {}
            Value::Array(items) if is_containers(&items) => {
                self.object(Value::Array(items), Kind::TaskDefinition, origin);
            }
            Value::Array(items) => self.items(items, "", &origin),
            Value::Object(members) => self.members(members, origin),
            other => {
                let message = format!("expected an object or a list of objects, found {other}");
                self.declared.errors.push(ManifestError::wrong(&origin, message));
            }
        }
    }

    fn items(&mut self, items: Vec<Value>, name: &str, origin: &Origin) {
        for (at, item) in items.into_iter().enumerate() {
            let origin =
                Origin { path: format!("{}{name}[{at}]", prefix(&origin.path)), ..origin.clone() };
            // Lists in lists are nobody's output.
            match item {
                Value::Object(members) => self.members(members, origin),
                other => {
                    let message = format!("expected an object, found {other}");
                    self.declared.errors.push(ManifestError::wrong(&origin, message));
                }
            }
        }
    }

    fn members(&mut self, mut members: Map<String, Value>, origin: Origin) {
        const LISTS: [&str; 3] = ["clusters", "taskDefinitions", "services"];
        if members.keys().any(|name| LISTS.contains(&name.as_str())) {
            for (name, value) in members {
                match value {
                    Value::Array(items) if LISTS.contains(&name.as_str()) => {
                        self.items(items, &name, &origin);
                    }
                    Value::Array(items) if name == "failures" && items.is_empty() => {}
                    _ => {
                        let message = format!(
                            "{name}: beside lists of clusters, taskDefinitions and services there can be nothing else"
                        );
                        self.declared.errors.push(ManifestError::wrong(&origin, message));
                    }
                }
            }
            return;
        }
        for name in ["service", "cluster"] {
            let alone = members.len() == 1 && members.get(name).is_some_and(Value::is_object);
            if alone && let Some(Value::Object(inner)) = members.remove(name) {
                let path = format!("{}{name}", prefix(&origin.path));
                return self.members(inner, Origin { path, ..origin });
            }
        }
        match kind(&mut members) {
            Ok(kind) => self.object(Value::Object(members), kind, origin),
            Err(message) => self.declared.errors.push(ManifestError::wrong(&origin, message)),
        }
    }

    fn object(&mut self, document: Value, kind: Kind, origin: Origin) {
        let content = match (kind, document) {
            (Kind::TaskDefinition, document) => self.task_definition(document, &origin),
            (Kind::Service, Value::Object(members)) => self.service(members, &origin),
            (Kind::Cluster, Value::Object(members)) => cluster(members, &origin),
            (_, other) => Err(ManifestError::wrong(&origin, format!("{other} is not an object"))),
        };
        match content {
            Ok(content) => self.declared.objects.push(Object { origin, content }),
            Err(error) => self.declared.errors.push(error),
        }
    }

    fn task_definition(
        &mut self,
        document: Value,
        origin: &Origin,
    ) -> Result<Content, ManifestError> {
        let family = Path::new(&origin.source).file_stem().and_then(|stem| stem.to_str());
        let read = lenient::read_value(document, family.unwrap_or_default())
            .map_err(|error| ManifestError::wrong(origin, error.to_string()))?;
        let told = read.warnings.iter().map(|warning| format!("{origin}: {warning}"));
        self.declared.warnings.extend(told);
        Ok(Content::TaskDefinition(Box::new(read)))
    }

    fn service(
        &self,
        mut members: Map<String, Value>,
        origin: &Origin,
    ) -> Result<Content, ManifestError> {
        let described = members.contains_key("serviceArn");
        if let (true, Some(arn)) = (described, members.get("clusterArn").cloned()) {
            members.entry("cluster").or_insert(arn);
        }
        // A token makes CreateService repeatable; here everything is.
        members.remove("clientToken");
        if described {
            members.retain(|name, _| !DESCRIBED_SERVICE.contains(&name.as_str()));
        }
        known(&members, "CreateService", origin)?;
        let wrong = |message: String| ManifestError::wrong(origin, message);
        let cluster = match members.get("cluster") {
            None | Some(Value::Null) => self.cluster.clone(),
            Some(Value::String(text)) if text.is_empty() => self.cluster.clone(),
            Some(Value::String(text)) => identifiers::cluster(Some(text))
                .map_err(|error| wrong(format!("cluster: {}", error.message)))?,
            Some(other) => return Err(wrong(format!("cluster: expected a text, found {other}"))),
        };
        members.insert("cluster".to_owned(), cluster.as_str().into());
        let name = members.get("serviceName").and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            return Err(wrong("serviceName: a service must have a name".to_owned()));
        }
        let name = name.to_owned();
        Ok(Content::Service { cluster, name, members })
    }
}

fn cluster(mut members: Map<String, Value>, origin: &Origin) -> Result<Content, ManifestError> {
    if members.contains_key("clusterArn") {
        members.retain(|name, _| !DESCRIBED_CLUSTER.contains(&name.as_str()));
    }
    known(&members, "CreateCluster", origin)?;
    let wrong = |message: String| ManifestError::wrong(origin, message);
    let name = members.get("clusterName").and_then(Value::as_str).unwrap_or_default();
    let name = ClusterName::new(name).map_err(|error| wrong(format!("clusterName: {error}")))?;
    Ok(Content::Cluster { name, members })
}

/// Refuses members that the input of `operation` does not have.
fn known(
    members: &Map<String, Value>,
    operation: &str,
    origin: &Origin,
) -> Result<(), ManifestError> {
    let Some(operation) = Operation::find(operation) else { return Ok(()) };
    match unknown::first(operation.input, members) {
        None => Ok(()),
        Some(unknown) => Err(ManifestError::wrong(origin, unknown.to_string())),
    }
}

/// The kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cluster,
    TaskDefinition,
    Service,
}

/// What `members` are, by `kind`, which is taken out, or by what is in there.
fn kind(members: &mut Map<String, Value>) -> Result<Kind, String> {
    const REMEDY: &str = "say what it is with kind: TaskDefinition, Service or Cluster";
    if let Some(kind) = members.remove("kind") {
        let letters = |c: &char| c.is_ascii_alphabetic();
        let text: String = kind.as_str().unwrap_or_default().chars().filter(letters).collect();
        return match text.to_ascii_lowercase().as_str() {
            "cluster" => Ok(Kind::Cluster),
            "taskdefinition" => Ok(Kind::TaskDefinition),
            "service" => Ok(Kind::Service),
            _ => Err(format!("kind: there is no {kind}: {REMEDY}")),
        };
    }
    let has = |name: &str| members.keys().any(|key| key.eq_ignore_ascii_case(name));
    let wrapped = members.get("taskDefinition").is_some_and(Value::is_object);
    if has("containerDefinitions") || wrapped {
        Ok(Kind::TaskDefinition)
    } else if has("serviceName") {
        Ok(Kind::Service)
    } else if has("clusterName") {
        Ok(Kind::Cluster)
    } else {
        Err(format!(
            "there is neither containerDefinitions, serviceName nor clusterName in it: {REMEDY}"
        ))
    }
}

/// A list of containers, as some tools keep them.
fn is_containers(items: &[Value]) -> bool {
    !items.is_empty()
        && items.iter().all(|item| {
            item.get("image").is_some()
                && ["containerDefinitions", "serviceName", "kind"]
                    .iter()
                    .all(|other| item.get(*other).is_none())
        })
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}.") }
}

#[cfg(test)]
mod tests;
