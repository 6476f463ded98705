//! The boxes: they join, and then each is a task of its own that connects, listens and reports.

use super::device::{Device, agent};
use super::hub::Hub;
use super::wire::{Connection, KEEP_ALIVE, Lost, Shared, Way};
use coracle::auth::fleet::{Enrolment, JoinToken, PrivateKey, SealingKey};
use coracle::fleet::join::HubUrl;
use coracle::fleet::join::device::{Applicant, join};
use coracle::fleet::topic::{BodyHash, Topic};
use coracle::model::ContainerInstanceId;
use coracle::model::fleet::Report;
use rumqttc::mqttbytes::v4::Packet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Boxes that join at once, and the pace of all: the hub takes 50 a second in the long run. The broker takes those that wait
/// together, since it reads all its rules again.
const JOINING: usize = 64;
const JOIN_EVERY: Duration = Duration::from_millis(21);

/// As in `fleet/device` and `fleet/link`.
const REPORT_PACE: Duration = Duration::from_secs(1);
const STEADY: Duration = Duration::from_secs(40);
const JITTER: Duration = Duration::from_secs(20);
const BATCH_PATIENCE: Duration = Duration::from_secs(20);
const CAP: Duration = Duration::from_mins(5);
const SETTLED: Duration = Duration::from_secs(10);

/// What became of a box.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) device: usize,
    pub(crate) at: Instant,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// The broker took its connection.
    Connected,
    /// It is what its newest document says, and runs the service's task of this revision; 0 for none.
    Applied(u32),
    /// It cannot become that, or a message was not taken.
    Failed(String),
}

pub(crate) struct Fleet {
    pub(crate) ids: Vec<ContainerInstanceId>,
    _runtime: tokio::runtime::Runtime,
}

fn random() -> f64 {
    let mut bytes = [0; 4];
    coracle::sys::random(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / 4_294_967_296.0
}

fn hex() -> String {
    let mut bytes = [0; 16];
    coracle::sys::random(&mut bytes);
    format!("{:032x}", u128::from_le_bytes(bytes))
}

struct Joined {
    key: PrivateKey,
    enrolment: Enrolment,
    sealing: SealingKey,
}

impl Fleet {
    /// Lets so many boxes join; each connects as soon as it has.
    pub(crate) fn join(hub: &Hub, count: usize) -> (Self, Receiver<News>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let token: Arc<JoinToken> = Arc::new(hub.token().parse().unwrap());
        let url: HubUrl = hub.url.parse().unwrap();
        let (news, heard) = channel();
        let ids = runtime.block_on(async {
            let permits = Arc::new(Semaphore::new(JOINING));
            let mut pace = tokio::time::interval(JOIN_EVERY);
            let shared = Arc::new(tokio::sync::OnceCell::new());
            let mut joining = Vec::new();
            for device in 0..count {
                pace.tick().await;
                let permit = Arc::clone(&permits).acquire_owned().await.unwrap();
                let (token, url, news) = (Arc::clone(&token), url.clone(), news.clone());
                let shared = Arc::clone(&shared);
                joining.push(tokio::spawn(async move {
                    let joined = join_one(&url, &token).await;
                    drop(permit);
                    let id = joined.enrolment.device.clone();
                    let shared =
                        shared.get_or_init(|| async { Shared::new(&joined.enrolment) }).await;
                    let way = Way::new(shared, &joined.enrolment, &joined.key);
                    let Enrolment { cluster, hub, hub_key, .. } = joined.enrolment;
                    let inside = Device::new(id.clone(), cluster, hub, hub_key, joined.sealing);
                    tokio::spawn(live(Box { device, inside, way, news, told: None }));
                    id
                }));
            }
            let mut ids = Vec::with_capacity(count);
            for one in joining {
                ids.push(one.await.unwrap());
            }
            ids
        });
        (Self { ids, _runtime: runtime }, heard)
    }
}

async fn join_one(url: &HubUrl, token: &JoinToken) -> Joined {
    let id = ContainerInstanceId::new(hex()).unwrap();
    let key = PrivateKey::generate();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let applicant = Applicant { device: id.clone(), key: &key, attempt, agent: agent() };
        match join(url, token, applicant).await {
            Ok((enrolment, sealing)) => return Joined { key, enrolment, sealing },
            Err(error) if attempt == 5 => panic!("{id}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_secs(2)).await,
        }
    }
}

/// A box and its way to the broker.
struct Box {
    device: usize,
    inside: Device,
    way: Way,
    news: Sender<News>,
    /// What was told of last: the position of an applied document.
    told: Option<coracle::model::fleet::Position>,
}

impl Box {
    fn tell(&self, what: What) {
        // Nobody listens any more when the bench ends.
        let _ = self.news.send(News { device: self.device, at: Instant::now(), what });
    }

    /// Tells when another document has come to its end.
    fn judge(&mut self) {
        if let Some(position) = self.inside.applied() {
            if self.told != Some(position) {
                self.told = Some(position);
                self.tell(What::Applied(self.inside.revision()));
            }
        } else if let Some(why) = self.inside.failed() {
            self.tell(What::Failed(why));
        }
    }
}

/// Connects, for ever; with full jitter after each failure.
async fn live(mut one: Box) {
    let mut failures = 0_u32;
    loop {
        let begin = Instant::now();
        let session = hex();
        let _why: Lost = match session_of(&mut one, &session).await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        if begin.elapsed() > SETTLED {
            failures = 0;
        }
        let limit = Duration::from_secs(1).saturating_mul(1 << failures.min(30)).min(CAP);
        failures += 1;
        tokio::time::sleep(limit.mul_f64(random())).await;
    }
}

/// When a box says what.
struct Timers {
    ping: Instant,
    /// The newest report, without its number, and when it was sent.
    said: Option<(Report, Instant)>,
    pause: Duration,
    seq: u64,
    batch: Option<Instant>,
}

async fn session_of(one: &mut Box, session: &str) -> Result<std::convert::Infallible, Lost> {
    let (topic, will) = one.inside.presence(session, false);
    let mut link =
        Connection::open(&one.way, one.inside.id.as_str(), (topic.to_string(), will)).await?;
    one.tell(What::Connected);
    let (cluster, id) = (one.inside.cluster.clone(), one.inside.id.clone());
    let topics = [
        Topic::want(&cluster, &id),
        Topic::cmd(&cluster, &id),
        Topic::ack(&cluster, &id),
        Topic::Hub(cluster.clone()),
    ];
    link.subscribe(topics.iter().map(ToString::to_string).collect());
    let (topic, presence) = one.inside.presence(session, true);
    link.publish(topic.to_string(), presence, true);
    let mut timers = Timers {
        ping: Instant::now() + ping_pause(),
        said: None,
        pause: Duration::ZERO,
        seq: 0,
        batch: None,
    };
    loop {
        let due = speak(one, &mut link, &mut timers, session);
        link.flush().await?;
        tokio::select! {
            packet = link.next() => match packet? {
                Packet::Publish(publish) => {
                    match one.inside.hear(&publish.topic, &publish.payload, session) {
                        Ok(todo) => {
                            for hash in todo.bodies {
                                let hash = BodyHash::new(hash.as_str()).unwrap();
                                link.subscribe(vec![Topic::Doc(cluster.clone(), hash).to_string()]);
                            }
                            if todo.answered {
                                timers.batch = None;
                            }
                        }
                        Err(why) => one.tell(What::Failed(format!("{}: {why}", publish.topic))),
                    }
                    if publish.topic.contains("/doc/") {
                        link.unsubscribe(publish.topic.clone());
                    }
                    link.acknowledge(publish.pkid);
                    one.judge();
                }
                Packet::Disconnect => return Err("the broker says good-bye".to_owned()),
                _ => {}
            },
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }
}

fn ping_pause() -> Duration {
    Duration::from_secs(u64::from(KEEP_ALIVE))
}

/// Queues what is due; when to come again.
fn speak(one: &mut Box, link: &mut Connection, timers: &mut Timers, session: &str) -> Instant {
    let now = Instant::now();
    if now >= timers.ping {
        link.ping();
        timers.ping = now + ping_pause();
    }
    let report = one.inside.report(session, 0);
    let due = match &timers.said {
        None => now,
        Some((said, at)) if *said == report => *at + timers.pause,
        Some((_, at)) => *at + REPORT_PACE,
    };
    let mut next = timers.ping;
    if now >= due {
        timers.seq += 1;
        let (topic, sealed) = one.inside.state(&Report { seq: timers.seq, ..report.clone() });
        link.publish(topic.to_string(), sealed, true);
        timers.pause = STEADY + JITTER.mul_f64(random());
        timers.said = Some((report, now));
        next = next.min(now + timers.pause);
    } else {
        next = next.min(due);
    }
    if timers.batch.is_none_or(|since| now >= since + BATCH_PATIENCE)
        && let Some((topic, sealed)) = one.inside.batch()
    {
        link.publish(topic.to_string(), sealed, false);
        timers.batch = Some(now);
    }
    if let Some(since) = timers.batch {
        next = next.min(since + BATCH_PATIENCE);
    }
    next
}
