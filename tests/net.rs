//! The network against the kernel: each test has a box of its own, made of network namespaces, and connects for real.
//! What the rules are is told by nft(8), which the product does not use.

#![allow(clippy::print_stdout, reason = "what is skipped says why")]
#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be made or run")]

mod netbox;

use coracle::net::{HostPort, Network, NetworkConfig, NetworkError, PortRange, Protocol, Services};
use netbox::frames::*;
use netbox::*;
use std::net::{TcpListener, UdpSocket};
use std::time::Instant;

#[test]
fn endpoints_talk_and_nothing_is_left() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let a = attach(&network, endpoint(1, "a"), vec![]).await.unwrap();
        let b = attach(&network, endpoint(2, "b"), vec![]).await.unwrap();
        let server = b.serve_tcp(80);
        assert_eq!(tcp_from(&a.namespace, b.ip(), 80), format!("{} to 80", a.ip()));
        assert_eq!(tcp_from(&a.namespace, b.ip6(), 80), format!("{} to 80", a.ip6()));
        // The box reaches them as well, and their loopback is up.
        let gateway = b.attachment.gateway4;
        assert_eq!(tcp_from(&ground.here, b.ip(), 80), format!("{gateway} to 80"));
        assert_eq!(tcp_from(&b.namespace, "127.0.0.1", 80), "127.0.0.1 to 80");
        drop(server);
        let server = b.serve_udp(53);
        assert_eq!(udp_from(&a.namespace, b.ip(), 53), format!("{} to 53", a.ip()));
        assert_eq!(udp_from(&a.namespace, b.ip6(), 53), format!("{} to 53", a.ip6()));
        drop(server);
        network.detach(&a.attachment.endpoint).await.unwrap();
        network.detach(&b.attachment.endpoint).await.unwrap();
        network.detach(&b.attachment.endpoint).await.unwrap();
        ground.assert_as_before();
    });
}

/// Connects to a published port from everywhere; bridged packets pass the rules of IP where `bridge_netfilter` is on.
fn published_everywhere(bridge_netfilter: &'static str) {
    on_a_box(move |ground| async move {
        for family in ["iptables", "ip6tables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            if std::fs::write(&path, bridge_netfilter).is_err() {
                println!("skipped: this kernel has no bridge netfilter");
                return;
            }
        }
        let network = ground.network("one");
        let ports = vec![tcp(80, 8080), udp(53, 5353)];
        let web = attach(&network, endpoint(1, "web"), ports).await.unwrap();
        let other = attach(&network, endpoint(2, "other"), vec![]).await.unwrap();
        let (gateway, gateway6) = (web.attachment.gateway4, web.attachment.ipv6.unwrap().gateway);
        let _tcp = web.serve_tcp(80);
        let _udp = web.serve_udp(53);
        let cases = [
            // Who asks, where, and whom the endpoint sees: where its answer has to come back by the box, that is the
            // box.
            (&ground.here, "127.0.0.1", gateway.to_string()),
            (&ground.here, BOX, BOX.to_owned()),
            (&ground.outside, BOX, OUTSIDE.to_owned()),
            (&other.namespace, BOX, gateway.to_string()),
            (&web.namespace, BOX, gateway.to_string()),
            (&other.namespace, &gateway.to_string(), gateway.to_string()),
            (&ground.here, BOX6, BOX6.to_owned()),
            (&ground.outside, BOX6, "2001:db8::1".to_owned()),
            (&other.namespace, BOX6, gateway6.to_string()),
            (&web.namespace, BOX6, gateway6.to_string()),
        ];
        for (namespace, address, seen) in cases {
            assert_eq!(tcp_from(namespace, address, 8080), format!("{seen} to 80"), "{address}");
            // A program that answers at any of the box's addresses has the kernel choose one.
            assert_eq!(udp_from(namespace, address, 5353), format!("{seen} to 53"), "{address}");
        }
        // The kernel lets nothing from ::1 leave the box; whoever asks for localhost goes on to 127.0.0.1.
        assert!(is_refused(&ground.here, "::1", 8080));
        // Only what is published.
        assert!(is_refused(&ground.outside, BOX, 80));
        assert!(is_refused(&ground.outside, BOX, 5353));
    });
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    published_everywhere("0");
}

#[test]
fn a_published_port_is_reached_from_everywhere_with_bridge_netfilter() {
    published_everywhere("1");
}

#[test]
fn ranges_are_published_port_by_port() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let ports = vec![
            range(Protocol::Tcp, "7000-7010", HostPort::From(7000)),
            range(Protocol::Tcp, "9000-9004", HostPort::From(4000)),
            range(Protocol::Udp, "6000-6002", HostPort::From(6000)),
            range(Protocol::Udp, "6100-6102", HostPort::Dynamic),
        ];
        let web = attach(&network, endpoint(1, "web"), ports).await.unwrap();
        let moved = web.attachment.bindings[3];
        assert_eq!((moved.container.to_string().as_str(), moved.host.length()), ("6100-6102", 3));
        let first = moved.host.first();
        for (port, inside) in [(7000, 7000), (7010, 7010), (4000, 9000), (4003, 9003)] {
            let _server = web.serve_tcp(inside);
            for address in [BOX, BOX6] {
                let answer = tcp_from(&ground.outside, address, port);
                assert!(answer.ends_with(&format!(" to {inside}")), "{port}: {answer}");
            }
        }
        for (port, inside) in [(6001, 6001), (first, 6100), (first + 2, 6102)] {
            let _server = web.serve_udp(inside);
            let answer = udp_from(&ground.here, "127.0.0.1", port);
            assert!(answer.ends_with(&format!(" to {inside}")), "{port}: {answer}");
        }
        assert!(is_refused(&ground.outside, BOX, 7011));
        assert!(is_refused(&ground.outside, BOX, 4005));
        // One rule for a range that is not moved, and none for the ports of one that is.
        let rules = output("nft", &["list", "ruleset"]);
        assert_eq!(rules.matches("7000-7010").count(), 2, "{rules}");
        assert_eq!(rules.matches("tcp . 4000 :").count(), 2, "{rules}");
        let end = range(Protocol::Tcp, "1-10", HostPort::From(65530));
        let error = attach(&network, endpoint(2, "b"), vec![end]).await.err().unwrap();
        assert!(matches!(error, NetworkError::PortsBeyond { first: 65530, length: 10 }), "{error}");
    });
}

#[test]
fn dynamic_ports_are_free_ones() {
    on_a_box(|ground| async move {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40005").unwrap();
        let busy = TcpListener::bind("127.0.0.1:40001").unwrap();
        let config = NetworkConfig { reserved_ports: vec![40002], ..ground.config("one") };
        let network = Network::open(config).unwrap();
        let mut taken = Vec::new();
        for task in 0..4 {
            let ports = vec![dynamic(80)];
            let member = attach(&network, endpoint(task, "web"), ports).await.unwrap();
            let _server = member.serve_tcp(80);
            assert!(tcp_from(&ground.here, "127.0.0.1", member.host_port()).ends_with(" to 80"));
            taken.push(member.host_port());
        }
        taken.sort_unstable();
        assert_eq!(taken, [40000, 40003, 40004, 40005]);
        let error = attach(&network, endpoint(9, "web"), vec![dynamic(80)]).await.err().unwrap();
        assert_eq!(
            error.to_string(),
            "no 1 ports in a row are free among the dynamic tcp ports 40000-40005"
        );
        // What the attempt that failed took is free again, and what a process gives back is found.
        drop(busy);
        let patient = patience();
        let member = loop {
            match attach(&network, endpoint(9, "web"), vec![dynamic(80)]).await {
                Ok(member) => break member,
                Err(error) => assert!(patient(), "{error}"),
            }
        };
        assert_eq!(member.host_port(), 40001);

        let config =
            NetworkConfig { dynamic_ports: PortRange::new(50000, 50009), ..ground.config("two") };
        let network = Network::open(config).unwrap();
        let among = vec![range(Protocol::Udp, "1-5", HostPort::Dynamic), dynamic(80)];
        let member = attach(&network, endpoint(1, "web"), among).await.unwrap();
        let [udp, tcp] = member.attachment.bindings[..] else { panic!("two bindings") };
        assert_eq!((udp.protocol, udp.host.length()), (Protocol::Udp, 5));
        assert!((50000..=50009).contains(&udp.host.last()) && udp.host.first() >= 50000);
        assert!((50000..=50009).contains(&tcp.host.first()));
    });
}

/// Whether to try once more for a port that was closed: a program that another test starts may hold the old socket until it is
/// executed.
#[allow(clippy::disallowed_methods, reason = "a test's patience is real time")]
fn patience() -> impl Fn() -> bool {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    move || std::time::Instant::now() < deadline
}

#[test]
fn a_port_belongs_to_one() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let first = attach(&network, endpoint(1, "a"), vec![tcp(80, 8080)]).await.unwrap();
        let error = attach(&network, endpoint(2, "b"), vec![tcp(81, 8080)]).await.err().unwrap();
        assert!(
            matches!(error, NetworkError::PortInUse { port: 8080, protocol: Protocol::Tcp }),
            "{error}"
        );
        assert_eq!(error.to_string(), "port 8080/tcp of the box is in use");
        // Of the other protocol it is free.
        attach(&network, endpoint(3, "c"), vec![udp(80, 8080)]).await.unwrap();
        // Nobody on the box gets it, at whatever address.
        assert!(TcpListener::bind("0.0.0.0:8080").is_err());
        assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        assert!(TcpListener::bind("[::]:8080").is_err());
        assert!(UdpSocket::bind("0.0.0.0:8080").is_err());
        network.detach(&first.attachment.endpoint).await.unwrap();

        for address in ["0.0.0.0:8080", "127.0.0.1:8080", "[::1]:8080", "192.0.2.2:8080"] {
            let process = bound_soon(|| TcpListener::bind(address));
            let ports = vec![tcp(80, 8000), tcp(80, 8080)];
            let error = attach(&network, endpoint(2, "b"), ports).await.err().unwrap();
            assert!(
                matches!(error, NetworkError::PortInUse { port: 8080, protocol: Protocol::Tcp }),
                "{address}: {error}"
            );
            drop(process);
        }
        // All or nothing: what was free is free again.
        bound_soon(|| TcpListener::bind("0.0.0.0:8000"));
        let process = UdpSocket::bind("0.0.0.0:9001").unwrap();
        let ports = vec![range(Protocol::Udp, "9000-9002", HostPort::From(9000))];
        let error = attach(&network, endpoint(2, "b"), ports.clone()).await.err().unwrap();
        assert!(
            matches!(error, NetworkError::PortInUse { port: 9001, protocol: Protocol::Udp }),
            "{error}"
        );
        drop(process);
        attach(&network, endpoint(2, "b"), ports).await.unwrap();
    });
}

#[test]
fn a_port_whose_server_has_just_ended_is_free() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        // The server ends the connection first, so it is the one that has to wait.
        let server = Server::tcp(&ground.here, 8080);
        assert_eq!(tcp_from(&ground.outside, BOX, 8080), format!("{OUTSIDE} to 8080"));
        drop(server);
        let web = attach(&network, endpoint(1, "web"), vec![tcp(80, 8080)]).await.unwrap();
        let _server = web.serve_tcp(80);
        assert_eq!(
            tcp_from(&ground.here, "127.0.0.1", 8080),
            format!("{} to 80", web.attachment.gateway4)
        );
    });
}

#[test]
fn endpoints_reach_the_outside_as_the_box() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let a = attach(&network, endpoint(1, "a"), vec![]).await.unwrap();
        let _server = Server::tcp(&ground.outside, 80);
        assert_eq!(tcp_from(&a.namespace, OUTSIDE, 80), format!("{BOX} to 80"));
        assert_eq!(tcp_from(&a.namespace, "2001:db8::1", 80), format!("{BOX6} to 80"));
        let _udp = Server::udp(&ground.outside, 53);
        assert_eq!(udp_from(&a.namespace, OUTSIDE, 53), format!("{BOX} to 53"));
    });
}

#[test]
fn the_outside_reaches_only_what_is_published() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let web = attach(&network, endpoint(1, "web"), vec![tcp(80, 8080)]).await.unwrap();
        let _published = web.serve_tcp(80);
        let _secret = web.serve_tcp(81);
        let _of_box = Server::tcp(&ground.here, 9999);
        // Whoever is on the same network can name the box as the way to the bridge.
        let subnet6 = web.attachment.ipv6.unwrap();
        inside(&ground.outside, || {
            ip(&format!("route add 10.210.0.0/20 via {BOX}"));
            ip(&format!("route add {}/64 via {BOX6}", subnet6.address));
        });
        for port in [80, 81] {
            assert!(is_dropped(&ground.outside, web.ip(), port), "{port}");
        }
        assert!(is_dropped(&ground.outside, web.ip6(), 81));
        // Nor what only endpoints are to reach, at the bridge's own address.
        assert!(is_dropped(&ground.outside, web.attachment.gateway4, 9999));
        assert_eq!(
            tcp_from(&web.namespace, web.attachment.gateway4, 9999),
            format!("{} to 9999", web.ip())
        );
        assert!(tcp_from(&ground.outside, BOX, 8080).ends_with(" to 80"));
        // It is this guard that keeps them out.
        output("nft", &["flush", "chain", "inet", "coracle-coracle0", "guard"]);
        output("nft", &["flush", "chain", "inet", "coracle-coracle0", "forward"]);
        assert!(tcp_from(&ground.outside, web.ip(), 81).ends_with(" to 81"));
    });
}

#[test]
fn an_unpublished_endpoint_is_reached_by_the_box_alone() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let namespace = namespace();
        let id = endpoint(1, "web");
        let attachment =
            attach_namespace(&network, id, &namespace, vec![tcp(80, 8080)], false).await.unwrap();
        assert!(attachment.bindings.is_empty());
        let _server = Server::tcp(&namespace, 80);
        assert!(tcp_from(&ground.here, attachment.ipv4, 80).ends_with(" to 80"));
        assert!(is_refused(&ground.here, "127.0.0.1", 8080));
        assert!(is_refused(&ground.outside, BOX, 8080));
        bound_soon(|| TcpListener::bind("0.0.0.0:8080"));
    });
}

/// CVE-2020-8558: what lets the box's loopback reach the bridge would let the bridge reach the box's loopback.
#[test]
fn endpoints_do_not_reach_the_loopback_of_the_box() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let web = attach(&network, endpoint(1, "web"), vec![tcp(80, 8080)]).await.unwrap();
        let _secret = Server::tcp(&ground.here, 5555);
        let gateway = web.attachment.gateway4;
        inside(&web.namespace, || {
            ip("addr flush dev lo");
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            ip(&format!("route add 127.0.0.0/8 via {gateway} src {}", web.ip()));
        });
        assert!(is_dropped(&web.namespace, "127.0.0.1", 5555));
        // It could be, but for the guard.
        output("nft", &["flush", "chain", "inet", "coracle-coracle0", "guard"]);
        assert!(tcp_from(&web.namespace, "127.0.0.1", 5555).ends_with(" to 5555"));
    });
}

#[test]
fn the_metadata_of_a_cloud_is_out_of_reach_unless_allowed() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let web = attach(&network, endpoint(1, "web"), vec![]).await.unwrap();
        inside(&ground.outside, || ip("addr add 169.254.169.254/32 dev lo"));
        ip(&format!("route add 169.254.169.254 via {OUTSIDE}"));
        let outside = Server::tcp(&ground.outside, 80);
        assert!(tcp_from(&ground.here, "169.254.169.254", 80).ends_with(" to 80"));
        assert!(is_dropped(&web.namespace, "169.254.169.254", 80));
        // Nor when something on the box answers for it.
        ip("addr add 169.254.169.254/32 dev lo");
        let here = Server::tcp(&ground.here, 80);
        assert!(is_dropped(&web.namespace, "169.254.169.254", 80));
        drop((outside, here));
        ip("addr del 169.254.169.254/32 dev lo");

        let config = NetworkConfig { allow_instance_metadata: true, ..ground.config("two") };
        let network = Network::open(config).unwrap();
        let web = attach(&network, endpoint(1, "web"), vec![]).await.unwrap();
        let _outside = Server::tcp(&ground.outside, 80);
        assert_eq!(tcp_from(&web.namespace, "169.254.169.254", 80), format!("{BOX} to 80"));
    });
}

#[test]
fn the_metadata_endpoint_is_reached_by_endpoints_alone() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let web = attach(&network, endpoint(1, "web"), vec![]).await.unwrap();
        // Something outside that would like to give credentials.
        inside(&ground.outside, || ip("addr add 169.254.170.2/32 dev lo"));
        ip(&format!("route add 169.254.170.2 via {OUTSIDE}"));
        let _impostor = Server::tcp(&ground.outside, 80);
        assert!(is_dropped(&web.namespace, "169.254.170.2", 80));
        let services = Services { metadata: Some(6789), ..Services::default() };
        network.set_services(services).await.unwrap();
        let _endpoint = Server::tcp(&ground.here, 6789);
        assert_eq!(
            tcp_from(&web.namespace, "169.254.170.2", 80),
            format!("{} to 6789", web.ip()),
            "it sees who asks"
        );
        assert!(is_dropped(&web.namespace, "169.254.170.2", 81));
        // An endpoint that comes later has it as well.
        let late = attach(&network, endpoint(2, "late"), vec![tcp(80, 8080)]).await.unwrap();
        assert_eq!(
            tcp_from(&late.namespace, "169.254.170.2", 80),
            format!("{} to 6789", late.ip())
        );
        inside(&ground.outside, || ip(&format!("route add 10.210.0.0/20 via {BOX}")));
        assert!(is_dropped(&ground.outside, web.attachment.gateway4, 6789));
    });
}

#[test]
fn attaching_again_changes_nothing() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let ports = || vec![dynamic(80)];
        let web = attach(&network, endpoint(1, "web"), ports()).await.unwrap();
        let links_before = links("cv");
        let again = attach_namespace(&network, endpoint(1, "web"), &web.namespace, ports(), true);
        assert_eq!(again.await.unwrap(), web.attachment);
        assert_eq!(links("cv"), links_before);
        // In a new namespace it has the address and the ports that it had.
        let moved = namespace();
        let there =
            attach_namespace(&network, endpoint(1, "web"), &moved, ports(), true).await.unwrap();
        assert_ne!(there.namespace, web.attachment.namespace);
        assert_eq!((there.ipv4, &there.bindings), (web.attachment.ipv4, &web.attachment.bindings));
        let _server = Server::tcp(&moved, 80);
        assert!(tcp_from(&ground.outside, BOX, web.host_port()).ends_with(" to 80"));
        network.detach(&web.attachment.endpoint).await.unwrap();
        ground.assert_as_before();
    });
}

#[test]
fn a_namespace_that_is_none_leaves_nothing() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let file = std::fs::File::open("/dev/null").unwrap().into();
        for _ in 0..2 {
            let ports = vec![tcp(80, 8080)];
            let error =
                attach_namespace(&network, endpoint(1, "a"), &file, ports, true).await.unwrap_err();
            assert!(matches!(error, NetworkError::Link { .. }), "{error}");
            ground.assert_as_before();
        }
        bound_soon(|| TcpListener::bind("0.0.0.0:8080"));
    });
}

#[test]
fn many_at_once() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let mut attaching = tokio::task::JoinSet::new();
        for task in 0..24 {
            let network = network.clone();
            attaching.spawn(async move {
                attach(&network, endpoint(task, "web"), vec![dynamic(80)]).await.unwrap()
            });
        }
        let members = attaching.join_all().await;
        let mut addresses: Vec<_> = members.iter().map(Member::ip).collect();
        let mut ports: Vec<_> = members.iter().map(Member::host_port).collect();
        addresses.sort_unstable();
        addresses.dedup();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!((addresses.len(), ports.len()), (24, 24));
        for member in &members {
            let _server = member.serve_tcp(80);
            assert!(tcp_from(&ground.outside, BOX, member.host_port()).ends_with(" to 80"));
        }
        let mut detaching = tokio::task::JoinSet::new();
        for member in members {
            let network = network.clone();
            detaching
                .spawn(async move { network.detach(&member.attachment.endpoint).await.unwrap() });
        }
        detaching.join_all().await;
        ground.assert_as_before();
    });
}

/// A sender that never pauses, as many of logs and measurements, is one connection for the kernel.
#[test]
fn who_sends_all_the_time_reaches_whoever_has_the_port() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        // Somebody else keeps connections tracked, and rules in place.
        let _other = attach(&network, endpoint(9, "other"), vec![tcp(80, 8080)]).await.unwrap();
        for (address, port) in [(BOX, 5353), (BOX6, 5353)] {
            let sender = inside(&ground.outside, || {
                let any = if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(any).unwrap();
                socket.connect((address, port)).unwrap();
                socket
            });
            sender.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
            let ask = || {
                // What was refused before is told with the next attempt.
                while sender.send(b"?").is_err() {}
                let mut buffer = [0; 64];
                sender.recv(&mut buffer).map(|length| buffer[..length].to_vec())
            };
            // Nobody is there yet.
            assert!(ask().is_err());
            for task in 0..3 {
                let ports = vec![udp(53 + task, port)];
                let id = endpoint(task.into(), "dns");
                let member = attach(&network, id.clone(), ports).await.unwrap();
                let server = member.serve_udp(53 + task);
                let answer = String::from_utf8(ask().unwrap()).unwrap();
                assert!(answer.ends_with(&format!(" to {}", 53 + task)), "{answer}");
                drop(server);
                network.detach(&id).await.unwrap();
            }
        }
    });
}

/// Prints how long it takes: `cargo test --test net -- --ignored --nocapture how_long`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "a measurement")]
fn how_long_it_takes() {
    on_a_box(|ground| async move {
        for others in [0, 1, 50] {
            let network = ground.network("one");
            let mut there = Vec::new();
            for task in 0..others {
                let member =
                    attach(&network, endpoint(task, "o"), vec![dynamic(80)]).await.unwrap();
                there.push(member);
            }
            let (mut attached, mut detached) = (Vec::new(), Vec::new());
            for task in 1000..1020 {
                let namespace = namespace();
                let start = Instant::now();
                let attachment = attach_namespace(
                    &network,
                    endpoint(task, "a"),
                    &namespace,
                    vec![dynamic(80)],
                    true,
                )
                .await
                .unwrap();
                attached.push(start.elapsed());
                let start = Instant::now();
                network.detach(&attachment.endpoint).await.unwrap();
                detached.push(start.elapsed());
            }
            attached.sort_unstable();
            detached.sort_unstable();
            println!("beside {others}: attach {:?}, detach {:?}", attached[10], detached[10]);
            for member in there {
                network.detach(&member.attachment.endpoint).await.unwrap();
            }
        }
    });
}

/// What a process with `CAP_NET_RAW` can put on the wire in another's name: IPv4, ARP, neighbour discovery.
#[test]
fn endpoints_cannot_send_in_each_others_names() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let victim = attach(&network, endpoint(1, "victim"), vec![]).await.unwrap();
        let evil = attach(&network, endpoint(2, "evil"), vec![]).await.unwrap();
        let other = attach(&network, endpoint(3, "other"), vec![]).await.unwrap();
        let heard = || Heard::new(&ground.here, "coracle0");
        let (mine, theirs) = (evil.attachment.mac.0, victim.attachment.mac.0);
        let (own, stolen) = (evil.attachment.ipv4, victim.attachment.ipv4);
        let (own6, stolen6) = (evil.ip6(), victim.ip6());
        let gateway = victim.attachment.gateway4;
        let send = |frame: &[u8]| send_frame(&evil.namespace, "eth0", frame);
        // (what, whether it passes, the frame)
        let frames = [
            ("in its own name", true, frame_ipv4(mine, own)),
            ("with another's address", false, frame_ipv4(mine, stolen)),
            ("with another's addresses", false, frame_ipv4(theirs, stolen)),
            ("with the box's address", false, frame_ipv4(mine, gateway)),
            ("with another's hardware address", false, frame_ipv4(theirs, own)),
            ("its own address by ARP", true, frame_arp(mine, own)),
            ("another's address by ARP", false, frame_arp(mine, stolen)),
            ("the box's address by ARP", false, frame_arp(mine, gateway)),
            ("its own address as a neighbour", true, frame_neighbour(mine, own6, own6)),
            ("another's address as a neighbour", false, frame_neighbour(mine, own6, stolen6)),
            ("as another neighbour", false, frame_neighbour(mine, stolen6, stolen6)),
            ("as a router", false, frame_router(mine, own6)),
            ("of an unknown protocol", false, frame_other(mine)),
        ];
        for (what, passes, frame) in frames {
            let heard = heard();
            send(&frame);
            // Sent after it, so that it is heard after it.
            send(&frame_ipv4_marked(mine, own));
            assert_eq!(heard.until_mark(&frame), passes, "{what}");
        }
        // It is these rules that stop it.
        let heard = heard();
        output("nft", &["flush", "chain", "bridge", "coracle-coracle0", "senders"]);
        let frame = frame_arp(mine, gateway);
        send(&frame);
        send(&frame_ipv4_marked(mine, own));
        assert!(heard.until_mark(&frame));
        network.detach(&other.attachment.endpoint).await.unwrap();
        let other = attach(&network, endpoint(3, "other"), vec![]).await.unwrap();
        // And what is in order goes on.
        let _server = victim.serve_tcp(80);
        for member in [&evil, &other] {
            assert_eq!(
                tcp_from(&member.namespace, victim.ip(), 80),
                format!("{} to 80", member.ip())
            );
            assert_eq!(
                tcp_from(&member.namespace, victim.ip6(), 80),
                format!("{} to 80", member.ip6())
            );
        }
    });
}
