//! Volumes and mounts.

use super::super::{ContainerDefinition, EfsVolumeConfiguration, Volume};
use super::{Check, client, in_range, one_of};
use crate::model::ids::is_name;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn volumes(volumes: &[Volume]) -> Check {
    let mut names = BTreeSet::new();
    for volume in volumes {
        let name = volume.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            return client("volume.name should not be null or empty.");
        }
        if !is_name(name) {
            return client("volume.name contains invalid characters.");
        }
        if !names.insert(name) {
            return client(format!("Volume names should be unique. Duplicate name: '{name}'."));
        }
        if volume.kinds() > 1 {
            return client(format!(
                "Volume '{name}' must have only one kind of volume configuration."
            ));
        }
        configuration(name, volume)?;
    }
    if volumes.iter().filter(|v| v.configured_at_launch == Some(true)).count() > 1 {
        return client("Only one volume can be configured at launch.");
    }
    Ok(())
}

fn configuration(name: &str, volume: &Volume) -> Check {
    if let Some(path) = volume.host.as_ref().and_then(|host| host.source_path.as_deref())
        && !is_absolute(path)
    {
        return client(format!("Host.sourcePath of volume '{name}' must be an absolute path."));
    }
    if let Some(docker) = &volume.docker_volume_configuration {
        one_of("Scope", docker.scope.as_deref(), &["task", "shared"])?;
        if docker.autoprovision == Some(true) && docker.scope.as_deref() != Some("shared") {
            return client(format!(
                "Volume '{name}' can only have autoprovision when its scope is shared."
            ));
        }
    }
    if let Some(efs) = &volume.efs_volume_configuration {
        elastic_file_system(efs)?;
    }
    if let Some(files) = &volume.s3files_volume_configuration
        && files.file_system_arn.is_none()
    {
        return client("S3FilesVolumeConfiguration.fileSystemArn should not be null or empty.");
    }
    if let Some(fsx) = &volume.fsx_windows_file_server_volume_configuration
        && (fsx.file_system_id.is_none()
            || fsx.root_directory.is_none()
            || fsx.authorization_config.is_none())
    {
        return client(
            "FSxWindowsFileServerVolumeConfiguration needs fileSystemId, rootDirectory and authorizationConfig.",
        );
    }
    Ok(())
}

fn elastic_file_system(efs: &EfsVolumeConfiguration) -> Check {
    if efs.file_system_id.is_none() {
        return client("EFSVolumeConfiguration.fileSystemId should not be null or empty.");
    }
    one_of("EFSTransitEncryption", efs.transit_encryption.as_deref(), &["ENABLED", "DISABLED"])?;
    in_range(
        "transitEncryptionPort",
        efs.transit_encryption_port.filter(|port| *port != 0),
        1..=65_535,
    )?;
    let Some(authorization) = &efs.authorization_config else { return Ok(()) };
    one_of("EFSAuthorizationConfigIAM", authorization.iam.as_deref(), &["ENABLED", "DISABLED"])?;
    let encrypted = efs.transit_encryption.as_deref() == Some("ENABLED");
    if authorization.access_point_id.is_some() {
        if !matches!(efs.root_directory.as_deref(), None | Some("/")) {
            return client(
                "When using an EFS access point, the root directory must either be set to \"/\" or be omitted.",
            );
        }
        if !encrypted {
            return client(
                "EFS transit encryption must be enabled when an access point is specified.",
            );
        }
    }
    if authorization.iam.as_deref() == Some("ENABLED") && !encrypted {
        return client("EFS transit encryption must be enabled when IAM authorization is enabled.");
    }
    Ok(())
}

/// Mounts name volumes and containers that exist. To be called once `dependsOn` has been found in order.
pub(super) fn mounts(containers: &[ContainerDefinition], volumes: &[Volume]) -> Check {
    for container in containers {
        let name = container.name.as_deref().unwrap_or_default();
        for mount in container.mount_points.iter().flatten() {
            let Some(source) = mount.source_volume.as_deref() else {
                return client("Unknown volume 'null'.");
            };
            if !volumes.iter().any(|v| v.name.as_deref() == Some(source)) {
                return client(format!("Unknown volume '{source}'."));
            }
            let Some(path) = mount.container_path.as_deref() else {
                return client("MountPoint.containerPath should not be null or empty.");
            };
            if !is_absolute(path) {
                return client(format!(
                    "Mount point path '{path}' of container '{name}' must be absolute."
                ));
            }
        }
        for from in container.volumes_from.iter().flatten() {
            let Some(source) = from.source_container.as_deref() else {
                return client("VolumeFrom.sourceContainer should not be null or empty.");
            };
            if !containers.iter().any(|c| c.name.as_deref() == Some(source)) {
                return client(format!(
                    "Invalid 'volumesFrom' setting. Unknown container: '{source}'."
                ));
            }
        }
    }
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for container in containers {
        let sources = container.volumes_from.iter().flatten();
        let sources = sources.filter_map(|from| from.source_container.as_deref()).collect();
        edges.insert(container.name.as_deref().unwrap_or_default(), sources);
    }
    if super::dependencies::cycle(&edges).is_some() {
        return client("Container volumesFrom should not have a cycle");
    }
    // Both are orders of start: together they must be one.
    for container in containers {
        let needs = container.depends_on.iter().flatten();
        let targets = edges.entry(container.name.as_deref().unwrap_or_default()).or_default();
        targets.extend(needs.filter_map(|need| need.container_name.as_deref()));
    }
    match super::dependencies::cycle(&edges) {
        Some(_) => client("Container dependencies and volumesFrom should not have a cycle"),
        None => Ok(()),
    }
}

/// Absolute on Linux or, for Windows definitions, on Windows.
fn is_absolute(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with('/')
        || path.starts_with("\\\\")
        || (bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':')
}
