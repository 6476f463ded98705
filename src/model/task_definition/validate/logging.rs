//! Log drivers and FireLens.

use super::super::logging::table::options;
use super::super::{ContainerDefinition, LogConfiguration};
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
    firelens(container, containers)?;
    let Some(log) = &container.log_configuration else { return Ok(()) };
    let Some(driver) = log.log_driver.as_deref() else {
        return client("LogConfiguration.logDriver should not be null or empty.");
    };
    one_of("Log driver", Some(driver), &DRIVERS)?;
    match driver {
        "awslogs" => {
            required(log, driver, &["awslogs-region", "awslogs-group"])?;
            let known = options(driver).unwrap_or_default();
            let foreign: Vec<&str> = log
                .options
                .iter()
                .flat_map(|options| options.keys())
                .map(String::as_str)
                .filter(|option| !known.contains(option))
                .collect();
            if !foreign.is_empty() {
                return client(format!(
                    "Log driver awslogs disallows options: {}",
                    foreign.join(", ")
                ));
            }
            let mode = log.options.as_ref().and_then(|options| options.get("mode"));
            one_of("Log option mode", mode.map(String::as_str), &["blocking", "non-blocking"])?;
        }
        "splunk" => required(log, driver, &["splunk-url", "splunk-token"])?,
        "awsfirelens" if routers(containers) == 0 => {
            return client(
                "When awsfirelens log driver is specified in log configuration, a firelens configuration object must be configured in one of the containers.",
            );
        }
        _ => {}
    }
    if log.secret_options.iter().flatten().any(|s| s.name.is_none() || s.value_from.is_none()) {
        return client("Secret.name and Secret.valueFrom should not be null or empty.");
    }
    Ok(())
}

/// Each of `names` is an option, or comes from a secret.
fn required(log: &LogConfiguration, driver: &str, names: &[&str]) -> Check {
    let has = |name: &str| {
        log.options.as_ref().is_some_and(|options| options.contains_key(name))
            || log.secret_options.iter().flatten().any(|s| s.name.as_deref() == Some(name))
    };
    let missing: Vec<&str> = names.iter().copied().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    client(format!("Log driver {driver} requires options: {}", missing.join(", ")))
}

/// The log router of a task: at most one, and somebody must use it.
fn firelens(container: &ContainerDefinition, containers: &[ContainerDefinition]) -> Check {
    let Some(firelens) = &container.firelens_configuration else { return Ok(()) };
    if firelens.r#type.is_none() {
        return client("FirelensConfiguration.type should not be null or empty.");
    }
    one_of("FirelensConfigurationType", firelens.r#type.as_deref(), &["fluentd", "fluentbit"])?;
    if routers(containers) > 1 {
        return client("Only one container in a task definition can have a firelensConfiguration.");
    }
    let is_used = containers.iter().any(|c| {
        let driver = c.log_configuration.as_ref().and_then(|log| log.log_driver.as_deref());
        driver == Some("awsfirelens")
    });
    if !is_used {
        return client(
            "When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver.",
        );
    }
    let option = |name: &str| {
        firelens.options.as_ref().and_then(|options| options.get(name)).map(String::as_str)
    };
    match (option("config-file-type"), option("config-file-value")) {
        (None, _) | (Some("file"), Some(_)) => Ok(()),
        (Some("s3"), Some(value)) if value.starts_with("arn:") => Ok(()),
        (Some("s3"), Some(_)) => client("Invalid arn syntax."),
        (Some("file" | "s3"), None) => {
            client("FireLens option config-file-type requires option config-file-value.")
        }
        (Some(_), _) => client("FireLens option config-file-type should be one of [file,s3]"),
    }
}

fn routers(containers: &[ContainerDefinition]) -> usize {
    containers.iter().filter(|c| c.firelens_configuration.is_some()).count()
}
