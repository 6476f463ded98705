//! Hostile layers. [`Target::unpack`] checks the canary after each.

use crate::archive::{Archive, Member, member};
use crate::target::{LIMITS, Target};
use coracle::image::unpack::{TarError, UnpackError};
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

fn kernel_refuses<T: std::fmt::Debug>(result: Result<T, UnpackError>) {
    let refused = result.map(|_| ());
    assert!(matches!(refused, Err(UnpackError::Kernel { .. })), "{refused:?}");
}

#[test]
fn paths_that_climb_are_refused() {
    for path in
        ["../canary/secret", "a/../../canary/secret", "..", "./../canary/new", "/../canary/new"]
    {
        for kind in *b"0125346" {
            let target = Target::new();
            let device = (1, 3);
            let archive =
                Archive::default().add(Member { link: "x", device, ..member(kind, path) });
            let result = target.unpack(&archive.finish());
            assert!(matches!(result, Err(UnpackError::Escape { .. })), "{path} {kind}: {result:?}");
        }
    }
    // The same in a pax record, which overrides the header.
    let target = Target::new();
    let archive = Archive::default().pax(&[("path", b"../canary/secret")]).file("harmless", b"x");
    assert!(matches!(target.unpack(&archive.finish()), Err(UnpackError::Escape { .. })));
}

#[test]
fn absolute_paths_land_inside() {
    let target = Target::new();
    let secret = format!("{}/secret", target.canary());
    let archive = Archive::default().pax(&[("path", secret.as_bytes())]).file("x", b"inside");
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(target.read(&secret[1..]), "inside");
}

#[test]
fn links_out_are_not_written_through() {
    let canary = Target::new().canary();
    assert!(canary.len() < 90, "fits a header");
    for via in ["../canary", "../../canary", "/proc/self/root", "/proc/self/cwd/..", "loop"] {
        for inner in
            ["loop/secret", "loop/new", "loop/inner/more", "loop/.wh.secret", "loop/.wh..wh..opq"]
        {
            let target = Target::new();
            let archive = Archive::default().symlink("loop", via).file(inner, b"evil").finish();
            kernel_refuses(target.unpack(&archive));
            // The way there, made inside first, is used instead.
        }
    }
    let target = Target::new();
    let absolute = target.canary();
    let archive = Archive::default()
        .directory(&absolute)
        .symlink("link", &absolute)
        .file("link/secret", b"inside")
        .file("link/.wh.inner", b"")
        .file("link/.wh..wh..opq", b"");
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(target.read(&format!("{}/secret", &absolute[1..])), "inside");

    let target = Target::new();
    let chain = Archive::default().symlink("a", "b").symlink("b", "c/..").symlink("c", "../canary");
    kernel_refuses(target.unpack(&chain.file("a/x", b"evil").finish()));
}

#[test]
fn a_link_in_the_way_is_replaced() {
    let target = Target::new();
    let secret = format!("{}/secret", target.canary());
    let archive = Archive::default()
        .symlink("file", &secret)
        .file("file", b"mine")
        .symlink("directory", "../canary")
        .add(Member { mode: "777", uid: "1000", ..member(b'5', "directory") })
        .symlink("fifo", &secret)
        .add(member(b'6', "fifo"))
        .symlink("device", &secret)
        .add(Member { device: (1, 3), ..member(b'3', "device") })
        .symlink("again", &secret)
        .symlink("again", "elsewhere");
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(target.read("file"), "mine");
    assert!(fs::symlink_metadata(target.path("directory")).unwrap().is_dir());
    assert!(fs::symlink_metadata(target.path("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::symlink_metadata(target.path("device")).unwrap().rdev(), 0x103);
    assert_eq!(fs::read_link(target.path("again")).unwrap().to_str(), Some("elsewhere"));
}

#[test]
fn hard_links_stay_inside() {
    let target = Target::new();
    let result = target.unpack(&Archive::default().hard_link("h", "../canary/secret").finish());
    assert!(matches!(result, Err(UnpackError::Escape { .. })), "{result:?}");
    let secret = format!("{}/secret", target.canary());
    kernel_refuses(Target::new().unpack(&Archive::default().hard_link("h", &secret).finish()));
    let through = Archive::default().symlink("d", "../canary").hard_link("h", "d/secret");
    kernel_refuses(Target::new().unpack(&through.finish()));
    kernel_refuses(
        Target::new().unpack(&Archive::default().directory("d").hard_link("h", "d").finish()),
    );
    let itself = Archive::default().hard_link("h", ".").finish();
    assert!(matches!(Target::new().unpack(&itself), Err(UnpackError::Damaged { .. })));

    // A second name for a link that leads out is still only a link, and is replaced like one.
    let target = Target::new();
    let secret = format!("{}/secret", target.canary());
    let archive = Archive::default().symlink("s", &secret).hard_link("h", "s").file("h", b"mine");
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(target.read("h"), "mine");
    // To itself: the file stays.
    let archive = Archive::default().file("f", b"kept").hard_link("f", "f");
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(target.read("f"), "kept");
}

#[test]
fn whiteouts_name_a_file_of_their_directory() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..", "d/.wh..."] {
        let target = Target::new();
        let result = target.unpack(&Archive::default().directory("d").file(name, b"").finish());
        assert!(matches!(result, Err(UnpackError::Name { .. })), "{name}: {result:?}");
    }
    let target = Target::new();
    let archive = Archive::default().file(".wh..wh.plnk/x", b"").file(".wh..wh.aufs", b"");
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(fs::read_dir(target.root()).unwrap().count(), 0);
}

#[test]
fn a_device_is_no_directory() {
    let archive = Archive::default()
        .file("d/x", b"x")
        .add(Member { device: (7, 0), ..member(b'4', "d") })
        .file("d/y", b"y");
    kernel_refuses(Target::new().unpack(&archive.finish()));
    let large = Member { device: (5000, 0), ..member(b'3', "d") };
    let result = Target::new().unpack(&Archive::default().add(large).finish());
    assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{result:?}");
}

#[test]
fn the_root_is_a_directory() {
    for path in [".", "./", "/", "a/.."] {
        for kind in *b"026" {
            if kind == b'0' && path.ends_with('/') {
                continue;
            }
            let archive = Archive::default().add(Member { link: "/", ..member(kind, path) });
            let result = Target::new().unpack(&archive.finish());
            assert!(matches!(result, Err(UnpackError::Name { .. })), "{path} {kind}: {result:?}");
        }
    }
}

/// An empty value says nothing, as in Go's reader; a NUL ends the path for some readers and not for others.
#[test]
fn records_that_readers_disagree_on() {
    let target = Target::new();
    let archive = Archive::default().pax(&[("path", b""), ("uid", b"")]).file("f", b"kept");
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(target.read("f"), "kept");
    let archive = Archive::default().pax(&[("path", b"f\0/../x")]).file("g", b"").finish();
    let result = target.unpack(&archive);
    assert!(matches!(result, Err(UnpackError::Archive(TarError::Damaged(_)))), "{result:?}");
}

#[test]
fn attributes_that_steer_the_host_are_left_out() {
    let target = Target::new();
    let records: [(&str, &[u8]); 6] = [
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("SCHILY.xattr.security.ima", b"x"),
        ("SCHILY.xattr.user.note", b"line\nline\n"),
    ];
    target.unpack(&Archive::default().pax(&records).directory("d").finish()).unwrap();
    let mut names = [0_u8; 1024];
    let count = rustix::fs::llistxattr(target.path("d"), &mut names).unwrap();
    assert_eq!(&names[..count], b"user.note\0");
    let mut value = [0_u8; 64];
    let count = rustix::fs::lgetxattr(target.path("d"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..count], b"line\nline\n");
}

#[test]
fn bombs_meet_a_bound() {
    let quota = |archive: &[u8], expected: &str| {
        let result = Target::new().unpack(archive);
        assert!(
            matches!(&result, Err(UnpackError::Quota { what, .. }) if *what == expected),
            "{result:?}"
        );
    };
    let excessive = |archive: Archive| {
        let result = Target::new().unpack(&archive.finish());
        assert!(matches!(result, Err(UnpackError::Archive(TarError::Excessive(_)))), "{result:?}");
    };
    // A file that is mostly hole.
    quota(&Archive::default().gnu_sparse("hole", 1 << 32, b"x", (1 << 32) + 1).finish(), "bytes");
    // Zeros that compress well, as content, as rest behind the end, and as members.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    let start = Archive::default().add(Member { size: Some("77777777777"), ..member(b'0', "big") });
    gzip.write_all(&start.clone().finish()[..512]).unwrap();
    for _ in 0..64 {
        gzip.write_all(&zeros).unwrap();
    }
    quota(&gzip.finish().unwrap(), "bytes");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        gzip.write_all(&zeros).unwrap();
    }
    quota(&gzip.finish().unwrap(), "bytes");
    let mut many = Archive::default();
    for _ in 0..=LIMITS.entries {
        many = many.add(member(b'6', "p"));
    }
    let many = ruzstd::encoding::compress_to_vec(
        many.finish().as_slice(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    // Either bound may be met first.
    assert!(matches!(Target::new().unpack(&many), Err(UnpackError::Quota { .. })));
    excessive(Archive::default().pax(&[("comment", &vec![b'x'; 2 << 20])]).file("a", b""));
    excessive(
        Archive::default()
            .add(Member { content: &vec![b'x'; 2 << 20], ..member(b'L', "l") })
            .file("a", b""),
    );
    excessive(Archive::default().add(Member { size: Some("77777777777"), ..member(b'K', "l") }));
    let sparse: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    excessive(Archive::default().pax(&sparse).file("s", &[&b"99999999\n"[..], &[0; 503]].concat()));
}

#[test]
fn damaged_archives_are_refused() {
    let good = Archive::default().file("a", b"content").finish();
    let mut checksum = good.clone();
    checksum[0] ^= 1;
    let damaged = [
        checksum,
        good[..300].to_vec(),
        good[..515].to_vec(),
        b"this is not a tar archive, but it is longer than nothing".to_vec(),
        vec![0xff; 4096],
        [&[0x1f, 0x8b, 8, 0][..], &[0; 64]].concat(),
        [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0xff; 64]].concat(),
        Archive::default().pax(&[("path", b"a")]).finish(),
        Archive::default()
            .add(Member { content: b"9 path=a", ..member(b'x', "p") })
            .file("a", b"")
            .finish(),
        Archive::default()
            .add(Member { content: b"99999999999999999999 a=b\n", ..member(b'x', "p") })
            .file("a", b"")
            .finish(),
        Archive::default().add(Member { size: Some("xyz"), ..member(b'0', "a") }).finish(),
        Archive::default().gnu_sparse("s", 10, b"xy", 5).finish(),
    ];
    for (index, archive) in damaged.iter().enumerate() {
        let result = Target::new().unpack(archive);
        assert!(matches!(result, Err(UnpackError::Archive(_))), "{index}: {result:?}");
    }
    let nobody = Archive::default().pax(&[("uid", b"4294967295")]).file("a", b"").finish();
    assert!(matches!(Target::new().unpack(&nobody), Err(UnpackError::Damaged { .. })));
    for bad in [
        Member { uid: "xyz", ..member(b'0', "a") },
        Member { mode: "9", ..member(b'0', "a") },
        member(b'2', "a"),
        member(b'Z', "a"),
    ] {
        let result = Target::new().unpack(&Archive::default().add(bad).finish());
        assert!(matches!(result, Err(UnpackError::Damaged { .. })), "{result:?}");
    }
}

#[test]
fn names_in_the_way_of_clearing() {
    let work = tempfile::tempdir().unwrap();
    for path in [".moved-1/x", ".moved-2", ".moved-3/y/z", "a/b/c/d", "a/e/f"] {
        fs::create_dir_all(work.path().join(path)).unwrap();
    }
    fs::write(work.path().join(".moved-4"), "").unwrap();
    coracle::image::unpack::clear(work.path()).unwrap();
    assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0);
}

#[test]
fn a_layer_that_hides_all_below_it() {
    let below = Target::new();
    let archive = Archive::default().file("file", b"").file("d/old", b"").file("e/old", b"");
    below.unpack(&archive.finish()).unwrap();
    let target = Target::new();
    let archive = Archive::default().file("d/new", b"").file(".wh..wh..opq", b"");
    target.unpack_over(&archive.finish(), &[below.root()]).unwrap();
    for name in ["file", "e"] {
        let found = fs::symlink_metadata(target.path(name)).unwrap();
        assert!(found.file_type().is_char_device() && found.rdev() == 0, "{name}");
    }
    let mut value = [0_u8; 8];
    let count =
        rustix::fs::lgetxattr(target.path("d"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..count], b"y");
}

#[test]
fn a_file_larger_than_the_disk_is_not_begun() {
    let target = Target::new();
    let huge = Archive::default().pax(&[("size", b"1125899906842624")]).file("huge", b"");
    let limits = coracle::image::unpack::Limits { entries: 10, bytes: 1 << 60 };
    let archive = huge.finish();
    let result = target.unpack_stream(archive.as_slice(), &[], limits);
    let full = |error: &std::io::Error| error.kind() == std::io::ErrorKind::StorageFull;
    assert!(
        matches!(&result, Err(UnpackError::Kernel { source, .. }) if full(source)),
        "{result:?}"
    );
    assert!(!target.path("huge").exists());
}

#[test]
fn a_deep_tree_is_replaced_without_depth() {
    let target = Target::new();
    // Deeper than a path can be: each link starts the next stretch. Few links, as the kernel allows 40 on the way and
    // counts them twice when it has to look again.
    let stretch = "d/".repeat(125);
    let mut archive = Archive::default();
    let mut place = String::new();
    for level in 0..18 {
        let end = format!("{place}{}", stretch.trim_end_matches('/'));
        archive = archive.pax(&[("path", end.as_bytes())]).directory("long");
        let link = format!("l{level}");
        archive = archive.pax(&[("linkpath", end.as_bytes())]).symlink(&link, "long");
        place = format!("{link}/");
    }
    archive = archive.file("d", b"flat");
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(target.read("d"), "flat");
}

#[derive(Debug, Clone)]
struct Step {
    kind: u8,
    path: String,
    link: String,
}

/// Few names, so that members meet, and links that lead out more often than not.
fn step() -> impl Strategy<Value = Step> {
    let path = proptest::sample::select(vec![
        "a",
        "b",
        "a",
        "b",
        "a/b",
        "b/./a",
        ".",
        "a/secret",
        "b/secret",
        "a/new",
        "a/inner",
        "a/inner/more",
        "a/b/secret",
        "secret",
        "a/.wh.secret",
        "b/.wh.inner",
        "a/.wh..wh..opq",
        ".wh.a",
        "a/link",
    ])
    .prop_map(str::to_owned);
    let link = proptest::sample::select(vec![
        "../canary",
        "../canary",
        "../canary/inner",
        "../canary/secret",
        "/../canary",
        "a",
        "b",
        "b/..",
        "a/secret",
        "..",
        "/",
        "a/../../canary",
    ])
    .prop_map(str::to_owned);
    (proptest::sample::select(b"0001222553".to_vec()), path, link)
        .prop_map(|(kind, path, link)| Step { kind, path, link })
}

/// Something of everything.
pub(crate) fn rich() -> Vec<u8> {
    Archive::default()
        .directory("d")
        .pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("d/file", &[b'x'; 700])
        .symlink("link", "d")
        .hard_link("hard", "d/file")
        .add(Member { device: (1, 3), ..member(b'3', "null") })
        .gnu_sparse("sparse", 1000, b"data", 5000)
        .add(Member { content: b"a long name\0", ..member(b'L', "l") })
        .file("x", b"y")
        .file("d/.wh.gone", b"")
        .finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn damage_anywhere_is_survived(
        hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        fix in any::<bool>(),
        end in proptest::option::of(any::<proptest::sample::Index>()),
        pack in 0..3,
    ) {
        let mut archive = rich();
        for (at, value) in hits {
            let at = at.index(archive.len());
            archive[at] = value;
            if fix {
                // With the right checksum the damage gets further.
                let start = at / 512 * 512;
                archive[start + 148..start + 156].fill(b' ');
                let sum: u32 = archive[start..start + 512].iter().map(|b| u32::from(*b)).sum();
                archive[start + 148..start + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if pack == 1 {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&archive).unwrap();
            archive = gzip.finish().unwrap();
        } else if pack == 2 {
            archive = ruzstd::encoding::compress_to_vec(&*archive, ruzstd::encoding::CompressionLevel::Fastest);
        }
        if let Some(end) = end {
            let end = end.index(archive.len());
            archive.truncate(end);
        }
        let _ = Target::new().unpack(&archive);
    }

    #[test]
    fn no_sequence_of_members_reaches_the_canary(steps in proptest::collection::vec(step(), 1..14)) {
        let target = Target::new();
        let mut archive = Archive::default();
        for step in &steps {
            let content: &[u8] = if step.kind == b'0' { b"evil" } else { b"" };
            archive = archive.add(Member {
                link: &step.link, content, mode: "4777", uid: "7", device: (1, 3), ..member(step.kind, &step.path)
            });
            // Each prefix is a layer of its own: what one refuses must not hide the steps after it.
            let _ = target.unpack(&archive.clone().finish());
            let mut one = Archive::default();
            one = one.add(Member { link: &step.link, content, mode: "4777", ..member(step.kind, &step.path) });
            let _ = target.unpack(&one.finish());
        }
    }
}
