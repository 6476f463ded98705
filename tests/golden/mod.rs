//! Scripts beside what must happen: `NAME.txt` and `NAME.golden`.

use std::fs;
use std::path::PathBuf;

fn scripts(folder: &str) -> Vec<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    found.sort();
    found
}

/// Plays every script of `folder`, of which there are at least so many, and compares; with `UPDATE_GOLDEN=1` what happens
/// is what must happen.
#[expect(clippy::disallowed_methods, reason = "how golden files are regenerated")]
pub(crate) fn compare(folder: &str, at_least: usize, play: fn(&str) -> Result<String, String>) {
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    let scripts = scripts(folder);
    assert!(scripts.len() >= at_least, "the scenarios are missing");
    let mut differ = Vec::new();
    for path in scripts {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let happened = play(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let golden = path.with_extension("golden");
        if update {
            fs::write(&golden, &happened).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&golden)
            .unwrap_or_else(|_| panic!("{name} has no golden; make it with UPDATE_GOLDEN=1"));
        if expected != happened {
            let at = expected.lines().zip(happened.lines()).take_while(|(a, b)| a == b).count();
            let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
            differ.push(format!(
                "{name}, line {}:\n  expected: {}\n  happened: {}",
                at + 1,
                line(&expected),
                line(&happened)
            ));
        }
    }
    assert!(differ.is_empty(), "scenarios that went differently:\n{}", differ.join("\n"));
}
