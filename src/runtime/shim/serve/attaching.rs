//! Attaching to containers: their standard input for a client, and their terminal's output as well.

use super::screen::Screen;
use super::{Asker, Shim};
use crate::model::{ContainerName, RuntimeId};
use crate::runtime::protocol::{Failure, Message, RunState, Stage};
use crate::runtime::socket;
use crate::sys;
use rustix::event::{PollFd, PollFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

impl Shim {
    pub(super) fn attach(
        &mut self,
        asker: Asker,
        container: &ContainerName,
        runtime_id: &RuntimeId,
    ) {
        let id = asker.id;
        let message = match self.try_attach(asker, container, runtime_id) {
            Ok(()) => Message::Started { id, at: sys::now() },
            Err(failure) => Message::Failed { id, failure },
        };
        self.answer(asker, &message);
    }

    fn try_attach(
        &mut self,
        asker: Asker,
        container: &ContainerName,
        runtime_id: &RuntimeId,
    ) -> Result<(), Failure> {
        let connection = self.connections.iter_mut().find(|c| c.number == asker.connection);
        let passed = connection.map(super::Connection::take_passed).unwrap_or_default();
        let Ok([socket, pipe]) = <[OwnedFd; 2]>::try_from(passed) else {
            return Err(Failure::new(Stage::Request, "a socket and a pipe must come with it"));
        };
        let run = self.runs.get_mut(container).filter(|run| {
            run.runtime_id == *runtime_id && matches!(run.state, RunState::Running { .. })
        });
        let run = run.ok_or_else(|| Failure::new(Stage::Request, "the container does not run"))?;
        let Some(stdin) = &run.stdin else {
            let reason = "the container is neither interactive nor on a terminal";
            return Err(Failure::new(Stage::Start, reason));
        };
        let resources = |error: std::io::Error| Failure::new(Stage::Resources, error);
        rustix::io::ioctl_fionbio(&pipe, true).map_err(|e| resources(e.into()))?;
        socket::send_with(&socket, b"I", &[stdin.as_fd()]).map_err(resources)?;
        if let Some(screen) = run.output.as_mut().and_then(|o| o.screen.as_mut()) {
            screen.watch(asker.connection, pipe);
        }
        Ok(())
    }

    /// The end of standard input, once all who were attached have closed it as well. A terminal has none.
    pub(super) fn close_input(&mut self, container: &ContainerName, runtime_id: &RuntimeId) {
        if let Some(run) = self.runs.get_mut(container).filter(|r| r.runtime_id == *runtime_id)
            && run.output.as_ref().is_none_or(|output| output.screen.is_none())
        {
            run.stdin = None;
        }
    }

    pub(super) fn detach(&mut self, connection: u64) {
        for screen in self.screens_mut() {
            screen.unwatch(connection);
        }
    }

    /// Goes on showing; forgets the screens of ended containers once all is shown.
    pub(super) fn show(&mut self) {
        for screen in self.screens_mut().filter(|screen| !screen.is_shown()) {
            screen.send();
        }
        self.leaving.retain(|screen| !screen.is_shown());
    }

    fn screens_mut(&mut self) -> impl Iterator<Item = &mut Screen> {
        let running = self.runs.values_mut().filter_map(|r| r.output.as_mut()?.screen.as_mut());
        running.chain(&mut self.leaving)
    }

    fn screens(&self) -> impl Iterator<Item = &Screen> {
        let running = self.runs.values().filter_map(|r| r.output.as_ref()?.screen.as_ref());
        running.chain(&self.leaving)
    }

    /// What must become writable for the screens to go on.
    pub(super) fn watchers(&self) -> impl Iterator<Item = PollFd<'_>> {
        let fds = self.screens().flat_map(Screen::interest);
        fds.map(|fd: BorrowedFd<'_>| PollFd::from_borrowed_fd(fd, PollFlags::OUT))
    }

    pub(super) fn watchers_wait(&self) -> Option<Duration> {
        self.screens().filter_map(Screen::wait).min()
    }
}
