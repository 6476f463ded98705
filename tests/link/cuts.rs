//! The connection is cut after every single byte of one whole exchange, in each direction: CONNECT and CONNACK, SUBSCRIBE
//! and SUBACK, a message down and its PUBACK up, a message up and its PUBACK down.

use crate::client::{BOTH, Client, settings};
use crate::fault_proxy::{Fault, FaultProxy};
use crate::mosquitto::{Mosquitto, PATIENCE};
use coracle::fleet::link::{Event, Message, Outcome, Version};
use coracle::fleet::topic::Filter;
use tokio::time::timeout;

#[tokio::test]
async fn a_cut_at_any_byte_loses_nothing_that_was_done() {
    let broker = Mosquitto::plain();
    let proxy = FaultProxy::start(broker.port).await;
    for version in BOTH {
        let word = if version == Version::V5 { "five" } else { "three" };
        let mut hub = Client::listening(settings(&broker.url(), "hub", version), &["up/#"]).await;
        exchange(&broker, &proxy, &mut hub, version, &format!("{word}-whole"), None).await;
        let (up, down) = proxy.bytes();
        assert!(up > 60 && down > 30, "{up} bytes up and {down} down are no whole exchange");
        for cut in 0..=up {
            let fault = Fault { cut_up: Some(cut), ..Fault::default() };
            let name = format!("{word}-up-{cut:03}");
            exchange(&broker, &proxy, &mut hub, version, &name, Some(fault)).await;
        }
        for cut in 0..=down {
            let fault = Fault { cut_down: Some(cut), ..Fault::default() };
            let name = format!("{word}-dn-{cut:03}");
            exchange(&broker, &proxy, &mut hub, version, &name, Some(fault)).await;
        }
    }
}

async fn exchange(
    broker: &Mosquitto,
    proxy: &FaultProxy,
    hub: &mut Client,
    version: Version,
    name: &str,
    fault: Option<Fault>,
) {
    println!("{name}");
    if let Some(fault) = fault {
        proxy.break_next(fault);
    }
    let (down, up) = (format!("down/{name}"), format!("up/{name}"));
    let mut device = Client::start(settings(&proxy.url(), name, version));
    device.link.subscribe([Filter::raw(down.clone())]);
    device.until_subscribed().await;

    // Down: it comes at least once, and is acknowledged each time it does.
    hub.publish(Message::new(&down, "work")).await;
    assert_eq!(device.receive().await.payload, b"work", "{name}");

    // Up, until it is done, with a number each time: what is done has arrived, and nothing arrives that was not sent.
    let mut done = None;
    let mut attempt = 0_u32;
    while done.is_none() {
        timeout(PATIENCE, device.link.ready()).await.expect(name).unwrap();
        attempt += 1;
        let Ok(wanted) = device.link.publish(Message::new(&up, attempt.to_be_bytes())) else {
            continue;
        };
        done = loop {
            match device.next().await {
                Event::Received(again) => {
                    assert_eq!(again.payload, b"work", "{name}");
                    device.link.ack(again.ack);
                }
                Event::Published { ticket, outcome } if ticket == wanted => match outcome {
                    Outcome::Done => break Some(attempt),
                    Outcome::Unknown => break None,
                    Outcome::Refused(reason) => panic!("{name}: {reason}"),
                },
                _ => {}
            }
        };
    }
    let mut last = 0;
    while Some(last) != done {
        let got = hub.receive().await;
        assert_eq!(got.topic, up, "{name}");
        let number = u32::from_be_bytes(got.payload.try_into().unwrap());
        assert!(number > last && number <= attempt, "{name}");
        last = number;
    }
    device.link.close().await;
    drop(device);

    // What was acknowledged before something else was done does not come again.
    let mut device = Client::start(settings(&broker.url(), name, version));
    device.link.subscribe([Filter::raw(down.clone())]);
    let (_, present) = device.until_connected().await;
    assert!(present, "{name}");
    hub.publish(Message::new(&down, "end")).await;
    assert_eq!(device.receive().await.payload, b"end", "{name}");
    device.link.close().await;
}
