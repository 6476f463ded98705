//! Log drivers and FireLens.

use super::super::ContainerDefinition;
use super::{Check, client, one_of};

/// As the API lists them, and `none`, which the agent of ECS knows as well.
const DRIVERS: [&str; 9] = [
    "json-file",
    "syslog",
    "journald",
    "gelf",
    "fluentd",
    "awslogs",
    "splunk",
    "awsfirelens",
    "none",
];

pub(super) fn container(
    container: &ContainerDefinition,
    containers: &[ContainerDefinition],
) -> Check {
    if let Some(firelens) = &container.firelens_configuration {
        if firelens.r#type.is_none() {
            return client("FirelensConfiguration.type should not be null or empty.");
        }
        one_of("FirelensConfigurationType", firelens.r#type.as_deref(), &["fluentd", "fluentbit"])?;
        if routers(containers) > 1 {
            return client(
                "Only one container in a task definition can have a firelensConfiguration.",
            );
        }
        let option = |name: &str| firelens.options.as_ref().and_then(|options| options.get(name));
        match option("config-file-type").map(String::as_str) {
            None => {}
            Some("file" | "s3") if option("config-file-value").is_some() => {}
            Some("file" | "s3") => {
                return client(
                    "FireLens option config-file-type requires option config-file-value.",
                );
            }
            Some(_) => {
                return client("FireLens option config-file-type should be one of [file,s3]");
            }
        }
    }
    let Some(log) = &container.log_configuration else { return Ok(()) };
    let Some(driver) = log.log_driver.as_deref() else {
        return client("LogConfiguration.logDriver should not be null or empty.");
    };
    one_of("Log driver", Some(driver), &DRIVERS)?;
    let has = |name: &str| log.options.as_ref().is_some_and(|options| options.contains_key(name));
    match driver {
        "awslogs" => {
            let missing: Vec<&str> =
                ["awslogs-region", "awslogs-group"].into_iter().filter(|name| !has(name)).collect();
            if !missing.is_empty() {
                return client(format!(
                    "Log driver awslogs requires options: {}",
                    missing.join(", ")
                ));
            }
        }
        "splunk" => {
            let secret = |name: &str| {
                log.secret_options.iter().flatten().any(|s| s.name.as_deref() == Some(name))
            };
            let missing: Vec<&str> = ["splunk-url", "splunk-token"]
                .into_iter()
                .filter(|name| !has(name) && !secret(name))
                .collect();
            if !missing.is_empty() {
                return client(format!(
                    "Log driver splunk requires options: {}",
                    missing.join(", ")
                ));
            }
        }
        "awsfirelens" if routers(containers) == 0 => {
            return client(
                "Log driver awsfirelens requires a container with a firelensConfiguration in the task definition.",
            );
        }
        _ => {}
    }
    if let Some(mode) = log.options.as_ref().and_then(|options| options.get("mode"))
        && driver == "awslogs"
    {
        one_of("Log option mode", Some(mode), &["blocking", "non-blocking"])?;
    }
    if log.secret_options.iter().flatten().any(|s| s.name.is_none() || s.value_from.is_none()) {
        return client("Secret.name and Secret.valueFrom should not be null or empty.");
    }
    Ok(())
}

fn routers(containers: &[ContainerDefinition]) -> usize {
    containers.iter().filter(|c| c.firelens_configuration.is_some()).count()
}
