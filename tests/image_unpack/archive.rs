//! Writes tar archives byte by byte, so that nothing keeps them honest.

use std::fmt::Write;

/// An archive under construction.
#[derive(Default, Clone)]
pub(crate) struct Archive(Vec<u8>);

/// One member; `..member(b'0', "x")` fills the rest.
#[derive(Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) kind: u8,
    pub(crate) path: &'a str,
    pub(crate) link: &'a str,
    pub(crate) mode: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) mtime: &'a str,
    pub(crate) size: Option<&'a str>,
    pub(crate) device: (u32, u32),
    pub(crate) content: &'a [u8],
}

pub(crate) fn member(kind: u8, path: &str) -> Member<'_> {
    Member {
        kind,
        path,
        link: "",
        mode: "644",
        uid: "0",
        mtime: "0",
        size: None,
        device: (0, 0),
        content: b"",
    }
}

impl Archive {
    pub(crate) fn add(mut self, member: Member<'_>) -> Self {
        let mut header = [0; 512];
        let mut put = |at: usize, length: usize, text: &[u8]| {
            let count = text.len().min(length);
            header[at..at + count].copy_from_slice(&text[..count]);
        };
        put(0, 100, member.path.as_bytes());
        put(100, 8, member.mode.as_bytes());
        put(108, 8, member.uid.as_bytes());
        put(116, 8, b"0");
        let size = format!("{:o}", member.content.len());
        put(124, 12, member.size.unwrap_or(&size).as_bytes());
        put(136, 12, member.mtime.as_bytes());
        put(148, 8, b"        ");
        put(156, 1, &[member.kind]);
        put(157, 100, member.link.as_bytes());
        put(257, 8, b"ustar\x0000");
        put(329, 8, format!("{:o}", member.device.0).as_bytes());
        put(337, 8, format!("{:o}", member.device.1).as_bytes());
        seal(&mut header);
        self.0.extend_from_slice(&header);
        self.data(member.content)
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.add(Member { content, ..member(b'0', path) })
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.add(Member { mode: "755", ..member(b'5', path) })
    }

    pub(crate) fn symlink(self, path: &str, link: &str) -> Self {
        self.add(Member { link, ..member(b'2', path) })
    }

    pub(crate) fn hard_link(self, path: &str, link: &str) -> Self {
        self.add(Member { link, ..member(b'1', path) })
    }

    /// Records for the next member.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while rest + length.to_string().len() != length {
                length = rest + length.to_string().len();
            }
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.add(Member { content: &content, ..member(b'x', "pax") })
    }

    /// A GNU sparse member of one stored run at `offset`.
    pub(crate) fn gnu_sparse(mut self, path: &str, offset: u64, content: &[u8], real: u64) -> Self {
        let mut header = [0; 512];
        let mut put = |at: usize, text: &str| {
            header[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, path);
        put(100, "644");
        put(124, &format!("{:o}", content.len()));
        put(156, "S");
        put(257, "ustar  ");
        put(386, &octal(offset));
        put(398, &octal(content.len() as u64));
        put(483, &octal(real));
        seal(&mut header);
        self.0.extend_from_slice(&header);
        self.data(content)
    }

    pub(crate) fn data(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Without an end.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn octal(number: u64) -> String {
    let mut text = String::new();
    write!(text, "{number:o}").unwrap();
    text
}

/// Writes the checksum.
pub(crate) fn seal(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
