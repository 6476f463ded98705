//! The part of MessagePack that the forward protocol needs.

/// Appends MessagePack values.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// Begins an array of fewer than 16 values.
    pub(super) fn array(&mut self, count: u8) {
        self.0.push(0x90 | (count & 0x0f));
    }

    /// Begins a map.
    pub(super) fn map(&mut self, count: usize) {
        match u16::try_from(count) {
            Ok(count) if count < 16 => self.0.push(0x80 | count.to_be_bytes()[1]),
            Ok(count) => {
                self.0.push(0xde);
                self.0.extend_from_slice(&count.to_be_bytes());
            }
            Err(_) => {
                self.0.push(0xdf);
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.0.extend_from_slice(&count.to_be_bytes());
            }
        }
    }

    pub(super) fn string(&mut self, text: &str) {
        let length = text.len();
        if let (Ok(length), true) = (u8::try_from(length), length < 32) {
            self.0.push(0xa0 | length);
        } else if let Ok(length) = u8::try_from(length) {
            self.0.extend_from_slice(&[0xd9, length]);
        } else if let Ok(length) = u16::try_from(length) {
            self.0.push(0xda);
            self.0.extend_from_slice(&length.to_be_bytes());
        } else {
            self.0.push(0xdb);
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            self.0.extend_from_slice(&length.to_be_bytes());
        }
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn integer(&mut self, number: i64) {
        self.0.push(0xd3);
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    /// The forward protocol's time with nanoseconds.
    pub(super) fn event_time(&mut self, seconds: u32, nanoseconds: u32) {
        self.0.extend_from_slice(&[0xd7, 0x00]);
        self.0.extend_from_slice(&seconds.to_be_bytes());
        self.0.extend_from_slice(&nanoseconds.to_be_bytes());
    }
}
