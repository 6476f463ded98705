//! `coracle image save`: images as one archive.

use super::super::Connection;
use super::super::output::Unwritten;
use crate::sys;
use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Save images as one archive
///
/// The archive is an OCI layout in a tar file that `docker load`, `podman load`, `ctr image import` and `skopeo copy
/// oci-archive:` take as well. Layers that images share are in it once, and the same images make the same bytes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Save {
    /// The images, as task definitions name them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Where to write the archive; `-` is the standard output. A file is there when all of it is
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

impl Save {
    pub(super) async fn run(self) -> Result<()> {
        let to_stdout = self.output.as_os_str() == "-";
        if to_stdout && io::stdout().is_terminal() {
            bail!("the standard output is a terminal: name a file with -o, or send it into a pipe");
        }
        let archive = self.connection.client().save_images(&self.names).await?;
        if to_stdout {
            let failed = |error| Unwritten(error).into();
            return receive(archive, &mut io::stdout().lock(), failed).await;
        }
        to_file(archive, &self.output)
            .await
            .with_context(|| format!("cannot write {}", self.output.display()))
    }
}

async fn to_file(archive: Incoming, path: &Path) -> Result<()> {
    // A device or a pipe is written as it is.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let mut file = File::options().write(true).open(path)?;
        return receive(archive, &mut file, anyhow::Error::from).await;
    }
    let name = path.file_name().context("it has no file name")?.to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.{:016x}", sys::seed()));
    let written = async {
        let mut file = File::create_new(&unfinished)?;
        receive(archive, &mut file, anyhow::Error::from).await?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        Ok(())
    };
    written.await.inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

/// Writes what comes; an archive that breaks off is an error.
async fn receive(
    mut archive: Incoming,
    out: &mut impl Write,
    failed: impl Fn(io::Error) -> anyhow::Error,
) -> Result<()> {
    while let Some(frame) = archive.frame().await {
        let frame = frame.context("the agent broke off; its log says why")?;
        if let Some(piece) = frame.data_ref() {
            out.write_all(piece).map_err(&failed)?;
        }
    }
    out.flush().map_err(&failed)
}
