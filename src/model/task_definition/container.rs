//! `containerDefinitions[]`.

use super::KeyValuePair;
use super::linux::{LinuxParameters, SystemControl, Ulimit};
use super::volume::{MountPoint, VolumeFrom};
use crate::model::shape::shape;
use std::collections::BTreeMap;

shape! {
    /// One container of a task definition.
    pub struct ContainerDefinition {
        /// Unique in the definition.
        name: String,
        /// Registry reference with a tag or digest.
        image: String,
        /// `enabled` or `disabled`.
        version_consistency: String,
        /// Credentials of a private registry.
        repository_credentials: RepositoryCredentials,
        /// CPU shares, 1024 a core.
        cpu: i64,
        /// Hard limit in MiB.
        memory: i64,
        /// Soft limit in MiB.
        memory_reservation: i64,
        /// `name` or `name:alias`.
        links: Vec<String>,
        /// Published ports.
        port_mappings: Vec<PortMapping>,
        /// Whether the task ends with this container; true unless set.
        essential: bool,
        /// Restart in place.
        restart_policy: RestartPolicy,
        /// Overrides the image's entry point.
        entry_point: Vec<String>,
        /// Overrides the image's command.
        command: Vec<String>,
        /// Environment.
        environment: Vec<KeyValuePair>,
        /// Files with environment.
        environment_files: Vec<EnvironmentFile>,
        /// Mounts of the task's volumes.
        mount_points: Vec<MountPoint>,
        /// Mounts of another container.
        volumes_from: Vec<VolumeFrom>,
        /// Linux specifics.
        linux_parameters: LinuxParameters,
        /// Secrets as environment.
        secrets: Vec<Secret>,
        /// Order of start and stop.
        depends_on: Vec<ContainerDependency>,
        /// Seconds.
        start_timeout: i64,
        /// Seconds between the stop signal and SIGKILL.
        stop_timeout: i64,
        /// Host name.
        hostname: String,
        /// `user`, `user:group`, `uid`, `uid:gid`, …
        user: String,
        /// Working directory.
        working_directory: String,
        /// An empty network namespace.
        disable_networking: bool,
        /// All capabilities and devices.
        privileged: bool,
        /// A read-only root file system.
        readonly_root_filesystem: bool,
        /// Name servers.
        dns_servers: Vec<String>,
        /// Search domains.
        dns_search_domains: Vec<String>,
        /// Lines of `/etc/hosts`.
        extra_hosts: Vec<HostEntry>,
        /// `no-new-privileges`, `apparmor:…`, `label:…`, `credentialspec:…`.
        docker_security_options: Vec<String>,
        /// Keep stdin open.
        interactive: bool,
        /// A terminal.
        pseudo_terminal: bool,
        /// Labels.
        docker_labels: BTreeMap<String, String>,
        /// Resource limits of the process.
        ulimits: Vec<Ulimit>,
        /// Where output goes.
        log_configuration: LogConfiguration,
        /// The container's health check.
        health_check: HealthCheck,
        /// Kernel parameters.
        system_controls: Vec<SystemControl>,
        /// GPUs and accelerators.
        resource_requirements: Vec<ResourceRequirement>,
        /// FireLens.
        firelens_configuration: FirelensConfiguration,
        /// gMSA.
        credential_specs: Vec<String>,
    }
}

impl ContainerDefinition {
    /// True unless `essential` is false.
    #[must_use]
    pub fn is_essential(&self) -> bool {
        self.essential.unwrap_or(true)
    }

    /// The secret with the login of the image's registry.
    #[must_use]
    pub fn registry_login(&self) -> Option<&str> {
        self.repository_credentials.as_ref()?.credentials_parameter.as_deref()
    }
}

shape! {
    /// Credentials of a private registry.
    pub struct RepositoryCredentials {
        /// Name or ARN of the secret.
        credentials_parameter: String,
    }
}

shape! {
    /// A published port.
    pub struct PortMapping {
        /// In the container.
        container_port: i64,
        /// On the box; 0 is a dynamic one.
        host_port: i64,
        /// `tcp` or `udp`.
        protocol: String,
        /// Service Connect's name.
        name: String,
        /// `http`, `http2`, `grpc`.
        app_protocol: String,
        /// `a-b`.
        container_port_range: String,
    }
}

shape! {
    /// Restart in place.
    pub struct RestartPolicy {
        /// On or off.
        enabled: bool,
        /// Codes that are not restarted.
        ignored_exit_codes: Vec<i64>,
        /// Seconds a run must have lasted.
        restart_attempt_period: i64,
    }
}

shape! {
    /// A file with environment.
    pub struct EnvironmentFile {
        /// ARN of the object.
        value: String,
        /// `s3`.
        r#type: String,
    }
}

shape! {
    /// A secret as an environment variable or log option.
    pub struct Secret {
        /// The variable.
        name: String,
        /// Name or ARN of the secret.
        value_from: String,
    }
}

shape! {
    /// `dependsOn[]`.
    pub struct ContainerDependency {
        /// The container depended on.
        container_name: String,
        /// `START`, `COMPLETE`, `SUCCESS`, `HEALTHY`.
        condition: String,
    }
}

shape! {
    /// A line of `/etc/hosts`.
    pub struct HostEntry {
        /// The name.
        hostname: String,
        /// The address.
        ip_address: String,
    }
}

shape! {
    /// Where output goes.
    pub struct LogConfiguration {
        /// The driver.
        log_driver: String,
        /// Its options.
        options: BTreeMap<String, String>,
        /// Its secret options.
        secret_options: Vec<Secret>,
    }
}

shape! {
    /// The container's health check; times in seconds.
    pub struct HealthCheck {
        /// `CMD …` or `CMD-SHELL …`.
        command: Vec<String>,
        /// Between checks.
        interval: i64,
        /// Of one check.
        timeout: i64,
        /// Failures in a row.
        retries: i64,
        /// Grace at the start.
        start_period: i64,
    }
}

shape! {
    /// A GPU or accelerator.
    pub struct ResourceRequirement {
        /// The amount or name.
        value: String,
        /// `GPU`, `InferenceAccelerator`, `NeuronDevice`.
        r#type: String,
        /// Shared GPUs.
        sharing_strategy: SharingStrategy,
    }
}

shape! {
    /// How a GPU is shared.
    pub struct SharingStrategy {
        /// Through NVIDIA's MPS.
        nvidia_mps: NvidiaMps,
    }
}

shape! {
    /// A share of a GPU.
    pub struct NvidiaMps {
        /// MiB of its memory.
        memory: i64,
        /// 1 to 100.
        max_compute_percent: i64,
    }
}

shape! {
    /// FireLens.
    pub struct FirelensConfiguration {
        /// `fluentd` or `fluentbit`.
        r#type: String,
        /// Its options.
        options: BTreeMap<String, String>,
    }
}
