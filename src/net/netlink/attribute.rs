//! Attributes: length, kind, value, padding. A value may be attributes again.

use super::padding;

/// Length and kind.
const HEADER: usize = 4;
/// The bits of a kind that say how its value is to be read.
const NESTED: u16 = 1 << 15;
const KIND: u16 = 0x3fff;

/// Appends attributes to a message.
#[derive(Debug)]
pub(in crate::net) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
    /// Set when an attribute is longer than its length can say.
    too_long: &'a mut bool,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>, too_long: &'a mut bool) -> Self {
        Self { bytes, too_long }
    }

    /// An attribute with this value.
    pub(in crate::net) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.frame(kind, |attributes| attributes.bytes.extend_from_slice(value))
    }

    /// A number in the machine's byte order, as rtnetlink has them.
    pub(in crate::net) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// A number in the network's byte order, as nfnetlink has them.
    pub(in crate::net) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// A text, ended by NUL.
    pub(in crate::net) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.frame(kind, |attributes| {
            attributes.bytes.extend_from_slice(value.as_bytes());
            attributes.bytes.push(0);
        })
    }

    /// Attributes within an attribute.
    pub(in crate::net) fn nest(
        &mut self,
        kind: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        self.frame(kind | NESTED, fill)
    }

    /// Bytes that come before the attributes of a nested message.
    pub(in crate::net) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn frame(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER]);
        fill(&mut Attributes { bytes: self.bytes, too_long: self.too_long });
        let length = self.bytes.len() - start;
        match u16::try_from(length) {
            Ok(length) => {
                let [a, b] = length.to_ne_bytes();
                let [c, d] = kind.to_ne_bytes();
                if let Some(header) = self.bytes.get_mut(start..start + HEADER) {
                    header.copy_from_slice(&[a, b, c, d]);
                }
            }
            Err(_) => *self.too_long = true,
        }
        self.bytes.resize(self.bytes.len() + padding(length), 0);
        self
    }
}

/// The attributes in `bytes`, up to the first that makes no sense.
pub(in crate::net) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, _) = rest.split_first_chunk::<HEADER>()?;
        let [a, b, c, d] = *header;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = rest.get(HEADER..length)?;
        rest = rest.get(length + padding(length)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & KIND, value))
    })
}

/// A number in the machine's byte order.
pub(in crate::net) fn number32(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

/// A text, up to its NUL.
pub(in crate::net) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(fill: impl FnOnce(&mut Attributes<'_>)) -> (Vec<u8>, bool) {
        let (mut bytes, mut too_long) = (Vec::new(), false);
        fill(&mut Attributes::new(&mut bytes, &mut too_long));
        (bytes, too_long)
    }

    #[test]
    fn what_is_written_is_read() {
        let (bytes, too_long) = written(|a| {
            a.u32(1, 7).text(3, "eth0").nest(18, |inner| {
                inner.text(1, "veth");
            });
        });
        assert!(!too_long);
        assert_eq!(bytes.len() % 4, 0);
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [1, 3, 18]);
        assert_eq!(number32(read[0].1), Some(7));
        assert_eq!(text(read[1].1), "eth0");
        let inner: Vec<_> = attributes(read[2].1).collect();
        assert_eq!((inner[0].0, text(inner[0].1).as_str()), (1, "veth"));
    }

    #[test]
    fn an_attribute_that_is_too_long_is_told() {
        let (_, too_long) = written(|a| {
            a.put(1, &vec![0; 70_000]);
        });
        assert!(too_long);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let whole: usize = attributes(&bytes).map(|(_, value)| value.len() + HEADER).sum();
            prop_assert!(whole <= bytes.len());
        }

        #[test]
        fn any_values_come_back(values: Vec<(u16, Vec<u8>)>) {
            let values: Vec<_> = values.into_iter().map(|(kind, value)| (kind & KIND, value)).collect();
            let (bytes, _) = written(|a| for (kind, value) in &values { a.put(*kind, value); });
            let read: Vec<_> = attributes(&bytes).map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(read, values);
        }
    }
}
