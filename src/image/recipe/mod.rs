//! Builds OCI images from recipes, without Docker, a registry or a network (unless a recipe names Debian packages).
//!
//! A recipe is `recipe.json` in a folder with the files it uses:
//!
//! ```json
//! {"name": "coracle/hello", "entrypoint": ["/bin/hello"], "env": {"PATH": "/bin"},
//!  "files": [{"path": "/bin/hello", "source": "hello", "mode": "0755"}],
//!  "directories": [{"path": "/tmp", "mode": "1777"}],
//!  "links": {"/bin/hi": "hello"}, "exposedPorts": ["80/tcp"],
//!  "platforms": ["linux/amd64", "linux/arm64"],
//!  "debianPackages": ["nginx"], "debianDependencies": true,
//!  "withoutPackages": ["iproute2"], "withoutPaths": ["/usr/share/doc"]}
//! ```
//!
//! | member | meaning |
//! | --- | --- |
//! | `debianPackages` | packages whose files are the base (`packages`); none of their scripts is run |
//! | `debianDependencies` | with all that they depend on, but not what they recommend |
//! | `withoutPackages` | of those not these, nor what only these need |
//! | `withoutPaths` | these files and directories of packages are left out |
//! | `platforms` | what it is built for; of several it becomes an index. Without: the platform of this machine |
//!
//! The result is one layer for each platform, the same bytes each time: paths sorted, times and owners zero. Recipes are
//! trusted: they are part of a project, not input from outside.

mod layer;
mod packages;

use super::digest::Digest;
use super::layout::NAME;
use super::manifest::{
    Configuration, Defaults, Descriptor, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER,
    OCI_MANIFEST, Platform, RootFs,
};
use super::reference::{Reference, ReferenceError};
use layer::{Node, Tree, insert, merge_usr, octal, relative, walk, without, write_layer};
use packages::{Packages, Wanted};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

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
    #[serde(default)]
    exposed_ports: Vec<String>,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default)]
    debian_packages: Vec<String>,
    #[serde(default)]
    debian_dependencies: bool,
    #[serde(default)]
    without_packages: Vec<String>,
    #[serde(default)]
    without_paths: Vec<String>,
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
    /// Not what a platform looks like.
    #[error("{0:?} is not a platform, OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT")]
    Platform(String),
    /// The recipe is not for this platform.
    #[error("the recipe is not for {wanted}; it is for: {offered}")]
    OtherPlatform {
        /// What was asked for.
        wanted: String,
        /// What can be built.
        offered: String,
    },
    /// Debian has no such architecture.
    #[error("Debian has no architecture for {0}")]
    Architecture(String),
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

/// What is built other than the recipe says.
#[derive(Debug, Clone, Default)]
pub struct Build {
    /// Only for this platform, `linux/arm64`, of those that the recipe has.
    pub platform: Option<String>,
    /// The image's name, in place of the recipe's.
    pub name: Option<String>,
    /// Where packages are kept for the next time; without, they are fetched each time.
    pub cache: Option<PathBuf>,
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

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecipeError {
    let path = path.to_owned();
    move |source| RecipeError::Io { action, path, source }
}

/// Builds the recipe in `folder` as an OCI layout in `out`, which is created. Blocking.
pub fn build(folder: &Path, out: &Path) -> Result<Built, RecipeError> {
    build_with(folder, out, &Build::default())
}

/// The same with something said on top of the recipe.
pub fn build_with(folder: &Path, out: &Path, wanted: &Build) -> Result<Built, RecipeError> {
    let path = folder.join("recipe.json");
    let text = fs::read(&path).map_err(failed("read", &path))?;
    let recipe: Recipe =
        serde_json::from_slice(&text).map_err(|source| RecipeError::Parse { path, source })?;
    let default = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let reference = match &wanted.name {
        Some(name) => name.parse()?,
        None => recipe.reference(&default)?,
    };
    let platforms = recipe.platforms(wanted.platform.as_deref())?;
    let blobs = out.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed("create", &blobs))?;
    let mut manifests = Vec::new();
    for platform in platforms {
        manifests.push(recipe.build(folder, out, &reference, platform, wanted.cache.as_deref())?);
    }
    let index =
        |manifests| Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests };
    let top = match <[Descriptor; 1]>::try_from(manifests) {
        Ok([only]) => only,
        Err(mut several) => {
            for manifest in &mut several {
                manifest.annotations.clear();
            }
            let bytes = json(&index(several));
            let top = Descriptor {
                annotations: BTreeMap::from([(NAME.to_owned(), reference.to_string())]),
                ..descriptor(OCI_INDEX, Digest::of(&bytes), bytes.len() as u64)
            };
            let path = blobs.join(top.digest.hex());
            fs::write(&path, bytes).map_err(failed("write", &path))?;
            top
        }
    };
    let digest = top.digest;
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    for (name, content) in [("oci-layout", version), ("index.json", json(&index(vec![top])))] {
        let path = out.join(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
    }
    Ok(Built { name: reference.to_string(), manifest: digest })
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
    let mut image = recipe.image(reference, Platform::host(), digest, size);
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

    /// What it is built for.
    fn platforms(&self, wanted: Option<&str>) -> Result<Vec<Platform>, RecipeError> {
        let offered: Vec<Platform> = match self.platforms.as_slice() {
            [] => vec![Platform::host()],
            listed => listed.iter().map(|text| platform(text)).collect::<Result<_, _>>()?,
        };
        let Some(wanted) = wanted else { return Ok(offered) };
        let wanted = platform(wanted)?;
        // What is only packages can be had for any platform; files and links may not fit.
        if self.platforms.is_empty() && !self.debian_packages.is_empty()
            || offered.contains(&wanted)
        {
            return Ok(vec![wanted]);
        }
        let offered: Vec<String> = offered.iter().map(Platform::to_string).collect();
        let (wanted, offered) = (wanted.to_string(), offered.join(", "));
        Err(RecipeError::OtherPlatform { wanted, offered })
    }

    /// Writes the blobs of one platform; the descriptor of its manifest.
    fn build(
        &self,
        folder: &Path,
        out: &Path,
        reference: &Reference,
        platform: Platform,
        cache: Option<&Path>,
    ) -> Result<Descriptor, RecipeError> {
        let mut tree = Tree::new();
        let packages = match self.debian_packages.as_slice() {
            [] => None,
            names => Some(Packages::fetch(
                out,
                cache,
                &platform,
                &Wanted {
                    names,
                    dependencies: self.debian_dependencies,
                    without: &self.without_packages,
                },
            )?),
        };
        if let Some(packages) = &packages {
            walk(&packages.root(), Path::new(""), &mut tree)?;
            without(&mut tree, &self.without_paths)?;
            merge_usr(&mut tree);
        }
        self.fill(&mut tree, |source| Ok(Source::File(folder.join(source))))?;

        let blobs = out.join("blobs/sha256");
        let layer_path = blobs.join(".layer");
        let file = File::create(&layer_path).map_err(failed("create", &layer_path))?;
        let (file, digest, size) = write_layer(tree, io::BufWriter::new(file))?;
        file.into_inner()
            .map_err(|error| failed("write", &layer_path)(error.into_error()))?
            .sync_all()
            .map_err(failed("write", &layer_path))?;
        let path = blobs.join(digest.hex());
        fs::rename(&layer_path, &path).map_err(failed("rename to", &path))?;
        let image = self.image(reference.clone(), platform, digest, size);
        for blob in &image.blobs {
            let path = blobs.join(Digest::of(blob).hex());
            fs::write(&path, blob).map_err(failed("write", &path))?;
        }
        Ok(image.descriptor)
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
    fn image(
        &self,
        reference: Reference,
        platform: Platform,
        layer: Digest,
        size: u64,
    ) -> InMemory {
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
                exposed_ports: self
                    .exposed_ports
                    .iter()
                    .map(|port| (port.clone(), serde_json::Value::Object(serde_json::Map::new())))
                    .collect(),
            },
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer] },
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

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: BTreeMap::new(),
    }
}

/// `linux/arm/v7`.
fn platform(text: &str) -> Result<Platform, RecipeError> {
    let mut parts = text.split('/').map(str::to_owned);
    let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
    match (os, architecture, parts.next()) {
        (Some(os), Some(architecture), None) if !os.is_empty() && !architecture.is_empty() => {
            Ok(Platform { architecture, os, variant })
        }
        _ => Err(RecipeError::Platform(text.to_owned())),
    }
}

/// JSON of our own documents, which always have one.
pub fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
