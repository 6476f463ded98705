use super::*;
use proptest::prelude::*;

fn answer() -> ConnAck {
    ConnAck {
        session_present: false,
        reason: Reason::SUCCESS,
        text: None,
        server: None,
        keep_alive: None,
        receive_maximum: Some(2),
        max_packet: Some(1000),
        qos1: true,
        retains: false,
    }
}

fn session(last_id: u16) -> Session {
    Session::new(Protocol::V5, 1, &answer(), last_id)
}

fn take(session: &mut Session, packet: Packet) -> Result<Vec<Event>, LinkError> {
    let mut events = Vec::new();
    session.take(&mut Vec::new(), Frame::Packet(packet), &mut events).map(|()| events)
}

fn came(id: Option<u16>) -> Packet {
    Packet::Publish(Publish {
        topic: "t".to_owned(),
        id,
        payload: Vec::new(),
        retain: false,
        duplicate: false,
        response_topic: None,
        correlation: None,
    })
}

#[test]
fn outcomes_go_to_their_tickets_and_the_rest_is_lost() {
    let mut session = session(0);
    let mut out = Vec::new();
    for ticket in 0..3 {
        assert_eq!(session.has_room(), ticket < 2);
        assert!(session.publish(&mut out, Ticket(ticket), &Message::new("t", "")).is_none());
    }
    let events = take(&mut session, Packet::PubAck { id: 2, reason: Reason(0x10) }).unwrap();
    assert!(matches!(events[..], [Event::Published { ticket: Ticket(1), outcome: Outcome::Done }]));
    assert!(!session.has_room());
    let reason = Reason::NOT_AUTHORISED;
    let events = take(&mut session, Packet::PubAck { id: 1, reason }).unwrap();
    assert!(matches!(
        events[..],
        [Event::Published { ticket: Ticket(0), outcome: Outcome::Refused(Reason::NOT_AUTHORISED) }]
    ));
    // Once more, or of a connection before this one.
    assert!(take(&mut session, Packet::PubAck { id: 1, reason }).unwrap().is_empty());
    assert_eq!(session.unanswered(), [Ticket(2)]);
}

#[test]
fn what_the_broker_would_not_take_is_refused_here() {
    let mut session = session(0);
    let mut out = Vec::new();
    for (message, reason) in [
        (Message::new("t", vec![0; 1000]), Reason::TOO_LARGE),
        (Message::retained("t", ""), Reason::NO_RETAIN),
    ] {
        let event = session.publish(&mut out, Ticket(0), &message);
        let Some(Event::Published { outcome, .. }) = event else { panic!("{event:?}") };
        assert_eq!(outcome, Outcome::Refused(reason));
    }
    assert!(out.is_empty() && session.unanswered().is_empty());
}

#[test]
fn identifiers_go_on_and_pass_over_those_in_use() {
    let mut session = session(u16::MAX - 1);
    let mut out = Vec::new();
    session.subscribe(&mut out, &["f".to_owned()]);
    session.publish(&mut out, Ticket(0), &Message::new("t", ""));
    assert_eq!(session.last_id(), 1, "0 is none");
    session.last_id = u16::MAX - 1;
    session.publish(&mut out, Ticket(1), &Message::new("t", ""));
    assert_eq!(session.last_id(), 2);
}

#[test]
fn subscriptions_are_whole_once_all_are_answered() {
    let mut session = session(0);
    let filters: Vec<String> = (0..40).map(|number| format!("f/{number}")).collect();
    session.subscribe(&mut Vec::new(), &filters);
    let mut reasons = vec![Reason(1); 32];
    reasons[3] = Reason::NOT_AUTHORISED;
    let events = take(&mut session, Packet::SubAck { id: 1, reasons }).unwrap();
    let [Event::SubscribeRefused { filter, reason: Reason::NOT_AUTHORISED }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(filter, "f/3");
    let reasons = vec![Reason(1); 8];
    let events = take(&mut session, Packet::SubAck { id: 2, reasons }).unwrap();
    assert!(matches!(events[..], [Event::Subscribed]));
}

#[test]
fn answers_to_nothing_end_the_connection() {
    let mut session = session(0);
    session.subscribe(&mut Vec::new(), &["f".to_owned()]);
    for packet in [
        Packet::PubAck { id: 1, reason: Reason::SUCCESS },
        Packet::SubAck { id: 9, reasons: vec![] },
        Packet::UnsubAck { id: 9 },
        Packet::ConnAck(answer()),
    ] {
        assert!(matches!(take(&mut session, packet), Err(LinkError::Protocol(_))));
    }
    let mut session = super::Session::new(Protocol::V5, 1, &answer(), 0);
    session.subscribe(&mut Vec::new(), &["f".to_owned()]);
    let two = Packet::SubAck { id: 1, reasons: vec![Reason(1), Reason(1)] };
    assert!(matches!(take(&mut session, two), Err(LinkError::Protocol(_))));
}

#[test]
fn a_message_that_is_not_acknowledged_yet_is_not_told_of_twice() {
    let mut session = session(0);
    assert_eq!(take(&mut session, came(Some(5))).unwrap().len(), 1);
    assert_eq!(take(&mut session, came(Some(5))).unwrap().len(), 0);
    session.acknowledge(&mut Vec::new(), 5);
    assert_eq!(take(&mut session, came(Some(5))).unwrap().len(), 1);
    // Without an identifier there is nothing to acknowledge.
    assert_eq!(take(&mut session, came(None)).unwrap().len(), 1);
    assert_eq!(take(&mut session, came(None)).unwrap().len(), 1);
}

proptest! {
    /// Whatever the order in which messages are given back, the broker hears of them in the order of their coming, and
    /// of all once all are given back.
    #[test]
    fn acknowledgements_keep_their_order(order in Just((1..=20u16).collect::<Vec<_>>()).prop_shuffle()) {
        let mut session = session(0);
        for id in 1..=20 {
            take(&mut session, came(Some(id))).unwrap();
        }
        let mut out = Vec::new();
        for id in order {
            session.acknowledge(&mut out, id);
        }
        let expected: Vec<u8> = (1..=20u8).flat_map(|id| [0x40, 2, 0, id]).collect();
        prop_assert_eq!(out, expected);
    }
}
