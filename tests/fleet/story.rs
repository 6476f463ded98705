//! The words of `tests/scenarios/fleet/*.txt`: see the README there.

use crate::fleet::{Fleet, key, wishes};
use coracle::model::service::{DeploymentCircuitBreaker, SchedulingStrategy, Service};
use coracle::model::task_definition::PlacementConstraint;
use coracle::model::{
    CapacityProviderStrategyItem, ClusterName, PlacementStrategy, Tag, TaskId, TaskStatus,
    capacity_provider,
};
use coracle::plan::command::service::WantedDeploymentConfiguration;
use coracle::plan::command::{ProtectionAsker, Resource, StopType, UpdateService};
use coracle::plan::simulate::{Rule, Span};
use coracle::plan::{Command, CommandError, Reply};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Plays a script; the answer is what happened.
pub(crate) fn run(script: &str) -> Result<String, String> {
    let mut play = Play { fleet: Fleet::told(1), out: String::new() };
    for (number, line) in script.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            play.flush();
            play.out.push_str(line);
            play.out.push('\n');
            continue;
        }
        play.fleet.say(&format!("> {line}"));
        play.line(line).map_err(|error| format!("line {}: {error}", number + 1))?;
    }
    play.flush();
    Ok(play.out)
}

struct Play {
    fleet: Fleet,
    out: String,
}

/// `key=value` and plain words behind what a line is about.
struct Options<'a> {
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Options<'a> {
    fn of(words: &[&'a str], known: &[&str]) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            if !known.contains(&key) {
                return Err(format!("the option {key:?} is not understood"));
            }
            values.insert(key, value);
        }
        Ok(Self { values })
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, String> {
        self.values.get(key).map(|value| number(value)).transpose()
    }

    fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }
}

const SERVICE_OPTIONS: [&str; 14] = [
    "count",
    "min",
    "max",
    "breaker",
    "daemon",
    "grace",
    "spread",
    "binpack",
    "random",
    "where",
    "distinct",
    "pools",
    "definition",
    "force",
];

impl Play {
    fn flush(&mut self) {
        self.out.push_str(&std::mem::take(&mut self.fleet.trace));
    }

    /// Submits a command; a refusal, or what RunTask could not place, is told.
    fn submit(&mut self, command: Command) {
        let reply = self.fleet.submit(command);
        let text = match &reply {
            Ok(reply) => refused(reply),
            Err(error) => Some(format!("! {}", told(error))),
        };
        if let Some(text) = text {
            let text = self.fleet.names.rename(&text);
            self.fleet.say(&format!("  {text}"));
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let cluster = ClusterName::default_cluster;
        match words.as_slice() {
            ["box", id, options @ ..] => self.register(id, options)?,
            ["deregister", id, options @ ..] => {
                let options = Options::of(options, &["force"])?;
                self.submit(Command::DeregisterContainerInstance {
                    cluster: cluster(),
                    instance: wishes::instance(id),
                    force: options.has("force"),
                });
            }
            [verb @ ("drain" | "activate"), id] => {
                self.submit(Command::UpdateContainerInstancesState {
                    cluster: cluster(),
                    instances: vec![wishes::instance(id)],
                    draining: *verb == "drain",
                });
            }
            ["definition", family, options @ ..] => self.define(family, options)?,
            ["pools", pools @ ..] => self.submit(Command::PutClusterCapacityProviders {
                cluster: cluster(),
                capacity_providers: pools.iter().map(|pool| (*pool).to_owned()).collect(),
                strategy: Vec::new(),
            }),
            ["create", name, definition, options @ ..] => self.create(name, definition, options)?,
            ["update", name, options @ ..] => self.update(name, options)?,
            ["scale", name, count] => {
                let mut update = UpdateService::of(key(name));
                update.desired_count = Some(number(count)?);
                self.submit(Command::UpdateService(Box::new(update)));
            }
            ["delete", name, options @ ..] => {
                let force = Options::of(options, &["force"])?.has("force");
                self.submit(Command::DeleteService { service: key(name), force });
            }
            ["stop-roll-out", name, how @ ("ABORT" | "ROLLBACK")] => {
                let primary = self.fleet.world.services.get(&key(name)).and_then(Service::primary);
                let deployment = primary.ok_or("there is no roll-out")?.service_deployment.clone();
                let stop_type = if *how == "ABORT" { StopType::Abort } else { StopType::Rollback };
                let service = key(name);
                self.submit(Command::StopServiceDeployment { service, deployment, stop_type });
            }
            ["run", definition, options @ ..] => {
                let options = Options::of(options, &["count"])?;
                let count = options.number("count")?.unwrap_or(1);
                self.submit(Command::RunTask(Box::new(wishes::run(definition, count))));
            }
            ["stop", task] => {
                let (cluster, task) = (cluster(), self.task(task)?);
                self.submit(Command::StopTask { cluster, task, reason: None });
            }
            [verb @ ("protect" | "unprotect"), task, minutes @ ..] => {
                let tasks = vec![self.task(task)?];
                let minutes = minutes.first().map(|minutes| duration(minutes)).transpose()?;
                self.submit(Command::UpdateTaskProtection {
                    cluster: cluster(),
                    tasks,
                    protected: *verb == "protect",
                    expires_in_minutes: minutes.map(|m| i64::try_from(m.as_secs() / 60).unwrap()),
                    asked_by: ProtectionAsker::Caller,
                });
            }
            ["befalls", what, fault @ ..] => self.befalls(what, fault)?,
            ["nothing", "befalls"] => self.fleet.befall(Vec::new()),
            ["silence", time] => self.fleet.silence(duration(time)?),
            [verb @ ("disconnect" | "connect"), id] => {
                self.fleet.connect(id, *verb == "connect");
            }
            ["tag", name, tag] => {
                let (key_of_tag, value) = tag.split_once('=').ok_or("a tag is KEY=VALUE")?;
                let value = Some(value.to_owned());
                let tags = vec![Tag { key: Some(key_of_tag.to_owned()), value }];
                let resource = Resource::Service(key(name));
                self.submit(Command::TagResource { resource, tags });
            }
            ["restart"] => self.fleet.restart(),
            ["advance", time] => self.fleet.advance(duration(time)?),
            ["show", name] => self.show(name)?,
            _ => return Err(format!("{line:?} is not understood")),
        }
        Ok(())
    }

    fn register(&mut self, id: &str, options: &[&str]) -> Result<(), String> {
        let options = Options::of(options, &["cpu", "memory", "zone", "pool"])?;
        let mut attributes = Vec::new();
        for (key, name) in [("zone", "zone"), ("pool", capacity_provider::ATTRIBUTE)] {
            attributes.extend(options.values.get(key).map(|value| (name, *value)));
        }
        let cpu = options.number("cpu")?.unwrap_or(1024);
        let memory = options.number("memory")?.unwrap_or(1024);
        self.fleet.register(id, cpu, memory, &attributes);
        Ok(())
    }

    fn define(&mut self, family: &str, options: &[&str]) -> Result<(), String> {
        let options = Options::of(options, &["cpu", "memory", "port", "health"])?;
        let mut container = json!({
            "name": "main", "image": "app", "cpu": options.number("cpu")?.unwrap_or(128_i64),
            "memory": options.number("memory")?.unwrap_or(128_i64),
        });
        if let Some(port) = options.number::<u16>("port")? {
            container["portMappings"] = json!([{"containerPort": port, "hostPort": port}]);
        }
        if options.has("health") {
            container["healthCheck"] = json!({"command": ["CMD", "check"], "retries": 1});
        }
        self.submit(wishes::definition(json!({
            "family": family, "networkMode": "bridge", "containerDefinitions": [container],
        })));
        Ok(())
    }

    fn create(&mut self, name: &str, definition: &str, options: &[&str]) -> Result<(), String> {
        let options = Options::of(options, &SERVICE_OPTIONS)?;
        let mut create = wishes::create(name, definition, 1);
        create.desired_count = options.number("count")?.or(Some(1));
        if options.has("daemon") {
            create.scheduling_strategy = SchedulingStrategy::Daemon;
            create.desired_count = None;
        }
        create.deployment_configuration = configuration(&options)?;
        create.health_check_grace_period_seconds = options.number("grace")?;
        create.placement_strategy = strategy(&options);
        create.placement_constraints = constraints(&options);
        create.capacity_provider_strategy = pools(&options)?.unwrap_or_default();
        self.submit(Command::CreateService(Box::new(create)));
        Ok(())
    }

    fn update(&mut self, name: &str, options: &[&str]) -> Result<(), String> {
        let options = Options::of(options, &SERVICE_OPTIONS)?;
        let mut update = UpdateService::of(key(name));
        update.task_definition = options.values.get("definition").map(|d| wishes::wanted(d));
        update.desired_count = options.number("count")?;
        update.force_new_deployment = options.has("force");
        update.deployment_configuration = configuration(&options)?;
        update.health_check_grace_period_seconds = options.number("grace")?;
        update.placement_strategy = Some(strategy(&options)).filter(|s| !s.is_empty());
        update.placement_constraints = Some(constraints(&options)).filter(|c| !c.is_empty());
        update.capacity_provider_strategy = pools(&options)?;
        self.submit(Command::UpdateService(Box::new(update)));
        Ok(())
    }

    /// `befalls FAMILY[:N] [first=N] fails-to-start|exits-after=T|unhealthy-after=T|starts-after=T|ignores-stop-for=T`.
    fn befalls(&mut self, what: &str, fault: &[&str]) -> Result<(), String> {
        let known = [
            "first",
            "fails-to-start",
            "exits-after",
            "unhealthy-after",
            "starts-after",
            "ignores-stop-for",
            "on",
        ];
        let options = Options::of(fault, &known)?;
        let span = |key: &str| -> Result<Option<Span>, String> {
            let text = options.values.get(key);
            text.map(|text| text.parse().map_err(|e| format!("{e}"))).transpose()
        };
        let wanted = wishes::wanted(what);
        let rule = Rule {
            family: Some(wanted.family.to_string()),
            revision: wanted.revision.map(|revision| revision.0),
            container_instance: options.values.get("on").map(|id| (*id).to_owned()),
            first: options.number("first")?,
            fails_to_start: options
                .has("fails-to-start")
                .then(|| "CannotPullContainerError: no such image".to_owned()),
            exits_after: span("exits-after")?,
            exit_code: options.has("exits-after").then_some(1),
            unhealthy_after: span("unhealthy-after")?,
            start_after: span("starts-after")?,
            ignores_stop_for: span("ignores-stop-for")?,
            ..Rule::default()
        };
        let mut rules = self.fleet.faults.rules.clone();
        rules.push(rule);
        self.fleet.befall(rules);
        Ok(())
    }

    fn task(&self, number: &str) -> Result<TaskId, String> {
        self.fleet.names.id(number).ok_or_else(|| format!("there is no task {number}"))
    }

    /// A service as DescribeServices would tell it, in short.
    fn show(&mut self, name: &str) -> Result<(), String> {
        let world = &self.fleet.world;
        let service = world.services.get(&key(name)).ok_or("there is no such service")?;
        let mut lines = vec![format!(
            "{name} is {}, desiredCount {}",
            service.status.as_str(),
            service.desired_count
        )];
        for (at, deployment) in service.deployments.iter().enumerate() {
            let revision = &world.service_revisions[&deployment.service_revision];
            let tasks = world.assignments_of(&service.key);
            let tasks: Vec<_> = tasks
                .filter(|a| a.service().is_some_and(|s| s.deployment == deployment.id))
                .flat_map(|a| world.live(&a.id))
                .collect();
            let running = tasks.iter().filter(|t| t.last_status == TaskStatus::Running).count();
            let mut on: BTreeMap<_, usize> = BTreeMap::new();
            tasks.iter().for_each(|t| *on.entry(&t.container_instance).or_default() += 1);
            let on: Vec<_> = on.iter().map(|(id, count)| format!("{count} on {id}")).collect();
            lines.push(format!(
                "{} {} of {}: {}, runningCount {running} ({}), failedTasks {}",
                if at == 0 { "PRIMARY" } else { "ACTIVE" },
                deployment.id,
                revision.task_definition,
                deployment.rollout_state.as_str(),
                on.join(", "),
                deployment.failed_tasks,
            ));
        }
        for line in lines {
            let line = self.fleet.names.rename(&line);
            self.fleet.say(&format!("  {line}"));
        }
        Ok(())
    }
}

fn refused(reply: &Reply) -> Option<String> {
    let failures = match reply {
        Reply::Tasks { failures, .. }
        | Reply::Protection { failures, .. }
        | Reply::ContainerInstances { failures, .. } => failures,
        _ => return None,
    };
    let told = failures.iter().map(|failure| {
        let arn = failure.arn.as_deref().unwrap_or_default();
        let name = arn.rsplit('/').next().unwrap_or_default();
        format!("{name}: {}", failure.reason.as_deref().unwrap_or_default())
    });
    (!failures.is_empty()).then(|| format!("failures: {}", told.collect::<Vec<_>>().join("; ")))
}

fn told(error: &CommandError) -> String {
    let kind = format!("{error:?}");
    let kind = kind.split([' ', '(', '{']).next().unwrap_or_default();
    format!("{kind}: {error}")
}

fn configuration(options: &Options<'_>) -> Result<WantedDeploymentConfiguration, String> {
    let breaker = match options.values.get("breaker").copied() {
        None => None,
        Some("on") => Some(DeploymentCircuitBreaker { enable: true, rollback: false }),
        Some("rollback") => Some(DeploymentCircuitBreaker { enable: true, rollback: true }),
        Some(other) => return Err(format!("the circuit breaker cannot be {other:?}")),
    };
    Ok(WantedDeploymentConfiguration {
        maximum_percent: options.number("max")?,
        minimum_healthy_percent: options.number("min")?,
        deployment_circuit_breaker: breaker,
    })
}

/// In the order `spread`, `binpack`, `random`; several fields are parted by commas.
fn strategy(options: &Options<'_>) -> Vec<PlacementStrategy> {
    let mut ranks = Vec::new();
    for kind in ["spread", "binpack"] {
        let fields = options.values.get(kind).into_iter().flat_map(|fields| fields.split(','));
        ranks.extend(fields.map(|field| wishes::rank(kind, Some(field))));
    }
    if options.has("random") {
        ranks.push(wishes::rank("random", None));
    }
    ranks
}

fn constraints(options: &Options<'_>) -> Vec<PlacementConstraint> {
    let constraint = |kind: &str, expression: Option<String>| PlacementConstraint {
        r#type: Some(kind.to_owned()),
        expression,
    };
    let member =
        options.values.get("where").map(|e| constraint("memberOf", Some(e.replace('_', " "))));
    let distinct = options.has("distinct").then(|| constraint("distinctInstance", None));
    member.into_iter().chain(distinct).collect()
}

/// `NAME:BASE:WEIGHT,…`.
fn pools(options: &Options<'_>) -> Result<Option<Vec<CapacityProviderStrategyItem>>, String> {
    let Some(text) = options.values.get("pools") else { return Ok(None) };
    let item = |text: &str| {
        let parts: Vec<&str> = text.split(':').collect();
        let [name, base, weight] = parts.as_slice() else {
            return Err(format!("{text:?} is not NAME:BASE:WEIGHT"));
        };
        Ok(wishes::pool(name, number(base)?, number(weight)?))
    };
    text.split(',').map(item).collect::<Result<_, _>>().map(Some)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

fn duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(Span::Lasts(duration)) => Ok(duration),
        _ => Err(format!("{text:?} is no length of time")),
    }
}
