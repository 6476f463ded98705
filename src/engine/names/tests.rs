use super::*;
use crate::plan::names::Port;

fn bridge() -> BridgeAddresses {
    BridgeAddresses::of_ipv4(Ipv4Addr::new(10, 9, 0, 1), 24)
}

fn target(host: &str, place: Place, ports: &[u16]) -> Target {
    let port = |number: &u16| Port { number: *number, udp: false, name: None };
    Target { host: host.to_owned(), place, ports: ports.iter().map(port).collect() }
}

fn own(last: u8) -> Place {
    Place::Own { ipv4: Some(Ipv4Addr::new(10, 9, 0, last)), ipv6: None }
}

#[test]
fn an_address_is_told_by_its_reversed_name() {
    for (name, address) in [
        ("5.0.9.10.in-addr.arpa", Some("10.9.0.5")),
        ("5.0.9.10.IN-ADDR.ARPA", Some("10.9.0.5")),
        ("0.9.10.in-addr.arpa", None),
        ("256.0.9.10.in-addr.arpa", None),
        ("in-addr.arpa", None),
        (
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            Some("fd00::1"),
        ),
        ("1.0.0.0.ip6.arpa", None),
        ("01.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", None),
        ("web.default.internal", None),
    ] {
        let expected: Option<IpAddr> = address.map(|address| address.parse().unwrap());
        assert_eq!(reversed(name), expected, "{name}");
    }
}

#[test]
fn addresses_are_told_once_and_the_boxs_is_that_of_the_bridge() {
    let targets =
        [target("a", own(5), &[]), target("b", Place::Box, &[]), target("c", Place::Box, &[])];
    let told = |kind| {
        let records = addresses("x", &targets, &bridge(), kind);
        records.into_iter().map(|record| record.data).collect::<Vec<_>>()
    };
    let expected = [5, 1].map(|last| Data::A(Ipv4Addr::new(10, 9, 0, last)));
    assert_eq!(told(Kind::A), expected);
    assert_eq!(told(Kind::AAAA), []);
    assert_eq!(told(Kind::SOA), []);
}

#[test]
fn ports_come_with_the_addresses_of_their_hosts() {
    let targets = [target("a", own(5), &[80, 80, 81]), target("quiet", own(6), &[])];
    let (answers, additional) = ports("x", &targets, &bridge());
    let ports: Vec<_> = answers.iter().map(|record| &record.data).collect();
    let port = |port| Data::Srv { port, target: "a".to_owned() };
    assert_eq!(ports, [&port(80), &port(81)]);
    assert_eq!(additional.len(), 1);
    assert_eq!(additional[0].name, "a");
}

#[test]
fn names_of_the_bridge_are_nobody_elses_to_tell() {
    let names = Names {
        world: Arc::default(),
        domain: "internal".to_owned(),
        turn: AtomicUsize::default(),
    };
    let found = names.find("7.0.9.10.in-addr.arpa", Kind::PTR, &bridge()).unwrap();
    assert!(!found.exists);
    assert_eq!(names.find("7.0.8.10.in-addr.arpa", Kind::PTR, &bridge()), None);
    assert_eq!(names.find("web.default.internal", Kind::A, &bridge()), None);
}
