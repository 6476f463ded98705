//! Services: made if missing, else updated where they differ.
//!
//! What a service would be if it were made now is found by making it, on a rehearsal where it is not there (`fresh`):
//! names of families, defaults, the order of things are then just those of CreateService. The two descriptions are
//! compared, and UpdateService gets the members that differ. `desiredCount` is left alone when the file has none.

use super::call::{call, first};
use super::difference::{self, Difference};
use super::object::{ManifestError, Object};
use super::step::{Action, Step};
use super::tags;
use crate::api::error::{ApiError, Exception};
use crate::engine::Handle;
use crate::model::ClusterName;
use serde_json::{Map, Value, json};

/// Members of DescribeServices that CreateService sets.
const OF_SERVICE: [&str; 19] = [
    "availabilityZoneRebalancing",
    "capacityProviderStrategy",
    "deploymentConfiguration",
    "deploymentController",
    "desiredCount",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "healthCheckGracePeriodSeconds",
    "launchType",
    "loadBalancers",
    "networkConfiguration",
    "placementConstraints",
    "placementStrategy",
    "platformVersion",
    "propagateTags",
    "schedulingStrategy",
    "serviceRegistries",
    "taskDefinition",
    "monitoring",
];

/// Those that DescribeServices shows with the deployment.
const OF_DEPLOYMENT: [&str; 3] =
    ["serviceConnectConfiguration", "volumeConfigurations", "vpcLatticeConfigurations"];

/// Those that UpdateService cannot change.
const FIXED: [&str; 3] = ["launchType", "schedulingStrategy", "monitoring"];

/// A service as declared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declared<'a> {
    pub(super) cluster: &'a ClusterName,
    pub(super) name: &'a str,
    /// What CreateService takes.
    pub(super) members: &'a Map<String, Value>,
    /// The set of files that declares it, if that has a name.
    pub(super) set: Option<&'a str>,
}

impl Declared<'_> {
    /// What CreateService takes, with the tag of the set.
    fn creation(&self) -> Value {
        let mut input = Value::Object(self.members.clone());
        if let Some(set) = self.set {
            let declared = self.members.get("tags");
            input["tags"] = tags::list(&tags::wanted(&Map::new(), declared, Some(set)));
        }
        input
    }

    /// Makes it on `fresh`, where it is not there; `engine` is where it may be.
    pub(super) async fn rehearse(
        &self,
        engine: &Handle,
        fresh: &Handle,
        object: &Object,
    ) -> Result<(), ManifestError> {
        let refused = |error: ApiError| ManifestError::refused(object, error.message);
        let mut input = self.creation();
        if !self.has("desiredCount") && input["schedulingStrategy"] != "DAEMON" {
            let current = describe(engine, self.cluster, self.name).await.map_err(refused)?;
            if let Some(current) = current {
                input["desiredCount"] = current["desiredCount"].clone();
            }
        }
        call(fresh, "CreateService", input).await.map(drop).map_err(refused)
    }

    /// Makes it as declared; `fresh` is where it was made anew.
    pub(super) async fn carry_out(
        &self,
        engine: &Handle,
        fresh: &Handle,
        object: &Object,
    ) -> Result<Step, ManifestError> {
        self.step(engine, fresh, object)
            .await
            .map_err(|error| ManifestError::refused(object, error.message))
    }

    async fn step(
        &self,
        engine: &Handle,
        fresh: &Handle,
        object: &Object,
    ) -> Result<Step, ApiError> {
        let Some(current) = describe(engine, self.cluster, self.name).await? else {
            let differences = difference::of_objects(&Map::new(), self.members);
            let answer = call(engine, "CreateService", self.creation()).await?;
            return Ok(Step::new(object, Action::Create, differences, result(&answer["service"])));
        };
        let wanted = describe(fresh, self.cluster, self.name).await?.unwrap_or_default();
        let (is, shall) = (settings(&current), settings(&wanted));
        let mut update = Map::new();
        let mut differences = Vec::new();
        for member in OF_SERVICE.into_iter().chain(OF_DEPLOYMENT) {
            if member == "desiredCount" && !self.has(member) {
                continue;
            }
            let (old, new) = (is.get(member), shall.get(member));
            // Strategy and launch type take turns: giving the one ends the other.
            if member == "launchType" && (old.is_none() || new.is_none()) || old == new {
                continue;
            }
            if FIXED.contains(&member) {
                return Err(fixed(self.name, member, old, new));
            }
            differences.extend(told(member, old, new));
            update.insert(member.to_owned(), self.value(member, new));
        }
        let mut answer = current.clone();
        if !update.is_empty() {
            update.insert("cluster".to_owned(), self.cluster.as_str().into());
            update.insert("service".to_owned(), self.name.into());
            answer = call(engine, "UpdateService", Value::Object(update)).await?["service"].take();
        }
        let current_tags = tags::by_key(&current["tags"]);
        let wanted = tags::wanted(&current_tags, self.members.get("tags"), self.set);
        differences.extend(tags::differences(&current_tags, &wanted));
        tags::change(engine, &current["serviceArn"], &current_tags, &wanted).await?;
        let action = if differences.is_empty() { Action::Nothing } else { Action::Update };
        Ok(Step::new(object, action, differences, result(&answer)))
    }

    fn has(&self, member: &str) -> bool {
        self.members.get(member).is_some_and(|value| !value.is_null())
    }

    /// What UpdateService gets for `member`.
    fn value(&self, member: &str, wanted: Option<&Value>) -> Value {
        match (member, wanted) {
            // A revision that the rehearsal registered may get another number.
            ("taskDefinition", _) => self.members.get(member).cloned().unwrap_or_default(),
            (_, Some(wanted)) => wanted.clone(),
            ("healthCheckGracePeriodSeconds", None) => 0.into(),
            ("serviceConnectConfiguration", None) => json!({ "enabled": false }),
            // What else is not there any more is a list.
            (_, None) => json!([]),
        }
    }
}

fn fixed(name: &str, member: &str, old: Option<&Value>, new: Option<&Value>) -> ApiError {
    let text = |value: Option<&Value>| value.map(Value::to_string).unwrap_or_default();
    ApiError::invalid(format!(
        "{member} cannot be changed from {} to {} while the service is there: remove it first \
         (coracle service rm {name} --force --wait), or give the new one another name",
        text(old),
        text(new)
    ))
}

fn told(member: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<Difference> {
    let side = |value: Option<&Value>| json!({ member: value });
    difference::between(&side(old), &side(new))
}

/// The service as DescribeServices shows it, unless it is not there or has been deleted.
pub(super) async fn describe(
    engine: &Handle,
    cluster: &ClusterName,
    name: &str,
) -> Result<Option<Value>, ApiError> {
    let input = json!({ "cluster": cluster, "services": [name], "include": ["TAGS"] });
    let mut answer = match call(engine, "DescribeServices", input).await {
        Ok(answer) => answer,
        Err(error) if error.exception == Exception::ClusterNotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let service = first(&mut answer, "services");
    Ok((service["status"] == "ACTIVE").then_some(service))
}

/// What was set of a service as described: no empty lists, the task definition without its scope.
pub(super) fn settings(service: &Value) -> Map<String, Value> {
    let deployment = &service["deployments"][0];
    let of_service = OF_SERVICE.iter().map(|name| (*name, &service[*name]));
    let of_deployment = OF_DEPLOYMENT.iter().map(|name| (*name, &deployment[*name]));
    let mut settings = Map::new();
    for (name, value) in of_service.chain(of_deployment) {
        let empty = match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Number(number) => {
                name == "healthCheckGracePeriodSeconds" && number.as_i64() == Some(0)
            }
            _ => false,
        };
        if !empty {
            settings.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(Value::String(arn)) = settings.get_mut("taskDefinition") {
        *arn = arn.rsplit('/').next().unwrap_or(arn).to_owned();
    }
    settings
}

fn result(service: &Value) -> Value {
    json!({
        "serviceArn": service["serviceArn"],
        "clusterArn": service["clusterArn"],
        "serviceName": service["serviceName"],
        "taskDefinition": service["taskDefinition"],
    })
}
