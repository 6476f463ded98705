//! Being told that log files change: inotify(7).

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// Directories whose files are written to, made and renamed.
#[derive(Debug)]
pub struct LogWatch(AsyncFd<OwnedFd>);

impl LogWatch {
    /// Watches nothing yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no more of these.
    pub fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[expect(
            unsafe_code,
            reason = "tokio leaves it to the caller that the descriptor stays open"
        )]
        // SAFETY: an `OwnedFd` names the same open descriptor until it is dropped.
        let watch = unsafe { AsyncFd::register(fd) }?;
        Ok(Self(watch))
    }

    /// Watches a directory; the number names it in [`Self::changed`].
    ///
    /// # Errors
    /// When it is not there, or too much is watched.
    pub fn add(&self, directory: &Path) -> io::Result<i32> {
        // The directory is watched, so that rotation is seen as well.
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        Ok(inotify::add_watch(self.0.get_ref(), directory, what)?)
    }

    /// Ends watching; that the directory is gone is fine.
    pub fn remove(&self, number: i32) {
        let _ = inotify::remove_watch(self.0.get_ref(), number);
    }

    /// The directories in which something changed, waited for. Giving up waiting loses nothing.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn changed(&self) -> io::Result<Vec<i32>> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(ready.get_inner(), &mut buffer);
            let mut found = Vec::new();
            while let Ok(event) = events.next() {
                if found.last() != Some(&event.wd()) {
                    found.push(event.wd());
                }
            }
            ready.clear_ready();
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }
}
