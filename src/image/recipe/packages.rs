//! The files of Debian packages, by Debian's own tools: apt chooses, fetches and verifies, `dpkg -x` unpacks. No script
//! of a package is run, and the packages of this machine play no part.

use super::{RecipeError, failed};
use crate::image::layout::random_name;
use crate::image::manifest::Platform;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which packages.
pub(super) struct Wanted<'a> {
    pub(super) names: &'a [String],
    pub(super) dependencies: bool,
    pub(super) without: &'a [String],
}

/// Unpacked packages, removed when dropped.
pub(super) struct Packages(PathBuf);

impl Packages {
    /// Fetches and unpacks what is wanted. With a cache, what is in it is not fetched again.
    pub(super) fn fetch(
        out: &Path,
        cache: Option<&Path>,
        platform: &Platform,
        wanted: &Wanted<'_>,
    ) -> Result<Self, RecipeError> {
        let path = std::path::absolute(out.join(format!(".packages-{}", random_name())))
            .map_err(failed("find", out))?;
        let packages = Self(path);
        let root = packages.root();
        fs::create_dir_all(&root).map_err(failed("create", &root))?;
        let cache = match cache {
            Some(cache) => std::path::absolute(cache).map_err(failed("find", cache))?,
            None => packages.0.join("cache"),
        };
        let apt = Apt::new(&packages.0, &cache, platform, wanted.without)?;
        let mut updated = false;
        let archives = loop {
            match apt.fetch(wanted) {
                Ok(archives) => break archives,
                // Lists of our own may be missing or old; those of the machine are its owner's.
                Err(_) if apt.has_own_lists() && !updated => {
                    updated = true;
                    run(apt.command().arg("update"))?;
                }
                Err(error) => return Err(error),
            }
        };
        for archive in archives {
            run(Command::new("dpkg").arg("-x").arg(archive).arg(&root))?;
        }
        Ok(packages)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.0.join("root")
    }
}

impl Drop for Packages {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How apt is called.
struct Apt {
    options: Vec<String>,
    /// Where packages stay.
    archives: PathBuf,
    /// The lists of packages, for a platform that is not this machine's.
    lists: Option<PathBuf>,
    /// Where packages arrive.
    arriving: PathBuf,
}

impl Apt {
    fn new(
        work: &Path,
        cache: &Path,
        platform: &Platform,
        without: &[String],
    ) -> Result<Self, RecipeError> {
        let architecture = architecture(platform)?;
        let archives = cache.join("packages");
        let arriving = cache.join(format!(".arriving-{}", random_name()));
        let mut apt = Self { options: Vec::new(), archives, lists: None, arriving };
        // What is left out counts as installed, so nothing is chosen for its sake.
        let mut installed = String::new();
        for name in without {
            let _ = write!(
                installed,
                "Package: {name}\nStatus: install ok installed\nVersion: 9999\nArchitecture: {architecture}\n\
                 Maintainer: none\nDescription: none\n\n"
            );
        }
        let status = work.join("status");
        fs::write(&status, installed).map_err(failed("write", &status))?;
        // The unprivileged user that apt downloads as could not write here.
        apt.option("APT::Sandbox::User=root");
        apt.option(format!("Dir::State::status={}", status.display()));
        apt.option("Dir::Cache::pkgcache=");
        apt.option("Dir::Cache::srcpkgcache=");
        apt.option("Debug::NoLocking=1");
        for directory in [&apt.archives, &apt.arriving] {
            fs::create_dir_all(directory).map_err(failed("create", directory))?;
        }
        if architecture != self::architecture(&Platform::host())? {
            let lists = cache.join(format!("lists-{architecture}"));
            let partial = lists.join("partial");
            fs::create_dir_all(&partial).map_err(failed("create", &partial))?;
            apt.option(format!("APT::Architecture={architecture}"));
            apt.option(format!("APT::Architectures={architecture}"));
            apt.option(format!("Dir::State::lists={}", lists.display()));
            apt.option("Acquire::Languages=none");
            apt.lists = Some(lists);
        }
        Ok(apt)
    }

    fn option(&mut self, option: impl Into<String>) {
        self.options.extend(["-o".to_owned(), option.into()]);
    }

    fn has_own_lists(&self) -> bool {
        self.lists.is_some()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-qq").args(&self.options).current_dir(&self.arriving);
        command
    }

    /// Fetches what the cache does not have; the archives of all packages, sorted.
    fn fetch(&self, wanted: &Wanted<'_>) -> Result<Vec<PathBuf>, RecipeError> {
        let mut ask = self.command();
        if wanted.dependencies {
            ask.args(["-y", "--no-install-recommends", "--print-uris", "install"]);
        } else {
            ask.args(["--print-uris", "download"]);
        }
        let said = run(ask.args(wanted.names))?;
        // 'URI' FILE SIZE HASH
        let files: BTreeSet<&str> = said
            .lines()
            .filter(|line| line.starts_with('\''))
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|file| file.strip_suffix(".deb").is_some_and(|name| !name.contains('/')))
            .collect();
        let missing: Vec<String> = files
            .iter()
            .filter(|file| !self.archives.join(file).exists())
            .filter_map(|file| {
                let mut parts = file.split('_');
                // The colon of an epoch is escaped in the file's name.
                Some(format!("{}={}", parts.next()?, parts.next()?.replace("%3a", ":")))
            })
            .collect();
        if !missing.is_empty() {
            run(self.command().arg("download").args(&missing))?;
        }
        for file in &files {
            let (arrived, kept) = (self.arriving.join(file), self.archives.join(file));
            // Whole and verified: apt gives it this name only then.
            if arrived.exists() {
                fs::rename(&arrived, &kept).map_err(failed("rename to", &kept))?;
            }
        }
        Ok(files.into_iter().map(|file| self.archives.join(file)).collect())
    }
}

impl Drop for Apt {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.arriving);
    }
}

/// Debian's name of a platform.
fn architecture(platform: &Platform) -> Result<&'static str, RecipeError> {
    let name = match (platform.os.as_str(), platform.architecture.as_str()) {
        ("linux", "amd64") => "amd64",
        ("linux", "arm64") => "arm64",
        ("linux", "arm") => match platform.variant.as_deref() {
            None | Some("v7") => "armhf",
            Some("v5" | "v6") => "armel",
            Some(_) => return Err(RecipeError::Architecture(platform.to_string())),
        },
        ("linux", "386") => "i386",
        ("linux", "ppc64le") => "ppc64el",
        ("linux", "riscv64") => "riscv64",
        ("linux", "s390x") => "s390x",
        _ => return Err(RecipeError::Architecture(platform.to_string())),
    };
    Ok(name)
}

/// Runs a command; what it says.
fn run(command: &mut Command) -> Result<String, RecipeError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| RecipeError::Command {
        command: name.clone(),
        reason: error.to_string(),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RecipeError::Command { command: name, reason: said })
}
