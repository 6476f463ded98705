//! The network against the kernel: each test has a box of its own, made of network namespaces, and connects for real.
//! What the rules are is told by nft(8), which the product does not use.

#![allow(clippy::unwrap_used, reason = "a test ends when something cannot be made or run")]

mod netbox;

use netbox::*;

#[test]
fn endpoints_talk_and_nothing_is_left() {
    on_a_box(|ground| async move {
        let network = ground.network("one");
        let a = attach(&network, endpoint(1, "a"), vec![]).await.unwrap();
        let b = attach(&network, endpoint(2, "b"), vec![]).await.unwrap();
        println!("{}", output("nft", &["list", "ruleset"]));
        println!("{}", output("ip", &["-d", "link"]));
        println!("{}", output("ip", &["addr"]));
        let server = b.serve_tcp(80);
        assert_eq!(tcp_from(&a.namespace, b.ip(), 80), format!("{} to 80", a.ip()));
        assert_eq!(tcp_from(&a.namespace, b.ip6(), 80), format!("{} to 80", a.ip6()));
        drop(server);
        network.detach(&a.attachment.endpoint).await.unwrap();
        network.detach(&b.attachment.endpoint).await.unwrap();
        ground.assert_as_before();
    });
}
