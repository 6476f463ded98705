//! The output of the containers of a task, or of all tasks of a family.
//!
//! Without `follow` the lines that are kept, in the order they were written over all containers. With it, the same and
//! then the lines of each container as they come, until the task is STOPPED and all is sent; of a family, those of
//! tasks that start meanwhile as well, without an end.

mod follow;
mod kept;
mod stored;

pub(super) use stored::{answer as answer_stored, is_stored, nothing_of};

use super::query::Query;
use super::{Answer, Api, LocalError, find_task, is_over, lines, shorten};
use crate::api::server::told_to_stop;
use crate::model::{ContainerName, Family, Revision, Task, TaskId, Timestamp};
use crate::plan::World;
use crate::runtime::logs::{Beginning, LogError, LogLine};
use serde_json::{Value, json};

/// `GET logs`.
pub(super) fn answer(api: &Api, query: &Query) -> Answer {
    let (wanted, follow) = read(api, query, &[])?;
    let logs = api.engine.logs()?;
    let sources = sources(api, &wanted)?;
    let (sender, response) = lines::answer();
    if follow {
        let engine = api.engine.clone();
        let stopping = told_to_stop(api.stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = follow::follow(&engine, &wanted, sources, &sender) => {}
                () = stopping => {}
                () = sender.gone() => {}
            }
        });
    } else {
        tokio::task::spawn_blocking(move || {
            // A client that went away needs no more lines.
            let _ = kept::send(&move |_| logs.clone(), &wanted, sources, &sender);
        });
    }
    Ok(response)
}

/// What is asked for, and whether what comes is as well. `more` are parameters that somebody else has read.
fn read(api: &Api, query: &Query, more: &[&str]) -> Result<(Wanted, bool), LocalError> {
    const NAMES: [&str; 7] = ["task", "family", "container", "follow", "tail", "since", "until"];
    query.only(&[&NAMES, more].concat())?;
    let follow = match query.get("follow") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(LocalError::bad("the parameter follow is true or false")),
    };
    let beginning = match query.get("tail") {
        None => Beginning::Start,
        Some(number) => Beginning::Tail(
            number
                .parse()
                .map_err(|_| LocalError::bad("the parameter tail is a number of lines"))?,
        ),
    };
    let wanted = Wanted {
        tasks: api.engine.read(|world| tasks(world, query))?,
        container: query.get("container").map(str::to_owned),
        beginning,
        since: moment(query, "since")?,
        until: moment(query, "until")?,
    };
    Ok((wanted, follow))
}

fn sources(api: &Api, wanted: &Wanted) -> Result<Vec<Source>, LocalError> {
    let sources = api.engine.read(|world| wanted.sources(world));
    if let (Tasks::One(task), Some(container)) = (&wanted.tasks, &wanted.container)
        && sources.is_empty()
    {
        return Err(api.engine.read(|world| no_container(world, task, container)));
    }
    Ok(sources)
}

/// Whether a task is of the family that is asked for.
pub(super) fn family(
    query: &Query,
) -> Result<impl Fn(&Task) -> bool + Send + Sync + use<>, LocalError> {
    let text = query.get("family").unwrap_or_default();
    let (family, revision) = parse_family(text)?;
    Ok(move |task: &Task| is_of(task, &family, revision))
}

fn is_of(task: &Task, family: &Family, revision: Option<Revision>) -> bool {
    task.task_definition.family == *family
        && revision.is_none_or(|r| task.task_definition.revision == r)
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Wanted {
    tasks: Tasks,
    /// Only containers of this name.
    container: Option<String>,
    beginning: Beginning,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// The tasks that are asked for.
#[derive(Debug, Clone)]
enum Tasks {
    One(TaskId),
    Family(Family, Option<Revision>),
}

/// One container of a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    /// Nothing of it is older.
    created_at: Timestamp,
    task: TaskId,
    container: ContainerName,
    /// Nothing more comes.
    over: bool,
}

impl Wanted {
    /// What there is of it, the oldest task first.
    fn sources(&self, world: &World) -> Vec<Source> {
        let tasks = world.tasks.values().filter(|task| match &self.tasks {
            Tasks::One(id) => task.id == *id,
            Tasks::Family(family, revision) => is_of(task, family, *revision),
        });
        let mut sources: Vec<Source> = tasks
            .flat_map(|task| task.containers.iter().map(move |container| (task, container)))
            .filter(|(_, c)| self.container.as_ref().is_none_or(|name| c.name.as_str() == name))
            .map(|(task, container)| Source {
                created_at: task.created_at,
                task: task.id.clone(),
                container: container.name.clone(),
                over: is_over(Some(task)),
            })
            .collect();
        // Stable, so that containers stay in the order of their task.
        sources.sort_by(|a, b| (a.created_at, &a.task).cmp(&(b.created_at, &b.task)));
        sources
    }

    /// Whether a line is within the time that is asked for.
    fn wants(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
    }
}

fn tasks(world: &World, query: &Query) -> Result<Tasks, LocalError> {
    match (query.get("task"), query.get("family")) {
        (Some(task), None) => find_task(world, task).map(Tasks::One),
        (None, Some(text)) => {
            parse_family(text).map(|(family, revision)| Tasks::Family(family, revision))
        }
        (None, None) => Err(LocalError::bad("the parameter task is missing")),
        (Some(_), Some(_)) => Err(LocalError::bad("give task or family, not both")),
    }
}

fn parse_family(text: &str) -> Result<(Family, Option<Revision>), LocalError> {
    let (family, revision) = match text.split_once(':') {
        Some((family, revision)) => (family, Some(revision)),
        None => (text, None),
    };
    let bad = || LocalError::bad(format!("{} is not FAMILY[:REVISION]", shorten(text)));
    let family = Family::new(family).map_err(|_| bad())?;
    let revision = revision.map(str::parse).transpose().map_err(|_| bad())?;
    Ok((family, revision.map(Revision)))
}

fn moment(query: &Query, name: &str) -> Result<Option<Timestamp>, LocalError> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let moment: jiff::Timestamp = text
        .parse()
        .map_err(|_| LocalError::bad(format!("the parameter {name} is a time of RFC 3339")))?;
    Ok(Some(Timestamp(moment.as_millisecond())))
}

fn no_container(world: &World, task: &TaskId, wanted: &str) -> LocalError {
    let containers = world.tasks.get(task).map(|task| task.containers.as_slice());
    let known: Vec<&str> = containers.unwrap_or_default().iter().map(|c| c.name.as_str()).collect();
    LocalError::missing(format!(
        "the task has no container {:?}; it has {}",
        shorten(wanted),
        known.join(", ")
    ))
}

fn shown(source: &Source, line: &LogLine) -> Value {
    json!({
        "task": source.task, "container": source.container,
        "stream": line.stream, "time": line.time, "log": line.log
    })
}

fn failed(error: &LogError) -> Value {
    json!({ "error": format!("cannot read the log: {error}") })
}
