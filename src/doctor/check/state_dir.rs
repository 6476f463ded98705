//! Who owns the state, and who may read it.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) const CHECK: Check = Check::new(
    "state-dir",
    "The state directory belongs to whom the agent or hub runs as, nobody else may write there, and nobody else may read the store and the keys.",
    "`chown -R root:root` and `chmod` of what is named, as shown.",
    look,
)
.as_root();

/// Directories and files below it, and what of their modes nobody may have.
const PRIVATE: [(&str, u32); 6] = [
    ("", 0o022),
    ("store", 0o077),
    ("keys", 0o077),
    ("fleet", 0o077),
    ("layers", 0o077),
    ("keys/device.pk8", 0o077),
];

struct Found {
    path: PathBuf,
    mode: u32,
    uid: u32,
    denied: u32,
}

fn look(subject: &Subject) -> Finding {
    let dir = subject.state_dir();
    let above = dir.parent().unwrap_or(Path::new("/"));
    match dir.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound && above.exists() => {
            return Finding::ok(format!(
                "{} is not there yet; it is made at the first start",
                dir.display()
            ));
        }
        Err(error) => {
            let what = format!("{} cannot be looked at: {error}", dir.display());
            return Finding::error(what, format!("sudo mkdir -p {}", dir.display()));
        }
        Ok(found) if !found.is_dir() => {
            let what = format!("{} is no directory", dir.display());
            return Finding::error(what, "move that file away, or set state_dir to a directory");
        }
        Ok(_) => {}
    }
    let found = PRIVATE.iter().filter_map(|(name, denied)| {
        let path = dir.join(name);
        let metadata = path.metadata().ok()?;
        Some(Found { path, mode: metadata.mode() & 0o7777, uid: metadata.uid(), denied: *denied })
    });
    let found: Vec<_> = found.collect();
    // A hub runs as a user of its own: whoever owns the directory.
    let owner = match subject.config() {
        Some(_) => 0,
        None => found.first().map_or(0, |found| found.uid),
    };
    judge(&found, owner)
}

fn judge(found: &[Found], owner: u32) -> Finding {
    let mut wrong = Vec::new();
    for Found { path, mode, uid, denied } in found {
        let shown = path.display();
        if *uid != owner {
            let what = format!("{shown} belongs to user {uid}, not {owner}");
            wrong.push(Finding::error(what, format!("sudo chown -R {owner}:{owner} {shown}")));
        }
        if mode & denied != 0 {
            let what = format!("{shown} has mode {mode:04o}: other users get at what is in it");
            let better = mode & !denied;
            wrong.push(Finding::error(what, format!("sudo chmod {better:04o} {shown}")));
        }
    }
    let shown = found.first().map(|found| found.path.display().to_string()).unwrap_or_default();
    Finding::all(wrong, || Finding::ok(format!("{shown} is private")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use std::fs::{Permissions, create_dir_all, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn owners_and_modes_are_judged() {
        let one = |mode, uid, denied| judge(&[Found { path: "/s".into(), mode, uid, denied }], 0);
        assert_eq!(one(0o711, 0, 0o022).status, Status::Ok);
        let open = one(0o755, 0, 0o077);
        assert_eq!(open.remedy.as_deref(), Some("sudo chmod 0700 /s"));
        assert_eq!(one(0o700, 1000, 0o077).remedy.as_deref(), Some("sudo chown -R 0:0 /s"));
    }

    #[test]
    fn a_real_directory_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let subject = Subject::at(dir.path());
        assert_eq!(look(&subject).status, Status::Error);
        let state = dir.path().join("var/lib/coracle");
        create_dir_all(state.parent().unwrap()).unwrap();
        assert!(look(&subject).found.contains("not there yet"));
        std::fs::write(&state, "").unwrap();
        assert!(look(&subject).found.contains("no directory"));
        std::fs::remove_file(&state).unwrap();
        create_dir_all(state.join("store")).unwrap();
        set_permissions(state.join("store"), Permissions::from_mode(0o755)).unwrap();
        let found = look(&subject);
        assert!(found.status == Status::Error && found.remedy.unwrap().contains("chmod 0700"));
    }
}
