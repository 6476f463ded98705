//! `environmentFiles`: objects of S3 as files below a configured directory.
//!
//! `arn:aws:s3:::BUCKET/KEY` is `DIRECTORY/BUCKET/KEY`. No `..` and no link leads out of the directory. A file is read at
//! every start of its container.
//!
//! As ECS reads it: one `NAME=VALUE` per line; everything after the first `=` is the value, spaces and quotation marks
//! included; lines that begin with `#` and empty lines are skipped; a line without a value sets nothing; further down
//! wins. What ECS passes over without a word is an error here: a line without `=`, a name that is empty or has a space.

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// The largest file.
const LARGEST: u64 = 64 * 1024;

/// Why the variables of a file could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvironmentFileError {
    #[error(
        "{0}: this box has no directory for environment files; set environment_files in the agent's configuration (or CORACLE_ENVIRONMENT_FILES) to a directory with BUCKET/KEY in it"
    )]
    NoDirectory(String),
    #[error("{0} is not the ARN of an S3 object: arn:aws:s3:::BUCKET/KEY.env")]
    Arn(String),
    #[error("{arn}: cannot read {path}: {source}")]
    Read { arn: String, path: PathBuf, source: io::Error },
    #[error("{arn}: {path} is not a file")]
    NotAFile { arn: String, path: PathBuf },
    #[error("{arn}: {path} is larger than {LARGEST} bytes")]
    TooLarge { arn: String, path: PathBuf },
    #[error("{arn}: line {line} of {path} {problem}")]
    Line { arn: String, path: PathBuf, line: usize, problem: &'static str },
}

/// The variables of the file that `arn` names, those further down last. Blocking.
pub(super) fn read(
    directory: Option<&Path>,
    arn: &str,
) -> Result<Vec<(String, String)>, EnvironmentFileError> {
    let beneath = object(arn).ok_or_else(|| EnvironmentFileError::Arn(arn.to_owned()))?;
    let directory = directory.ok_or_else(|| EnvironmentFileError::NoDirectory(arn.to_owned()))?;
    let (arn, path) = (arn.to_owned(), directory.join(beneath));
    let text = match text_beneath(directory, beneath) {
        Ok(Some(text)) if text.len() as u64 > LARGEST => {
            return Err(EnvironmentFileError::TooLarge { arn, path });
        }
        Ok(Some(text)) => text,
        Ok(None) => return Err(EnvironmentFileError::NotAFile { arn, path }),
        Err(source) => return Err(EnvironmentFileError::Read { arn, path, source }),
    };
    parse(&text).map_err(|(line, problem)| EnvironmentFileError::Line { arn, path, line, problem })
}

/// `BUCKET/KEY` of an S3 object's ARN, as a path that stays where it is.
fn object(arn: &str) -> Option<&Path> {
    let (_partition, object) = arn.strip_prefix("arn:")?.split_once(":s3:::")?;
    let path = Path::new(object);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && path.components().count() > 1 && !object.ends_with('/')).then_some(path)
}

/// The text of a file below `directory`, up to one byte more than allowed; none when it is no file.
fn text_beneath(directory: &Path, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    // NONBLOCK: a FIFO must not hold us up.
    let file = File::from(openat2(
        &directory,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )?);
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The variables in `text`, or the line (from 1) and what is wrong with it. No text of a line is told: it may be secret.
fn parse(text: &[u8]) -> Result<Vec<(String, String)>, (usize, &'static str)> {
    let mut variables = Vec::new();
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| (number, "is not UTF-8"))?;
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err((number, "has no ="));
        };
        if name.is_empty() {
            return Err((number, "has no name before the ="));
        }
        if name.contains(char::is_whitespace) {
            return Err((number, "has a space in the name before the ="));
        }
        if line.contains('\0') {
            return Err((number, "holds a NUL byte"));
        }
        if value.is_empty() {
            continue;
        }
        variables.push((name.to_owned(), value.to_owned()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const ARN: &str = "arn:aws:s3:::bucket/app/web.env";

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_read_as_ecs_reads_them() {
        let text =
            "# a comment\n\nA=1\r\nB= \"two words\" \nC=x=y\nEMPTY=\nA=2\n  \nURL=http://h/#x";
        let expected = [
            pair("A", "1"),
            pair("B", " \"two words\" "),
            pair("C", "x=y"),
            pair("A", "2"),
            pair("URL", "http://h/#x"),
        ];
        assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        for (text, line) in [
            (&b"A=1\nnonsense\n"[..], 2),
            (b"=x", 1),
            (b"A=1\n\n\nexport B=1", 4),
            (b"A=\xff", 1),
            (b"A=a\0b", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().0, line);
        }
    }

    #[test]
    fn an_object_is_a_file_below_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("objects");
        let file = root.join("bucket/app/web.env");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "A=1\n").unwrap();
        assert_eq!(read(Some(&root), ARN).unwrap(), [pair("A", "1")]);
        symlink("web.env", root.join("bucket/app/link.env")).unwrap();
        let link = "arn:aws:s3:::bucket/app/link.env";
        assert_eq!(read(Some(&root), link).unwrap(), [pair("A", "1")]);

        let refusal = |arn: &str| read(Some(&root), arn).unwrap_err().to_string();
        fs::write(&file, "A=1\nhunter2\n").unwrap();
        let refused = refusal(ARN);
        assert!(refused.contains("line 2 of") && refused.contains("web.env"), "{refused}");
        assert!(!refused.contains("hunter2"));
        fs::write(&file, vec![b'#'; 64 * 1024 + 1]).unwrap();
        assert!(refusal(ARN).contains("larger than"));
        fs::remove_file(&file).unwrap();
        assert!(refusal(ARN).contains("No such file"));
        fs::create_dir(&file).unwrap();
        assert!(refusal(ARN).contains("is not a file"));
        let missing = read(None, ARN).unwrap_err().to_string();
        assert!(missing.contains("environment_files"), "{missing}");
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("objects");
        fs::create_dir_all(root.join("bucket")).unwrap();
        fs::write(dir.path().join("out.env"), "OUT=1\n").unwrap();
        symlink("../../out.env", root.join("bucket/up.env")).unwrap();
        symlink(dir.path().join("out.env"), root.join("bucket/absolute.env")).unwrap();
        symlink(dir.path(), root.join("bucket/dir")).unwrap();
        nix::unistd::mkfifo(&root.join("bucket/fifo.env"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for key in [
            "bucket/up.env",
            "bucket/absolute.env",
            "bucket/dir/out.env",
            "bucket/../../out.env",
            "../out.env",
            "/../out.env",
            "bucket/fifo.env",
            "out.env",
            "bucket/",
            "",
        ] {
            let refused = read(Some(&root), &format!("arn:aws:s3:::{key}"));
            assert!(refused.is_err(), "{key}: {refused:?}");
        }
        assert!(matches!(read(Some(&root), "s3://b/k.env"), Err(EnvironmentFileError::Arn(_))));
    }
}
