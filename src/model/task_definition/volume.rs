//! `volumes[]`, `mountPoints[]`, `volumesFrom[]`.

use crate::model::shape::shape;
use serde_json::Value;
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
        efs_volume_configuration: Value,
        /// S3 Files.
        s3files_volume_configuration: Value,
        /// FSx.
        fsx_windows_file_server_volume_configuration: Value,
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
