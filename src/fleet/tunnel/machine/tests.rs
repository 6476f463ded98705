use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

fn pair() -> (Machine, Machine) {
    let (mut hub, open) = Machine::open();
    let (device, accept) = Machine::accept(&open).unwrap();
    assert_eq!(hub.room(), 0, "nothing is sent before the device is there");
    assert_eq!(hub.receive(&accept), Ok(Event::Accepted));
    (hub, device)
}

#[test]
fn only_a_first_frame_begins_a_tunnel() {
    let (mut hub, open) = Machine::open();
    assert!(Machine::accept(&open).is_some());
    assert!(Machine::accept(&hub.end()).is_none());
    assert!(Machine::accept(&Frame::Open.encode(1)).is_none());
    assert!(Machine::accept(b"").is_none());
}

#[test]
fn what_does_not_belong_ends_it() {
    let mut broken = Vec::new();
    for frame in [Frame::Open, Frame::Accept, Frame::Window(1)] {
        let (mut hub, _) = pair();
        broken.push(hub.receive(&frame.encode(1)));
    }
    assert_eq!(broken, vec![Err(Broken::Unexpected); 3]);
    let (mut hub, _) = Machine::open();
    assert_eq!(hub.receive(&Frame::Data(vec![1]).encode(0)), Err(Broken::Unexpected));
    let (mut hub, _) = pair();
    assert_eq!(hub.receive(&Frame::End.encode(1)), Ok(Event::End));
    assert_eq!(hub.receive(&Frame::Data(vec![1]).encode(2)), Err(Broken::Unexpected));
    let (mut hub, _) = pair();
    assert_eq!(hub.receive(b"x"), Err(Broken::Unreadable));
}

#[test]
fn a_device_may_refuse_with_a_reason() {
    let (mut hub, _) = Machine::open();
    let refused = Frame::Close(Some("full".to_owned())).encode(0);
    assert_eq!(hub.receive(&refused), Ok(Event::Closed(Some("full".to_owned()))));
}

#[test]
fn silence_is_noticed_and_a_word_now_and_then_prevents_it() {
    let (mut hub, mut device) = pair();
    for _ in 0..20 {
        if let Some(ping) = hub.tick().unwrap() {
            assert_eq!(device.receive(&ping), Ok(Event::Nothing));
        }
        if let Some(ping) = device.tick().unwrap() {
            assert_eq!(hub.receive(&ping), Ok(Event::Nothing));
        }
    }
    let alone = (0..1000).map(|_| hub.tick()).take_while(Result::is_ok).count();
    assert_eq!(alone, usize::from(SILENT_STEPS));
}

#[test]
fn small_frames_cannot_be_piled_up() {
    let (mut hub, mut device) = pair();
    let mut frames = 0_u32;
    while hub.room() > 0 {
        let frame = hub.data(b"x");
        assert!(matches!(device.receive(&frame), Ok(Event::Data(_))));
        frames += 1;
    }
    assert!(frames <= WINDOW / OVERHEAD);
    // One more than the window has.
    assert_eq!(device.receive(&hub.data(&[0; CHUNK])), Err(Broken::Overrun));
}

/// What the carrier and the reader do.
#[derive(Debug, Clone, Copy)]
enum Step {
    Send(usize),
    Deliver,
    DeliverTwice,
    Lose,
    Swap,
    PassOn,
    DeliverBack,
    Tick,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..=2 * CHUNK).prop_map(Step::Send),
        6 => Just(Step::Deliver),
        1 => Just(Step::DeliverTwice),
        5 => Just(Step::PassOn),
        3 => Just(Step::DeliverBack),
        1 => Just(Step::Tick),
    ];
    let fault = prop_oneof![Just(Step::Lose), Just(Step::Swap)];
    (prop::collection::vec(step, 1..200), prop::option::of((0..200_usize, fault))).prop_map(
        |(mut steps, fault)| {
            if let Some((at, fault)) = fault {
                steps.insert(at.min(steps.len()), fault);
            }
            steps
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// What comes out is a beginning of what was put in, and all of it when the carrier lost and swapped nothing. No end
    /// holds more than the window.
    #[test]
    fn nothing_is_doubled_swapped_or_left_out(steps in steps()) {
        let (mut hub, mut device) = pair();
        let (mut down, mut up) = (VecDeque::new(), VecDeque::new());
        let (mut put, mut held, mut out) = (Vec::new(), VecDeque::new(), Vec::new());
        let (mut faulty, mut broken) = (false, None);
        let mut next = 0_u8;
        let finish = [Step::Deliver, Step::PassOn, Step::DeliverBack].into_iter().cycle().take(3000);
        for step in steps.into_iter().chain(finish) {
            let mut came = Vec::new();
            match step {
                Step::Send(size) => {
                    let bytes: Vec<u8> = (0..size.min(hub.room())).map(|_| { next = next.wrapping_add(1); next }).collect();
                    if !bytes.is_empty() {
                        down.push_back(hub.data(&bytes));
                        put.extend(bytes);
                    }
                }
                Step::Deliver => came.extend(down.pop_front()),
                Step::DeliverTwice => {
                    if let Some(frame) = down.pop_front() {
                        came.extend([frame.clone(), frame]);
                    }
                }
                Step::Lose => faulty |= down.pop_front().is_some(),
                Step::Swap => if down.len() > 1 {
                    down.swap(0, 1);
                    faulty = true;
                },
                Step::PassOn => if let Some(bytes) = held.pop_front() {
                    let bytes: Vec<u8> = bytes;
                    up.extend(device.passed_on(bytes.len()));
                    out.extend(bytes);
                },
                Step::DeliverBack => if let Some(frame) = up.pop_front() {
                    prop_assert_eq!(hub.receive(&frame), Ok(Event::Nothing));
                },
                Step::Tick => {
                    if let Ok(Some(ping)) = hub.tick() {
                        down.push_back(ping);
                    }
                }
            }
            for frame in came {
                if broken.is_some() {
                    break;
                }
                match device.receive(&frame) {
                    Ok(Event::Data(bytes)) => held.push_back(bytes),
                    Ok(event) => prop_assert_eq!(event, Event::Nothing),
                    Err(why) => broken = Some(why),
                }
            }
            let holds: usize = held.iter().map(Vec::len).sum();
            prop_assert!(holds <= WINDOW as usize);
            prop_assert!(put.starts_with(&out));
        }
        match broken {
            None if !faulty => prop_assert_eq!(out, put),
            // The last frame was lost: the next one, a ping at the latest, would tell.
            None => {}
            Some(why) => {
                prop_assert!(faulty);
                prop_assert_eq!(why, Broken::Hole);
            }
        }
    }
}
