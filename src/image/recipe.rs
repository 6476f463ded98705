//! Builds OCI images from recipes, without Docker, a registry or a network (unless a recipe names Debian packages).
//!
//! A recipe is `recipe.json` in a folder with the files it uses:
//!
//! ```json
//! {"name": "coracle/hello", "entrypoint": ["/bin/hello"], "env": {"PATH": "/bin"},
//!  "files": [{"path": "/bin/hello", "source": "hello", "mode": "0755"}],
//!  "directories": [{"path": "/tmp", "mode": "1777"}],
//!  "links": {"/bin/hi": "hello"}, "debianPackages": ["busybox-static"]}
//! ```
//!
//! The result is one layer, the same bytes each time: paths sorted, times and owners zero. Recipes are trusted: they
//! are part of a project, not input from outside.

use super::digest::{Digest, Hashed};
use super::layout::{NAME, random_name};
use super::manifest::{
    Configuration, Defaults, Descriptor, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER,
    OCI_MANIFEST, Platform, RootFs,
};
use super::reference::{Reference, ReferenceError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// What `recipe.json` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recipe {
    /// The image's name; `coracle/<folder>` without one.
    name: Option<String>,
    #[serde(default)]
    entrypoint: Vec<String>,
    #[serde(default)]
    cmd: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    user: String,
    #[serde(default)]
    working_dir: String,
    stop_signal: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    files: Vec<RecipeFile>,
    #[serde(default)]
    directories: Vec<RecipeDirectory>,
    /// Path to link text.
    #[serde(default)]
    links: BTreeMap<String, String>,
    /// Packages whose content is the base, fetched with `apt-get download`.
    #[serde(default)]
    debian_packages: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    path: String,
    source: String,
    mode: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeDirectory {
    path: String,
    mode: String,
}

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// `recipe.json` is not a recipe.
    #[error("{} is not a recipe: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// A path that is not absolute, or climbs.
    #[error("{0:?} is not an absolute path without ..")]
    Path(String),
    /// A mode that is not octal.
    #[error("{0:?} is not an octal mode")]
    Mode(String),
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `apt-get` or `dpkg` failed.
    #[error("{command} failed: {reason}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        reason: String,
    },
}

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its full name.
    pub name: String,
    /// Its manifest.
    pub manifest: Digest,
}

/// A built image in memory.
#[derive(Debug, Clone)]
pub struct InMemory {
    /// Its name.
    pub reference: Reference,
    /// Its manifest's descriptor, with the name.
    pub descriptor: Descriptor,
    /// Layer, configuration and manifest.
    pub blobs: Vec<Vec<u8>>,
    /// Its configuration.
    pub configuration: Configuration,
}

enum Node {
    Directory { mode: u32 },
    Bytes { mode: u32, content: Vec<u8> },
    File { mode: u32, source: PathBuf },
    Link { target: PathBuf },
}

/// What goes into the layer, by path relative to its root.
type Tree = BTreeMap<PathBuf, Node>;

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecipeError {
    let path = path.to_owned();
    move |source| RecipeError::Io { action, path, source }
}

/// Builds the recipe in `folder` as an OCI layout in `out`, which is created. Blocking.
pub fn build(folder: &Path, out: &Path) -> Result<Built, RecipeError> {
    let path = folder.join("recipe.json");
    let text = fs::read(&path).map_err(failed("read", &path))?;
    let recipe: Recipe =
        serde_json::from_slice(&text).map_err(|source| RecipeError::Parse { path, source })?;
    let default = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let reference = recipe.reference(&default)?;
    let blobs = out.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed("create", &blobs))?;

    let packages = Packages::fetch(out, &recipe.debian_packages)?;
    let mut tree = Tree::new();
    if let Some(packages) = &packages {
        walk(&packages.root(), Path::new(""), &mut tree)?;
    }
    recipe.fill(&mut tree, |source| Ok(Source::File(folder.join(source))))?;

    let layer_path = blobs.join(".layer");
    let file = File::create(&layer_path).map_err(failed("create", &layer_path))?;
    let (file, digest, size) = write_layer(tree, io::BufWriter::new(file))?;
    file.into_inner()
        .map_err(|error| failed("write", &layer_path)(error.into_error()))?
        .sync_all()
        .map_err(failed("write", &layer_path))?;
    let path = blobs.join(digest.hex());
    fs::rename(&layer_path, &path).map_err(failed("rename to", &path))?;

    let image = recipe.image(reference, digest, size);
    for blob in &image.blobs {
        let path = blobs.join(Digest::of(blob).hex());
        fs::write(&path, blob).map_err(failed("write", &path))?;
    }
    let index = Index {
        schema_version: 2,
        media_type: Some(OCI_INDEX.to_owned()),
        manifests: vec![image.descriptor.clone()],
    };
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    for (name, content) in [("oci-layout", version), ("index.json", json(&index))] {
        let path = out.join(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
    }
    Ok(Built { name: image.reference.to_string(), manifest: image.descriptor.digest })
}

/// Builds a recipe whose files are at hand, in memory.
pub fn build_in_memory(recipe: &str, files: &[(&str, &[u8])]) -> Result<InMemory, RecipeError> {
    let path = PathBuf::from("recipe.json");
    let recipe: Recipe =
        serde_json::from_str(recipe).map_err(|source| RecipeError::Parse { path, source })?;
    let reference = recipe.reference("image")?;
    let mut tree = Tree::new();
    recipe.fill(&mut tree, |source| {
        let found = files.iter().find(|(name, _)| *name == source);
        let (_, content) = found
            .ok_or_else(|| failed("read", Path::new(source))(io::ErrorKind::NotFound.into()))?;
        Ok(Source::Bytes(content.to_vec()))
    })?;
    let (layer, digest, size) = write_layer(tree, Vec::new())?;
    let mut image = recipe.image(reference, digest, size);
    image.blobs.insert(0, layer);
    Ok(image)
}

enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Recipe {
    fn reference(&self, folder: &str) -> Result<Reference, ReferenceError> {
        match &self.name {
            Some(name) => name.parse(),
            None => format!("coracle/{folder}").parse(),
        }
    }

    /// Adds the recipe's own files to what the packages brought.
    fn fill(
        &self,
        tree: &mut Tree,
        source: impl Fn(&str) -> Result<Source, RecipeError>,
    ) -> Result<(), RecipeError> {
        for directory in &self.directories {
            let mode = octal(&directory.mode)?;
            insert(tree, relative(&directory.path)?, Node::Directory { mode });
        }
        for file in &self.files {
            let mode = octal(&file.mode)?;
            let node = match source(&file.source)? {
                Source::File(source) => Node::File { mode, source },
                Source::Bytes(content) => Node::Bytes { mode, content },
            };
            insert(tree, relative(&file.path)?, node);
        }
        for (path, target) in &self.links {
            insert(tree, relative(path)?, Node::Link { target: target.into() });
        }
        Ok(())
    }

    /// Configuration and manifest around the layer.
    fn image(&self, reference: Reference, layer: Digest, size: u64) -> InMemory {
        let platform = Platform::host();
        let configuration = Configuration {
            created: Some("1970-01-01T00:00:00Z".to_owned()),
            platform: platform.clone(),
            config: Defaults {
                user: self.user.clone(),
                env: self.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                entrypoint: self.entrypoint.clone(),
                cmd: self.cmd.clone(),
                working_dir: self.working_dir.clone(),
                stop_signal: self.stop_signal.clone(),
                labels: self.labels.clone(),
                exposed_ports: BTreeMap::new(),
            },
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer] },
        };
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        };
        let config = json(&configuration);
        let manifest = json(&Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config: descriptor(OCI_CONFIG, Digest::of(&config), config.len() as u64),
            layers: vec![descriptor(OCI_LAYER, layer, size)],
        });
        let descriptor = Descriptor {
            platform: Some(platform),
            annotations: BTreeMap::from([(NAME.to_owned(), reference.to_string())]),
            ..descriptor(OCI_MANIFEST, Digest::of(&manifest), manifest.len() as u64)
        };
        InMemory { reference, descriptor, blobs: vec![config, manifest], configuration }
    }
}

/// JSON of our own documents, which always have one.
pub fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn octal(mode: &str) -> Result<u32, RecipeError> {
    u32::from_str_radix(mode, 8)
        .ok()
        .filter(|bits| *bits <= 0o7777)
        .ok_or_else(|| RecipeError::Mode(mode.to_owned()))
}

fn relative(path: &str) -> Result<PathBuf, RecipeError> {
    let refuse = || RecipeError::Path(path.to_owned());
    let rest = Path::new(path).strip_prefix("/").map_err(|_| refuse())?;
    if rest.components().all(|c| matches!(c, Component::Normal(_))) && !rest.as_os_str().is_empty()
    {
        Ok(rest.to_owned())
    } else {
        Err(refuse())
    }
}

/// Adds a node and the directories above it.
fn insert(tree: &mut Tree, path: PathBuf, node: Node) {
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        tree.entry(parent.to_owned()).or_insert(Node::Directory { mode: 0o755 });
    }
    tree.insert(path, node);
}

/// Adds what lies in a folder on disk.
fn walk(root: &Path, path: &Path, tree: &mut Tree) -> Result<(), RecipeError> {
    let directory = root.join(path);
    for entry in fs::read_dir(&directory).map_err(failed("read", &directory))? {
        let entry = entry.map_err(failed("read", &directory))?;
        let (source, path) = (entry.path(), path.join(entry.file_name()));
        let metadata = entry.metadata().map_err(failed("read", &source))?;
        let mode = metadata.permissions().mode() & 0o7777;
        let node = if metadata.is_symlink() {
            Node::Link { target: fs::read_link(&source).map_err(failed("read", &source))? }
        } else if metadata.is_dir() {
            walk(root, &path, tree)?;
            Node::Directory { mode }
        } else {
            Node::File { mode, source }
        };
        tree.insert(path, node);
    }
    Ok(())
}

/// Writes the tree as a tar archive; returns the writer, the digest and the size.
fn write_layer<W: Write>(tree: Tree, writer: W) -> Result<(W, Digest, u64), RecipeError> {
    let mut builder = tar::Builder::new(Hashed::new(writer));
    for (path, node) in tree {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let written = match node {
            Node::Directory { mode } => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(mode);
                builder.append_data(&mut header, &path, io::empty())
            }
            Node::Link { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                builder.append_link(&mut header, &path, &target)
            }
            Node::Bytes { mode, content } => {
                header.set_mode(mode);
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, &path, content.as_slice())
            }
            Node::File { mode, source } => {
                let file = File::open(&source).map_err(failed("open", &source))?;
                header.set_mode(mode);
                header.set_size(file.metadata().map_err(failed("read", &source))?.len());
                builder.append_data(&mut header, &path, file)
            }
        };
        written.map_err(failed("pack", &path))?;
    }
    let hashed = builder.into_inner().map_err(failed("pack", Path::new("/")))?;
    Ok(hashed.finish())
}

/// Unpacked Debian packages, removed when dropped.
struct Packages(PathBuf);

impl Packages {
    fn fetch(out: &Path, names: &[String]) -> Result<Option<Self>, RecipeError> {
        if names.is_empty() {
            return Ok(None);
        }
        let path = std::path::absolute(out.join(format!(".packages-{}", random_name())))
            .map_err(failed("find", out))?;
        let packages = Self(path);
        let root = packages.root();
        fs::create_dir_all(&root).map_err(failed("create", &root))?;
        // The unprivileged user that apt downloads as could not write here.
        let mut download = Command::new("apt-get");
        download.args(["-o", "APT::Sandbox::User=root", "download"]).args(names);
        run(download.current_dir(&packages.0))?;
        let found = fs::read_dir(&packages.0).map_err(failed("read", &packages.0))?;
        let mut archives: Vec<PathBuf> = found
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .collect();
        archives.sort();
        for archive in archives {
            run(Command::new("dpkg").arg("-x").arg(archive).arg(&root))?;
        }
        Ok(Some(packages))
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }
}

impl Drop for Packages {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(command: &mut Command) -> Result<(), RecipeError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| RecipeError::Command {
        command: name.clone(),
        reason: error.to_string(),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RecipeError::Command { command: name, reason: said })
}
