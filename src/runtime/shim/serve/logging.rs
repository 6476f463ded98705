//! From a launch file to an [`Output`], and what output is still under way after a container's end.

use super::Shim;
use super::output::Output;
use crate::model::ContainerName;
use crate::model::task_definition::logging::{LogSettings, Subject};
use crate::runtime::launch::LaunchFile;
use crate::runtime::logs::{Encoder, LogOptions, LogWriter};
use crate::runtime::protocol::{Failure, Stage};
use crate::runtime::shim::forward::{Forwarder, LINGER};
use crate::sys;
use std::collections::BTreeMap;
use std::time::Duration;

/// Output of containers that have ended which a receiver has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    pub(super) outputs: BTreeMap<ContainerName, Output>,
    /// When the task that is to go waits no longer, as time since boot.
    deadline: Option<Duration>,
}

impl Shim {
    /// What the container's definition says about its output.
    pub(super) fn output(&self, launch: &LaunchFile) -> Result<Output, Failure> {
        let configuration = launch.definition.log_configuration.as_ref();
        let settings = LogSettings::read(configuration, &launch.log_options_secret)
            .map_err(|e| Failure::new(Stage::Create, e))?;
        let labels = &launch.image.labels;
        let own = launch.definition.docker_labels.iter().flatten();
        let labels = labels.iter().chain(own).map(|(name, value)| (name.as_str(), value.as_str()));
        let image = launch.image.env.iter().filter_map(|pair| pair.split_once('='));
        let own = launch.definition.environment.iter().flatten();
        let own = own.filter_map(|pair| Some((pair.name.as_deref()?, pair.value.as_deref()?)));
        let mut attrs = settings.extra.of(labels, image.chain(own));
        let subject = subject(launch);
        if let crate::model::task_definition::logging::Driver::Local(Some(tag)) = &settings.driver {
            attrs.insert("tag".to_owned(), tag.render(&subject));
        }
        let encoder = Encoder::new(&settings.driver, &subject, &attrs);
        let forwarder = encoder.zip(settings.driver.address()).map(|(encoder, address)| {
            Forwarder::new(&settings.driver, address, settings.mode, encoder)
        });
        let path = self.arguments.layout.log_file(&launch.task, &launch.container);
        let log = settings
            .local
            .map(|local| LogWriter::open(path, LogOptions::of(local, launch.log), attrs))
            .transpose()
            .map_err(|e| Failure::new(Stage::Resources, format!("log file: {e}")))?;
        Ok(Output::new(log, forwarder))
    }

    /// The container has started: its receiver is connected to, and what an earlier run left for it comes first.
    pub(super) fn begin_output(&mut self, container: &ContainerName, output: &mut Output) {
        let earlier = self.farewells.outputs.remove(container).and_then(|output| output.forwarder);
        if let Some(forwarder) = &mut output.forwarder {
            match earlier {
                Some(earlier) => forwarder.take_over(earlier),
                None => forwarder.begin(),
            }
            output.forward();
        }
    }

    /// The container has ended: what its receiver has not taken yet stays for a while.
    pub(super) fn end_output(&mut self, container: &ContainerName, output: Output) {
        if !output.is_delivered() {
            self.farewells.outputs.insert(container.clone(), output);
        }
    }
}

impl Farewells {
    /// Goes on sending; forgets what is delivered.
    pub(super) fn send(&mut self) {
        for output in self.outputs.values_mut() {
            output.forward();
        }
        self.outputs.retain(|_, output| {
            output.forwarder.as_ref().is_some_and(|forwarder| !forwarder.is_empty())
        });
    }

    /// True when a task that is to go need not wait for receivers any longer.
    pub(super) fn are_over(&mut self) -> bool {
        let now = sys::uptime();
        let deadline = *self.deadline.get_or_insert(now + LINGER);
        for output in self.outputs.values_mut() {
            if let Some(forwarder) = &mut output.forwarder {
                forwarder.hurry();
            }
        }
        self.send();
        if now < deadline && !self.outputs.values().all(Output::is_delivered) {
            return false;
        }
        for output in std::mem::take(&mut self.outputs).into_values() {
            output.give_up();
        }
        true
    }

    /// How long until there is something to do.
    pub(super) fn wait(&self) -> Option<Duration> {
        let retry = self.outputs.values().filter_map(|o| o.forwarder.as_ref()?.wait()).min();
        let deadline = self.deadline.map(|at| at.saturating_sub(sys::uptime()));
        retry.into_iter().chain(deadline).min()
    }
}

/// What tags and fields say about the container.
fn subject(launch: &LaunchFile) -> Subject {
    let task = launch.task.as_str();
    let command = launch.definition.entry_point.as_deref().unwrap_or(&launch.image.entrypoint);
    let arguments = launch.definition.command.as_deref().unwrap_or(&launch.image.cmd);
    let words: Vec<&str> = command.iter().chain(arguments).map(String::as_str).collect();
    Subject {
        id: task.get(..12).unwrap_or(task).to_owned(),
        full_id: launch.runtime_id.as_str().to_owned(),
        name: launch.long_name.clone(),
        image_id: launch.image_digest.clone(),
        image_name: launch.definition.image.clone().unwrap_or_default(),
        command: words.join(" ").chars().take(1024).collect(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}
