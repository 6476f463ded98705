//! Frames: what the two ends of a tunnel say to each other.
//!
//! A frame is a byte that says what it is, its number in eight bytes (the most significant first), and its content, to
//! the end of the message. Each end numbers all its frames from 0.

/// The most bytes of a [`Frame::Data`].
pub(super) const CHUNK: usize = 16 << 10;
/// The longest reason of a [`Frame::Close`].
const REASON_LIMIT: usize = 512;
/// Bytes of a frame before its content.
const HEAD: usize = 9;
/// The longest frame.
pub(super) const FRAME_LIMIT: usize = HEAD + CHUNK;
/// What [`Frame::Open`] says.
const VERSION: u8 = 1;
/// The local API of the box: all that a tunnel leads to.
const LOCAL_API: u8 = 1;

/// What one end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// From the hub, the first: a tunnel is wanted.
    Open,
    /// From the device, the first: it is there.
    Accept,
    /// Bytes, at most [`CHUNK`].
    Data(Vec<u8>),
    /// So much more may be sent.
    Window(u32),
    /// No more data comes from this end.
    End,
    /// The last: this end is done with the tunnel. With a reason if something is wrong.
    Close(Option<String>),
    /// This end is still there.
    Ping,
}

/// What came is no frame of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Frame {
    /// The frame as it is sent.
    pub(super) fn encode(&self, number: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + 8);
        let kind = match self {
            Self::Open => 1,
            Self::Accept => 2,
            Self::Data(_) => 3,
            Self::Window(_) => 4,
            Self::End => 5,
            Self::Close(_) => 6,
            Self::Ping => 7,
        };
        bytes.push(kind);
        bytes.extend_from_slice(&number.to_be_bytes());
        match self {
            Self::Open => bytes.extend_from_slice(&[VERSION, LOCAL_API]),
            Self::Data(data) => bytes.extend_from_slice(data),
            Self::Window(more) => bytes.extend_from_slice(&more.to_be_bytes()),
            Self::Close(Some(reason)) => {
                let end = reason.floor_char_boundary(REASON_LIMIT);
                bytes.extend_from_slice(&reason.as_bytes()[..end]);
            }
            Self::Accept | Self::End | Self::Close(None) | Self::Ping => {}
        }
        bytes
    }

    /// The frame in a message, and its number.
    pub(super) fn decode(bytes: &[u8]) -> Result<(u64, Self), Unreadable> {
        let (head, content) = bytes.split_first_chunk::<HEAD>().ok_or(Unreadable)?;
        let [kind, number @ ..] = head;
        let number = u64::from_be_bytes(*number);
        let frame = match (kind, content) {
            (1, [VERSION, LOCAL_API]) => Self::Open,
            (2, []) => Self::Accept,
            (3, data) if (1..=CHUNK).contains(&data.len()) => Self::Data(data.to_vec()),
            (4, more) => Self::Window(u32::from_be_bytes(more.try_into().map_err(|_| Unreadable)?)),
            (5, []) => Self::End,
            (6, []) => Self::Close(None),
            (6, reason) if reason.len() <= REASON_LIMIT => {
                // It ends up on somebody's terminal.
                let reason = String::from_utf8_lossy(reason);
                Self::Close(Some(reason.chars().filter(|c| !c.is_control()).collect()))
            }
            (7, []) => Self::Ping,
            _ => return Err(Unreadable),
        };
        Ok((number, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_are_read_as_they_are_written() {
        let frames = [
            Frame::Open,
            Frame::Accept,
            Frame::Data(vec![0; CHUNK]),
            Frame::Data(vec![1]),
            Frame::Window(u32::MAX),
            Frame::End,
            Frame::Close(None),
            Frame::Close(Some("gone".to_owned())),
            Frame::Ping,
        ];
        for (number, frame) in (u64::MAX - 20..).zip(frames) {
            let bytes = frame.encode(number);
            assert!(bytes.len() <= FRAME_LIMIT);
            assert_eq!(Frame::decode(&bytes), Ok((number, frame)));
        }
    }

    #[test]
    fn reasons_are_cut_and_harmless() {
        let long = Frame::Close(Some("é".repeat(600))).encode(0);
        let Ok((0, Frame::Close(Some(reason)))) = Frame::decode(&long) else { panic!() };
        assert_eq!(reason.chars().count(), 256);
        let wild = Frame::Close(Some("a\u{1b}[2Jb".to_owned())).encode(0);
        assert_eq!(Frame::decode(&wild), Ok((0, Frame::Close(Some("a[2Jb".to_owned())))));
    }

    #[test]
    fn what_is_too_long_or_empty_is_no_frame() {
        assert_eq!(Frame::decode(&Frame::Data(vec![0; CHUNK + 1]).encode(0)), Err(Unreadable));
        assert_eq!(Frame::decode(&Frame::Data(Vec::new()).encode(0)), Err(Unreadable));
        assert_eq!(Frame::decode(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1]), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((number, frame)) = Frame::decode(&bytes)
                && !matches!(frame, Frame::Close(_))
            {
                prop_assert_eq!(frame.encode(number), bytes);
            }
        }
    }
}
