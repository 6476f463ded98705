//! Finds out which images compressed archives have, beside the loading, so that pulls of others do not wait for that.

use super::{Directory, Stamp, Standing, State};
use crate::image::archive::{self, Names};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Sets it when nobody waits any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Directory {
    /// Reads the names in one archive after the other, for as long as it is polled.
    pub(super) async fn read_names(&self) {
        let mut state = self.state.subscribe();
        while let Some((name, stamp)) = unread(&mut state).await {
            let path = self.path.join(&name);
            let names = tokio::select! {
                names = names_inside(&path) => names,
                // It is loaded, or another one stands there.
                () = settled(&mut state, &name, &stamp) => continue,
            };
            self.state.send_if_modified(|state| {
                let is_that = state.is_unread(&name, &stamp);
                if let Some(archive) = state.archives.get_mut(&name).filter(|_| is_that) {
                    archive.names = names;
                }
                is_that
            });
        }
    }
}

/// The next archive to read; none at the end of the directory.
async fn unread(state: &mut watch::Receiver<State>) -> Option<(String, Stamp)> {
    state.wait_for(|state| state.unread().is_some()).await.ok()?.unread()
}

/// Waits until it need not be read any more.
async fn settled(state: &mut watch::Receiver<State>, name: &str, stamp: &Stamp) {
    let _ = state.wait_for(|state| !state.is_unread(name, stamp)).await;
}

async fn names_inside(path: &Path) -> Names {
    let give_up = GiveUp(Arc::default());
    let (path, stop) = (path.to_owned(), give_up.0.clone());
    let read = tokio::task::spawn_blocking(move || archive::names_inside(&path, stop)).await;
    // What is wrong with it is told when it is loaded.
    read.ok().and_then(Result::ok).flatten().map_or(Names::Unknown, Names::Known)
}

impl State {
    /// The first archive that waits and whose names can be read before.
    fn unread(&self) -> Option<(String, Stamp)> {
        let mut unread =
            self.archives.iter().filter(|(name, archive)| self.is_unread(name, &archive.stamp));
        unread.next().map(|(name, archive)| (name.clone(), archive.stamp.clone()))
    }

    fn is_unread(&self, name: &str, stamp: &Stamp) -> bool {
        self.archives.get(name).is_some_and(|archive| {
            archive.names == Names::Inside
                && archive.standing == Standing::Waiting
                && archive.stamp == *stamp
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Prospect;
    use super::*;
    use crate::image::layout::Layout;
    use crate::image::reference::Reference;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::fs;

    /// `example.org/NAME:1` with a list of images at its end, as docker writes it.
    fn archive(name: &str) -> Vec<u8> {
        let tags =
            format!(r#"[{{"Config": "c", "RepoTags": ["example.org/{name}:1"], "Layers": []}}]"#);
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in
            [("layer", &vec![1; 100_000][..]), ("manifest.json", tags.as_bytes())]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    #[tokio::test]
    async fn a_compressed_archive_holds_back_only_pulls_of_what_it_has() {
        let work = tempfile::tempdir().unwrap();
        let layout = Arc::new(Layout::open(&work.path().join("state")).unwrap());
        let path = work.path().join("images.d");
        fs::create_dir(&path).unwrap();
        for name in ["a", "b"] {
            fs::write(path.join(format!("{name}.tar.gz")), archive(name)).unwrap();
        }
        let directory = Directory::new(path.clone(), layout);
        let image = |name: &str| format!("example.org/{name}:1").parse::<Reference>().unwrap();
        let waits =
            |name: &str| matches!(directory.state.borrow().prospect(&image(name)), Prospect::Wait);
        directory.look().await;
        assert!(waits("a") && waits("c"));
        // Nothing is loaded here, and the pull of what neither has goes on.
        let c = image("c");
        let brought = tokio::select! {
            () = directory.read_names() => unreachable!("it never ends"),
            brought = directory.bring(&c, || false) => brought,
        };
        assert!(!brought && waits("a") && waits("b") && !waits("c"));

        // What cannot be read may have anything, until it is loaded and refused.
        let whole = archive("d");
        fs::write(path.join("d.tar.gz"), &whole[..whole.len() / 2]).unwrap();
        directory.look_again();
        directory.look().await;
        let mut state = directory.state.subscribe();
        tokio::select! {
            () = directory.read_names() => unreachable!("it never ends"),
            read = state.wait_for(|state| state.unread().is_none()) => drop(read.unwrap()),
        }
        assert!(waits("a") && waits("c"));
        directory.state.send_modify(|state| {
            state.archives.get_mut("d.tar.gz").unwrap().standing = Standing::Refused(String::new());
        });
        assert!(waits("a") && !waits("c"));
    }
}
