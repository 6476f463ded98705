//! A box for the tests of the network: a network namespace of the test's own, with one beside it for the outside, and
//! real connections between what is in them. The machine's own network is not touched.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::print_stdout, reason = "what is skipped says why")]
#![allow(clippy::disallowed_methods, reason = "a test's patience is real time")]
#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be made or run")]

pub(crate) mod frames;
#[path = "../port/mod.rs"]
mod port;

#[allow(unused_imports, reason = "each test binary uses its part")]
pub(crate) use port::bound_soon;

use coracle::model::{ContainerName, TaskId};
use coracle::net::{
    AttachRequest, Attachment, EndpointId, HostPort, Network, NetworkConfig, NetworkError,
    PortMapping, PortRange, Protocol, Subnet,
};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The box's address to the outside, and the outside's.
pub(crate) const BOX: &str = "192.0.2.2";
pub(crate) const BOX6: &str = "2001:db8::2";
pub(crate) const OUTSIDE: &str = "192.0.2.1";

/// How long a connection that must not come about is waited for; one that must has longer.
const DROPPED: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(20);
const LONG_PATIENCE: Duration = Duration::from_mins(1);

/// Runs `test` on a box of its own. The runtime's threads belong to the box as well.
pub(crate) fn on_a_box<F: Future<Output = ()>>(test: impl FnOnce(Ground) -> F + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root to make network namespaces");
        return;
    }
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let ground = Ground::make();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test(ground));
    };
    let ended = std::thread::Builder::new().name("box".to_owned()).spawn(run).unwrap().join();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// The box and what is around it.
pub(crate) struct Ground {
    /// The box's own namespace.
    pub(crate) here: OwnedFd,
    /// A namespace that the box is connected to.
    pub(crate) outside: OwnedFd,
    /// What `snapshot` said at first.
    pub(crate) before: String,
    states: tempfile::TempDir,
}

impl Ground {
    fn make() -> Self {
        let here = own_namespace();
        let outside = namespace();
        let path = format!("/proc/{}/fd/{}", std::process::id(), outside.as_raw_fd());
        ip("link set lo up");
        ip(&format!("link add eth0 type veth peer name eth0 netns {path}"));
        ip(&format!("addr add {BOX}/24 dev eth0"));
        ip(&format!("addr add {BOX6}/64 dev eth0 nodad"));
        ip("link set eth0 up");
        inside(&outside, || {
            ip("link set lo up");
            ip(&format!("addr add {OUTSIDE}/24 dev eth0"));
            ip("addr add 2001:db8::1/64 dev eth0 nodad");
            ip("link set eth0 up");
        });
        ip(&format!("route add default via {OUTSIDE}"));
        // The kernel adds this once it has noticed that the other end of the link is up.
        let ready = format!("local {BOX6} dev eth0 table local");
        let deadline = Instant::now() + LONG_PATIENCE;
        while !snapshot().contains(&ready) {
            assert!(Instant::now() < deadline, "the link does not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
        let before = snapshot();
        Self { here, outside, before, states: tempfile::tempdir().unwrap() }
    }

    /// The settings of the agent called `name`.
    pub(crate) fn config(&self, name: &str) -> NetworkConfig {
        NetworkConfig { state_dir: self.state_dir(name), ..NetworkConfig::default() }
    }

    pub(crate) fn state_dir(&self, name: &str) -> PathBuf {
        self.states.path().join(name)
    }

    /// A network of the agent called `name`.
    pub(crate) fn network(&self, name: &str) -> Network {
        Network::open(self.config(name)).unwrap()
    }

    /// Waits until the box is as it was at first; who waits in vain is shown the difference.
    pub(crate) fn settle(&self) {
        let deadline = Instant::now() + LONG_PATIENCE;
        while snapshot() != self.before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.assert_as_before();
    }

    /// Fails unless the box is as it was at first.
    pub(crate) fn assert_as_before(&self) {
        assert_eq!(snapshot(), self.before);
    }
}

/// Links, addresses, routes, rules and forwarding of this namespace, without what differs by itself.
pub(crate) fn snapshot() -> String {
    let mut text = output("nft", &["list", "ruleset"]);
    for arguments in ["-br link", "-br addr", "route show table all", "-6 route show table all"] {
        text += &output("ip", &arguments.split(' ').collect::<Vec<_>>());
    }
    // What comes by itself, and the state of a link's other end, which is told with a delay.
    let moves = |word: &&str| {
        word.starts_with(['<'])
            || word.starts_with("fe80:")
            || ["UP", "DOWN", "LOWERLAYERDOWN", "UNKNOWN", "linkdown"].contains(word)
    };
    let by_itself =
        |line: &&str| ["fe80:", "ff00::/8", "anycast"].iter().any(|text| line.contains(text));
    let mut text: String = text
        .lines()
        .filter(|line| line.starts_with("eth0") || !by_itself(line))
        .map(|line| {
            line.split_whitespace().filter(|word| !moves(word)).collect::<Vec<_>>().join(" ") + "\n"
        })
        .collect();
    for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/eth0/route_localnet"] {
        text += &std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap();
    }
    text
}

pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs ip(8) in this thread's namespace.
pub(crate) fn ip(arguments: &str) {
    output("ip", &arguments.split_whitespace().collect::<Vec<_>>());
}

fn own_namespace() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

/// A namespace of nobody; it is there as long as the descriptor, or something in it.
pub(crate) fn namespace() -> OwnedFd {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        own_namespace()
    };
    std::thread::spawn(make).join().unwrap()
}

/// Runs `work` in a namespace, on a thread of its own.
pub(crate) fn inside<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        scope.spawn(run).join()
    })
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub(crate) fn endpoint(task: u32, container: &str) -> EndpointId {
    EndpointId::of_container(
        TaskId::new(format!("{task:032x}")).unwrap(),
        ContainerName::new(container).unwrap(),
    )
}

pub(crate) fn tcp(container: u16, host: u16) -> PortMapping {
    mapping(Protocol::Tcp, container, HostPort::From(host))
}

pub(crate) fn udp(container: u16, host: u16) -> PortMapping {
    mapping(Protocol::Udp, container, HostPort::From(host))
}

pub(crate) fn dynamic(container: u16) -> PortMapping {
    mapping(Protocol::Tcp, container, HostPort::Dynamic)
}

pub(crate) fn range(protocol: Protocol, container: &str, host: HostPort) -> PortMapping {
    PortMapping { container: container.parse().unwrap(), host, protocol }
}

fn mapping(protocol: Protocol, container: u16, host: HostPort) -> PortMapping {
    PortMapping { container: PortRange::single(container).unwrap(), host, protocol }
}

/// A namespace that is attached.
pub(crate) struct Member {
    pub(crate) namespace: OwnedFd,
    pub(crate) attachment: Attachment,
}

impl Member {
    pub(crate) fn ip(&self) -> IpAddr {
        self.attachment.ipv4.into()
    }

    pub(crate) fn ip6(&self) -> IpAddr {
        self.attachment.ipv6.unwrap().address.into()
    }

    /// Serves here until dropped.
    pub(crate) fn serve_tcp(&self, port: u16) -> Server {
        Server::tcp(&self.namespace, port)
    }

    pub(crate) fn serve_udp(&self, port: u16) -> Server {
        Server::udp(&self.namespace, port)
    }

    /// The box's port of the first binding.
    pub(crate) fn host_port(&self) -> u16 {
        self.attachment.bindings[0].host.first()
    }
}

/// Attaches a new namespace, publishing `ports`.
pub(crate) async fn attach(
    network: &Network,
    endpoint: EndpointId,
    ports: Vec<PortMapping>,
) -> Result<Member, NetworkError> {
    let namespace = namespace();
    let attachment = attach_namespace(network, endpoint, &namespace, ports, true).await?;
    Ok(Member { namespace, attachment })
}

pub(crate) async fn attach_namespace(
    network: &Network,
    endpoint: EndpointId,
    namespace: &OwnedFd,
    ports: Vec<PortMapping>,
    publish: bool,
) -> Result<Attachment, NetworkError> {
    let netns = namespace.try_clone().unwrap();
    network.attach(AttachRequest { endpoint, netns, ports, publish }).await
}

/// A server that answers with who asked, as it sees it.
pub(crate) struct Server {
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn tcp(namespace: &OwnedFd, port: u16) -> Self {
        let listener = inside(namespace, || bound_soon(|| listener(port)));
        let socket = listener.try_clone().unwrap().into();
        let run = move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                let peer = canonical(stream.peer_addr().unwrap().ip());
                let port = stream.local_addr().unwrap().port();
                let _ = write!(stream, "{peer} to {port}");
            }
        };
        Self { socket, thread: Some(std::thread::spawn(run)) }
    }

    pub(crate) fn udp(namespace: &OwnedFd, port: u16) -> Self {
        let socket = inside(namespace, || bound_soon(|| UdpSocket::bind(("::", port))));
        let copy = socket.try_clone().unwrap().into();
        let run = move || {
            let mut buffer = [0; 64];
            // An empty datagram is the end.
            while let Ok((1.., peer)) = socket.recv_from(&mut buffer) {
                let answer = format!("{} to {port}", canonical(peer.ip()));
                let _ = socket.send_to(answer.as_bytes(), peer);
            }
        };
        Self { socket: copy, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes whoever waits on the socket.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listener(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("::", port))
}

fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_canonical(),
        IpAddr::V4(_) => ip,
    }
}

fn ask(address: SocketAddr, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks a TCP server from a namespace; it answers with the address that it sees.
pub(crate) fn tcp_from(namespace: &OwnedFd, ip: impl Into<IpText>, port: u16) -> String {
    let ip = ip.into().0;
    inside(namespace, || ask(SocketAddr::new(ip, port), PATIENCE))
        .unwrap_or_else(|error| panic!("tcp {ip} {port}: {error}"))
}

/// Whether nothing comes back from there: neither an answer nor a refusal.
pub(crate) fn is_dropped(namespace: &OwnedFd, ip: impl Into<IpText>, port: u16) -> bool {
    let ip = ip.into().0;
    inside(namespace, || ask(SocketAddr::new(ip, port), DROPPED))
        .is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Whether it is answered that nobody listens there.
pub(crate) fn is_refused(namespace: &OwnedFd, ip: impl Into<IpText>, port: u16) -> bool {
    let ip = ip.into().0;
    inside(namespace, || ask(SocketAddr::new(ip, port), PATIENCE))
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Asks a UDP server from a namespace.
pub(crate) fn udp_from(namespace: &OwnedFd, ip: impl Into<IpText>, port: u16) -> String {
    let ip = ip.into().0;
    inside(namespace, || {
        let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(SocketAddr::new(ip, port)).unwrap();
        socket.send(b"?").unwrap();
        let mut buffer = [0; 64];
        let length =
            socket.recv(&mut buffer).unwrap_or_else(|error| panic!("udp {ip} {port}: {error}"));
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    })
}

/// An address, or the text of one.
pub(crate) struct IpText(IpAddr);

impl From<IpAddr> for IpText {
    fn from(ip: IpAddr) -> Self {
        Self(ip)
    }
}

impl From<&str> for IpText {
    fn from(text: &str) -> Self {
        Self(text.parse().unwrap())
    }
}

impl From<std::net::Ipv4Addr> for IpText {
    fn from(ip: std::net::Ipv4Addr) -> Self {
        Self(ip.into())
    }
}

/// The names of links of the box that begin with `prefix`.
pub(crate) fn links(prefix: &str) -> Vec<String> {
    output("ip", &["-br", "link"])
        .lines()
        .filter_map(|line| line.split([' ', '@']).next())
        .filter(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

pub(crate) fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}
