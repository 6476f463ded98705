//! Members of the task itself, and what the launch types ask of it.

use super::super::units::{cpu_units, memory_mib};
use super::super::{ContainerDefinition, TaskDefinitionContent};
use super::{Check, client, fargate, in_range, invalid, one_of};

/// EC2 and EXTERNAL: an eighth of a vCPU to 192.
const CPU_UNITS: std::ops::RangeInclusive<i64> = 128..=196_608;

/// The members whose values are listed in the API's model.
pub(super) fn enumerations(content: &TaskDefinitionContent) -> Check {
    one_of("NetworkMode", content.network_mode.as_deref(), &["bridge", "host", "awsvpc", "none"])?;
    one_of("PidMode", content.pid_mode.as_deref(), &["host", "task"])?;
    one_of("IpcMode", content.ipc_mode.as_deref(), &["host", "task", "none"])?;
    for compatibility in content.requires_compatibilities.iter().flatten() {
        one_of(
            "Compatibility",
            Some(compatibility),
            &["EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES"],
        )?;
    }
    if let Some(platform) = &content.runtime_platform {
        one_of("CPUArchitecture", platform.cpu_architecture.as_deref(), &["X86_64", "ARM64"])?;
        one_of(
            "OSFamily",
            platform.operating_system_family.as_deref(),
            &[
                "WINDOWS_SERVER_2019_FULL",
                "WINDOWS_SERVER_2019_CORE",
                "WINDOWS_SERVER_2016_FULL",
                "WINDOWS_SERVER_2004_CORE",
                "WINDOWS_SERVER_2022_CORE",
                "WINDOWS_SERVER_2022_FULL",
                "WINDOWS_SERVER_2025_CORE",
                "WINDOWS_SERVER_2025_FULL",
                "WINDOWS_SERVER_20H2_CORE",
                "LINUX",
            ],
        )?;
    }
    if let Some(trusted) = &content.trusted_execution_configuration {
        one_of(
            "IsolationMode",
            trusted.isolation_mode.as_deref(),
            &["SHARED", "ISOLATED_SANDBOX", "CONFIDENTIAL_SANDBOX"],
        )?;
    }
    Ok(())
}

/// All other rules of the task.
pub(super) fn all(content: &TaskDefinitionContent, containers: &[ContainerDefinition]) -> Check {
    for role in [&content.task_role_arn, &content.execution_role_arn] {
        if role.as_deref().is_some_and(|role| !is_role(role)) {
            return client("Role is not valid");
        }
    }
    execution_role(content, containers)?;
    placement(content)?;
    proxy(content)?;
    if content.inference_accelerators.as_ref().is_some_and(|list| !list.is_empty()) {
        return client("Amazon Elastic Inference is no longer available.");
    }
    in_range(
        "ephemeralStorage.sizeInGiB",
        content.ephemeral_storage.as_ref().and_then(|storage| storage.size_in_gi_b),
        21..=200,
    )?;
    if content.ephemeral_storage.as_ref().is_some_and(|storage| storage.size_in_gi_b.is_none()) {
        return client("EphemeralStorage.sizeInGiB should not be null.");
    }
    let requires = |launch_type: &str| {
        content.requires_compatibilities.iter().flatten().any(|c| c == launch_type)
    };
    // Fargate's own rules come first: they are the more telling.
    if requires("FARGATE") {
        fargate::fits(content)?;
    }
    size(content, containers)?;
    if requires("EXTERNAL") {
        fits_external(content)?;
    }
    if requires("MANAGED_INSTANCES") {
        fits_managed_instances(content)?;
    }
    Ok(())
}

/// An ARN of a role, or a role's name.
fn is_role(role: &str) -> bool {
    let name_is_valid = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@-_/".contains(&b))
    };
    match role.strip_prefix("arn:") {
        None => role.len() <= 64 && name_is_valid(role),
        Some(rest) => {
            let parts: Vec<&str> = rest.splitn(5, ':').collect();
            matches!(parts.as_slice(), [_, "iam", "", account, resource]
                if account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
                    && resource.strip_prefix("role/").is_some_and(name_is_valid))
        }
    }
}

/// Secrets are fetched with the execution role.
fn execution_role(content: &TaskDefinitionContent, containers: &[ContainerDefinition]) -> Check {
    let has_secrets = containers.iter().any(|c| {
        let log = c.log_configuration.as_ref().and_then(|log| log.secret_options.as_ref());
        c.secrets.as_ref().is_some_and(|s| !s.is_empty()) || log.is_some_and(|s| !s.is_empty())
    });
    if has_secrets && content.execution_role_arn.is_none() {
        return client(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
        );
    }
    Ok(())
}

fn placement(content: &TaskDefinitionContent) -> Check {
    let constraints = content.placement_constraints.as_deref().unwrap_or_default();
    if constraints.len() > 10 {
        return invalid("Task definitions can have at most 10 placement constraints.");
    }
    for constraint in constraints {
        if constraint.r#type.as_deref() != Some("memberOf") {
            return invalid("Placement constraint type should be one of [memberOf]");
        }
        if constraint.expression.as_deref().is_none_or(|e| e.trim().is_empty()) {
            return invalid("Placement constraint expression should not be null or empty.");
        }
        if constraint.expression.as_ref().is_some_and(|e| e.len() > 2000) {
            return invalid("Placement constraint expression is too long.");
        }
    }
    Ok(())
}

/// App Mesh's proxy stands in the task's own network namespace.
fn proxy(content: &TaskDefinitionContent) -> Check {
    let Some(proxy) = &content.proxy_configuration else { return Ok(()) };
    one_of("ProxyConfigurationType", proxy.r#type.as_deref(), &["APPMESH"])?;
    if proxy.container_name.is_none() {
        return client("ProxyConfiguration.containerName should not be null or empty.");
    }
    if content.network_mode.as_deref() != Some("awsvpc") {
        return client("Proxy configuration is only supported when networkMode=awsvpc.");
    }
    Ok(())
}

/// `cpu` and `memory` of the task, and that the containers fit in.
fn size(content: &TaskDefinitionContent, containers: &[ContainerDefinition]) -> Check {
    if let Some(text) = content.cpu.as_deref() {
        let Some(units) = cpu_units(text).filter(|units| CPU_UNITS.contains(units)) else {
            return client("Invalid 'cpu' setting for task.");
        };
        let sum: i64 = containers.iter().filter_map(|c| c.cpu).sum();
        if sum > units {
            return client(
                "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
            );
        }
    }
    if let Some(text) = content.memory.as_deref() {
        let Some(mib) = memory_mib(text).filter(|mib| *mib >= 4 && *mib <= i64::from(i32::MAX))
        else {
            return client("Invalid 'memory' setting for task.");
        };
        // What placement subtracts: the soft limit where there is one.
        let set = |value: Option<i64>| value.filter(|v| *v != 0);
        let sum: i64 =
            containers.iter().filter_map(|c| set(c.memory_reservation).or(set(c.memory))).sum();
        if sum > mib {
            return client(
                "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'.",
            );
        }
    }
    Ok(())
}

/// What EXTERNAL (boxes of one's own) does not take.
pub(in super::super) fn fits_external(content: &TaskDefinitionContent) -> Check {
    let refuse = |what: &str| {
        client(format!("{what} is not supported when requiresCompatibilities contains EXTERNAL."))
    };
    if content.network_mode.as_deref() == Some("awsvpc") {
        return client(
            "Network mode 'awsvpc' is not supported when requiresCompatibilities contains EXTERNAL.",
        );
    }
    if content.proxy_configuration.is_some() {
        return refuse("ProxyConfiguration");
    }
    if content.enable_fault_injection == Some(true) {
        return refuse("enableFaultInjection");
    }
    let volumes = content.volumes.as_deref().unwrap_or_default();
    if volumes.iter().any(|v| v.efs_volume_configuration.is_some()) {
        return refuse("EFSVolumeConfiguration");
    }
    if volumes.iter().any(|v| v.configured_at_launch == Some(true)) {
        return refuse("Volume configured at launch");
    }
    let ports = content
        .container_definitions
        .iter()
        .flatten()
        .flat_map(|c| c.port_mappings.iter().flatten());
    if ports.clone().any(|port| port.app_protocol.is_some()) {
        return refuse("appProtocol");
    }
    Ok(())
}

/// What Managed Instances do not take.
pub(in super::super) fn fits_managed_instances(content: &TaskDefinitionContent) -> Check {
    if !matches!(content.network_mode.as_deref(), Some("awsvpc" | "host")) {
        return client("Managed Instances only support network modes 'awsvpc' and 'host'.");
    }
    if content.volumes.iter().flatten().any(|v| v.docker_volume_configuration.is_some()) {
        return client(
            "Managed Instances compatible task definitions do not support dockerVolumeConfiguration.",
        );
    }
    Ok(())
}
