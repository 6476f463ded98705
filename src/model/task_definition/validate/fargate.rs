//! What Fargate asks of a definition.

use super::super::units::{cpu_units, memory_mib};
use super::super::{ContainerDefinition, TaskDefinitionContent};
use super::{Check, client, container_range};

/// Every rule of Fargate beyond those of any definition.
pub(in super::super) fn fits(content: &TaskDefinitionContent) -> Check {
    if content.network_mode.as_deref() != Some("awsvpc") {
        return client("Fargate only supports network mode ‘awsvpc’.");
    }
    size(content)?;
    if matches!(content.pid_mode.as_deref(), Some("host")) {
        return client(
            "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is 'task'.",
        );
    }
    if content.ipc_mode.is_some() {
        return client("Tasks using the Fargate launch type do not support ipcMode.");
    }
    if content.placement_constraints.as_ref().is_some_and(|list| !list.is_empty()) {
        return refuse("placementConstraints");
    }
    for volume in content.volumes.iter().flatten() {
        if volume.host.as_ref().is_some_and(|host| host.source_path.is_some()) {
            return refuse("sourcePath");
        }
        if volume.docker_volume_configuration.is_some() {
            return refuse("dockerVolumeConfiguration");
        }
        if volume.fsx_windows_file_server_volume_configuration.is_some() {
            return refuse("fsxWindowsFileServerVolumeConfiguration");
        }
    }
    for container in content.container_definitions.iter().flatten() {
        parameters(container)?;
        logging(container)?;
        execution_role(container, content.execution_role_arn.is_some())?;
    }
    Ok(())
}

fn refuse(what: &str) -> Check {
    client(format!("Fargate compatible task definitions do not support {what}"))
}

fn size(content: &TaskDefinitionContent) -> Check {
    let Some(cpu) = content.cpu.as_deref() else {
        return client("Fargate requires that 'cpu' be defined at the task level.");
    };
    let Some(memory) = content.memory.as_deref() else {
        return client("Fargate requires that 'memory' be defined at the task level.");
    };
    let Some(cpu) = cpu_units(cpu) else { return client("Invalid 'cpu' setting for task.") };
    let Some(memory) = memory_mib(memory) else {
        return client("Invalid 'memory' setting for task.");
    };
    let gib = |first: i64, last: i64, step: i64| {
        memory % 1024 == 0
            && (first..=last).contains(&(memory / 1024))
            && (memory / 1024 - first) % step == 0
    };
    let valid = match cpu {
        256 => memory == 512 || gib(1, 2, 1),
        512 => gib(1, 4, 1),
        1024 => gib(2, 8, 1),
        2048 => gib(4, 16, 1),
        4096 => gib(8, 30, 1),
        8192 => gib(16, 60, 4),
        16384 => gib(32, 120, 8),
        _ => false,
    };
    if !valid {
        return client(format!(
            "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS documentation for the valid values."
        ));
    }
    Ok(())
}

fn parameters(container: &ContainerDefinition) -> Check {
    let name = container.name.as_deref().unwrap_or_default();
    let filled = |len: Option<usize>| len.is_some_and(|len| len > 0);
    if container.privileged == Some(true) {
        return refuse("privileged");
    }
    if filled(container.docker_security_options.as_ref().map(Vec::len)) {
        return refuse("dockerSecurityOptions");
    }
    if container.resource_requirements.iter().flatten().any(|r| r.r#type.as_deref() == Some("GPU"))
    {
        return refuse("GPU resource requirements");
    }
    if let Some(linux) = &container.linux_parameters {
        if filled(linux.devices.as_ref().map(Vec::len)) {
            return refuse("devices");
        }
        if linux.shared_memory_size.is_some() {
            return refuse("sharedMemorySize");
        }
        if linux.max_swap.is_some() {
            return refuse("maxSwap");
        }
        if linux.swappiness.is_some() {
            return refuse("swappiness");
        }
        let added = linux.capabilities.iter().flat_map(|c| c.add.iter().flatten());
        for capability in added {
            if capability != "SYS_PTRACE" {
                return refuse(&format!("adding kernel capability '{capability}'"));
            }
        }
    }
    container_range(name, "startTimeout", container.start_timeout, 2..=120)?;
    container_range(name, "stopTimeout", container.stop_timeout, 0..=120)
}

fn logging(container: &ContainerDefinition) -> Check {
    if let Some(firelens) = &container.firelens_configuration {
        let from_s3 = firelens.options.as_ref().and_then(|o| o.get("config-file-type"));
        if from_s3.is_some_and(|kind| kind == "s3") {
            return client(
                "Fargate launch type does not support FirelensConfiguration config file from 's3'",
            );
        }
    }
    let Some(log) = &container.log_configuration else { return Ok(()) };
    match log.log_driver.as_deref() {
        None | Some("splunk" | "awsfirelens") => Ok(()),
        Some("awslogs") => {
            let prefix =
                log.options.as_ref().is_some_and(|o| o.contains_key("awslogs-stream-prefix"));
            if prefix {
                Ok(())
            } else {
                client("Log driver awslogs requires options: awslogs-stream-prefix")
            }
        }
        Some(driver) => refuse(&format!("log driver {driver}")),
    }
}

fn execution_role(container: &ContainerDefinition, has_role: bool) -> Check {
    if has_role {
        return Ok(());
    }
    let needs = |what: &str| {
        client(format!(
            "Fargate requires task definition to have execution role ARN to support {what}."
        ))
    };
    if container.log_configuration.as_ref().and_then(|log| log.log_driver.as_deref())
        == Some("awslogs")
    {
        return needs("log driver awslogs");
    }
    if container.image.as_deref().is_some_and(super::super::attributes::is_private_ecr) {
        return needs("ECR images");
    }
    Ok(())
}
