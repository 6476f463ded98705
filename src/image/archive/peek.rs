//! The names of an archive's images, without loading it.

use super::check::{DockerImage, name};
use super::staged::file_name;
use super::{ArchiveError, BYTES_LIMIT, FILES_LIMIT, LIST_LIMIT, stem};
use crate::image::manifest::Index;
use crate::image::reference::Reference;
use crate::image::unpack::{Members, TarError, decompress, is_compressed};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of the names in an archive after a short look.
#[derive(Debug, PartialEq, Eq)]
pub enum Names {
    /// The full names of its images.
    Known(BTreeSet<String>),
    /// It is compressed: they are found by [`names_inside`], which reads it.
    Inside,
    /// Only loading tells.
    Unknown,
}

/// The full names that the archive at `path` gives its images, as far as they are found without reading all of it.
pub fn names(path: &Path) -> Result<Names, ArchiveError> {
    let read_failed = |source| ArchiveError::Read { path: path.to_owned(), source };
    let mut lists = Lists::default();
    if fs::metadata(path).map_err(read_failed)?.is_dir() {
        for list in LISTS {
            match File::open(path.join(list)) {
                Ok(file) => lists.add(list, file).map_err(read_failed)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(read_failed(error)),
            }
        }
    } else {
        let mut file = File::open(path).map_err(read_failed)?;
        if is_compressed(&mut file).map_err(read_failed)? {
            return Ok(Names::Inside);
        }
        file.rewind().map_err(read_failed)?;
        if !lists.read(path, file, Members::pass)? {
            return Ok(Names::Unknown);
        }
    }
    Ok(lists.names(&stem(path)).map_or(Names::Unknown, Names::Known))
}

/// The same of an archive that is compressed: it is read as far as its lists of images, which may be its end, and nothing is
/// written. None when only loading tells. Ends with an error soon after `stop` is set.
pub fn names_inside(
    path: &Path,
    stop: Arc<AtomicBool>,
) -> Result<Option<BTreeSet<String>>, ArchiveError> {
    let read_failed = |source| ArchiveError::Read { path: path.to_owned(), source };
    let file = Stoppable { inner: File::open(path).map_err(read_failed)?, stop };
    // No more than loading would take of it.
    let content = decompress(file).map_err(read_failed)?.take(BYTES_LIMIT);
    let mut lists = Lists::default();
    // The next header is where the rest of a member ends.
    let whole = lists.read(path, content, |_| Ok(()))?;
    Ok(if whole { lists.names(&stem(path)) } else { None })
}

/// A file that may be given up.
struct Stoppable {
    inner: File,
    stop: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("given up"));
        }
        self.inner.read(buffer)
    }
}

/// The files of an archive that list its images.
const LISTS: [&str; 2] = ["index.json", "manifest.json"];

/// The documents with names, as far as they make sense.
#[derive(Default)]
struct Lists {
    index: Option<Index>,
    docker: Option<Vec<DockerImage>>,
}

impl Lists {
    /// Finds them in a tar archive, going over what else is in it with `pass`; false when it has too many files. Of a list
    /// that is in it twice the first counts: two that differ are refused when it is loaded.
    fn read<R: Read>(
        &mut self,
        path: &Path,
        content: R,
        pass: impl Fn(&mut Members<R>) -> Result<(), TarError>,
    ) -> Result<bool, ArchiveError> {
        let read_failed = |source| ArchiveError::Read { path: path.to_owned(), source };
        let tar_failed = |source| ArchiveError::Tar { path: path.to_owned(), source };
        let mut members = Members::new(content);
        let (mut count, mut seen) = (0, BTreeSet::new());
        while seen.len() < LISTS.len()
            && let Some(member) = members.next_member().map_err(tar_failed)?
        {
            count += 1;
            if count > FILES_LIMIT {
                return Ok(false);
            }
            let name = file_name(&member.path);
            match name.and_then(|name| LISTS.into_iter().find(|list| *list == name)) {
                Some(list) if seen.insert(list) => {
                    self.add(list, members.data()).map_err(read_failed)?;
                }
                _ => pass(&mut members).map_err(tar_failed)?,
            }
        }
        Ok(true)
    }

    fn add(&mut self, name: &str, content: impl Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.take(LIST_LIMIT).read_to_end(&mut bytes)?;
        if name == "index.json" {
            self.index = serde_json::from_slice(&bytes).ok();
        } else {
            self.docker = serde_json::from_slice(&bytes).ok();
        }
        Ok(())
    }

    /// All of them, whichever document counts when it is loaded.
    fn names(self, stem: &str) -> Option<BTreeSet<String>> {
        if self.index.is_none() && self.docker.is_none() {
            return None;
        }
        let entries = self.index.into_iter().flat_map(|index| index.manifests);
        let of_index = entries.filter_map(|entry| name(&entry, stem).ok().flatten());
        let images = self.docker.into_iter().flatten();
        let tags = images.flat_map(|image| image.repo_tags.unwrap_or_default());
        let of_docker = tags.filter_map(|tag| tag.parse::<Reference>().ok());
        Some(of_index.chain(of_docker).map(|name| name.to_string()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const TAGS: &[u8] = br#"[{"Config": "c", "RepoTags": ["example.org/a:1"], "Layers": []}]"#;
    const INDEX: &[u8] = br#"{"schemaVersion": 2, "manifests": []}"#;

    /// A compressed archive of these files.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn inside(archive: &[u8]) -> Result<Option<BTreeSet<String>>, ArchiveError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(archive).unwrap();
        assert_eq!(names(file.path()).unwrap(), Names::Inside);
        names_inside(file.path(), Arc::default())
    }

    #[test]
    fn names_are_found_inside_of_what_is_compressed() {
        let blob = vec![7; 300_000];
        let known = Some(BTreeSet::from(["example.org/a:1".to_owned()]));
        let at_the_end = archive(&[("blob", &blob), ("manifest.json", TAGS)]);
        assert_eq!(inside(&at_the_end).unwrap(), known);
        assert_eq!(inside(&archive(&[("blob", &blob)])).unwrap(), None);
        assert!(inside(&at_the_end[..at_the_end.len() / 2]).is_err());
        // With both of them at its beginning, what follows is not read.
        let lists = [("index.json", INDEX), ("./manifest.json", TAGS), ("blob", &*blob)];
        let at_the_beginning = archive(&lists);
        assert_eq!(inside(&at_the_beginning[..at_the_beginning.len() - 300]).unwrap(), known);
    }

    #[test]
    fn reading_for_names_can_be_given_up() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&archive(&[("manifest.json", TAGS)])).unwrap();
        assert!(names_inside(file.path(), Arc::new(AtomicBool::new(true))).is_err());
    }
}
