//! `volumes[]`, `mountPoints[]`, `volumesFrom[]`.

use crate::model::shape::shape;
use std::collections::BTreeMap;

shape! {
    /// A volume of the task.
    pub struct Volume {
        /// Unique in the definition.
        name: String,
        /// A directory of the box, or scratch when empty.
        host: HostVolumeProperties,
        /// A Docker volume.
        docker_volume_configuration: DockerVolumeConfiguration,
        /// EFS.
        efs_volume_configuration: EfsVolumeConfiguration,
        /// S3 Files.
        s3files_volume_configuration: S3FilesVolumeConfiguration,
        /// FSx.
        fsx_windows_file_server_volume_configuration: FsxWindowsFileServerVolumeConfiguration,
        /// Configured at run time.
        configured_at_launch: bool,
    }
}

shape! {
    /// A directory of the box.
    pub struct HostVolumeProperties {
        /// Absolute; absent for scratch.
        source_path: String,
    }
}

shape! {
    /// A Docker volume.
    pub struct DockerVolumeConfiguration {
        /// `task` or `shared`.
        scope: String,
        /// Make it when missing (shared).
        autoprovision: bool,
        /// `local`.
        driver: String,
        /// Options of the driver.
        driver_opts: BTreeMap<String, String>,
        /// Labels.
        labels: BTreeMap<String, String>,
    }
}

shape! {
    /// A file system of EFS.
    pub struct EfsVolumeConfiguration {
        /// `fs-…`.
        file_system_id: String,
        /// `/` unless given.
        root_directory: String,
        /// `ENABLED` or `DISABLED`.
        transit_encryption: String,
        /// Port of the encrypted transport.
        transit_encryption_port: i64,
        /// Access point and IAM.
        authorization_config: EfsAuthorizationConfig,
    }
}

shape! {
    /// Access to a file system of EFS.
    pub struct EfsAuthorizationConfig {
        /// `fsap-…`.
        access_point_id: String,
        /// `ENABLED` or `DISABLED`.
        iam: String,
    }
}

shape! {
    /// A file system of S3 Files.
    pub struct S3FilesVolumeConfiguration {
        /// Its ARN.
        file_system_arn: String,
        /// `/` unless given.
        root_directory: String,
        /// Port of the encrypted transport.
        transit_encryption_port: i64,
        /// ARN of an access point.
        access_point_arn: String,
    }
}

shape! {
    /// A file system of FSx for Windows File Server.
    pub struct FsxWindowsFileServerVolumeConfiguration {
        /// `fs-…`.
        file_system_id: String,
        /// Directory in it.
        root_directory: String,
        /// Access to it.
        authorization_config: FsxWindowsFileServerAuthorizationConfig,
    }
}

shape! {
    /// Access to a file system of FSx.
    pub struct FsxWindowsFileServerAuthorizationConfig {
        /// Secret with the credentials.
        credentials_parameter: String,
        /// The directory's domain.
        domain: String,
    }
}

shape! {
    /// A mount of one of the task's volumes.
    pub struct MountPoint {
        /// The volume.
        source_volume: String,
        /// Where.
        container_path: String,
        /// Read only.
        read_only: bool,
    }
}

shape! {
    /// All mounts of another container.
    pub struct VolumeFrom {
        /// The container.
        source_container: String,
        /// Read only.
        read_only: bool,
    }
}

impl Volume {
    /// How many kinds of configuration it names; an empty `host` is none.
    pub(crate) fn kinds(&self) -> usize {
        [
            self.host.as_ref().is_some_and(|host| host.source_path.is_some()),
            self.docker_volume_configuration.is_some(),
            self.efs_volume_configuration.is_some(),
            self.s3files_volume_configuration.is_some(),
            self.fsx_windows_file_server_volume_configuration.is_some(),
            self.configured_at_launch == Some(true),
        ]
        .into_iter()
        .filter(|named| *named)
        .count()
    }
}
