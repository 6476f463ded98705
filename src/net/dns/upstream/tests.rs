use super::*;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

fn bridge() -> BridgeAddresses {
    BridgeAddresses::of_ipv4(Ipv4Addr::new(10, 9, 0, 1), 24)
}

fn question() -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(b"\x03www\x07example\0\0\x01\0\x01");
    message
}

/// What a server that knows the answer makes of a question.
fn answered(question: &[u8], code: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80 | code;
    answer
}

async fn local() -> (Arc<UdpSocket>, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (Arc::new(socket), address)
}

/// Answers every query with `code`, after a wrong one.
fn serve(socket: Arc<UdpSocket>, code: u8) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = [0; 600];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut wrong = answered(&buffer[..length], code);
            wrong[0] ^= 1;
            socket.send_to(&wrong, from).await.unwrap();
            socket.send_to(&[1, 2, 3], from).await.unwrap();
            socket.send_to(&answered(&buffer[..length], code), from).await.unwrap();
        }
    })
}

async fn ask(upstream: &Upstream, carrier: Carrier) -> Option<Vec<u8>> {
    let message = question();
    let query = Query::read(&message).unwrap();
    upstream.ask(&query, &message, carrier, &bridge()).await
}

#[tokio::test]
async fn the_first_that_answers_is_taken() {
    let (refusing, refused) = local().await;
    let (answering, good) = local().await;
    // Nobody is there any more.
    let (gone, nobody) = local().await;
    drop(gone);
    serve(refusing, 5);
    serve(answering, 0);
    let upstream = Upstream::new(&[nobody, refused, good]);
    let answer = ask(&upstream, Carrier::Udp).await.unwrap();
    assert_eq!(answer, answered(&question(), 0), "under the id of the asker");
    let order: Vec<_> = upstream.servers(&bridge()).into_iter().map(|(server, _)| server).collect();
    assert_eq!(order, [refused, good, nobody], "who failed comes last");
    // A bad answer is better than none.
    let upstream = Upstream::new(&[nobody, refused]);
    assert_eq!(ask(&upstream, Carrier::Udp).await, Some(answered(&question(), 5)));
    assert_eq!(ask(&Upstream::new(&[nobody]), Carrier::Udp).await, None);
}

#[tokio::test]
async fn who_asks_over_tcp_is_answered_over_tcp_where_that_is_spoken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut message = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut message).await.unwrap();
        let mut answer = answered(&message, 0);
        answer.resize(5000, 7);
        stream.write_all(&5000_u16.to_be_bytes()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    });
    let upstream = Upstream::new(&[address]);
    assert_eq!(ask(&upstream, Carrier::Tcp).await.unwrap().len(), 5000);

    let (socket, address) = local().await;
    serve(socket, 3);
    let upstream = Upstream::new(&[address]);
    assert_eq!(ask(&upstream, Carrier::Tcp).await, Some(answered(&question(), 3)));
}

#[test]
fn the_boxs_file_is_read_again_when_it_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    let upstream = Upstream::of_file(&file);
    let servers = || -> Vec<String> {
        let servers = upstream.servers(&bridge());
        servers.into_iter().map(|(server, _)| server.to_string()).collect()
    };
    assert_eq!(servers(), ["1.1.1.1:53", "8.8.8.8:53", "[2606:4700:4700::1111]:53"]);
    fs::write(&file, "nameserver 127.0.0.53\nnameserver 10.9.0.1\nnameserver fd00::1\n").unwrap();
    assert_eq!(servers(), ["127.0.0.53:53", "[fd00::1]:53"], "never itself");
    // As DHCP clients do it.
    let new = dir.path().join("new");
    fs::write(&new, "nameserver 192.0.2.9\nnameserver fe80::1%lo\n").unwrap();
    fs::rename(&new, &file).unwrap();
    assert_eq!(servers(), ["192.0.2.9:53", "[fe80::1%1]:53"]);
    fs::write(&file, "nameserver fe80::1%nothing\nnameserver fe80::1%../lo\nnameserver 192.0.2.8")
        .unwrap();
    assert_eq!(servers(), ["192.0.2.8:53"]);
}

#[test]
fn who_failed_has_less_time() {
    let all: Vec<SocketAddr> = (1..=5).map(|n| SocketAddr::from(([192, 0, 2, n], 53))).collect();
    let upstream = Upstream::new(&all);
    upstream.note(all[0], Some(sys::uptime()));
    assert_eq!(
        upstream.servers(&bridge()),
        [(all[1], PATIENCE), (all[2], PATIENCE), (all[3], PATIENCE)]
    );
    for server in &all[1..] {
        upstream.note(*server, Some(sys::uptime()));
    }
    assert_eq!(upstream.servers(&bridge())[0], (all[0], LITTLE_PATIENCE));
    upstream.note(all[4], None);
    assert_eq!(upstream.servers(&bridge())[0], (all[4], PATIENCE));
}
