use super::*;
use proptest::prelude::*;

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

#[test]
fn a_subnet_is_written_as_it_is_read() {
    for text in ["10.210.0.0/20", "192.168.7.0/24", "172.16.0.0/12", "192.168.1.8/29"] {
        assert_eq!(subnet(text).to_string(), text);
    }
    let subnet6: Subnet6 = "fd12:3456:789a::/64".parse().unwrap();
    assert_eq!(subnet6.to_string(), "fd12:3456:789a::/64");
    assert_eq!(subnet6.gateway().to_string(), "fd12:3456:789a::1");
}

#[test]
fn what_is_no_subnet_for_endpoints_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "ADDRESS/LENGTH"),
        ("10.0.0.0", "ADDRESS/LENGTH"),
        ("10.0.0.0/33x", "ADDRESS/LENGTH"),
        ("10.0.0.0/30", "8 to 29"),
        ("10.0.0.0/33", "8 to 29"),
        ("0.0.0.0/8", "another purpose"),
        ("127.0.0.0/8", "another purpose"),
        ("169.254.0.0/16", "another purpose"),
        ("224.0.0.0/8", "another purpose"),
        ("10.0.0.5/24", "the subnet is 10.0.0.0/24"),
        ("fd00::/64", "ADDRESS/LENGTH"),
    ] {
        let error = text.parse::<Subnet>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    for (text, reason) in [
        ("fd00::/48", "64"),
        ("2001:db8::/64", "fc00::/7"),
        ("fe80::/64", "fc00::/7"),
        ("fd00::5/64", "the subnet is fd00::/64"),
    ] {
        let error = text.parse::<Subnet6>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_subnet_has_a_gateway_and_room() {
    let small = subnet("192.168.1.8/29");
    assert_eq!(small.gateway(), Ipv4Addr::new(192, 168, 1, 9));
    assert_eq!(small.broadcast(), Ipv4Addr::new(192, 168, 1, 15));
    assert_eq!(small.host(small.last()), Ipv4Addr::new(192, 168, 1, 14));
    assert_eq!(small.number(Ipv4Addr::new(192, 168, 1, 14)), Some(6));
    assert_eq!(small.number(Ipv4Addr::new(192, 168, 1, 16)), None);
}

#[test]
fn candidates_are_distinct_and_valid() {
    let all: Vec<Subnet> = candidates(0).collect();
    for (index, one) in all.iter().enumerate() {
        assert_eq!(subnet(&one.to_string()), *one);
        assert!(all.iter().skip(index + 1).all(|other| !one.overlaps(*other)), "{one}");
    }
    assert_eq!(candidates(3).next(), all.get(3).copied());
    assert_eq!(all.last().unwrap().to_string(), "10.219.240.0/20");
}

#[test]
fn a_derived_subnet_is_valid_and_stays() {
    let one = Subnet6::derived(Path::new("/var/lib/coracle"), "coracle0");
    assert_eq!(one.to_string().parse::<Subnet6>().unwrap(), one);
    assert_eq!(one, Subnet6::derived(Path::new("/var/lib/coracle"), "coracle0"));
    assert!(!one.overlaps(Subnet6::derived(Path::new("/var/lib/coracle"), "coracle1")));
}

proptest! {
    #[test]
    fn subnets_overlap_when_they_share_an_address(a: u32, ap in 0u8..=32, b: u32, bp in 0u8..=32) {
        let a = Subnet::containing(a.into(), ap);
        let b = Subnet::containing(b.into(), bp);
        let shared = a.contains(b.address()) || b.contains(a.address());
        prop_assert_eq!(a.overlaps(b), shared);
        prop_assert_eq!(b.overlaps(a), shared);
    }
}
