//! What `coracle run` is to run: a task definition from a file, or one made for an image.

use super::super::client::{Client, Error};
use super::Arguments;
use crate::model::ids::is_name;
use crate::model::task::ContainerOverride;
use crate::model::task_definition::lenient::{self, Read};
use crate::model::task_definition::{
    self, ContainerDefinition, KeyValuePair, TaskDefinitionContent,
};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::Path;

/// What a container made for an image may count on, in MiB; more is not forbidden to it. Some boxes have 128 in all.
const MEMORY_RESERVATION: i64 = 32;

/// What is to run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) read: Read,
    pub(super) overrides: Vec<ContainerOverride>,
}

impl Job {
    pub(super) fn read(arguments: &Arguments) -> Result<Self> {
        let mut read = if is_file(&arguments.target) {
            from_file(Path::new(&arguments.target))?
        } else {
            from_image(&arguments.target)
        };
        if let Some(family) = &arguments.name {
            read.content.family = Some(family.clone());
        }
        let first = read.content.container_definitions.iter_mut().flatten();
        if let Some(first) = first.into_iter().find(|c| c.essential != Some(false)) {
            if arguments.interactive {
                first.interactive = Some(true);
            }
            if arguments.tty {
                first.pseudo_terminal = Some(true);
            }
        }
        let overrides = overrides(&read.content, &arguments.command, &arguments.env)?;
        Ok(Self { read, overrides })
    }

    /// The containers whose end ends the task, in the order of the definition.
    pub(super) fn essential(&self) -> impl Iterator<Item = &str> {
        let containers = self.read.content.container_definitions.as_deref().unwrap_or_default();
        containers
            .iter()
            .filter(|container| container.essential != Some(false))
            .filter_map(|container| container.name.as_deref())
    }
}

/// A name of an image never ends in `.json` nor begins as a path; what does is meant as a file, so that a slip in its
/// name is told as such.
fn is_file(target: &str) -> bool {
    let path = Path::new(target);
    target == "-"
        || target.starts_with(['/', '.'])
        || path.extension().is_some_and(|end| end == "json")
        || path.is_file()
}

/// Reads the definition in `file`; `-` is standard input.
pub(in crate::cli) fn from_file(file: &Path) -> Result<Read> {
    let name = file.display().to_string();
    // One byte more than is taken, so that too much is noticed.
    let limit = lenient::LIMIT as u64 + 1;
    let mut text = String::new();
    if name == "-" {
        std::io::stdin().take(limit).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_string(&mut text))
    }
    .with_context(|| format!("{name} cannot be read"))?;
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let family = if name == "-" { "stdin".to_owned() } else { as_name(stem) };
    lenient::read(&text, &family).with_context(|| format!("{name} is not a task definition"))
}

/// A definition of one container for `image`. What the caller wants of this one run goes into the task's overrides, so
/// the same image is registered once.
fn from_image(image: &str) -> Read {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = as_name(last.split(['@', ':']).next().unwrap_or(last));
    let container = ContainerDefinition {
        name: Some(name.clone()),
        image: Some(image.to_owned()),
        essential: Some(true),
        memory_reservation: Some(MEMORY_RESERVATION),
        ..ContainerDefinition::default()
    };
    let content = TaskDefinitionContent {
        // Apart from the families that people make themselves.
        family: Some(format!("run-{name}")),
        network_mode: Some("host".to_owned()),
        container_definitions: Some(vec![container]),
        ..TaskDefinitionContent::default()
    };
    Read { content, tags: Vec::new(), warnings: Vec::new() }
}

/// `text` with a hyphen for each character that a name may not have.
fn as_name(text: &str) -> String {
    let name: String =
        text.chars().map(|c| if is_name(c.encode_utf8(&mut [0; 4])) { c } else { '-' }).collect();
    if is_name(&name) { name } else { "task".to_owned() }
}

/// The command for the only container and the environment for all.
fn overrides(
    content: &TaskDefinitionContent,
    command: &[String],
    env: &[(String, String)],
) -> Result<Vec<ContainerOverride>> {
    let containers = content.container_definitions.as_deref().unwrap_or_default();
    if !command.is_empty() && containers.len() != 1 {
        bail!(
            "a command is for a task of one container and this one has {}: put the commands into the file",
            containers.len()
        );
    }
    if command.is_empty() && env.is_empty() {
        return Ok(Vec::new());
    }
    let pair = |(name, value): &(String, String)| KeyValuePair {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    Ok(containers
        .iter()
        .map(|container| ContainerOverride {
            name: container.name.clone(),
            command: (!command.is_empty()).then(|| command.to_vec()),
            environment: (!env.is_empty()).then(|| env.iter().map(pair).collect()),
            ..ContainerOverride::default()
        })
        .collect())
}

/// The input of RegisterTaskDefinition.
pub(in crate::cli) fn registration(read: &Read) -> Result<Value, serde_json::Error> {
    let mut input = serde_json::to_value(&read.content)?;
    if !read.tags.is_empty() {
        input["tags"] = serde_json::to_value(&read.tags)?;
    }
    Ok(input)
}

/// The ARN of the revision that holds `read`: the newest if it is the same, else a new one.
pub(super) async fn register(client: &Client, read: &Read) -> Result<String, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Described {
        task_definition_arn: String,
        #[serde(flatten)]
        content: TaskDefinitionContent,
    }
    if let Some(family) = read.content.family.as_deref().filter(|family| is_name(family)) {
        let input = json!({ "taskDefinition": family });
        match client.ecs("DescribeTaskDefinition", &input).await {
            Ok(mut answer) => {
                let newest: Described = serde_json::from_value(answer["taskDefinition"].take())
                    .map_err(Error::Shape)?;
                if same(&newest.content, &read.content) {
                    return Ok(newest.task_definition_arn);
                }
            }
            // There is none of this family yet.
            Err(error) if error.is_exception("ClientException") => {}
            Err(error) => return Err(error),
        }
    }
    let input = registration(read).map_err(Error::Shape)?;
    let answer = client.ecs("RegisterTaskDefinition", &input).await?;
    let arn = answer["taskDefinition"]["taskDefinitionArn"].as_str();
    arn.map(str::to_owned)
        .ok_or_else(|| Error::Protocol("a registration without an ARN".to_owned()))
}

/// True when both would be registered as the same. One that is refused equals nothing: the agent shall say why.
fn same(one: &TaskDefinitionContent, other: &TaskDefinitionContent) -> bool {
    let normalised =
        |content: &TaskDefinitionContent| task_definition::register(content.clone(), &[]);
    match (normalised(one), normalised(other)) {
        (Ok(one), Ok(other)) => one.family == other.family && one.content == other.content,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(read: &Read) -> &ContainerDefinition {
        &read.content.container_definitions.as_ref().unwrap()[0]
    }

    #[test]
    fn an_image_becomes_a_definition_of_one_container() {
        let cases = [
            ("busybox", "busybox"),
            ("localhost:5000/team/my.app:1.2", "my-app"),
            ("nginx@sha256:00", "nginx"),
            ("ünï", "-n-"),
            ("", "task"),
        ];
        for (image, name) in cases {
            let read = from_image(image);
            assert_eq!(container(&read).name.as_deref(), Some(name), "{image}");
            assert_eq!(read.content.family, Some(format!("run-{name}")));
            assert_eq!(container(&read).image.as_deref(), Some(image));
        }
    }

    #[test]
    fn a_command_needs_a_task_of_one_container() {
        let mut content = from_image("busybox").content;
        let words = ["true".to_owned()];
        let made = overrides(&content, &words, &[("A".into(), "1".into())]).unwrap();
        assert_eq!(
            serde_json::to_value(made).unwrap(),
            json!([{ "name": "busybox", "command": ["true"], "environment": [{ "name": "A", "value": "1" }] }])
        );
        assert_eq!(overrides(&content, &[], &[]).unwrap(), Vec::new());
        let containers = content.container_definitions.as_mut().unwrap();
        containers.push(containers[0].clone());
        assert!(overrides(&content, &words, &[]).unwrap_err().to_string().contains("has 2"));
        assert_eq!(overrides(&content, &[], &[("A".into(), "1".into())]).unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_is_not_there_is_not_taken_for_an_image() {
        assert!(is_file("nowhere.json"));
        assert!(is_file("/tmp") && is_file("./web") && is_file("../web"));
        assert!(is_file("-"));
        assert!(!is_file("busybox"));
        let error = from_file(Path::new("nowhere.json")).unwrap_err();
        assert_eq!(error.to_string(), "nowhere.json cannot be read");
    }

    #[test]
    fn what_was_registered_is_the_same_as_what_was_asked() {
        let content = from_image("busybox").content;
        let registered = task_definition::register(content.clone(), &[]).unwrap();
        let described = TaskDefinitionContent {
            family: Some(registered.family.to_string()),
            ..registered.content
        };
        assert!(same(&described, &content));
        let other = from_image("busybox:2").content;
        assert!(!same(&described, &other));
    }

    #[test]
    fn essential_is_what_is_not_said_to_be_otherwise() {
        let mut read = from_image("a");
        let containers = read.content.container_definitions.as_mut().unwrap();
        containers.push(ContainerDefinition {
            name: Some("side".into()),
            essential: Some(false),
            ..ContainerDefinition::default()
        });
        containers.push(ContainerDefinition { name: Some("b".into()), ..Default::default() });
        let job = Job { read, overrides: Vec::new() };
        assert_eq!(job.essential().collect::<Vec<_>>(), ["a", "b"]);
    }
}
