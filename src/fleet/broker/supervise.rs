//! The task that owns the broker: it starts it again with back-off, and brings changes of the roster to it.
//!
//! ```text
//!            ┌───────────── ended ─────────────┐
//!            ▼                                 │
//!   wait (back-off) ──► files ──► start ──► up ┴─ requests ─► files ─► SIGHUP ─► answered ─► cut off who is revoked
//! ```
//!
//! Requests that come together are brought together: one reload for all of them. While the broker is down they are done
//! when the files are written, because it reads them before it lets anybody in.

use super::child::{Life, Sign};
use super::place::Place;
use super::program::Program;
use super::visit::visit;
use super::{BrokerError, Door, Request, Roster, Settings, leftover};
use crate::model::ContainerInstanceId;
use crate::sys;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Between the first two attempts; doubled with each.
const BACK_OFF: Duration = Duration::from_millis(250);
const BACK_OFF_AT_MOST: Duration = Duration::from_secs(30);
/// A life this long was a good one.
const STABLE: Duration = Duration::from_mins(1);
/// Between attempts to bring a change to a broker that did not take it.
const AGAIN: Duration = Duration::from_secs(5);
/// From SIGHUP to the line that it is read.
const RELOAD: Duration = Duration::from_mins(1);
/// The client that finds out whether the broker is done.
const PROBE: &str = "hub-probe";

/// The broker, and all it takes to start it again.
#[derive(Debug)]
pub(super) struct Supervisor {
    settings: Arc<Settings>,
    program: Program,
    place: Place,
    door: Door,
    roster: Roster,
    /// Whose connections are still to be cut.
    to_cut: BTreeSet<ContainerInstanceId>,
    /// The last change did not get through.
    behind: bool,
    /// None while it is down.
    life: Option<Life>,
    since: Duration,
    back_off: Duration,
}

/// What becomes of the task.
enum Next {
    Again,
    Over,
}

impl Supervisor {
    /// Everything up to a broker that answers.
    pub(super) async fn start(
        settings: Settings,
        roster: Roster,
    ) -> Result<(Self, Door, SocketAddr), BrokerError> {
        let program = Program::find(settings.search_path.as_deref()).await?;
        let settings = Arc::new(settings);
        let prepared = {
            let (settings, roster, user) =
                (Arc::clone(&settings), roster.clone(), program.user.clone());
            blocking(move || {
                let mut place = Place::prepare(&settings, user.as_ref())?;
                leftover::end(&place.configuration())?;
                let address = free(settings.listen)?;
                let door = place.door();
                place.write_fixed(&settings, address, &door)?;
                place.write_roster(&settings, &roster)?;
                Ok((place, door, address))
            })
        };
        let (place, door, address) = prepared.await?;
        let mut supervisor = Self {
            settings,
            program,
            place,
            door: door.clone(),
            roster,
            to_cut: BTreeSet::new(),
            behind: false,
            life: None,
            since: Duration::ZERO,
            back_off: BACK_OFF,
        };
        supervisor.bring_up().await?;
        Ok((supervisor, door, address))
    }

    /// Until it is asked to stop, or nobody can ask any more.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Next::Again = self.step(&mut requests).await {}
        if let Some(life) = self.life.take() {
            life.end().await;
        }
    }

    async fn step(&mut self, requests: &mut mpsc::Receiver<Request>) -> Next {
        let Some(life) = &mut self.life else { return self.wait_and_bring_up(requests).await };
        tokio::select! {
            sign = life.sign() => {
                if let Sign::Ended(status) = sign {
                    self.gone(status);
                }
                Next::Again
            }
            request = requests.recv() => self.take(request, requests).await,
            () = tokio::time::sleep(AGAIN), if self.behind => {
                if let Err(error) = self.bring_roster().await {
                    tracing::error!("the broker still acts by an old roster: {}", whole(&error));
                }
                Next::Again
            }
        }
    }

    fn gone(&mut self, status: std::process::ExitStatus) {
        self.life = None;
        self.to_cut.clear();
        if sys::uptime().saturating_sub(self.since) > STABLE {
            self.back_off = BACK_OFF;
        }
        tracing::error!(%status, again_in = ?self.back_off, "mosquitto ended; starting it again");
    }

    async fn wait_and_bring_up(&mut self, requests: &mut mpsc::Receiver<Request>) -> Next {
        let wait = tokio::time::sleep(self.back_off);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                request = requests.recv() => {
                    if let Next::Over = self.take(request, requests).await {
                        return Next::Over;
                    }
                }
            }
        }
        self.back_off = (self.back_off * 2).min(BACK_OFF_AT_MOST);
        match self.bring_up().await {
            Ok(()) => tracing::info!("mosquitto is up again"),
            Err(error) => tracing::error!(again_in = ?self.back_off, "{}", whole(&error)),
        }
        Next::Again
    }

    /// One start; a second one without the database when that is what keeps it from starting.
    async fn bring_up(&mut self) -> Result<(), BrokerError> {
        let configuration = self.place.configuration();
        let begun = match Life::begin(&self.program, &configuration).await {
            Err(BrokerError::Ended { said, .. }) if said.contains("database") => {
                let aside = self.place.set_database_aside()?;
                tracing::error!(
                    said,
                    aside = %aside.display(),
                    "mosquitto cannot read what it has kept; it starts without, and the hub and the boxes say it again"
                );
                Life::begin(&self.program, &configuration).await
            }
            begun => begun,
        };
        self.life = Some(begun?);
        self.since = sys::uptime();
        // It listens, and lets the hub in.
        visit(&self.door, PROBE).await
    }

    /// Takes this request and all that wait behind it.
    async fn take(
        &mut self,
        first: Option<Request>,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Next {
        let Some(first) = first else { return Next::Over };
        let (mut answers, mut revoked, mut stop) = (Vec::new(), Vec::new(), None);
        let before = self.roster.clone();
        let mut request = Some(first);
        while let Some(taken) = request {
            match taken {
                Request::Admit(device, cluster, answer) => {
                    self.roster.refused.remove(&device);
                    revoked.retain(|refused| *refused != device);
                    self.roster.admitted.insert(device, cluster);
                    answers.push(answer);
                }
                Request::Revoke(device, certificates, answer) => {
                    self.roster.admitted.remove(&device);
                    self.roster.revoked.extend(certificates);
                    self.roster.refused.insert(device.clone());
                    revoked.push(device);
                    answers.push(answer);
                }
                Request::Stop(answer) => stop = Some(answer),
            }
            request = requests.try_recv().ok();
        }
        if let Some(answer) = stop {
            if let Some(life) = self.life.take() {
                life.end().await;
            }
            let _ = answer.send(());
            return Next::Over;
        }
        if self.roster == before && !self.behind {
            for answer in answers {
                let _ = answer.send(Ok(()));
            }
            return Next::Again;
        }
        self.to_cut.retain(|device| self.roster.refused.contains(device));
        self.to_cut.extend(revoked);
        let failed = self.bring_roster().await.err().map(|error| whole(&error));
        for answer in answers {
            let outcome = failed.clone().map_or(Ok(()), |why| Err(BrokerError::NotYet(why)));
            let _ = answer.send(outcome);
        }
        Next::Again
    }

    /// The files, the reload, and the end of connections that are not wanted any more. What fails is tried again.
    async fn bring_roster(&mut self) -> Result<(), BrokerError> {
        let was_behind = std::mem::replace(&mut self.behind, true);
        let (settings, roster, mut place) =
            (Arc::clone(&self.settings), self.roster.clone(), self.place.clone());
        let (place, changed) = blocking(move || {
            let changed = place.write_roster(&settings, &roster)?;
            Ok((place, changed))
        })
        .await?;
        self.place = place;
        let acts_by_it =
            if changed || was_behind { self.reload().await? } else { self.life.is_some() };
        if acts_by_it {
            while let Some(device) = self.to_cut.first() {
                visit(&self.door, device.as_str()).await?;
                self.to_cut.pop_first();
            }
        }
        self.behind = false;
        Ok(())
    }

    /// SIGHUP, and until it has been acted on. False: it is down, and reads the files when it starts.
    async fn reload(&mut self) -> Result<bool, BrokerError> {
        let Some(life) = &mut self.life else { return Ok(false) };
        life.signal(Signal::HUP);
        let read = async {
            loop {
                match life.sign().await {
                    Sign::Line(said) if said.starts_with("Reloading config") => return None,
                    Sign::Line(_) => {}
                    Sign::Ended(status) => return Some(status),
                }
            }
        };
        match tokio::time::timeout(RELOAD, read).await {
            Err(_) => return Err(BrokerError::Late("reload its rules")),
            Ok(Some(status)) => {
                self.gone(status);
                return Ok(false);
            }
            Ok(None) => {}
        }
        // The line says that it begins. It does one thing after another, so an answer comes when it is done; a second
        // SIGHUP before that would be lost.
        visit(&self.door, PROBE).await?;
        Ok(true)
    }
}

/// An error with all that caused it.
fn whole(error: &BrokerError) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Whether it can be listened on, and with which port.
fn free(address: SocketAddr) -> Result<SocketAddr, BrokerError> {
    // Dropped at once: mosquitto binds it itself. What takes the port in between shows at mosquitto's start.
    TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map_err(|source| BrokerError::Listen { address, source })
}

/// Files are not for the threads of other tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(BrokerError::Stopped))
}
