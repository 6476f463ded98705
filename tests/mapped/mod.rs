//! How much of a program is in memory for a process that runs it.

use std::fs;

/// Of the program's text: how much there is, and how much of it is mapped, in kB.
pub(crate) fn text_of(process: i32) -> (u64, u64) {
    let maps = fs::read_to_string(format!("/proc/{process}/smaps")).unwrap();
    let (mut text, mut found) = (false, [0; 2]);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        let Some(name) = first.strip_suffix(':') else {
            text = words.next() == Some("r-xp") && line.contains('/');
            continue;
        };
        if let (true, Some(at)) = (text, ["Size", "Rss"].iter().position(|n| *n == name)) {
            found[at] += words.next().unwrap().parse::<u64>().unwrap();
        }
    }
    (found[0], found[1])
}
