//! Messages: a header, what its kind begins with, and attributes. Several go to the kernel in one call.

use super::attribute::Attributes;
use super::padding;

/// Length, kind, flags, sequence number, port.
pub(super) const HEADER: usize = 16;

/// What is asked for with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Flags(pub(super) u16);

impl Flags {
    const REQUEST: u16 = 0x001;
    const ANSWER: u16 = 0x004;
    /// Do it, and say whether it worked.
    pub(in crate::net) const DO: Self = Self(Self::REQUEST | Self::ANSWER);
    /// Make it; it may be there.
    pub(in crate::net) const MAKE: Self = Self(Self::DO.0 | 0x400);
    /// Make it; it must not be there.
    pub(in crate::net) const MAKE_NEW: Self = Self(Self::MAKE.0 | 0x200);
    /// Make it, in place of what is there.
    pub(in crate::net) const MAKE_INSTEAD: Self = Self(Self::MAKE.0 | 0x100);
    /// Put it behind the others.
    pub(in crate::net) const APPEND: Self = Self(Self::MAKE.0 | 0x800);
    /// One object.
    pub(in crate::net) const GET: Self = Self(Self::REQUEST);
    /// All objects.
    pub(in crate::net) const LIST: Self = Self(Self::REQUEST | 0x300);

    /// The same without an answer of success.
    pub(in crate::net) const fn silent(self) -> Self {
        Self(self.0 & !Self::ANSWER)
    }

    pub(super) fn answers(self) -> bool {
        self.0 & Self::ANSWER != 0
    }
}

/// Messages that are sent together.
#[derive(Debug, Default)]
pub(in crate::net) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// What each message does, for the error; its sequence number is its place.
    pub(super) actions: Vec<&'static str>,
    /// The sequence numbers that are answered.
    pub(super) answered: Vec<u32>,
    /// Something did not fit.
    pub(super) too_long: bool,
}

impl Batch {
    /// A message of this kind: `head` is what its kind begins with.
    pub(in crate::net) fn message(
        &mut self,
        action: &'static str,
        kind: u16,
        flags: Flags,
        head: &[u8],
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        let sequence = u32::try_from(self.actions.len()).unwrap_or(u32::MAX);
        self.actions.push(action);
        if flags.answers() {
            self.answered.push(sequence);
        }
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.0.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(head);
        self.bytes.resize(self.bytes.len() + padding(head.len()), 0);
        fill(&mut Attributes::new(&mut self.bytes, &mut self.too_long));
        match u32::try_from(self.bytes.len() - start) {
            Ok(length) => {
                if let Some(header) = self.bytes.get_mut(start..start + 4) {
                    header.copy_from_slice(&length.to_ne_bytes());
                }
            }
            Err(_) => self.too_long = true,
        }
    }

    /// The bytes that go to the kernel.
    #[cfg(test)]
    pub(in crate::net) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Message<'a> {
    pub(in crate::net) kind: u16,
    pub(in crate::net) sequence: u32,
    /// What its kind begins with, and its attributes.
    pub(in crate::net) body: &'a [u8],
}

/// The messages in `bytes`, up to the first that makes no sense.
pub(super) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, _) = rest.split_first_chunk::<HEADER>()?;
        let word = |at: usize| Some(u32::from_ne_bytes(*header.get(at..)?.first_chunk()?));
        let length = usize::try_from(word(0)?).ok()?;
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length + padding(length)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes(*header.get(4..)?.first_chunk()?),
            sequence: word(8)?,
            body,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::attribute::attributes;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut batch = Batch::default();
        batch.message("one", 16, Flags::DO, &[1, 2, 3, 4, 5], |a| {
            a.text(3, "eth0");
        });
        batch.message("two", 17, Flags::DO.silent(), &[], |_| {});
        assert_eq!(batch.answered, [0]);
        let read: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].sequence), (16, 0));
        assert_eq!(read[0].body.first_chunk(), Some(&[1, 2, 3, 4, 5, 0, 0, 0]));
        assert_eq!(attributes(&read[0].body[8..]).next(), Some((3, b"eth0\0".as_slice())));
        assert_eq!((read[1].kind, read[1].sequence, read[1].body), (17, 1, [].as_slice()));
    }

    #[test]
    fn a_message_that_is_cut_is_none() {
        let mut batch = Batch::default();
        batch.message("one", 16, Flags::DO, &[0; 32], |_| {});
        for length in 0..batch.bytes().len() {
            assert_eq!(messages(&batch.bytes()[..length]).count(), 0, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let whole: usize = messages(&bytes).map(|message| message.body.len() + HEADER).sum();
            prop_assert!(whole <= bytes.len());
        }
    }
}
