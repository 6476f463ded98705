use super::*;
use proptest::prelude::*;

fn query(name: &[&[u8]], rest: &[u8]) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label);
    }
    message.push(0);
    message.extend_from_slice(rest);
    message
}

fn read(message: &[u8]) -> Query {
    Query::read(message).unwrap()
}

fn is_format_error(message: &[u8]) -> bool {
    matches!(Query::read(message), Err(Bad::Tell(_, Code::FormatError)))
}

#[test]
fn a_question_is_read_as_it_stands() {
    let asked = read(&query(&[b"Web", b"default", b"internal"], &[0, 1, 0, 1]));
    assert_eq!(asked.name, "Web.default.internal");
    assert_eq!((asked.kind, asked.class), (Kind::A, 1));
    assert_eq!(asked.datagram(), 512);
    let odd = read(&query(&[b"a.b", b"\xc3\xa9", b" "], &[0, 28, 0, 1]));
    assert_eq!(odd.name, "a\\046b.\\195\\169.\\032");
    assert_eq!(read(&query(&[], &[0, 2, 0, 1])).name, "");
}

#[test]
fn what_is_no_query_is_told_or_passed_over() {
    let asked = query(&[b"web"], &[0, 1, 0, 1]);
    let with = |change: fn(&mut Vec<u8>)| {
        let mut message = asked.clone();
        change(&mut message);
        message
    };
    assert_eq!(Query::read(&with(|m| m[2] |= 0x80)), Err(Bad::Silence));
    assert_eq!(Query::read(&asked[..11]), Err(Bad::Silence));
    assert!(matches!(Query::read(&with(|m| m[2] = 0x28)), Err(Bad::Tell(_, Code::NotImplemented))));
    for bad in [
        with(|m| m[5] = 0),
        with(|m| m[5] = 2),
        with(|m| m[7] = 1),
        with(|m| m[10] = 0xff),
        with(|m| m.truncate(19)),
        // A label that says it is longer than it may be, and pointers: to itself, to its own pointer.
        query(&[], &[]),
        [&asked[..12], &[0x40, 1, 2, 3, 0, 0, 1, 0, 1]].concat(),
        [&asked[..12], &[0xc0, 0x0c, 0, 1, 0, 1]].concat(),
        [&asked[..12], &[0x01, b'a', 0xc0, 0x0c, 0, 1, 0, 1]].concat(),
        query(&[&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 63]], &[0, 1, 0, 1]),
    ] {
        assert!(is_format_error(&bad), "{bad:?}");
    }
    let longest = query(&[&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 61]], &[0, 1, 0, 1]);
    assert_eq!(read(&longest).name.len(), 253);
}

#[test]
fn the_size_that_a_sender_takes_is_bounded_both_ways() {
    let size = |size: u16| {
        let mut message = query(&[b"web"], &[0, 1, 0, 1]);
        message[11] = 1;
        message.extend_from_slice(&[0, 0, 41]);
        message.extend_from_slice(&size.to_be_bytes());
        message.extend_from_slice(&[0, 0, 0, 0, 0, 4, 1, 2, 3, 4]);
        read(&message)
    };
    assert_eq!([100, 700, 4096].map(|n| size(n).datagram()), [512, 700, 1232]);
    // The name of a record in a query may be a pointer; it is not followed.
    let mut pointed = query(&[b"web"], &[0, 1, 0, 1]);
    pointed[11] = 1;
    pointed.extend_from_slice(&[0xc0, 0xff, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(&pointed).datagram(), 1024);
    let mut twice = query(&[b"web"], &[0, 1, 0, 1]);
    twice[11] = 2;
    twice.extend_from_slice(&[0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0].repeat(2));
    assert!(is_format_error(&twice));
}

#[test]
fn records_are_written_for_anybody_to_read() {
    let asked = read(&query(&[b"web", b"internal"], &[0, 33, 0, 1]));
    let answer = |data| Record { name: "WEB.internal".to_owned(), ttl: 5, data };
    let target = "t.internal".to_owned();
    let host =
        Record { name: target.clone(), ttl: 5, data: Data::Aaaa("fd00::5".parse().unwrap()) };
    let reply = Reply {
        authoritative: true,
        answers: vec![
            answer(Data::Srv { port: 8080, target: target.clone() }),
            answer(Data::A(Ipv4Addr::new(10, 1, 2, 3))),
        ],
        additional: vec![host],
        ..Reply::bare(Code::NoError)
    };
    let message = asked.write(&reply, 512);
    let mut expected = vec![0xab, 0xcd, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 1];
    expected.extend_from_slice(b"\x03web\x08internal\0\0\x21\0\x01");
    expected.extend_from_slice(
        b"\xc0\x0c\0\x21\0\x01\0\0\0\x05\0\x12\0\x01\0\x01\x1f\x90\x01t\x08internal\0",
    );
    expected.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\x01\x02\x03");
    expected.extend_from_slice(b"\x01t\x08internal\0\0\x1c\0\x01\0\0\0\x05\0\x10\xfd");
    expected.extend_from_slice(&[0; 14]);
    expected.push(5);
    assert_eq!(message, expected);
}

#[test]
fn a_reply_must_be_to_this_question() {
    let message = query(&[b"web"], &[0, 1, 0, 1]);
    let asked = read(&message);
    let mut reply = message.clone();
    reply[2] |= 0x80;
    assert!(asked.is_replied_by(&reply, [0xab, 0xcd]));
    assert!(!asked.is_replied_by(&reply, [0xab, 0xce]));
    assert!(!asked.is_replied_by(&message, [0xab, 0xcd]), "a query is no reply");
    let other = |at: usize, byte: u8| {
        let mut other = reply.clone();
        other[at] = byte;
        other
    };
    assert!(asked.is_replied_by(&other(13, b'W'), [0xab, 0xcd]));
    assert!(!asked.is_replied_by(&other(13, b'v'), [0xab, 0xcd]));
    assert!(!asked.is_replied_by(&other(18, 28), [0xab, 0xcd]));
    assert!(!asked.is_replied_by(&reply[..14], [0xab, 0xcd]));
    asked.adopt(&mut reply);
    assert_eq!(reply[..2], [0xab, 0xcd]);
}

#[test]
fn a_name_that_cannot_be_written_is_left_out() {
    let asked = read(&query(&[b"web"], &[0, 1, 0, 1]));
    for name in ["a..b".to_owned(), "x".repeat(64), "a.".repeat(150)] {
        let record = Record { name, ttl: 1, data: Data::A(Ipv4Addr::LOCALHOST) };
        let reply = Reply { additional: vec![record], ..Reply::bare(Code::NoError) };
        assert_eq!(asked.write(&reply, 512)[10..12], [0, 0]);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(message in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(query) = Query::read(&message) {
            prop_assert!(query.name.len() <= 4 * 255);
            let written = query.write(&Reply::bare(Code::ServerFailure), query.datagram());
            prop_assert!(written.len() <= message.len() + OPT);
            prop_assert_eq!(&written[..2], &message[..2]);
        }
    }

    #[test]
    fn any_bytes_are_a_reply_or_none(
        mut reply in prop::collection::vec(any::<u8>(), 0..100),
        id in any::<[u8; 2]>(),
    ) {
        let asked = read(&query(&[b"web"], &[0, 1, 0, 1]));
        prop_assert!(!asked.is_replied_by(&reply, id) || reply.starts_with(&id));
        let _ = is_no_answer(&reply);
        let length = reply.len();
        asked.adopt(&mut reply);
        prop_assert_eq!(reply.len(), length);
    }

    /// What begins like a query gets further.
    #[test]
    fn any_end_of_a_query_is_read_or_refused(
        counts in prop::collection::vec(0_u8..3, 6),
        end in prop::collection::vec(prop_oneof![Just(0_u8), Just(0xc0), Just(12), any::<u8>()], 0..300),
        id in any::<[u8; 2]>(),
    ) {
        let mut message = vec![1, 2, 1, 0, 0, 1];
        message.extend_from_slice(&counts);
        message.extend_from_slice(&end);
        if let Ok(query) = Query::read(&message) {
            let _ = query.is_replied_by(&message, id);
            let record = Record { name: query.name.clone(), ttl: 0, data: Data::A(Ipv4Addr::LOCALHOST) };
            let reply = Reply { answers: vec![record; 100], ..Reply::bare(Code::NoError) };
            let limit = query.datagram();
            let written = query.write(&reply, limit);
            prop_assert!(written.len() <= limit);
        }
    }
}
