//! The link's task: connect, serve the connection until it ends, wait, again.

use super::backoff::BackOff;
use super::connect::{self, CONNACK, Opened};
use super::error::LinkError;
use super::message::{Event, SessionId};
use super::reason::Reason;
use super::session::Session;
use super::settings::{BrokerUrl, Host, Settings, Version};
use super::shared::{Closing, Shared, Work};
use super::wire::{Protocol, encode};
use super::{pace::Pace, tls};
use crate::sys;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A connection that was up for as long has succeeded: the next failure is a first one.
const STABLE: Duration = Duration::from_secs(30);
/// For good-bye.
const FAREWELL: Duration = Duration::from_secs(3);
/// Bytes that wait for the network before no more is taken in.
const MOST_ANSWERS: usize = 64 * 1024;

/// What the task knows beyond one connection.
pub(super) struct Runner {
    settings: Settings,
    shared: Arc<Shared>,
    back_off: BackOff,
    tls: Option<Arc<ClientConfig>>,
    protocol: Protocol,
    /// True once the broker has answered in `protocol`.
    settled: bool,
    connections: u64,
    last_id: u16,
    /// Which of the brokers that are set.
    at: usize,
    /// How many of them were tried since one was reached, or since the link waited.
    tried: usize,
}

/// How a connection ended.
struct End {
    why: LinkError,
    /// It was up for long enough to count.
    stable: bool,
    closing: Option<Closing>,
}

impl Runner {
    pub(super) fn new(settings: Settings, shared: Arc<Shared>) -> Self {
        Self {
            back_off: BackOff::new(settings.back_off_cap),
            protocol: match settings.version {
                Version::Auto | Version::V5 => Protocol::V5,
                Version::V311 => Protocol::V311,
            },
            settled: settings.version != Version::Auto,
            settings,
            shared,
            tls: None,
            connections: 0,
            last_id: 0,
            at: 0,
            tried: 0,
        }
    }

    pub(super) async fn run(mut self) {
        // Where the broker sends us, for one attempt.
        let mut other = None;
        loop {
            let own = self.broker().clone();
            let broker = other.take().unwrap_or_else(|| own.clone());
            let is_other = broker != own;
            let connections = self.connections;
            let Some(end) = self.once(&broker).await else { break };
            if end.closing.is_some() {
                break;
            }
            if end.stable {
                self.back_off.reset();
            }
            if !is_other {
                other = end.why.server().and_then(|server| elsewhere(&broker, server));
            }
            let asked = matches!(end.why, LinkError::Asked);
            let older = self.learn(&end.why);
            let was_up = self.connections != connections;
            let at_once = asked
                || older
                || other.is_some()
                || (!end.why.is_overload() && self.has_another(was_up));
            let wait = if at_once {
                Duration::ZERO
            } else {
                self.back_off.next(end.why.is_overload(), random())
            };
            tracing::debug!(broker = %broker, error = %end.why, ?wait, "not connected");
            self.shared.push([Event::Disconnected { why: end.why, next_attempt_in: wait }]);
            if !self.rest(wait).await {
                break;
            }
        }
        self.shared.ended();
    }

    fn broker(&self) -> &BrokerUrl {
        self.at
            .checked_sub(1)
            .and_then(|at| self.settings.others.get(at))
            .unwrap_or(&self.settings.broker)
    }

    /// Goes to the next broker, unless the one there is was reached just now; true when it was not tried in this round.
    fn has_another(&mut self, was_up: bool) -> bool {
        if was_up {
            self.tried = 0;
            return false;
        }
        let all = self.settings.others.len() + 1;
        self.at = (self.at + 1) % all;
        self.tried += 1;
        if self.tried >= all {
            self.tried = 0;
        }
        self.tried != 0
    }

    /// One connection from its beginning to its end; `None` when the link closes before it is up.
    async fn once(&mut self, broker: &BrokerUrl) -> Option<End> {
        let session = SessionId::random();
        if let Err(why) = self.take_settings(broker) {
            return Some(End { why, stable: false, closing: None });
        }
        let opened = {
            let open =
                connect::open(&self.settings, broker, self.tls.clone(), self.protocol, &session);
            tokio::pin!(open);
            loop {
                tokio::select! {
                    opened = &mut open => break opened,
                    () = self.shared.rung() => {
                        if let Work::Close(_) = self.shared.wish() {
                            return None;
                        }
                    }
                }
            }
        };
        match opened {
            Ok(opened) => {
                self.settled = true;
                Some(self.serve(opened, &session).await)
            }
            Err(why) => Some(End { why, stable: false, closing: None }),
        }
    }

    /// What was set since the last connection.
    fn take_settings(&mut self, broker: &BrokerUrl) -> Result<(), LinkError> {
        let (cap, tls) = self.shared.take_settings();
        if let Some(cap) = cap {
            self.back_off.set_cap(cap);
        }
        if let Some(tls) = tls {
            self.settings.tls = tls;
            self.tls = None;
        }
        if matches!(broker, BrokerUrl::Secure(_)) && self.tls.is_none() {
            self.tls = Some(tls::client(&self.settings.tls)?);
        }
        Ok(())
    }

    /// Tries the other version when the broker may not know this one; true when that is worth an attempt at once.
    fn learn(&mut self, why: &LinkError) -> bool {
        if self.settled {
            return false;
        }
        match (why, self.protocol) {
            (LinkError::Refused { reason: Reason::UNSUPPORTED_VERSION, .. }, Protocol::V5) => {
                self.protocol = Protocol::V311;
                self.settled = true;
                true
            }
            // An old broker may close the connection instead of saying so, or say nothing at all. Or it has other reasons:
            // both in turn.
            (LinkError::Closed | LinkError::Timeout { phase: CONNACK, .. }, protocol) => {
                self.protocol = match protocol {
                    Protocol::V5 => Protocol::V311,
                    Protocol::V311 => Protocol::V5,
                };
                false
            }
            _ => false,
        }
    }

    /// Waits for the next attempt; false when the link closes.
    async fn rest(&mut self, wait: Duration) -> bool {
        let wake = sleep(wait);
        tokio::pin!(wake);
        let mut rested = false;
        loop {
            match self.shared.wish() {
                Work::Close(_) => return false,
                Work::Reconnect => {
                    self.back_off.reset();
                    rested = true;
                }
                Work::Done => {}
            }
            if rested && self.shared.may_connect() {
                return true;
            }
            tokio::select! {
                () = &mut wake, if !rested => rested = true,
                () = self.shared.rung() => {}
            }
        }
    }

    async fn serve(&mut self, opened: Opened, id: &SessionId) -> End {
        self.connections += 1;
        let since = Instant::now();
        let mut session =
            Session::new(opened.protocol, self.connections, &opened.answer, self.last_id);
        tracing::debug!(session = %id, present = opened.answer.session_present, "connected");
        self.shared.connected(self.connections, id, opened.answer.session_present);
        let (why, closing) = match self.exchange(opened, &mut session).await {
            Ok(closing) => (LinkError::Asked, closing),
            Err(why) => (why, None),
        };
        self.last_id = session.last_id();
        self.shared.disconnected(&session);
        End { why, stable: since.elapsed() >= STABLE, closing }
    }

    /// Moves packets both ways; `Ok` when this end wants to end it: with `None` to begin another.
    async fn exchange(
        &self,
        opened: Opened,
        session: &mut Session,
    ) -> Result<Option<Closing>, LinkError> {
        let Opened { stream, mut frames, protocol, answer, host } = opened;
        let (mut read, mut write) = tokio::io::split(stream);
        let mut pace = Pace::new(self.settings.keep_alive, answer.keep_alive, Instant::now());
        let mut out = Outgoing::default();
        let mut events = Vec::new();
        loop {
            let mut taken = Ok(());
            while out.bytes.len() < MOST_ANSWERS && self.shared.may_receive() && taken.is_ok() {
                match frames.next() {
                    Ok(Some(frame)) => taken = session.take(&mut out.bytes, frame, &mut events),
                    Ok(None) => break,
                    Err(error) => taken = Err(error.into()),
                }
                self.shared.push(events.drain(..));
            }
            if let Err(error) = taken {
                if let Some(reason) = error.complaint() {
                    encode::disconnect(&mut out.bytes, protocol, reason);
                    let _ = timeout(FAREWELL, out.finish(&mut write)).await;
                }
                return Err(error);
            }
            match self.shared.work(session, &mut out.bytes) {
                Work::Done => {}
                Work::Close(Closing::Abruptly) => return Ok(Some(Closing::Abruptly)),
                work => {
                    encode::disconnect(&mut out.bytes, protocol, Reason::SUCCESS);
                    let _ = timeout(FAREWELL, out.finish(&mut write)).await;
                    return Ok((work != Work::Reconnect).then_some(Closing::Politely));
                }
            }
            let listens = out.bytes.len() < MOST_ANSWERS && self.shared.may_receive();
            if !listens {
                pace.deaf(Instant::now());
            }
            if pace.is_due(Instant::now()) {
                encode::ping(&mut out.bytes);
                pace.asked(Instant::now());
            }
            tokio::select! {
                count = read.read_buf(frames.buffer()), if listens => {
                    match count {
                        Ok(0) => return Err(LinkError::Closed),
                        Ok(_) => pace.heard(Instant::now()),
                        Err(error) => return Err(LinkError::of_stream(&host, error)),
                    }
                }
                sent = out.some(&mut write), if out.is_unsent() => {
                    sent.map_err(|error| LinkError::of_stream(&host, error))?;
                    pace.sent(Instant::now());
                }
                () = self.shared.rung() => {}
                () = sleep_until(pace.next()) => {
                    if let Some(silence) = pace.is_silent(Instant::now()) {
                        return Err(LinkError::Silent(silence));
                    }
                }
            }
        }
    }
}

/// Bytes on their way out.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    unflushed: bool,
}

impl Outgoing {
    fn is_unsent(&self) -> bool {
        self.unflushed || !self.bytes.is_empty()
    }

    /// Sends some of them. Nothing is lost when this is not waited for to its end.
    async fn some(&mut self, write: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        if self.bytes.is_empty() {
            write.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let count = write.write(&self.bytes).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        if count == self.bytes.len() {
            // A large message leaves no large buffer behind.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..count);
        }
        Ok(())
    }

    async fn finish(&mut self, write: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        while self.is_unsent() {
            self.some(write).await?;
        }
        write.shutdown().await
    }
}

/// The broker that a broker refers to, reached in the same way.
fn elsewhere(broker: &BrokerUrl, reference: &str) -> Option<BrokerUrl> {
    let first = reference.split(' ').next()?;
    match broker {
        BrokerUrl::Plain(host) => Host::parse(first, host.port).ok().map(BrokerUrl::Plain),
        BrokerUrl::Secure(host) => Host::parse(first, host.port).ok().map(BrokerUrl::Secure),
        BrokerUrl::Unix(_) => None,
    }
    .filter(|other| other != broker)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    sys::random(&mut bytes);
    u64::from_le_bytes(bytes)
}
