//! What runs in a container: environment, secrets, health check, restarts, times.

use super::super::{
    ContainerDefinition, EnvironmentFile, KeyValuePair, RegistrationError, TaskDefinitionContent,
};
use super::{Check, client, container_range, container_setting, one_of};
use std::collections::BTreeSet;

pub(super) fn container(
    name: &str,
    container: &ContainerDefinition,
    content: &TaskDefinitionContent,
) -> Check {
    environment(container)?;
    secrets(container)?;
    health_check(name, container)?;
    restarts(name, container)?;
    for (what, value) in
        [("startTimeout", container.start_timeout), ("stopTimeout", container.stop_timeout)]
    {
        if value.is_some_and(|seconds| !(0..=i64::from(i32::MAX)).contains(&seconds)) {
            return container_setting(name, &format!("'{what}' must not be negative."));
        }
    }
    if container.user.as_deref().is_some_and(|user| !is_user(user)) {
        return container_setting(name, "'user' is not valid.");
    }
    resources(name, container, content)?;
    if container.repository_credentials.as_ref().is_some_and(|c| c.credentials_parameter.is_none())
    {
        return client("RepositoryCredentials.credentialsParameter should not be null or empty.");
    }
    let specs = container.credential_specs.as_deref().unwrap_or_default();
    if specs.len() > 1 {
        return client("Only one credentialSpec can be specified for a container.");
    }
    let known = |spec: &String| {
        spec.starts_with("credentialspec:") || spec.starts_with("credentialspecdomainless:")
    };
    if !specs.iter().all(known) {
        return client(
            "CredentialSpecs must start with credentialspec: or credentialspecdomainless:.",
        );
    }
    Ok(())
}

/// Checks what an override adds to a container: variables and environment files.
///
/// # Errors
/// As at registration; a variable must not have the name of a secret here either.
pub fn check_environment(
    container: &ContainerDefinition,
    variables: &[KeyValuePair],
    files: &[EnvironmentFile],
) -> Result<(), RegistrationError> {
    let mut together = container.clone();
    together.environment.get_or_insert_default().extend_from_slice(variables);
    together.environment_files.get_or_insert_default().extend_from_slice(files);
    environment(&together)?;
    secrets(&together)
}

fn environment(container: &ContainerDefinition) -> Check {
    if container.environment.iter().flatten().any(|pair| pair.name.is_none()) {
        return client("Environment variable name should not be null or empty.");
    }
    let files = container.environment_files.as_deref().unwrap_or_default();
    if files.len() > 10 {
        return client("A container can have at most 10 environment files.");
    }
    for file in files {
        let Some(value) = file.value.as_deref() else {
            return client("EnvironmentFile.value should not be null or empty.");
        };
        if file.r#type.is_none() {
            return client("EnvironmentFile.type should not be null or empty.");
        }
        one_of("EnvironmentFileType", file.r#type.as_deref(), &["s3"])?;
        let is_object = value.strip_prefix("arn:").is_some_and(|rest| rest.contains(":s3:::"));
        if !is_object || value.strip_suffix(".env").is_none() {
            return client(format!(
                "Invalid environment file '{value}'. It must be the ARN of an S3 object that ends in .env."
            ));
        }
    }
    Ok(())
}

/// A secret becomes a variable, so its name must be free.
fn secrets(container: &ContainerDefinition) -> Check {
    let mut taken: BTreeSet<&str> =
        container.environment.iter().flatten().filter_map(|pair| pair.name.as_deref()).collect();
    for secret in container.secrets.iter().flatten() {
        let (Some(name), Some(_)) = (secret.name.as_deref(), secret.value_from.as_deref()) else {
            return client("Secret.name and Secret.valueFrom should not be null or empty.");
        };
        if !taken.insert(name) {
            return client(format!(
                "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '{name}'."
            ));
        }
    }
    Ok(())
}

/// The first word of the command is not checked: ECS takes commands without `CMD` or `CMD-SHELL` too.
fn health_check(name: &str, container: &ContainerDefinition) -> Check {
    let Some(check) = &container.health_check else { return Ok(()) };
    let command = check.command.as_deref().unwrap_or_default();
    if command.iter().all(String::is_empty) {
        return client("HealthCheck.command should not be null or empty.");
    }
    if matches!(command, [only] if only == "CMD" || only == "CMD-SHELL") {
        return client(format!("HealthCheck.command needs a command after {}.", command[0]));
    }
    container_range(name, "healthCheck.interval", check.interval, 5..=300)?;
    container_range(name, "healthCheck.timeout", check.timeout, 2..=60)?;
    container_range(name, "healthCheck.retries", check.retries, 1..=10)?;
    container_range(name, "healthCheck.startPeriod", check.start_period, 0..=300)
}

fn restarts(name: &str, container: &ContainerDefinition) -> Check {
    let Some(policy) = &container.restart_policy else { return Ok(()) };
    if policy.enabled.is_none() {
        return client("RestartPolicy.enabled should not be null.");
    }
    container_range(
        name,
        "restartPolicy.restartAttemptPeriod",
        policy.restart_attempt_period,
        60..=1800,
    )?;
    if policy.ignored_exit_codes.as_ref().is_some_and(|codes| codes.len() > 50) {
        return client("RestartPolicy.ignoredExitCodes can have at most 50 exit codes.");
    }
    Ok(())
}

/// `user`, `user:group`, by name or by number that is not negative.
fn is_user(user: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && !part.starts_with('-') && !part.contains(char::is_whitespace)
    };
    match user.split_once(':') {
        None => part(user),
        Some((user, group)) => part(user) && part(group) && !group.contains(':'),
    }
}

fn resources(
    name: &str,
    container: &ContainerDefinition,
    content: &TaskDefinitionContent,
) -> Check {
    for requirement in container.resource_requirements.iter().flatten() {
        if requirement.r#type.is_none() {
            return client("ResourceRequirement.type should not be null or empty.");
        }
        one_of(
            "ResourceType",
            requirement.r#type.as_deref(),
            &["GPU", "InferenceAccelerator", "NeuronDevice"],
        )?;
        match (requirement.value.as_deref(), &requirement.sharing_strategy) {
            (None, None) => {
                return client("ResourceRequirement.value should not be null or empty.");
            }
            (Some(_), Some(_)) => {
                return client(
                    "ResourceRequirement must have either a value or a sharingStrategy.",
                );
            }
            (Some(value), None) if requirement.r#type.as_deref() == Some("GPU") => {
                let count = value.parse::<u16>().is_ok_and(|count| count > 0);
                if !count && value != "ALL" {
                    return client(
                        "ResourceRequirement.value for GPU must be a positive whole number.",
                    );
                }
            }
            (None, Some(strategy)) => {
                if let Some(share) = &strategy.nvidia_mps {
                    container_range(
                        name,
                        "nvidiaMps.memory",
                        share.memory,
                        1..=i64::from(i32::MAX),
                    )?;
                    container_range(
                        name,
                        "nvidiaMps.maxComputePercent",
                        share.max_compute_percent,
                        1..=100,
                    )?;
                }
            }
            (Some(value), None)
                if requirement.r#type.as_deref() == Some("InferenceAccelerator") =>
            {
                let known = content
                    .inference_accelerators
                    .iter()
                    .flatten()
                    .any(|accelerator| accelerator.device_name.as_deref() == Some(value));
                if !known {
                    return client(format!("Unknown inference accelerator '{value}'."));
                }
            }
            (Some(_), None) => {}
        }
    }
    Ok(())
}
