//! Reads and plays scenario scripts.

mod boxes;
mod definition;

use crate::node::{Node, digest_of};
use coracle::model::network::AwsvpcConfiguration;
use coracle::model::task::{ContainerOverride, TaskOverride};
use coracle::model::{ClusterName, Family, Revision, TaskDefinitionRef, TaskId};
use coracle::plan::command::{CreateCluster, RunTask};
use coracle::plan::{Command, CommandError, Reply, why};
use std::time::Duration;

/// Plays `text`; the answer is what happened, or the line that is not understood.
pub(crate) fn run(text: &str) -> Result<String, String> {
    let mut play = Play { node: Node::new(7), out: String::new() };
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_end();
        let located = |error: String| format!("line {}: {error}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            play.flush();
            play.out.push_str(line);
            play.out.push('\n');
            continue;
        }
        play.node.say(&format!("> {line}"));
        if let Some(family) = line.strip_prefix("definition ") {
            let mut body = Vec::new();
            for (_, inner) in lines.by_ref() {
                if inner.trim() == "end" {
                    break;
                }
                body.push(inner.trim());
            }
            let content = definition::parse(family, &body).map_err(located)?;
            let reply = play.submit(Command::RegisterTaskDefinition {
                content: Box::new(content),
                tags: Vec::new(),
                registered_by: None,
            });
            play.tell(&reply);
            continue;
        }
        play.line(line).map_err(located)?;
    }
    play.flush();
    Ok(play.out)
}

struct Play {
    node: Node,
    out: String,
}

impl Play {
    fn flush(&mut self) {
        self.out.push_str(&std::mem::take(&mut self.node.trace));
    }

    fn submit(&mut self, command: Command) -> Result<Reply, CommandError> {
        self.node.submit(command)
    }

    fn tell(&mut self, reply: &Result<Reply, CommandError>) {
        let text = match reply {
            Ok(Reply::Done) => "  = done".to_owned(),
            Ok(Reply::Cluster(name)) => format!("  = cluster {name}"),
            Ok(Reply::Service(key)) => format!("  = service {key}"),
            Ok(Reply::TaskDefinition(reference)) => format!("  = task definition {reference}"),
            Ok(Reply::TaskDefinitions { deleted, failures }) => {
                let deleted = deleted
                    .iter()
                    .map(|d| format!("{} {}", d.reference(), d.status.as_str()))
                    .collect::<Vec<_>>()
                    .join(", ");
                format!("  = deleted: {deleted}; {}", told_failures(failures))
            }
            Ok(Reply::Tasks { tasks, failures }) => {
                let tasks: Vec<_> = tasks.iter().map(|id| self.node.names.task(id)).collect();
                let tasks = if tasks.is_empty() { "no task".to_owned() } else { tasks.join(", ") };
                format!("  = {tasks}; {}", told_failures(failures))
            }
            Ok(Reply::ContainerInstances { instances, failures }) => {
                let ids: Vec<_> = instances.iter().map(ToString::to_string).collect();
                format!("  = instances {}; {}", ids.join(", "), told_failures(failures))
            }
            Ok(Reply::Protection { tasks, failures }) => {
                let tasks: Vec<_> = tasks.iter().map(|id| self.node.names.task(id)).collect();
                format!("  = protection of {}; {}", tasks.join(", "), told_failures(failures))
            }
            Ok(reply @ (Reply::Document(_) | Reply::Report(_))) => format!("  = {reply:?}"),
            Err(error) => {
                let kind = format!("{error:?}");
                let kind = kind.split([' ', '(', '{']).next().unwrap_or_default();
                format!("  ! {kind}: {error}")
            }
        };
        let text = self.node.names.rename(&text);
        self.node.say(&text);
    }

    /// Tells why the task of this number, or the service of this name, is as it is.
    fn why(&mut self, of: &str) {
        let id = self.task(of).map_or_else(|_| of.to_owned(), |id| id.to_string());
        let lines = match why::find(&self.node.world, &id, None) {
            Ok(subject) => why::explain(&self.node.world, self.node.now(), &subject)
                .map_or_else(Vec::new, |found| found.lines()),
            Err(error) => vec![error.to_string()],
        };
        for line in lines {
            let line = self.node.names.rename(&line);
            self.node.say(&format!("  ? {line}"));
        }
    }

    fn do_and_tell(&mut self, command: Command) {
        let reply = self.submit(command);
        self.tell(&reply);
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each word")]
    fn line(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = |n: usize| words.get(n..).unwrap_or_default().join(" ");
        match words.as_slice() {
            ["box", "cpu", cpu, "memory", memory] => {
                self.node.register(number(cpu)?, number(memory)?);
            }
            ["image", image] => {
                let digest = digest_of(image);
                self.node.faults.local_images.insert((*image).to_owned(), digest.clone());
                self.node.world.observed.images.insert((*image).to_owned(), digest);
            }
            ["pull-behavior", behavior] => {
                self.node.world.settings.pull_behavior =
                    serde_json::from_value((*behavior).into()).map_err(|e| e.to_string())?;
            }
            ["early", "exits", "stay"] => self.node.world.settings.restart_early_exits = false,
            ["keep", "stopped", "tasks", count] => {
                self.node.world.settings.stopped_tasks_kept = number(count)?;
            }
            ["create", "cluster", name] => {
                self.do_and_tell(Command::CreateCluster(Box::new(CreateCluster {
                    name: ClusterName::new(*name).map_err(|e| e.to_string())?,
                    tags: Vec::new(),
                    settings: Vec::new(),
                    configuration: None,
                    capacity_providers: Vec::new(),
                    default_capacity_provider_strategy: Vec::new(),
                    service_connect_defaults: None,
                })));
            }
            ["delete", "cluster", name] => {
                let name = ClusterName::new(*name).map_err(|e| e.to_string())?;
                self.do_and_tell(Command::DeleteCluster(name));
            }
            ["run", definition, options @ ..] => {
                let run = run_task(definition, options)?;
                let reply = self.submit(Command::RunTask(Box::new(run)));
                self.tell(&reply);
                boxes::tell_places(&mut self.node, &reply);
            }
            ["instance", name, options @ ..] => boxes::add(&mut self.node, name, options)?,
            ["drain", name] => boxes::drain(&mut self.node, name)?,
            ["stop", task, ..] => {
                let command = Command::StopTask {
                    cluster: ClusterName::default_cluster(),
                    task: self.task(task)?,
                    reason: Some(rest(2)).filter(|reason| !reason.is_empty()),
                };
                self.do_and_tell(command);
            }
            ["stop-unknown-task"] => self.do_and_tell(Command::StopTask {
                cluster: ClusterName::default_cluster(),
                task: TaskId::new("f".repeat(32)).map_err(|e| e.to_string())?,
                reason: None,
            }),
            ["deregister", definition] => {
                self.do_and_tell(Command::DeregisterTaskDefinition(reference(definition)?));
            }
            ["delete", definitions @ ..] if !definitions.is_empty() => {
                let all = definitions.iter().map(|d| reference(d)).collect::<Result<_, _>>()?;
                self.do_and_tell(Command::DeleteTaskDefinitions(all));
            }
            ["why", of] => self.why(of),
            ["advance", time] => self.node.advance(duration(time)?),
            ["exits", container, code, "after", time] => {
                let exit = (duration(time)?, number(code)?, false);
                self.node.faults.exits.insert((*container).to_owned(), exit);
            }
            ["runs-on", container] => drop(self.node.faults.exits.remove(*container)),
            ["runs-out-of-memory", container, "after", time] => {
                let exit = (duration(time)?, 137, true);
                self.node.faults.exits.insert((*container).to_owned(), exit);
            }
            ["start-fails", container, ..] => {
                self.node.faults.start_fails.insert((*container).to_owned(), rest(2));
            }
            ["answers-late", container, time] => {
                self.node.faults.answers_late.insert((*container).to_owned(), duration(time)?);
            }
            ["pull-fails", image, ..] => {
                self.node.faults.pull_fails.insert((*image).to_owned(), rest(2));
            }
            ["pull-takes", time] => self.node.faults.pull_takes = Some(duration(time)?),
            ["ignores-stop", container] => {
                self.node.faults.ignores_stop.insert((*container).to_owned());
            }
            ["stop-takes", container, time] => {
                self.node.faults.stop_takes.insert((*container).to_owned(), duration(time)?);
            }
            ["answers", container, "timeout"] => {
                self.node.faults.probes.insert((*container).to_owned(), None);
            }
            ["answers", container, code] => {
                self.node.faults.probes.insert((*container).to_owned(), Some(number(code)?));
            }
            ["agent-dies"] => self.node.crash(),
            ["power-cut"] => self.node.power_cut(),
            ["agent-starts"] => self.node.scan(false),
            ["agent-starts", "after-reboot"] => self.node.scan(true),
            ["shim-dies", task, ..] => {
                let id = self.task(task)?;
                self.node.lose_shim(&id, &rest(2));
            }
            ["clock", time] | ["clock", time, "untold"] => {
                let (back, time) = time.strip_prefix('-').map_or((1, *time), |time| (-1, time));
                let by = i64::try_from(duration(time)?.as_millis()).map_err(|e| e.to_string())?;
                self.node.set_clock(back * by, words.len() == 2);
            }
            ["show", task] => self.show(task)?,
            _ => return Err(format!("{line:?} is not understood")),
        }
        Ok(())
    }

    fn task(&self, number: &str) -> Result<TaskId, String> {
        let number = number.parse().map_err(|_| format!("{number} is no task number"))?;
        self.node.names.id(number).ok_or_else(|| format!("there is no task {number}"))
    }

    /// A task as DescribeTasks would tell it, in short.
    fn show(&mut self, number: &str) -> Result<(), String> {
        let id = self.task(number)?;
        let Some(task) = self.node.world.tasks.get(&id).cloned() else {
            self.node.say("  no such task");
            return Ok(());
        };
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        self.node.say(&format!(
            "  lastStatus {}, desiredStatus {}, healthStatus {:?}, stopCode {}, stoppedReason {}",
            task.last_status.as_str(),
            task.desired_status.as_str(),
            task.health_status,
            text(task.stop_code.map(|code| format!("{code:?}"))),
            text(task.stopped_reason.map(|reason| format!("{reason:?}"))),
        ));
        for container in &task.containers {
            self.node.say(&format!(
                "  {}: lastStatus {}, exitCode {}, reason {}",
                container.name,
                container.last_status.as_str(),
                text(container.exit_code.map(|code| code.to_string())),
                text(container.reason.as_ref().map(|reason| format!("{reason:?}"))),
            ));
        }
        Ok(())
    }
}

fn told_failures(failures: &[coracle::model::Failure]) -> String {
    if failures.is_empty() {
        return "no failure".to_owned();
    }
    let told = failures.iter().map(|failure| {
        let arn = failure.arn.as_deref().unwrap_or_default();
        let name = arn.rsplit('/').next().unwrap_or_default();
        let reason = failure.reason.as_deref().unwrap_or_default();
        let detail = failure.detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default();
        format!("{name}: {reason}{detail}")
    });
    format!("failures: {}", told.collect::<Vec<_>>().join("; "))
}

fn run_task(definition: &str, options: &[&str]) -> Result<RunTask, String> {
    let (family, revision) =
        coracle::model::arn::parse_family_revision(definition).ok_or("a bad definition")?;
    let mut run = RunTask {
        cluster: ClusterName::default_cluster(),
        family,
        revision,
        count: 1,
        container_instances: None,
        overrides: TaskOverride::default(),
        placement_constraints: Vec::new(),
        placement_strategy: Vec::new(),
        capacity_provider_strategy: Vec::new(),
        group: None,
        started_by: None,
        launch_type: None,
        network: None,
        enable_execute_command: false,
        enable_ecs_managed_tags: false,
        propagate_tags_from_task_definition: false,
        tags: Vec::new(),
        client_token: None,
    };
    for option in options {
        let (key, value) = option.split_once('=').ok_or(format!("{option:?} has no value"))?;
        match key {
            "count" => run.count = number(value)?,
            "token" => run.client_token = Some(value.to_owned()),
            "cluster" => run.cluster = ClusterName::new(value).map_err(|e| e.to_string())?,
            "launch-type" => run.launch_type = Some(value.to_owned()),
            "public" => {
                let public = if value == "true" { "ENABLED" } else { "DISABLED" };
                run.network = Some(AwsvpcConfiguration {
                    subnets: Some(vec!["subnet-1".to_owned()]),
                    assign_public_ip: Some(public.to_owned()),
                    ..AwsvpcConfiguration::default()
                });
            }
            "on" => {
                let this = crate::node::this_instance().to_string();
                let named = value.split(',').map(|name| match name {
                    "this-box" => this.clone(),
                    other => other.to_owned(),
                });
                run.container_instances = Some(named.collect());
            }
            "override" => {
                let change =
                    ContainerOverride { name: Some(value.to_owned()), ..Default::default() };
                run.overrides.container_overrides = Some(vec![change]);
            }
            "group" => run.group = Some(value.to_owned()),
            "strategy" => run.placement_strategy = boxes::strategy(value),
            "pools" => run.capacity_provider_strategy = boxes::pools(value)?,
            "where" => {
                run.placement_constraints.push(
                    coracle::model::task_definition::PlacementConstraint {
                        r#type: Some("memberOf".to_owned()),
                        expression: Some(value.replace('_', " ")),
                    },
                );
            }
            "distinct" => {
                run.placement_constraints.push(
                    coracle::model::task_definition::PlacementConstraint {
                        r#type: Some("distinctInstance".to_owned()),
                        expression: None,
                    },
                );
            }
            _ => return Err(format!("the option {key:?} is not understood")),
        }
    }
    Ok(run)
}

fn reference(text: &str) -> Result<TaskDefinitionRef, String> {
    let (family, revision) = text.split_once(':').ok_or(format!("{text} has no revision"))?;
    Ok(TaskDefinitionRef {
        family: Family::new(family).map_err(|e| e.to_string())?,
        revision: Revision(number(revision)?),
    })
}

pub(crate) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// `20ms`, `30s`, `5m`, `3h`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(format!("{text:?} has no unit"))?;
    let (value, unit) = text.split_at(split);
    let value: u64 = number(value)?;
    match unit {
        "ms" => Ok(Duration::from_millis(value)),
        "s" => Ok(Duration::from_secs(value)),
        "m" => Ok(Duration::from_mins(value)),
        "h" => Ok(Duration::from_hours(value)),
        _ => Err(format!("{unit:?} is no unit of time")),
    }
}
