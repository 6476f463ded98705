//! Gives memory back that only the start needed.
//!
//! A page fault on the program's file maps the pages around it as well, so that after its start nearly the whole program counts
//! as the agent's, most of it never run again. Unmapped, those pages are the page cache's alone, which a small box can use
//! for something else; what does run again is mapped again by a fault that reads no disk.

use std::ops::Range;

/// Returns free heap to the kernel and unmaps the pages of the program's file. To be called when a burst of work is over.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "glibc's allocator has no safe interface")]
    // SAFETY: malloc_trim has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    // An address in the text and one in the constants: each is in a mapping that nobody may write.
    let marks = [give_back as fn() as usize, "constant".as_ptr() as usize];
    for range in marks.iter().filter_map(|mark| unwritable(&maps, *mark)) {
        unmap(&range);
    }
}

/// Drops the pages of `range` from this process.
#[allow(unsafe_code, reason = "madvise(2) on the program itself")]
fn unmap(range: &Range<usize>) {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: the range is a private mapping of a file that has been read-only from the start, as `unwritable` makes sure, so
    // that each of its pages is as in the file, and is read from there again at the next access.
    unsafe {
        libc::madvise(start, range.len(), libc::MADV_DONTNEED);
    }
}

/// The mapping with `address` in it, when it is a private one of a file that was mapped without the right to write.
///
/// What the linker protects after having relocated it (RELRO) is without that right as well, but holds no text and no
/// constant that needs no relocation.
fn unwritable(maps: &str, address: usize) -> Option<Range<usize>> {
    maps.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let rights = words.next()?;
        let inode = words.nth(2)?;
        let of_file = inode != "0" && rights.ends_with('p') && !rights.contains('w');
        (range.contains(&address) && of_file).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00200000-00579000 r--p 00000000 fd:00 4711 /usr/bin/coracle
00579000-00df5000 r-xp 00378000 fd:00 4711 /usr/bin/coracle
00dfa000-00e01000 rw-p 00bf7000 fd:00 4711 /usr/bin/coracle
00e02000-00e03000 r--s 00bf7000 fd:00 4711 /usr/bin/coracle
01000000-01001000 r--p 00000000 00:00 0 [vdso]
";

    #[test]
    fn only_private_read_only_mappings_of_files_are_given_back() {
        assert_eq!(unwritable(MAPS, 0x20_0000), Some(0x20_0000..0x57_9000));
        assert_eq!(unwritable(MAPS, 0x57_9000), Some(0x57_9000..0xdf_5000));
        for address in [0xdf_5000, 0xdf_a000, 0xe0_2000, 0x100_0000] {
            assert_eq!(unwritable(MAPS, address), None, "{address:#x}");
        }
    }

    #[test]
    fn the_program_goes_on_with_less_of_itself() {
        let text = || {
            let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let mut of_text = false;
            for line in smaps.lines() {
                if line.contains(" r-xp ") {
                    of_text = unwritable(line, give_back as fn() as usize).is_some();
                }
                if let (true, Some(rss)) = (of_text, line.strip_prefix("Rss:")) {
                    return rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                }
            }
            panic!("the text is mapped: {smaps}");
        };
        // Maps all of the text, however little of it has run.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let range = unwritable(&maps, give_back as fn() as usize).unwrap();
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        let once = || {
            #[allow(unsafe_code, reason = "madvise(2) on the program itself")]
            // SAFETY: reads pages of the program's file.
            let mapped = unsafe { libc::madvise(start, range.len(), libc::MADV_POPULATE_READ) };
            let before = text();
            give_back();
            let after = text();
            // A kernel before 5.14 does not know how to map all of it.
            (after < before && (mapped != 0 || after < before / 2), before, after)
        };
        // Other tests run meanwhile, and take what they need: one look in many must be quick enough.
        let looks: Vec<_> = std::iter::repeat_with(once).take(50).collect();
        assert!(looks.iter().any(|(less, ..)| *less), "{looks:?}");
    }
}
