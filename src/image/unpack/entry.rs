//! One member of a layer, checked: what will be made on disk.

use super::UnpackError;
use super::member::{Member, Piece, numeric};
use rustix::fs::Timespec;
use tar::EntryType;

/// Longest path; the kernel takes no longer one.
const LONGEST_PATH: usize = 4095;
const LONGEST_NAME: usize = 255;
/// Attributes that an image may set. `trusted.*` steers overlayfs and `security.*` the host's policies, so of those
/// only file capabilities, which the container's own capabilities bound.
const CAPABILITY: &[u8] = b"security.capability";
/// The last second of the year 9999; later times are not real and some file systems refuse them.
const LATEST: i64 = 253_402_300_799;

/// What to make and where.
#[derive(Debug)]
pub(super) struct Entry {
    /// Relative and clean; empty for the layer's root.
    pub(super) path: Vec<u8>,
    /// What it is.
    pub(super) kind: Kind,
    /// Permission bits, set-id and sticky bits included.
    pub(super) mode: u32,
    /// The owner.
    pub(super) uid: u32,
    /// The owning group.
    pub(super) gid: u32,
    /// When it was changed.
    pub(super) modified: Timespec,
    /// Attributes to set.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The kinds of files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A directory.
    Directory,
    /// A file of this size; sparse when it has pieces.
    File {
        /// Its size.
        size: u64,
        /// The stored runs.
        pieces: Option<Vec<Piece>>,
    },
    /// A symbolic link with this text, whatever it is.
    Symlink(Vec<u8>),
    /// Another name for the file at this clean path of the same layer.
    HardLink(Vec<u8>),
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Entry {
    /// Checks a member.
    pub(super) fn new(member: Member) -> Result<Self, UnpackError> {
        let Member { header, path: written, link, mut pax, size, sparse } = member;
        let path = clean(&written)?;
        let damaged = |what| UnpackError::Damaged { path: shown(&written), what };
        let device = || -> Result<(u32, u32), UnpackError> {
            // Old headers have no such fields; a blank one is zero.
            let fields = header
                .as_gnu()
                .map(|gnu| (gnu.dev_major, gnu.dev_minor))
                .or_else(|| header.as_ustar().map(|ustar| (ustar.dev_major, ustar.dev_minor)))
                .ok_or(damaged("device number"))?;
            // The kernel has 12 and 20 bits.
            let number = |field: &[u8], bits: u32| {
                numeric(field).and_then(|n| u32::try_from(n).ok()).filter(|n| n >> bits == 0)
            };
            number(&fields.0, 12).zip(number(&fields.1, 20)).ok_or(damaged("device number"))
        };
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            // Old archives have no type for directories.
            EntryType::Regular if written.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                Kind::File { size, pieces: sparse }
            }
            EntryType::Symlink if link.is_empty() || link.len() > LONGEST_PATH => {
                return Err(damaged("link target"));
            }
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Link => Kind::HardLink(clean(&link)?),
            EntryType::Char => device().map(|(major, minor)| Kind::Character(major, minor))?,
            EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
            EntryType::Fifo => Kind::Fifo,
            _ => return Err(damaged("type")),
        };
        let fields = header.as_old();
        let owner = |key: &[u8], field: &[u8], what| {
            let id = match pax.get(key).filter(|text| !text.is_empty()) {
                Some(text) => {
                    std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok())
                }
                None => numeric(field),
            };
            // All ones means "leave it" to chown.
            id.and_then(|id| u32::try_from(id).ok())
                .filter(|id| *id != u32::MAX)
                .ok_or(damaged(what))
        };
        let uid = owner(b"uid", &fields.uid, "uid")?;
        let gid = owner(b"gid", &fields.gid, "gid")?;
        // The upper bits repeat the type in some archives.
        let mode = numeric(&fields.mode).and_then(|mode| u32::try_from(mode & 0o7777).ok());
        let mode = mode.ok_or(damaged("mode"))?;
        let modified = match pax.get(b"mtime".as_slice()).filter(|text| !text.is_empty()) {
            Some(text) => parse_time(text),
            None => numeric(&fields.mtime)
                .map(|seconds| Timespec { tv_sec: seconds.clamp(-LATEST, LATEST), tv_nsec: 0 }),
        };
        let modified = modified.ok_or(damaged("mtime"))?;
        let mut attributes = Vec::new();
        for (key, value) in std::mem::take(&mut pax) {
            let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { continue };
            let wanted = name == CAPABILITY || name.starts_with(b"user.") && name.len() > 5;
            // Overlayfs can be told to obey `user.overlay.*`.
            if wanted && !name.starts_with(b"user.overlay.") && !name.contains(&0) {
                if name.len() > LONGEST_NAME || value.len() > 64 << 10 {
                    return Err(damaged("extended attribute"));
                }
                attributes.push((name.to_vec(), value));
            }
        }
        Ok(Self { path, kind, mode, uid, gid, modified, attributes })
    }
}

/// Makes a path relative to the root and free of `.`, `..` and empty components. One that climbs above the root has no
/// honest meaning.
pub(super) fn clean(written: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in written.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                if components.pop().is_none() {
                    return Err(UnpackError::Escape { path: shown(written) });
                }
            }
            name if name.len() > LONGEST_NAME || name.contains(&0) => {
                return Err(UnpackError::Name { path: shown(written) });
            }
            name => components.push(name),
        }
    }
    let path = components.join(&b'/');
    if path.len() > LONGEST_PATH {
        return Err(UnpackError::Name { path: shown(written) });
    }
    Ok(path)
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}

/// Decimal seconds with an optional fraction.
fn parse_time(text: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: i64 = digits.parse().ok()?;
    // -1.25 is 0.75 after -2.
    let (seconds, nanoseconds) = if whole.starts_with('-') && nanoseconds > 0 {
        (seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)
    } else {
        (seconds, nanoseconds)
    };
    Some(Timespec { tv_sec: seconds.clamp(-LATEST, LATEST), tv_nsec: nanoseconds as _ })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (written, expected) in [
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("a/../b", "b"),
            ("./", ""),
            ("", ""),
        ] {
            assert_eq!(clean(written.as_bytes()).unwrap(), expected.as_bytes(), "{written}");
        }
        for written in ["..", "a/../..", "/../etc", "./../x"] {
            assert!(
                matches!(clean(written.as_bytes()), Err(UnpackError::Escape { .. })),
                "{written}"
            );
        }
        assert!(clean(&[b'a'; 256]).is_err());
        assert!(clean(b"a\0b").is_err());
        assert!(clean("a/".repeat(3000).as_bytes()).is_err());
    }

    #[test]
    fn times() {
        let time = |text: &str| parse_time(text.as_bytes()).map(|t| (t.tv_sec, t.tv_nsec));
        assert_eq!(time("12"), Some((12, 0)));
        assert_eq!(time("12.5"), Some((12, 500_000_000)));
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(time("99999999999999"), Some((LATEST, 0)));
        assert_eq!(time("x"), None);
        assert_eq!(time("1.x"), None);
    }
}
