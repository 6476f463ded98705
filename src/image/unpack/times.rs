//! The times of a layer's directories, set when nothing more is created in them.
//!
//! A layer may bring millions of directories: what does not fit into a small buffer goes to a file without a name, so
//! that memory does not grow with what a hostile layer lists.

use rustix::fs::Timespec;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

/// Most bytes held in memory; an ordinary layer stays below.
const HELD: usize = 128 << 10;

/// The directories in the order in which the archive listed them.
#[derive(Debug, Default)]
pub(super) struct Times {
    held: Vec<u8>,
    spilled: Option<File>,
}

/// One directory.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    /// Where it was made.
    pub(super) path: &'a [u8],
    /// Which directory it was: another one may be there by now.
    pub(super) inode: u64,
    /// The time to set.
    pub(super) modified: Timespec,
}

impl Times {
    /// Adds one; `file` makes the file that takes what is too much.
    pub(super) fn push(
        &mut self,
        listed: &Listed<'_>,
        file: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<()> {
        let length = u32::try_from(listed.path.len()).map_err(io::Error::other)?;
        self.held.extend_from_slice(&listed.inode.to_le_bytes());
        self.held.extend_from_slice(&listed.modified.tv_sec.to_le_bytes());
        let nanoseconds = u32::try_from(listed.modified.tv_nsec).unwrap_or_default();
        self.held.extend_from_slice(&nanoseconds.to_le_bytes());
        self.held.extend_from_slice(&length.to_le_bytes());
        self.held.extend_from_slice(listed.path);
        if self.held.len() >= HELD {
            let spilled = match &mut self.spilled {
                Some(spilled) => spilled,
                none => none.insert(file()?),
            };
            spilled.write_all(&self.held)?;
            self.held.clear();
        }
        Ok(())
    }

    /// Gives each to `set`. The outer error is the file's.
    pub(super) fn for_each<E>(
        self,
        mut set: impl FnMut(Listed<'_>) -> Result<(), E>,
    ) -> io::Result<Result<(), E>> {
        let mut records: Box<dyn Read> = Box::new(self.held.as_slice());
        if let Some(mut spilled) = self.spilled {
            spilled.seek(SeekFrom::Start(0))?;
            records = Box::new(BufReader::with_capacity(HELD, spilled).chain(records));
        }
        let mut path = Vec::new();
        loop {
            let mut inode = [0; 8];
            match records.read_exact(&mut inode) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Ok(())),
                Err(error) => return Err(error),
            }
            let (mut seconds, mut nanoseconds, mut length) = ([0; 8], [0; 4], [0; 4]);
            records.read_exact(&mut seconds)?;
            records.read_exact(&mut nanoseconds)?;
            records.read_exact(&mut length)?;
            path.resize(usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?, 0);
            records.read_exact(&mut path)?;
            let nanoseconds = i64::from(u32::from_le_bytes(nanoseconds));
            let modified =
                Timespec { tv_sec: i64::from_le_bytes(seconds), tv_nsec: nanoseconds as _ };
            let listed = Listed { path: &path, inode: u64::from_le_bytes(inode), modified };
            if let Err(error) = set(listed) {
                return Ok(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_memory_comes_back_in_order() {
        let mut times = Times::default();
        let mut files = 0;
        for number in 0..20_000_i64 {
            let path = format!("some/directory/{number}");
            let modified = Timespec { tv_sec: -number, tv_nsec: 7 };
            let listed = Listed { path: path.as_bytes(), inode: 3, modified };
            times
                .push(&listed, || {
                    files += 1;
                    tempfile::tempfile()
                })
                .unwrap();
        }
        assert_eq!(files, 1);
        assert!(times.held.len() < HELD && times.held.capacity() < 3 * HELD);
        let mut next = 0_i64;
        times
            .for_each(|listed| {
                assert_eq!(listed.path, format!("some/directory/{next}").as_bytes());
                let time = (listed.inode, listed.modified.tv_sec, listed.modified.tv_nsec);
                assert_eq!(time, (3, -next, 7));
                next += 1;
                Ok::<(), ()>(())
            })
            .unwrap()
            .unwrap();
        assert_eq!(next, 20_000);
    }
}
