//! `requiresAttributes`: what a box must have, derived from what the definition uses.
//!
//! ECS writes down its rules nowhere; these are read off describe output that people published. The numbers are
//! versions of Docker's remote API, which is how ECS spells "a box new enough for this member".

use super::{ContainerDefinition, TaskDefinitionContent};
use crate::model::container_instance::Attribute;
use std::collections::BTreeSet;

const LOGGING_DRIVER: &str = "com.amazonaws.ecs.capability.logging-driver.";
const REMOTE_API: &str = "com.amazonaws.ecs.capability.docker-remote-api.1.";

/// Attribute names of the registered `content`, sorted.
#[must_use]
pub fn requires_attributes(content: &TaskDefinitionContent) -> Vec<Attribute> {
    let mut found = Found::default();
    task(&mut found, content);
    for container in content.container_definitions.iter().flatten() {
        let has_role = content.execution_role_arn.is_some();
        found.container(container);
        if content.network_mode.as_deref() == Some("host")
            && container.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty())
        {
            found.api(24);
        }
        found.logging(container, has_role);
        found.secrets(container);
        if container.image.as_deref().is_some_and(is_private_ecr) {
            found.add("com.amazonaws.ecs.capability.ecr-auth");
            if has_role {
                found.add("ecs.capability.execution-role-ecr-pull");
            }
        }
    }
    found.0.into_iter().map(|name| Attribute { name, value: None }).collect()
}

/// An image in a private registry of ECR.
pub(super) fn is_private_ecr(image: &str) -> bool {
    let host = image.split('/').next().unwrap_or_default();
    host.contains(".dkr.ecr")
        && (host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

fn task(found: &mut Found, content: &TaskDefinitionContent) {
    let mode = content.network_mode.as_deref();
    if mode == Some("awsvpc") {
        found.add("ecs.capability.task-eni");
        found.api(18);
    }
    if content.task_role_arn.is_some() {
        found.add("com.amazonaws.ecs.capability.task-iam-role");
        if mode == Some("host") {
            found.add("com.amazonaws.ecs.capability.task-iam-role-network-host");
        }
    }
    if content.pid_mode.is_some() || content.ipc_mode.is_some() {
        found.add("ecs.capability.pid-ipc-namespace-sharing");
    }
    if content.proxy_configuration.is_some() {
        found.add("ecs.capability.aws-appmesh");
    }
    if content.ephemeral_storage.is_some() {
        found.add("ecs.capability.extensible-ephemeral-storage");
    }
    if content.enable_fault_injection == Some(true) {
        found.add("ecs.capability.fault-injection");
    }
    for volume in content.volumes.iter().flatten() {
        if let Some(docker) = &volume.docker_volume_configuration {
            let driver = docker.driver.as_deref().unwrap_or("local");
            found.add(format!("ecs.capability.docker-plugin.{driver}"));
            found.api(25);
        }
        if let Some(efs) = &volume.efs_volume_configuration {
            found.add("ecs.capability.efs");
            if efs.authorization_config.is_some() || efs.transit_encryption.is_some() {
                found.add("ecs.capability.efsAuth");
            }
            found.api(25);
        }
        if volume.fsx_windows_file_server_volume_configuration.is_some() {
            found.add("ecs.capability.fsxWindowsFileServer");
        }
        if volume.configured_at_launch == Some(true) {
            found.add("ecs.capability.storage.ebs-task-attach");
        }
    }
}

/// The names found so far.
#[derive(Default)]
struct Found(BTreeSet<String>);

impl Found {
    fn add(&mut self, name: impl Into<String>) {
        self.0.insert(name.into());
    }

    fn api(&mut self, minor: u8) {
        self.add(format!("{REMOTE_API}{minor}"));
    }

    fn container(&mut self, container: &ContainerDefinition) {
        let filled = |len: Option<usize>| len.is_some_and(|len| len > 0);
        let base = container.user.is_some()
            || container.hostname.is_some()
            || container.working_directory.is_some()
            || container.privileged == Some(true)
            || container.readonly_root_filesystem == Some(true)
            || container.disable_networking == Some(true)
            || container.interactive == Some(true)
            || container.pseudo_terminal == Some(true)
            || filled(container.dns_servers.as_ref().map(Vec::len))
            || filled(container.dns_search_domains.as_ref().map(Vec::len))
            || filled(container.extra_hosts.as_ref().map(Vec::len))
            || filled(container.docker_security_options.as_ref().map(Vec::len));
        if base {
            self.api(17);
        }
        if container.privileged == Some(true) {
            self.add("com.amazonaws.ecs.capability.privileged-container");
        }
        for option in container.docker_security_options.iter().flatten() {
            if option.starts_with("label:") {
                self.add("com.amazonaws.ecs.capability.selinux");
            } else if option.starts_with("apparmor:") {
                self.add("com.amazonaws.ecs.capability.apparmor");
            } else if option.starts_with("credentialspec:") {
                self.add("ecs.capability.gmsa");
            }
        }
        if filled(container.ulimits.as_ref().map(Vec::len))
            || container.docker_labels.as_ref().is_some_and(|labels| !labels.is_empty())
        {
            self.api(18);
        }
        if container.memory_reservation.is_some_and(|mib| mib != 0) {
            self.api(21);
        }
        if let Some(linux) = &container.linux_parameters {
            if linux.init_process_enabled == Some(true) {
                self.api(25);
            }
            if linux.shared_memory_size.is_some() || filled(linux.tmpfs.as_ref().map(Vec::len)) {
                self.api(22);
            }
        }
        if let Some(check) = &container.health_check {
            self.add("ecs.capability.container-health-check");
            self.api(if check.start_period.is_some() { 29 } else { 24 });
        }
        if filled(container.depends_on.as_ref().map(Vec::len))
            || container.start_timeout.is_some()
            || container.stop_timeout.is_some()
        {
            self.add("ecs.capability.container-ordering");
        }
        if container.restart_policy.as_ref().and_then(|p| p.enabled) == Some(true) {
            self.add("ecs.capability.container-restart-policy");
        }
        if container.repository_credentials.is_some() {
            self.add("ecs.capability.private-registry-authentication.secretsmanager");
        }
        if filled(container.environment_files.as_ref().map(Vec::len)) {
            self.add("ecs.capability.env-files.s3");
        }
        if container.port_mappings.iter().flatten().any(|p| p.container_port_range.is_some()) {
            self.add("ecs.capability.network.container-port-range");
        }
        if filled(container.credential_specs.as_ref().map(Vec::len)) {
            self.add("ecs.capability.gmsa");
        }
    }

    fn logging(&mut self, container: &ContainerDefinition, has_role: bool) {
        if let Some(firelens) = &container.firelens_configuration {
            if let Some(kind) = &firelens.r#type {
                self.add(format!("ecs.capability.firelens.{kind}"));
            }
            if let Some(kind) = firelens.options.as_ref().and_then(|o| o.get("config-file-type")) {
                self.add(format!("ecs.capability.firelens.options.config.{kind}"));
            }
        }
        let Some(log) = &container.log_configuration else { return };
        let Some(driver) = log.log_driver.as_deref() else { return };
        self.add(format!("{LOGGING_DRIVER}{driver}"));
        match driver {
            "awslogs" | "awsfirelens" | "journald" | "splunk" => self.api(19),
            "gelf" | "fluentd" => self.api(20),
            _ => self.api(18),
        }
        if driver == "awslogs" {
            if has_role {
                self.add("ecs.capability.execution-role-awslogs");
            }
            let has = |name: &str| log.options.as_ref().is_some_and(|o| o.contains_key(name));
            if has("mode") || has("max-buffer-size") {
                self.api(28);
            }
            if has("awslogs-create-group") {
                self.api(29);
            }
        }
        if driver == "awsfirelens"
            && log.options.as_ref().is_some_and(|o| o.contains_key("log-driver-buffer-limit"))
        {
            self.add("ecs.capability.logging-driver.awsfirelens.log-driver-buffer-limit");
        }
        for secret in log.secret_options.iter().flatten() {
            self.secret(secret.value_from.as_deref(), "bootstrap.log-driver");
        }
    }

    fn secrets(&mut self, container: &ContainerDefinition) {
        for secret in container.secrets.iter().flatten() {
            self.secret(secret.value_from.as_deref(), "environment-variables");
        }
    }

    /// Secrets Manager is named by ARN; everything else is a parameter of SSM.
    fn secret(&mut self, value_from: Option<&str>, use_as: &str) {
        let manager =
            value_from.is_some_and(|v| v.starts_with("arn:") && v.contains(":secretsmanager:"));
        let store = if manager { "asm" } else { "ssm" };
        self.add(format!("ecs.capability.secrets.{store}.{use_as}"));
    }
}
