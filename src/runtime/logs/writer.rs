//! Writing a container's output: lines out of two byte streams, rotated by size.

use super::line::{LogLine, Stream, rfc3339};
use super::options::LogOptions;
use crate::model::Timestamp;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longer lines are split, as Docker does.
const MAX_LINE: usize = 16 << 10;
/// Follows where something is missing.
const LOST: &[u8] = b"{\"log\":\"coracle: output was lost, the log could not be written\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:00Z\"}\n";

/// Writes the log file of one container.
///
/// An error of the disk, a full one above all, must not stop the container: output that cannot be written is dropped,
/// and a line says so as soon as one can be written again.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    options: LogOptions,
    file: File,
    size: u64,
    /// What of each stream is not a whole line yet.
    pending: [Vec<u8>; 2],
    /// Lines ready to be written.
    out: Vec<u8>,
    /// Something could not be written.
    lost: bool,
}

impl LogWriter {
    /// Opens the file, going on where an earlier run of the container ended.
    pub(crate) fn open(path: PathBuf, options: LogOptions) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = append(&path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            path,
            options,
            file,
            size,
            pending: Default::default(),
            out: Vec::new(),
            lost: false,
        })
    }

    /// Takes bytes of a stream.
    pub(crate) fn push(&mut self, stream: Stream, mut bytes: &[u8], at: Timestamp) {
        let time = rfc3339(at);
        while !bytes.is_empty() {
            let pending = &mut self.pending[index(stream)];
            let room = MAX_LINE - pending.len();
            let newline = bytes.iter().take(room).position(|b| *b == b'\n');
            let take = newline.map_or_else(|| room.min(bytes.len()), |at| at + 1);
            pending.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if newline.is_some() || pending.len() == MAX_LINE {
                let line = std::mem::take(pending);
                self.line(stream, &line, &time);
                let pending = &mut self.pending[index(stream)];
                *pending = line;
                pending.clear();
            }
        }
        self.flush();
    }

    /// Writes what has no newline at the end of a stream.
    pub(crate) fn finish(&mut self, at: Timestamp) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.pending[index(stream)]);
            if !rest.is_empty() {
                self.line(stream, &rest, &rfc3339(at));
            }
        }
        self.flush();
    }

    fn line(&mut self, stream: Stream, bytes: &[u8], time: &str) {
        let line = LogLine {
            log: String::from_utf8_lossy(bytes).into_owned(),
            stream,
            time: time.to_owned(),
        };
        let before = self.out.len();
        if serde_json::to_writer(&mut self.out, &line).is_err() {
            self.out.truncate(before);
            return;
        }
        self.out.push(b'\n');
        let written = (self.out.len() - before) as u64;
        if self.options.max_size > 0 && self.size > 0 && self.size + written > self.options.max_size
        {
            let line = self.out.split_off(before);
            self.flush();
            // When that fails the old file goes on growing, which is better than losing lines.
            let _ = self.rotate();
            self.out = line;
        }
        self.size += written;
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            let before = self.size - self.out.len() as u64;
            if self.lost {
                self.out.splice(..0, LOST.iter().copied());
            }
            if self.file.write_all(&self.out).is_ok() {
                self.lost = false;
                self.size = before + self.out.len() as u64;
            } else {
                // Half a line would spoil the next one as well.
                let _ = self.file.set_len(before);
                self.lost = true;
                self.size = before;
            }
        }
        self.out.clear();
        // One huge burst should not keep its buffer for the life of the shim.
        self.out.shrink_to(MAX_LINE);
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, …; the last is dropped.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.options.max_file).rev() {
            let from = numbered(&self.path, number - 1);
            match fs::rename(&from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.options.max_file == 1 {
            fs::remove_file(&self.path)?;
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

const fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// The path of the `number`th older file; 0 is the current one.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|l| serde_json::from_str::<LogLine>(l).unwrap().log).collect()
    }

    #[test]
    fn lines_are_put_together_and_long_ones_split() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t/web.log");
        let mut log =
            LogWriter::open(path.clone(), LogOptions { max_size: 0, max_file: 1 }).unwrap();
        let at = Timestamp(0);
        log.push(Stream::Stdout, b"one\ntw", at);
        log.push(Stream::Stderr, b"err\n", at);
        log.push(Stream::Stdout, b"o\n", at);
        log.push(Stream::Stdout, &vec![b'x'; MAX_LINE + 10], at);
        log.push(Stream::Stdout, b"\nlast", at);
        log.finish(at);
        let found = lines(&path);
        assert_eq!(found[..3], ["one\n", "err\n", "two\n"]);
        assert_eq!(found[3].len(), MAX_LINE);
        assert_eq!(found[4], format!("{}\n", "x".repeat(10)));
        assert_eq!(found[5], "last");
    }

    #[test]
    fn a_full_disk_loses_lines_but_spoils_none() {
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        if !rustix::process::geteuid().is_root() {
            println!("skipped: must run as root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), c"size=64k").unwrap();
        let path = dir.path().join("web.log");
        let mut log =
            LogWriter::open(path.clone(), LogOptions { max_size: 0, max_file: 1 }).unwrap();
        for _ in 0..20 {
            log.push(Stream::Stdout, format!("{}\n", "x".repeat(5000)).as_bytes(), Timestamp(0));
        }
        // Room again.
        let text = fs::read_to_string(&path).unwrap();
        let kept = text.lines().take(5).map(|l| l.len() as u64 + 1).sum();
        log.file.set_len(kept).unwrap();
        log.size = kept;
        log.push(Stream::Stdout, b"after\n", Timestamp(0));
        let found = lines(&path);
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();
        assert_eq!(found.len(), 7);
        assert!(found[..5].iter().all(|l| l.len() == 5001));
        assert!(found[5].contains("output was lost"));
        assert_eq!(found[6], "after\n");
    }

    #[test]
    fn files_rotate_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let mut log =
            LogWriter::open(path.clone(), LogOptions { max_size: 200, max_file: 3 }).unwrap();
        for number in 0..20 {
            log.push(Stream::Stdout, format!("line {number:02}\n").as_bytes(), Timestamp(0));
        }
        for number in 0..3 {
            assert!(fs::metadata(numbered(&path, number)).unwrap().len() <= 200);
        }
        assert!(!numbered(&path, 3).exists());
        let kept: Vec<String> =
            (0..3).rev().flat_map(|number| lines(&numbered(&path, number))).collect();
        let expected: Vec<String> =
            (20 - kept.len()..20).map(|n| format!("line {n:02}\n")).collect();
        assert_eq!(kept, expected);
    }
}
