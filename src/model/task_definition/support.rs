//! What a task definition may ask for in ECS and cannot get here. Registration refuses it by the names given here, so that
//! nothing a definition asks for is silently left out; RunTask refuses what an older version registered.
//! `docs/task-definition.md` lists it for people, and a test compares the two.

use super::logging::LogSettings;
use super::{
    ContainerDefinition, DockerVolumeConfiguration, LocalVolume, MountOptions,
    TaskDefinitionContent, Tmpfs, Volume, forward_logs, secret_file,
};
use std::collections::BTreeMap;

/// A member with an effect that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its path, for example `containerDefinitions[0].secrets`.
    pub field: String,
    /// What to do instead.
    pub remedy: String,
}

/// The members of a registered `content` that keep it from running, in the order of the definition.
#[must_use]
pub fn unsupported(content: &TaskDefinitionContent) -> Vec<Unsupported> {
    let mut found = Found { prefix: String::new(), list: Vec::new() };
    found.task(content);
    for (index, volume) in content.volumes.iter().flatten().enumerate() {
        found.prefix = format!("volumes[{index}].");
        found.volume(volume);
    }
    for (index, container) in content.container_definitions.iter().flatten().enumerate() {
        found.prefix = format!("containerDefinitions[{index}].");
        found.container(container);
    }
    found.list
}

/// A list with something in it.
fn filled<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

struct Found {
    prefix: String,
    list: Vec<Unsupported>,
}

impl Found {
    fn add(&mut self, field: &str, remedy: &str) {
        self.list.push(Unsupported {
            field: format!("{}{field}", self.prefix),
            remedy: remedy.to_owned(),
        });
    }

    fn when(&mut self, condition: bool, field: &str, remedy: &str) {
        if condition {
            self.add(field, remedy);
        }
    }

    fn task(&mut self, content: &TaskDefinitionContent) {
        self.when(content.proxy_configuration.is_some(), "proxyConfiguration", "leave it out");
        self.when(
            filled(content.inference_accelerators.as_ref()),
            "inferenceAccelerators",
            "leave it out",
        );
        self.when(
            content.ephemeral_storage.is_some(),
            "ephemeralStorage",
            "leave it out: tasks use the space of the state directory",
        );
        self.when(
            content.enable_fault_injection == Some(true),
            "enableFaultInjection",
            "set it to false",
        );
        let platform = content.runtime_platform.as_ref();
        let system = platform.and_then(|p| p.operating_system_family.as_deref());
        self.when(
            !matches!(system, None | Some("LINUX")),
            "runtimePlatform.operatingSystemFamily",
            "set it to LINUX",
        );
        let isolation = content
            .trusted_execution_configuration
            .as_ref()
            .and_then(|t| t.isolation_mode.as_deref());
        self.when(
            !matches!(isolation, None | Some("SHARED")),
            "trustedExecutionConfiguration.isolationMode",
            "set it to SHARED",
        );
        let policy = content
            .trusted_execution_configuration
            .as_ref()
            .is_some_and(|t| t.attestation_policy.is_some());
        self.when(policy, "trustedExecutionConfiguration.attestationPolicy", "leave it out");
    }

    fn volume(&mut self, volume: &Volume) {
        const HOST: &str = "use a host volume";
        if let Some(docker) = &volume.docker_volume_configuration {
            self.docker_volume(docker);
        }
        self.when(volume.efs_volume_configuration.is_some(), "efsVolumeConfiguration", HOST);
        self.when(
            volume.s3files_volume_configuration.is_some(),
            "s3filesVolumeConfiguration",
            HOST,
        );
        let fsx = volume.fsx_windows_file_server_volume_configuration.is_some();
        self.when(fsx, "fsxWindowsFileServerVolumeConfiguration", HOST);
        self.when(volume.configured_at_launch == Some(true), "configuredAtLaunch", HOST);
    }

    fn docker_volume(&mut self, docker: &DockerVolumeConfiguration) {
        let driver = docker.driver.as_deref();
        if !matches!(driver, None | Some("local")) {
            // Its options are its own.
            return self.add("dockerVolumeConfiguration.driver", "set it to local");
        }
        if let Some(Err(error)) = docker.driver_opts.as_ref().map(LocalVolume::parse) {
            let field = format!("dockerVolumeConfiguration.driverOpts.{}", error.key);
            self.add(&field, &error.reason);
        }
    }

    fn memory_mounts(&mut self, mounts: &[Tmpfs]) {
        for (index, mount) in mounts.iter().enumerate() {
            let options = mount.mount_options.as_deref().unwrap_or_default();
            if let Err(refused) = MountOptions::of_tmpfs(options) {
                let field = format!("linuxParameters.tmpfs[{index}].mountOptions");
                self.add(&field, &format!("leave {} out: {}", refused.option, refused.reason));
            }
        }
    }

    fn container(&mut self, container: &ContainerDefinition) {
        const OUT: &str = "leave it out";
        let c = container;
        if let Err(error) = secret_file::secret_files(c) {
            self.add("dockerLabels", &error.to_string());
        }
        if let Err(rule) = forward_logs::label(c) {
            self.add("dockerLabels", rule);
        }
        self.when(filled(c.resource_requirements.as_ref()), "resourceRequirements", OUT);
        self.when(c.firelens_configuration.is_some(), "firelensConfiguration", OUT);
        self.when(filled(c.credential_specs.as_ref()), "credentialSpecs", OUT);
        for option in c.docker_security_options.iter().flatten() {
            if option != "no-new-privileges" {
                self.add("dockerSecurityOptions", "keep only no-new-privileges");
                break;
            }
        }
        if let Err(problem) = LogSettings::read(c.log_configuration.as_ref(), &BTreeMap::new()) {
            self.add(&format!("logConfiguration.{}", problem.member), &problem.remedy);
        }
        if let Some(linux) = &c.linux_parameters {
            self.memory_mounts(linux.tmpfs.as_deref().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;
