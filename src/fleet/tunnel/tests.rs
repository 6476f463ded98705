use super::*;
use crate::auth::fleet::{HubKeys, SealingKey};
use crate::fleet::command::{Acceptor, Address, Commander, Outgoing, Purpose};
use crate::fleet::topic::{Channel, Part, Topic};
use crate::model::{ClusterName, ContainerInstanceId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// What the carrier does to messages.
#[derive(Clone, Default)]
struct Weather {
    doubles: Arc<AtomicBool>,
    /// Loses all that comes.
    down: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
}

/// Both ends and what carries their messages.
struct Fleet {
    hub: HubEnd,
    device: DeviceEnd,
    address: Address,
    key: SealingKey,
    accepted: mpsc::Receiver<TunnelStream>,
    commander: Arc<Commander>,
    weather: Weather,
    acceptor: Arc<Mutex<Acceptor>>,
    commands: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Fleet {
    fn start() -> Self {
        Self::paced(STEP)
    }

    fn paced(step: Duration) -> Self {
        let cluster = ClusterName::default_cluster();
        let device = ContainerInstanceId::new("0123456789abcdef0123456789abcdef").unwrap();
        let address = Address {
            cluster: cluster.clone(),
            device: device.clone(),
            session: "session-1".to_owned(),
        };
        let key = SealingKey::from_bytes(&[7; 32]).unwrap();
        let signing = Arc::new(HubKeys::ephemeral());
        let (down, mut going_down) = mpsc::channel::<Outgoing>(4);
        let (up, mut going_up) = mpsc::channel::<Outgoing>(4);
        let mut acceptor = Acceptor::new(signing.verifying_key(), device.clone());
        acceptor.session_changed(Some(&address.session));
        let acceptor = Arc::new(Mutex::new(acceptor));
        let commander = Arc::new(Commander::new(signing, 1, down));
        let hub = HubEnd::new(Arc::clone(&commander)).paced(step);
        let (streams, accepted) = mpsc::channel(TUNNELS);
        let end = DeviceEnd::new(cluster, device.clone(), key.clone(), up, move |stream| {
            streams.try_send(stream).is_ok()
        })
        .paced(step);
        end.session_changed(Some(&address.session));
        let weather = Weather::default();
        let commands = Arc::new(Mutex::new(Vec::new()));
        let above = weather.clone();
        {
            let (weather, end, acceptor, commands) =
                (weather.clone(), end.clone(), Arc::clone(&acceptor), Arc::clone(&commands));
            tokio::spawn(async move {
                while let Some(message) = going_down.recv().await {
                    lock(&commands).push(message.payload.clone());
                    if weather.down.load(Ordering::SeqCst) {
                        weather.lost.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    let times = if weather.doubles.load(Ordering::SeqCst) { 2 } else { 1 };
                    for _ in 0..times {
                        if let Ok(command) = lock(&acceptor).accept(&message.payload) {
                            assert_eq!(command.purpose, Purpose::Tunnel);
                            end.incoming(&command.id, &command.body);
                        }
                    }
                }
            });
            let (weather, hub) = (above, hub.clone());
            tokio::spawn(async move {
                while let Some(message) = going_up.recv().await {
                    if weather.down.load(Ordering::SeqCst) {
                        weather.lost.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    let Topic::Device(_, device, Channel::Rpc(id)) = message.topic else {
                        panic!()
                    };
                    let times = if weather.doubles.load(Ordering::SeqCst) { 2 } else { 1 };
                    for _ in 0..times {
                        hub.incoming(&device, &id, &message.payload);
                    }
                }
            });
        }
        Self { hub, device: end, address, key, accepted, commander, weather, acceptor, commands }
    }

    fn peer(&self) -> Peer {
        Peer { address: self.address.clone(), key: self.key.clone() }
    }

    async fn tunnel(&mut self) -> (TunnelStream, TunnelStream) {
        let near = self.hub.open(&self.peer()).await.unwrap();
        (near, self.accepted.recv().await.unwrap())
    }

    /// Waits until neither end has a tunnel left.
    async fn empty(&self) {
        while self.hub.count() + self.device.count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn bytes_go_both_ways_whole_although_messages_come_twice() {
    let mut fleet = Fleet::start();
    fleet.weather.doubles.store(true, Ordering::SeqCst);
    let (near, far) = fleet.tunnel().await;
    let sent = pattern(1 << 20);
    let talk = |stream: TunnelStream, sent: Vec<u8>| async move {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut came = Vec::new();
        let ((), read) = tokio::join!(write, reader.read_to_end(&mut came));
        read.unwrap();
        came
    };
    let (down, up) = tokio::join!(talk(near, sent.clone()), talk(far, sent.clone()));
    assert!(down == sent && up == sent);
    fleet.empty().await;
    assert!(lock(&fleet.acceptor).accept(&lock(&fleet.commands)[0]).is_err());
}

#[tokio::test]
async fn a_reader_that_is_slow_stops_the_writer_and_nobody_else() {
    let mut fleet = Fleet::start();
    let (mut slow, mut slow_far) = fleet.tunnel().await;
    let (mut other, mut other_far) = fleet.tunnel().await;
    let writing = tokio::spawn(async move {
        let mut total = 0;
        // More than the window and all buffers on the way.
        while total < 1 << 20 {
            total += slow_far.write(&[0; 4096]).await.unwrap();
        }
        slow_far
    });
    other_far.write_all(b"quick").await.unwrap();
    let mut word = [0; 5];
    other.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"quick");
    assert!(!writing.is_finished());
    let mut all = vec![0; 1 << 20];
    slow.read_exact(&mut all).await.unwrap();
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn what_was_written_before_a_stream_is_dropped_arrives() {
    let mut fleet = Fleet::start();
    let (mut near, mut far) = fleet.tunnel().await;
    near.write_all(b"request").await.unwrap();
    let mut word = [0; 7];
    far.read_exact(&mut word).await.unwrap();
    far.write_all(b"answer").await.unwrap();
    drop(far);
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    drop(near);
    fleet.empty().await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_what_the_box_sends() {
    let mut fleet = Fleet::start();
    let (near, mut far) = fleet.tunnel().await;
    drop(near);
    // It reads the end, and cannot write for long.
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
    while far.write_all(&[0; 1024]).await.is_ok() {}
    fleet.empty().await;
}

#[tokio::test]
async fn a_new_session_ends_all_tunnels_with_a_reason() {
    let mut fleet = Fleet::start();
    let (mut near, mut far) = fleet.tunnel().await;
    far.write_all(b"before").await.unwrap();
    let mut before = [0; 6];
    near.read_exact(&mut before).await.unwrap();
    fleet.device.session_changed(Some("session-2"));
    fleet.hub.session_changed(&fleet.address.device, Some("session-2"));
    let error = near.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.to_string(), "the box lost its connection to the broker");
    assert!(far.read(&mut [0; 8]).await.is_err());
    fleet.empty().await;
    // Nothing of the old session opens another one.
    let old = lock(&fleet.commands)[0].clone();
    lock(&fleet.acceptor).session_changed(Some("session-2"));
    assert!(lock(&fleet.acceptor).accept(&old).is_err());
}

#[tokio::test]
async fn a_hub_without_its_broker_has_no_tunnels() {
    let mut fleet = Fleet::start();
    let (mut near, _far) = fleet.tunnel().await;
    fleet.hub.link_lost();
    let error = near.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.to_string(), "the hub lost its connection to the broker");
    assert_eq!(fleet.hub.count(), 0);
}

#[tokio::test]
async fn silence_ends_a_tunnel_and_idle_ones_last() {
    let step = Duration::from_millis(50);
    let mut fleet = Fleet::paced(step);
    let (mut near, mut far) = fleet.tunnel().await;
    // Idle for longer than silence may last.
    let mut word = [0; 11];
    assert!(tokio::time::timeout(step * 20, near.read(&mut word)).await.is_err());
    far.write_all(b"still there").await.unwrap();
    near.read_exact(&mut word).await.unwrap();
    fleet.weather.down.store(true, Ordering::SeqCst);
    let error = near.read(&mut word).await.unwrap_err();
    assert_eq!(error.to_string(), "the other end has not been heard of for a minute");
    assert!(far.read(&mut word).await.is_err());
    fleet.empty().await;
    // Nobody answers.
    let error = fleet.hub.open(&fleet.peer()).await.unwrap_err();
    assert_eq!(error, OpenError::Silent(fleet.address.device.clone()));
}

#[tokio::test]
async fn a_lost_message_ends_the_tunnel_and_not_in_silence() {
    let mut fleet = Fleet::start();
    let (mut near, mut far) = fleet.tunnel().await;
    fleet.weather.down.store(true, Ordering::SeqCst);
    far.write_all(b"lost").await.unwrap();
    while fleet.weather.lost.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    fleet.weather.down.store(false, Ordering::SeqCst);
    far.write_all(b"late").await.unwrap();
    let error = near.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.to_string(), "a message got lost on the way");
}

#[tokio::test]
async fn there_are_as_many_tunnels_as_there_may_be() {
    let mut fleet = Fleet::start();
    let mut held = Vec::new();
    for _ in 0..TUNNELS {
        held.push(fleet.tunnel().await);
    }
    let error = fleet.hub.open(&fleet.peer()).await.unwrap_err();
    assert_eq!(error, OpenError::Crowded(fleet.address.device.clone()));
    // The box keeps to that by itself.
    let second_hub = HubEnd::new(Arc::clone(&fleet.commander)).paced(Duration::from_millis(500));
    let peer = fleet.peer();
    let opening = tokio::spawn(async move { second_hub.open(&peer).await.map(drop) });
    assert!(opening.await.unwrap().is_err());
    assert_eq!(fleet.device.refused().get("tunnel: crowded"), Some(&1));
    held.clear();
    fleet.empty().await;
    fleet.tunnel().await;
}

#[tokio::test]
async fn a_box_that_is_busy_says_so() {
    let mut fleet = Fleet::start();
    fleet.accepted.close();
    let error = fleet.hub.open(&fleet.peer()).await.unwrap_err().to_string();
    assert!(error.ends_with("the agent of this box is busy or stopping"), "{error}");
}

#[tokio::test]
async fn hostile_messages_change_nothing_and_are_counted() {
    let mut fleet = Fleet::start();
    let (mut near, mut far) = fleet.tunnel().await;
    let device = fleet.address.device.clone();
    let id = fleet.hub.ids().remove(0);
    let other = ContainerInstanceId::new("f".repeat(32)).unwrap();
    let unknown = Part::new("0").unwrap();
    fleet.hub.incoming(&device, &id, b"garbage");
    fleet.hub.incoming(&device, &id, &vec![0; 1 << 20]);
    fleet.hub.incoming(&device, &unknown, b"garbage");
    fleet.hub.incoming(&other, &id, b"garbage");
    fleet.device.incoming(&id, b"garbage");
    fleet.device.incoming(&id, &vec![0; 1 << 20]);
    fleet.device.incoming(&unknown, b"garbage");
    // What the hub has sealed for the device is not the device's word.
    let command = lock(&fleet.commands)[0].clone();
    fleet.hub.incoming(&device, &id, &command);
    let counts = |of: BTreeMap<&'static str, u64>| of.into_iter().collect::<Vec<_>>();
    let of_hub = [
        ("tunnel: foreign", 1),
        ("tunnel: forged", 2),
        ("tunnel: oversized", 1),
        ("tunnel: unknown", 1),
    ];
    assert_eq!(counts(fleet.hub.refused()), of_hub);
    assert_eq!(counts(fleet.device.refused()), [("tunnel: forged", 2), ("tunnel: oversized", 1)]);
    far.write_all(b"unharmed").await.unwrap();
    let mut word = [0; 8];
    near.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"unharmed");
}
