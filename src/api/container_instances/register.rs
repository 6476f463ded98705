//! `RegisterContainerInstance`, as ECS's own agent calls it.

use super::only;
use crate::api::error::ApiError;
use crate::api::{identifiers, input};
use crate::engine::Handle;
use crate::model::Tag;
use crate::model::container_instance::{Attribute, Capacity};
use crate::plan::{Command, command};
use serde::Deserialize;
use serde_json::Value;

/// Four virtual CPUs, unless it is told.
const CPU: u32 = 4096;
/// MiB, unless they are told.
const MEMORY: u32 = 8192;
/// What ECS's agent keeps for itself: SSH, Docker, and its own endpoints.
const RESERVED_PORTS: [u16; 5] = [22, 2375, 2376, 51678, 51679];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct RegisterContainerInstance {
    cluster: Option<String>,
    instance_identity_document: Option<String>,
    total_resources: Vec<Resource>,
    version_info: VersionInfo,
    container_instance_arn: Option<String>,
    attributes: Vec<Attribute>,
    platform_devices: Vec<PlatformDevice>,
    tags: Vec<Tag>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VersionInfo {
    agent_version: Option<String>,
    agent_hash: Option<String>,
    docker_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    name: String,
    integer_value: Option<i64>,
    long_value: Option<i64>,
    double_value: Option<f64>,
    #[serde(default)]
    string_set_value: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlatformDevice {
    id: String,
    r#type: String,
}

/// What is read of an EC2 instance identity document.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct IdentityDocument {
    instance_id: Option<String>,
    instance_type: Option<String>,
    image_id: Option<String>,
    availability_zone: Option<String>,
    architecture: Option<String>,
}

/// `RegisterContainerInstance`.
pub(in crate::api) async fn register(engine: &Handle, input: Value) -> Result<Value, ApiError> {
    let input: RegisterContainerInstance = input::read(input)?;
    let cluster = identifiers::cluster(input.cluster.as_deref())?;
    let id = match input.container_instance_arn.as_deref().filter(|arn| !arn.is_empty()) {
        None => None,
        Some(arn) => Some(identifiers::container_instance(arn)?.1),
    };
    let mut capacity = capacity(&input.total_resources)?;
    let gpus = input.platform_devices.into_iter().filter(|device| device.r#type == "GPU");
    for gpu in gpus.map(|device| device.id) {
        if !capacity.gpus.contains(&gpu) {
            capacity.gpus.push(gpu);
        }
    }
    let document = document(input.instance_identity_document.as_deref())?;
    let version = input.version_info;
    let command = command::RegisterContainerInstance {
        cluster,
        id,
        capacity,
        attributes: attributes(&document, input.attributes),
        agent_version: version.agent_version.unwrap_or_else(|| "1.0.0".to_owned()),
        agent_hash: version.agent_hash,
        docker_version: version.docker_version,
        ec2_instance_id: document.instance_id,
        tags: input.tags,
    };
    let reply = engine.submit(Command::RegisterContainerInstance(Box::new(command))).await?;
    only(engine, reply)
}

fn document(text: Option<&str>) -> Result<IdentityDocument, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(IdentityDocument::default());
    };
    serde_json::from_str(text)
        .map_err(|_| ApiError::client("The instance identity document is not valid."))
}

fn capacity(resources: &[Resource]) -> Result<Capacity, ApiError> {
    let mut capacity = Capacity {
        cpu: CPU,
        memory: MEMORY,
        reserved_ports: RESERVED_PORTS.to_vec(),
        reserved_ports_udp: Vec::new(),
        gpus: Vec::new(),
    };
    for resource in resources {
        match resource.name.as_str() {
            "CPU" => capacity.cpu = resource.number()?,
            "MEMORY" => capacity.memory = resource.number()?,
            "PORTS" => capacity.reserved_ports = resource.ports()?,
            "PORTS_UDP" => capacity.reserved_ports_udp = resource.ports()?,
            "GPU" => capacity.gpus.clone_from(&resource.string_set_value),
            other => {
                return Err(ApiError::invalid(format!(
                    "Unknown resource {:?} in totalResources: known are CPU, MEMORY, PORTS, PORTS_UDP and GPU.",
                    identifiers::shorten(other)
                )));
            }
        }
    }
    Ok(capacity)
}

impl Resource {
    fn number(&self) -> Result<u32, ApiError> {
        let whole = self.integer_value.or(self.long_value).or_else(|| {
            let value = self.double_value?;
            #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
            (0.0..=f64::from(u32::MAX)).contains(&value).then_some(value as i64)
        });
        whole.and_then(|value| u32::try_from(value).ok()).ok_or_else(|| {
            ApiError::invalid(format!(
                "The resource {} in totalResources needs an integerValue of at least 0.",
                self.name
            ))
        })
    }

    fn ports(&self) -> Result<Vec<u16>, ApiError> {
        let ports = self.string_set_value.iter().map(|port| port.parse());
        ports.collect::<Result<_, _>>().map_err(|_| {
            ApiError::invalid(format!(
                "The resource {} in totalResources needs port numbers in its stringSetValue.",
                self.name
            ))
        })
    }
}

/// What ECS adds from the document and what every Linux box says of itself, then what was told, which wins.
fn attributes(document: &IdentityDocument, told: Vec<Attribute>) -> Vec<Attribute> {
    let architecture = match document.architecture.as_deref() {
        Some("arm64" | "aarch64") => "arm64",
        _ => "x86_64",
    };
    let known = [
        ("ecs.os-type", Some("linux")),
        ("ecs.os-family", Some("LINUX")),
        ("ecs.cpu-architecture", Some(architecture)),
        ("ecs.instance-type", document.instance_type.as_deref()),
        ("ecs.ami-id", document.image_id.as_deref()),
        ("ecs.availability-zone", document.availability_zone.as_deref()),
    ];
    let known = known.into_iter().filter_map(|(name, value)| {
        Some(Attribute { name: name.to_owned(), value: Some(value?.to_owned()) })
    });
    let told = told.into_iter().map(|attribute| Attribute {
        value: attribute.value.filter(|value| !value.is_empty()),
        ..attribute
    });
    known.chain(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resources(list: Value) -> Result<Capacity, ApiError> {
        capacity(&serde_json::from_value::<Vec<Resource>>(list).unwrap())
    }

    #[test]
    fn resources_as_the_agent_tells_them() {
        let told = resources(json!([
            { "name": "CPU", "type": "INTEGER", "integerValue": 2048, "longValue": 0, "doubleValue": 0.0 },
            { "name": "MEMORY", "type": "LONG", "longValue": 3900 },
            { "name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "80"] },
            { "name": "GPU", "type": "STRINGSET", "stringSetValue": ["gpu-1"] },
        ]))
        .unwrap();
        assert_eq!((told.cpu, told.memory), (2048, 3900));
        assert_eq!((told.reserved_ports, told.reserved_ports_udp), (vec![22, 80], vec![]));
        assert_eq!(told.gpus, ["gpu-1"]);
        let none = resources(json!([])).unwrap();
        assert_eq!((none.cpu, none.memory), (4096, 8192));
    }

    #[test]
    fn resources_that_make_no_sense_are_refused_by_name() {
        for (bad, name) in [
            (json!([{ "name": "DISK", "integerValue": 1 }]), "DISK"),
            (json!([{ "name": "CPU", "integerValue": -1 }]), "CPU"),
            (json!([{ "name": "CPU" }]), "CPU"),
            (json!([{ "name": "PORTS", "stringSetValue": ["70000"] }]), "PORTS"),
        ] {
            assert!(resources(bad).unwrap_err().message.contains(name));
        }
    }

    #[test]
    fn what_is_told_comes_after_what_is_known() {
        let document =
            document(Some(r#"{"instanceId":"i-1","architecture":"arm64","availabilityZone":"a"}"#));
        let told = vec![Attribute { name: "ecs.os-type".into(), value: Some("plan9".into()) }];
        let all = attributes(&document.unwrap(), told);
        let names: Vec<_> = all.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names.last(), Some(&"ecs.os-type"));
        assert!(all.iter().any(|a| a.value.as_deref() == Some("arm64")));
        assert!(super::document(Some("{")).is_err());
    }
}
