//! Names, images, sizes and `essential` of the containers.

use super::super::units::memory_mib;
use super::super::{ContainerDefinition, TaskDefinitionContent};
use super::{Check, client, container_setting, one_of};
use crate::model::ids::is_name;
use std::collections::BTreeSet;

/// ECS's quota, not adjustable.
const MAX_CONTAINERS: usize = 10;

/// The least MiB a container runtime starts with; ECS refuses below it.
const MIN_MEMORY: i64 = 4;

pub(super) fn all(containers: &[ContainerDefinition], content: &TaskDefinitionContent) -> Check {
    if containers.is_empty() {
        return client("Container list cannot be empty.");
    }
    if containers.len() > MAX_CONTAINERS {
        return client("Too many containers.");
    }
    let mut names = BTreeSet::new();
    for container in containers {
        let name = name(container.name.as_deref())?;
        if !names.insert(name) {
            return client("Container names must be unique within a Task Definition.");
        }
        image(container.image.as_deref())?;
        one_of(
            "Version consistency",
            container.version_consistency.as_deref(),
            &["enabled", "disabled"],
        )?;
        memory(name, container, content.memory.as_deref())?;
        if container.cpu.is_some_and(|cpu| !(0..=i64::from(i32::MAX)).contains(&cpu)) {
            return container_setting(name, "'cpu' must not be negative.");
        }
    }
    if !containers.iter().any(ContainerDefinition::is_essential) {
        return client("Task definition doesn't have any essential container.");
    }
    Ok(())
}

fn name(name: Option<&str>) -> Result<&str, super::RegistrationError> {
    match name {
        None | Some("") => client("Container.name should not be null or empty."),
        Some(name) if name.len() > 255 => client("Container.name too long."),
        Some(name) if !is_name(name) => client("Container.name contains invalid characters."),
        Some(name) => Ok(name),
    }
}

/// `repository[:tag][@sha256:…]`; the limit of 255 is for what stands before the digest.
fn image(image: Option<&str>) -> Check {
    let image = match image {
        None | Some("") => return client("Container.image should not be null or empty."),
        Some(image) => image,
    };
    let (reference, digest) = image.split_once('@').map_or((image, None), |(r, d)| (r, Some(d)));
    if reference.len() > 255 {
        return client("Container.image repository too long.");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_:./#".contains(&b);
    let digest_is_valid = digest.is_none_or(|digest| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    if reference.is_empty() || !reference.bytes().all(allowed) || !digest_is_valid {
        return client("Container.image contains invalid characters.");
    }
    Ok(())
}

fn memory(name: &str, container: &ContainerDefinition, task_memory: Option<&str>) -> Check {
    // 0 is how forms write "not set".
    let memory = container.memory.filter(|m| *m != 0);
    let reservation = container.memory_reservation.filter(|m| *m != 0);
    if memory.is_none() && reservation.is_none() && task_memory.is_none() {
        return container_setting(
            name,
            "At least one of 'memory' or 'memoryReservation' must be specified.",
        );
    }
    for (what, value) in [("memory", memory), ("memoryReservation", reservation)] {
        if value.is_some_and(|value| value < MIN_MEMORY) {
            return container_setting(
                name,
                &format!("The minimum value for '{what}' is {MIN_MEMORY}."),
            );
        }
    }
    if let (Some(memory), Some(reservation)) = (memory, reservation)
        && memory < reservation
    {
        return container_setting(
            name,
            "'memory' must be greater than or equal to 'memoryReservation'.",
        );
    }
    if let (Some(memory), Some(task)) = (memory, task_memory.and_then(memory_mib))
        && memory > task
    {
        return client(format!(
            "The 'memory' setting for container '{name}' is greater than for the task."
        ));
    }
    Ok(())
}
