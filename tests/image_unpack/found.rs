//! What the fuzzer starts from and what it once found, replayed, and then damaged at random with a fixed seed. The
//! targets are the fuzzer's own: see `tests/fuzz/run`.

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

/// Each file for the target `name`: seeds lie in a folder of its own, finds have it in their names.
fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let list = |folder: &Path| {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let finds = list(&fuzz.join("finds")).into_iter().filter(|path| {
        path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}-"))
    });
    let paths = list(&fuzz.join("seeds").join(name)).into_iter().chain(finds);
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides.max(1) as u64).unwrap()
    }
}

/// Does to `input` what transport, disks and attackers do.
fn damage(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    const WORDS: [&[u8]; 12] = [
        b"../",
        b"/",
        b".wh.",
        b".wh..wh..opq",
        b"\0",
        b"77777777777",
        b"\xff\xff\xff\xff",
        b"0",
        b"99999999999999999999",
        b"ustar",
        b"null",
        b"[[[[[[[[[[[[[[[[",
    ];
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(input.len() + 1);
        let end = (at + 1 + dice.roll(64)).min(input.len());
        match dice.roll(7) {
            0 if at < input.len() => input[at] ^= 1 << dice.roll(8),
            1 if at < input.len() => input[at] = u8::try_from(dice.roll(256)).unwrap(),
            2 => drop(input.drain(at..end.max(at))),
            3 => input.truncate(at),
            4 => {
                let from = dice.roll(other.len() + 1);
                let piece = other[from..(from + 512).min(other.len())].to_vec();
                drop(input.splice(at..at, piece));
            }
            5 => {
                let word = WORDS[dice.roll(WORDS.len())];
                let end = (at + word.len()).min(input.len());
                input.splice(at..end.max(at), word.iter().copied());
            }
            // Whole blocks, of which archives are made.
            _ if input.len() >= 1024 => {
                let blocks = input.len() / 512;
                let block = input[dice.roll(blocks) * 512..][..512].to_vec();
                let at = dice.roll(blocks) * 512;
                input[at..at + 512].copy_from_slice(&block);
            }
            _ => {}
        }
    }
}

#[test]
fn inputs_and_their_damaged_copies_do_no_harm() {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for (name, target) in targets::TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "{name} has no seeds");
        let rounds = if matches!(name, "layer" | "archive") { 60 } else { 1000 };
        for (path, input) in &inputs {
            println!("{}", path.display());
            target(input);
            for round in 0..rounds {
                let mut damaged = input.clone();
                let other = &inputs[dice.roll(inputs.len())].1;
                damage(&mut damaged, other, &mut dice);
                let outcome = std::panic::catch_unwind(|| target(&damaged));
                assert!(outcome.is_ok(), "{name}, {}, round {round}: {damaged:?}", path.display());
            }
        }
    }
    assert!(targets::find("layer").is_some());
}
