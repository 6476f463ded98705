//! What is done with a query: answered from the directory, refused, or handed on.

use super::message::{Bad, Code, Data, Kind, Query, Record, Reply};
use super::{Directory, Found};
use crate::net::BridgeAddresses;

/// For how many seconds it may be kept that there is no such name.
const NEGATIVE_TTL: u32 = 5;

/// What is done with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing.
    Ignore,
    /// This is sent back.
    Answer(Vec<u8>),
    /// Others are asked.
    Forward(Query),
}

/// How a query came, and the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Udp,
    Tcp,
}

impl Carrier {
    /// The most that may be answered.
    pub(super) fn limit(self, query: &Query) -> usize {
        match self {
            Self::Udp => query.datagram(),
            Self::Tcp => usize::from(u16::MAX),
        }
    }
}

/// Decides about one message.
pub(super) fn decide(
    message: &[u8],
    carrier: Carrier,
    directory: &dyn Directory,
    bridge: &BridgeAddresses,
) -> Decision {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(Bad::Silence) => return Decision::Ignore,
        Err(Bad::Tell(head, code)) => return Decision::Answer(head.reply(code)),
    };
    let limit = carrier.limit(&query);
    let bare = |code| Decision::Answer(query.write(&Reply::bare(code), limit));
    if query.is_of_later_edns() {
        return bare(Code::BadVersion);
    }
    if !query.is_internet() || is_of_many(query.kind) {
        return bare(Code::Refused);
    }
    match directory.find(&query.name, query.kind, bridge) {
        Some(found) => Decision::Answer(query.write(&reply(found), limit)),
        None => Decision::Forward(query),
    }
}

/// Whether it asks for no type of record but for many, or for a whole zone: the answer would be larger than anybody
/// needs.
fn is_of_many(kind: Kind) -> bool {
    (251..=255).contains(&kind.0)
}

fn reply(found: Found) -> Reply {
    let Found { zone, exists, answers, additional } = found;
    let authority = if answers.is_empty() {
        let data = Data::Soa { minimum: NEGATIVE_TTL };
        vec![Record { name: zone, ttl: NEGATIVE_TTL, data }]
    } else {
        Vec::new()
    };
    let code = if exists { Code::NoError } else { Code::NoSuchName };
    Reply { code, authoritative: true, answers, authority, additional }
}

/// What is sent when nobody else could be asked.
pub(super) fn failure(query: &Query, carrier: Carrier) -> Vec<u8> {
    query.write(&Reply::bare(Code::ServerFailure), carrier.limit(query))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[derive(Debug)]
    struct Everything;

    impl Directory for Everything {
        fn find(&self, name: &str, kind: Kind, _: &BridgeAddresses) -> Option<Found> {
            if !name.ends_with(".internal") {
                return None;
            }
            let many = (0..200).map(|n| Record {
                name: name.to_owned(),
                ttl: 5,
                data: Data::A(Ipv4Addr::from(n)),
            });
            let answers = if kind == Kind::A { many.collect() } else { Vec::new() };
            let exists = name != "none.internal";
            Some(Found { zone: "internal".to_owned(), exists, answers, additional: Vec::new() })
        }
    }

    fn bridge() -> BridgeAddresses {
        BridgeAddresses::of_ipv4(Ipv4Addr::new(10, 9, 0, 1), 24)
    }

    /// A query for `name` as a client writes it.
    fn query(name: &str, kind: u16, class: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&class.to_be_bytes());
        message
    }

    fn answer(message: &[u8], carrier: Carrier) -> Vec<u8> {
        match decide(message, carrier, &Everything, &bridge()) {
            Decision::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn code(answer: &[u8]) -> u8 {
        answer[3] & 0x0f
    }

    #[test]
    fn what_is_not_known_here_is_handed_on() {
        let decided = decide(&query("example.com", 1, 1), Carrier::Udp, &Everything, &bridge());
        assert!(matches!(decided, Decision::Forward(query) if query.name == "example.com"));
        for silent in [&b""[..], &[1; 11], &[0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(decide(silent, Carrier::Udp, &Everything, &bridge()), Decision::Ignore);
        }
    }

    #[test]
    fn too_many_answers_are_told_to_be_missing() {
        let asked = query("web.internal", 1, 1);
        let small = answer(&asked, Carrier::Udp);
        assert!(small.len() <= 512);
        assert_eq!(small[2] & 0x02, 0x02, "truncated");
        let whole = answer(&asked, Carrier::Tcp);
        assert_eq!(whole[2] & 0x02, 0);
        assert_eq!(whole[6..8], [0, 200]);
        let mut with_edns = asked;
        with_edns[11] = 1;
        with_edns.extend_from_slice(&[0, 0, 41, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
        let larger = answer(&with_edns, Carrier::Udp);
        assert!((1200..=1232).contains(&larger.len()), "{}", larger.len());
        assert_eq!(larger[10..12], [0, 1], "the reply has EDNS as well");
    }

    #[test]
    fn who_asks_for_everything_is_refused() {
        for kind in [251, 252, 253, 254, 255] {
            let refused = answer(&query("web.internal", kind, 1), Carrier::Udp);
            assert_eq!(code(&refused), 5, "{kind}");
        }
        assert_eq!(code(&answer(&query("version.bind", 16, 3), Carrier::Udp)), 5);
    }

    #[test]
    fn what_is_missing_is_told_with_its_zone() {
        let nothing = answer(&query("web.internal", 28, 1), Carrier::Udp);
        assert_eq!((code(&nothing), &nothing[6..10]), (0, &[0, 0, 0, 1][..]));
        let unknown = answer(&query("none.internal", 28, 1), Carrier::Udp);
        assert_eq!((code(&unknown), &unknown[6..10]), (3, &[0, 0, 0, 1][..]));
    }

    #[test]
    fn a_later_version_of_edns_is_told() {
        let mut asked = query("web.internal", 1, 1);
        asked[11] = 1;
        asked.extend_from_slice(&[0, 0, 41, 4, 0, 0, 1, 0, 0, 0, 0]);
        let answer = answer(&asked, Carrier::Udp);
        // The low bits of the code are in the header, the high ones in the record.
        assert_eq!(code(&answer), 0);
        assert_eq!(answer[answer.len() - 6], 1);
    }
}
