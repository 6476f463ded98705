//! Ordinary layers, held against what GNU tar and overlayfs make of the same.

use crate::archive::{Archive, Member, member};
use crate::target::Target;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

fn run(script: &str, arguments: &[&Path]) -> String {
    let output = Command::new("sh").args(["-euc", script, "sh"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn archives_of_gnu_tar_come_out_the_same() {
    let work = tempfile::tempdir().unwrap();
    let source = work.path().join("source");
    run(
        r#"mkdir -p "$1/dir/empty" && cd "$1"
        long=$(printf 'n%.0s' $(seq 150)); mkdir -p "$long/$long"; echo long > "$long/$long/file"
        echo content > file; chmod 4751 file; chown 12:34 file; ln file dir/hard; ln -s ../file dir/soft
        ln -s "/$long/$long/$long" dir/longlink; mkfifo -m 640 pipe; mknod -m 600 null c 1 3
        echo utf > "café"; touch -d '2001-02-03 04:05:06.789' file; touch -d '1969-06-01' dir/empty
        truncate -s 3M sparse; printf start | dd of=sparse conv=notrunc status=none
        printf end | dd of=sparse bs=1 seek=3145725 conv=notrunc status=none
        printf '\001\000\000\002\012\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000' > value
        cp /bin/true cap; setfattr -n user.note -v hello cap 2>/dev/null || true
        chmod 1777 dir; touch -d '2010-01-01' dir ."#,
        &[&source],
    );
    // A capability whose bytes hold a newline.
    let capability =
        b"\x01\x00\x00\x02\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    rustix::fs::setxattr(
        source.join("cap"),
        "security.capability",
        capability,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let list = r#"cd "$1" && find . -printf '%p %y %m %U:%G %n %s %l %T@\n' | sort && find . -type f -exec sha256sum {} + | sort"#;
    let expected = run(list, &[&source]);
    for format in [
        "--format=gnu",
        "--format=gnu --sparse",
        "--format=pax --xattrs --xattrs-include=*",
        "--format=pax --sparse --sparse-version=1.0 --xattrs --xattrs-include=*",
        "--format=pax --sparse --sparse-version=0.1",
    ] {
        let archive = work.path().join("archive.tar");
        run(&format!(r#"tar -C "$1" {format} --numeric-owner -cf "$2" ."#), &[&source, &archive]);
        let target = Target::new();
        let mut bytes = fs::read(&archive).unwrap();
        // The sparse file is larger than the tests' limit on content; the limit is for the evil ones.
        let root = target.root();
        let trash = work.path().join("trash");
        fs::create_dir_all(&trash).unwrap();
        let below: [&Path; 0] = [];
        let digest = coracle::image::unpack::layer(
            bytes.as_slice(),
            &root,
            &trash,
            &below,
            coracle::image::unpack::Limits::default(),
        );
        assert_eq!(digest.unwrap(), coracle::image::digest::Digest::of(&bytes));
        let mut found = run(list, &[&root]);
        let mut wanted = expected.clone();
        if format.contains("gnu") {
            // This format has whole seconds only.
            let whole = |text: &str| {
                let lines = text.lines().map(|line| {
                    line.split_once('.')
                        .map_or(line, |_| line.rsplit_once('.').map_or(line, |(start, _)| start))
                });
                lines.collect::<Vec<_>>().join("\n")
            };
            (found, wanted) = (whole(&found), whole(&wanted));
        }
        assert_eq!(found, wanted, "{format}");
        if format.contains("xattrs") {
            let mut value = [0_u8; 64];
            let count =
                rustix::fs::lgetxattr(root.join("cap"), "security.capability", &mut value).unwrap();
            assert_eq!(&value[..count], capability);
        }
        if format.contains("sparse") {
            assert!(fs::metadata(root.join("sparse")).unwrap().blocks() < 1024, "{format}");
        }
        bytes.clear();
    }
}

#[test]
fn duplicates_the_last_one_counts() {
    let target = Target::new();
    let archive = Archive::default()
        .file("a", b"1")
        .directory("a")
        .file("a/x", b"inner")
        .file("b/x/y", b"")
        .file("b", b"2")
        .file("c", b"first")
        .file("c", b"second")
        .add(Member { mode: "700", ..member(b'5', "d") })
        .file("d/kept", b"")
        .add(Member { mode: "2755", uid: "5", ..member(b'5', "d") });
    target.unpack(&archive.finish()).unwrap();
    assert_eq!(target.read("a/x"), "inner");
    assert_eq!(target.read("b"), "2");
    assert_eq!(target.read("c"), "second");
    let d = fs::metadata(target.path("d")).unwrap();
    assert_eq!((d.permissions().mode() & 0o7777, d.uid()), (0o2755, 5));
    assert!(target.path("d/kept").exists());
}

#[test]
fn parents_that_are_not_listed_are_those_of_the_layer_below() {
    let below = Target::new();
    below
        .unpack(
            &Archive::default()
                .add(Member { mode: "1777", uid: "11", ..member(b'5', "tmp") })
                .directory("plain")
                .finish(),
        )
        .unwrap();
    let target = Target::new();
    let archive = Archive::default().file("tmp/x", b"").file("new/deep/x", b"");
    target.unpack_over(&archive.finish(), &[below.root()]).unwrap();
    let mode = |path: &str| {
        let found = fs::metadata(target.path(path)).unwrap();
        (found.permissions().mode() & 0o7777, found.uid())
    };
    assert_eq!(mode("tmp"), (0o1777, 9));
    assert_eq!(mode("new/deep"), (0o755, 0));
}

#[test]
fn overlayfs_sees_what_the_whiteouts_say() {
    let below = Target::new();
    let archive = Archive::default()
        .file("file", b"lower")
        .file("kept", b"lower")
        .file("gone/x", b"")
        .file("opaque/old", b"")
        .file("replaced/old", b"")
        .file("late/old", b"")
        .file("tree/inner/old", b"")
        .symlink("link", "kept");
    below.unpack(&archive.finish()).unwrap();
    let target = Target::new();
    let archive = Archive::default()
        .file(".wh.file", b"")
        .file(".wh.gone", b"")
        .file(".wh.link", b"")
        .file(".wh.absent", b"")
        .file("opaque/new", b"")
        .file("opaque/.wh..wh..opq", b"")
        // Hidden, then made anew as a directory: what was below stays hidden.
        .file(".wh.replaced", b"")
        .directory("replaced")
        .file("replaced/new", b"")
        // A whiteout speaks of the layers below, also after the new content.
        .file("late/new", b"")
        .file(".wh.late", b"")
        .file("tree/.wh.inner", b"")
        .file("tree/inner/new", b"");
    target.unpack_over(&archive.finish(), &[below.root()]).unwrap();
    assert!(fs::symlink_metadata(target.path("gone")).unwrap().file_type().is_char_device());
    assert!(fs::symlink_metadata(target.path("absent")).is_err());
    let merged = tempfile::tempdir().unwrap();
    let seen = run(
        r#"unshare -m sh -euc 'mount -t overlay overlay -o "lowerdir=$1:$2" "$3"; cd "$3"; find . -type f | sort' sh "$1" "$2" "$3""#,
        &[&target.root(), &below.root(), merged.path()],
    );
    assert_eq!(
        seen.split_whitespace().collect::<Vec<_>>(),
        ["./kept", "./late/new", "./opaque/new", "./replaced/new", "./tree/inner/new"]
    );
}
