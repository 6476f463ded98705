//! The images: what they take, and whether all that they are made of is there.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::text;
use serde_json::Value;
use std::path::Path;

pub(super) const CHECK: Check = Check::new(
    "images",
    "All parts of every image are there and have the size that they should have. What is in them is not read.",
    "`coracle image pull IMAGE` brings what is missing; `coracle image rm IMAGE` if it is not needed.",
    |subject| {
        let images = subject.state_dir().join("images");
        match text(&images.join("index.json")) {
            None => Finding::ok("there are no images yet"),
            Some(index) => look(&images, &index),
        }
    },
)
.of(super::Of::Box)
.as_root();

/// What is wrong with an image.
struct Damaged {
    name: String,
    part: String,
    why: &'static str,
}

fn look(images: &Path, index: &str) -> Finding {
    let Ok(index) = serde_json::from_str::<Value>(index) else {
        return Finding::error(
            format!("{} cannot be read", images.join("index.json").display()),
            format!(
                "stop the agent, move {} away, and start it: images are pulled again",
                images.display()
            ),
        );
    };
    let blobs = images.join("blobs/sha256");
    let none = Vec::new();
    let list = index["manifests"].as_array().unwrap_or(&none);
    let damaged: Vec<_> = list.iter().filter_map(|entry| damage(&blobs, entry)).collect();
    let bytes: u64 = std::fs::read_dir(&blobs)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    judge(list.len(), bytes >> 20, &damaged)
}

fn damage(blobs: &Path, entry: &Value) -> Option<Damaged> {
    let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str();
    let digest = entry["digest"].as_str().unwrap_or_default();
    let name = name.unwrap_or(digest).to_owned();
    let wrong = |part: &Value| {
        let digest = part["digest"].as_str().unwrap_or_default();
        let path = blobs.join(digest.trim_start_matches("sha256:"));
        let why = match path.metadata() {
            Err(_) => "is missing",
            Ok(found) if part["size"].as_u64().is_some_and(|size| size != found.len()) => {
                "has another size than it should have"
            }
            Ok(_) => return None,
        };
        Some((digest.to_owned(), why))
    };
    let damaged = |(part, why)| Damaged { name: name.clone(), part, why };
    if let Some(found) = wrong(entry) {
        return Some(damaged(found));
    }
    let path = blobs.join(digest.trim_start_matches("sha256:"));
    let manifest = text(&path).and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let Some(manifest) = manifest else {
        return Some(damaged((digest.to_owned(), "cannot be read")));
    };
    let layers = manifest["layers"].as_array().into_iter().flatten();
    layers.chain([&manifest["config"]]).find_map(wrong).map(damaged)
}

fn judge(count: usize, mib: u64, damaged: &[Damaged]) -> Finding {
    let wrong = damaged.iter().map(|Damaged { name, part, why }| {
        Finding::warning(
            format!("image {name}: {part} {why}"),
            format!("sudo coracle image pull {name}"),
        )
    });
    Finding::all(wrong.collect(), || {
        let s = if count == 1 { "" } else { "s" };
        Finding::ok(format!("{count} image{s}, {mib} MiB compressed, all parts are there"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use serde_json::json;

    #[test]
    fn parts_that_are_missing_or_cut_off_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = dir.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let manifest = json!({
            "config": { "digest": "sha256:c", "size": 2 },
            "layers": [{ "digest": "sha256:l", "size": 4 }],
        })
        .to_string();
        for (name, text) in [("m", manifest.as_str()), ("c", "{}"), ("l", "data")] {
            std::fs::write(blobs.join(name), text).unwrap();
        }
        let index = json!({ "manifests": [{
            "digest": "sha256:m", "size": manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": "web:1" },
        }] })
        .to_string();
        assert!(look(dir.path(), &index).found.starts_with("1 image, "));
        std::fs::write(blobs.join("l"), "dat").unwrap();
        let cut = look(dir.path(), &index);
        assert!(cut.found.contains("another size"), "{cut:?}");
        assert_eq!(cut.remedy.as_deref(), Some("sudo coracle image pull web:1"));
        std::fs::remove_file(blobs.join("c")).unwrap();
        std::fs::write(blobs.join("l"), "data").unwrap();
        assert!(look(dir.path(), &index).found.contains("sha256:c is missing"));
        assert_eq!(look(dir.path(), "{").status, Status::Error);
    }
}
