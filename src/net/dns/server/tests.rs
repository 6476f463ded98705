use super::*;
use crate::net::dns::{Data, Found, Kind, Record};
use std::net::Ipv4Addr;

#[derive(Debug)]
struct One;

impl Directory for One {
    fn find(&self, name: &str, kind: Kind, bridge: &BridgeAddresses) -> Option<Found> {
        let zone = name.ends_with(".internal").then(|| "internal".to_owned())?;
        let answer = Record { name: name.to_owned(), ttl: 5, data: Data::A(bridge.ipv4) };
        let answers = if kind == Kind::A { vec![answer] } else { Vec::new() };
        Some(Found { zone, exists: true, answers, additional: Vec::new() })
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// A server on the loopback, whose only endpoint is `127.0.0.1`, and whose upstream is `upstream`.
async fn serve(upstream: SocketAddr) -> (NameServer, UdpSocket, SocketAddr) {
    let bridge = BridgeAddresses::of_ipv4(Ipv4Addr::LOCALHOST, 32);
    let upstream = Arc::new(Upstream::new(&[upstream]));
    let server = NameServer::listen(bridge, Arc::new(One), upstream).await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let ports = server.ports().ipv4;
    client.connect(("127.0.0.1", ports.udp)).await.unwrap();
    (server, client, SocketAddr::from(([127, 0, 0, 1], ports.tcp)))
}

async fn exchange(client: &UdpSocket, message: &[u8]) -> Vec<u8> {
    client.send(message).await.unwrap();
    let mut buffer = vec![0; 2000];
    let length = client.recv(&mut buffer).await.unwrap();
    buffer.truncate(length);
    buffer
}

/// Nobody listens there.
fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

#[tokio::test]
async fn names_are_answered_over_both_carriers() {
    // Not the box's own address on the bridge, which is never asked.
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], 9));
    let (_server, client, tcp) = serve(elsewhere).await;
    let answer = exchange(&client, &query("web.internal")).await;
    assert_eq!(answer[answer.len() - 4..], [127, 0, 0, 1]);
    let failed = exchange(&client, &query("example.com")).await;
    assert_eq!(failed[3] & 0x0f, 2, "nobody can be asked");

    let mut stream = TcpStream::connect(tcp).await.unwrap();
    let message = query("web.internal");
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    // Two at once, in pieces.
    let both = [&length[..], &message, &length, &message].concat();
    let (first, second) = both.split_at(20);
    stream.write_all(first).await.unwrap();
    stream.write_all(second).await.unwrap();
    for _ in 0..2 {
        let mut over_tcp = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut over_tcp).await.unwrap();
        assert_eq!(over_tcp, answer);
    }
}

#[tokio::test]
async fn a_query_that_is_not_whole_ends_its_connection() {
    let (_server, client, tcp) = serve(nobody()).await;
    let message = query("web.internal");
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    let cut = [&length[..], &message[..9]].concat();
    let too_large = [&[0xff, 0xff][..], &message].concat();
    let reply = [&[0, 12, 1, 2, 0x80][..], &[0; 9]].concat();
    for bad in [&cut[..], &length[..1], &too_large, &[0, 0], &reply, b""] {
        let mut stream = TcpStream::connect(tcp).await.unwrap();
        stream.write_all(bad).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // It may be reset, as not everything was read.
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(rest, [0_u8; 0]);
    }
    // It goes on for others.
    exchange(&client, &message).await;
}

#[tokio::test]
async fn only_endpoints_are_answered() {
    let (server, client, tcp) = serve(nobody()).await;
    let other = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    other.send_to(&query("web.internal"), ("127.0.0.1", server.ports().ipv4.udp)).await.unwrap();
    // Who asked later has been answered.
    exchange(&client, &query("web.internal")).await;
    assert_eq!(other.try_recv(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::WouldBlock);

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(tcp).await.unwrap();
    assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0, "closed at once");
}

#[tokio::test]
async fn one_endpoint_has_no_more_than_its_share() {
    let silent = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let (_server, client, tcp) = serve(silent.local_addr().unwrap()).await;
    for _ in 0..FORWARDED.1 {
        client.send(&query("example.com")).await.unwrap();
    }
    let failed = exchange(&client, &query("example.net")).await;
    assert_eq!((failed[3] & 0x0f, &failed[13..20]), (2, &b"example"[..]));
    let name = &failed[21..24];
    assert_eq!(name, b"net", "this one, the others are under way");

    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS.1 {
        streams.push(TcpStream::connect(tcp).await.unwrap());
    }
    let mut one_more = TcpStream::connect(tcp).await.unwrap();
    assert_eq!(one_more.read(&mut [0; 10]).await.unwrap(), 0, "closed at once");
}

#[tokio::test]
async fn it_ends_when_dropped() {
    let (server, client, tcp) = serve(nobody()).await;
    exchange(&client, &query("web.internal")).await;
    drop(server);
    // The tasks are told to end; the sockets go with them.
    while TcpStream::connect(tcp).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
