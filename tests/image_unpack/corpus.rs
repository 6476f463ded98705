//! A generated corpus of hostile layers: every kind of path with every kind of member, links out of the layer with
//! everything that could be done through them, damaged numbers, truncation everywhere, bombs.
//!
//! All cases run one after the other in a child process, which after each holds the canary against what it was, and its
//! own peak of memory and the time against a bound. Whether a case is refused or unpacked is not said here, only that
//! nothing happens outside.

use crate::archive::{Archive, Member, member};
use crate::target::Target;
use coracle::image::unpack::{Limits, UnpackError};
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of memory that one layer may take beyond what the test itself has.
const MEMORY: u64 = 12 << 20;
/// Beyond any real machine's slowness.
const TIME: Duration = Duration::from_mins(3);
const CHILD: &str = "CORACLE_TEST_EVIL_CHILD";

type Source = Box<dyn Read + Send>;

/// One hostile layer.
struct Case {
    name: String,
    source: Box<dyn FnOnce(&Target) -> Source>,
    limits: Limits,
    /// Beyond [`MEMORY`].
    memory: u64,
}

fn case(name: String, build: impl FnOnce(&Target) -> Archive + 'static) -> Case {
    raw(name, |target| build(target).finish())
}

fn raw(name: String, build: impl FnOnce(&Target) -> Vec<u8> + 'static) -> Case {
    let source =
        Box::new(|target: &Target| Box::new(io::Cursor::new(build(target))) as Source) as Box<_>;
    Case { name, source, limits: crate::target::LIMITS, memory: 0 }
}

/// Paths that lead elsewhere, or that a parser or the kernel might stumble over.
fn paths() -> Vec<Vec<u8>> {
    let mut paths: Vec<Vec<u8>> = [
        "",
        ".",
        "./",
        "/",
        "//",
        "..",
        "../",
        "../canary/secret",
        "/..",
        "a/..",
        "a/../..",
        "./../canary/new",
        "a//b",
        "a/./b",
        "t/",
        "a/",
        "a\0b",
        "a\\..\\..\\canary",
        "a/../../../../../../etc/new",
        ".wh.",
        ".wh..",
        ".wh...",
        ".wh.a",
        ".wh.out",
        "out/.wh.secret",
        ".wh..wh..opq",
        "out/.wh..wh..opq",
        "a/.wh..wh..opq",
        "a/.wh..wh.x",
        ".wh..wh.plnk/x",
        "out",
        "out/",
        "out/secret",
        "out/new",
        "out/inner",
        "out/inner/more",
        "out/link",
        "out/../root/a",
        "proc/self/root/x",
        "...",
        " ",
        "\n",
        "-rf",
        "a:b",
        "*",
        "con\u{202e}txt",
        "t/x",
        "absolute/new",
    ]
    .into_iter()
    .map(|path| path.as_bytes().to_vec())
    .collect();
    paths.extend([
        b"\xff\xfe\x80".to_vec(),
        vec![b'n'; 255],
        vec![b'n'; 256],
        b"d/".repeat(150),
        b"d/".repeat(2040),
        [b"a/".repeat(2100), b"x".to_vec()].concat(),
        b"../".repeat(1500),
        b"a/../".repeat(1200),
        [vec![b'p'; 200], vec![b'/'], vec![b'q'; 200]].concat(),
    ]);
    paths
}

/// A tree with everything that the paths refer to.
fn stage(target: &Target) -> Archive {
    Archive::default()
        .directory("a")
        .file("t", b"mine")
        .symlink("out", "../canary")
        .symlink("absolute", &target.canary())
}

/// Writes `link` of the member after it where no header has room.
fn named(archive: Archive, way: usize, path: &[u8], link: &[u8]) -> Archive {
    match way {
        0 => archive.pax(&[("path", path), ("linkpath", link)]),
        1 => {
            let with_nul = |bytes: &[u8]| [bytes, b"\0"].concat();
            archive
                .add(Member { content: &with_nul(path), ..member(b'L', "@") })
                .add(Member { content: &with_nul(link), ..member(b'K', "@") })
        }
        _ => archive.pax(&[("GNU.sparse.name", path), ("path", b"t"), ("linkpath", link)]),
    }
}

fn every_path_with_every_kind(cases: &mut Vec<Case>) {
    for path in paths() {
        for kind in *b"0123456789SVDMNx\0" {
            for way in 0..3 {
                // The third way differs for the name only.
                if way == 2 && kind != b'0' {
                    continue;
                }
                let path = path.clone();
                let shown = String::from_utf8_lossy(&path).chars().take(40).collect::<String>();
                let name = format!("path {shown:?} kind {:?} way {way}", char::from(kind));
                cases.push(case(name, move |target| {
                    let content: &[u8] = if kind == b'0' || kind == b'7' { b"evil" } else { b"" };
                    let device = (1, 3);
                    named(stage(target), way, &path, b"../canary/secret").add(Member {
                        content,
                        device,
                        mode: "6777",
                        ..member(kind, "ignored")
                    })
                }));
            }
        }
    }
}

/// A link at `l`, and then something through it, over it or beside it.
fn links_and_what_goes_through_them(cases: &mut Vec<Case>) {
    let targets: [&str; 18] = [
        "../canary",
        "../canary/",
        "../canary/secret",
        "../canary/inner",
        "CANARY",
        "CANARY/secret",
        "/",
        "..",
        ".",
        "/proc/self/root",
        "/proc/self/cwd",
        "/proc/1/root/tmp",
        "/dev/null",
        "l",
        "a/../../canary",
        "../root",
        "t",
        "absolute/secret",
    ];
    for text in targets {
        for kind in 0..3 {
            for then in 0..16 {
                for upper in [false, true] {
                    let name = format!("link {kind} to {text:?}, then {then}, upper {upper}");
                    cases.push(case(name, move |target| {
                        let text = text.replace("CANARY", &target.canary());
                        let archive = if upper { Archive::default() } else { stage(target) };
                        let archive = match kind {
                            0 => named(archive, 0, b"l", text.as_bytes()).symlink("l", ""),
                            1 => named(archive, 0, b"l", text.as_bytes()).hard_link("l", ""),
                            _ => named(archive, 0, b"s", text.as_bytes())
                                .symlink("s", "")
                                .hard_link("l", "s"),
                        };
                        let set =
                            Member { mode: "4777", uid: "7", mtime: "1", ..member(b'0', "l") };
                        match then {
                            0 => archive.add(Member { content: b"evil", ..set }),
                            1 => archive.file("l/new", b"evil"),
                            2 => archive.file("l/secret", b"evil"),
                            3 => archive.add(Member { kind: b'5', path: "l", ..set }),
                            4 => archive.add(Member { kind: b'5', path: "l/", ..set }),
                            5 => archive.add(Member { kind: b'5', path: "l/inner", ..set }),
                            6 => archive.file("l/.wh.secret", b""),
                            7 => archive.file("l/.wh..wh..opq", b""),
                            8 => archive.hard_link("h", "l/secret").file("h", b"evil"),
                            9 => archive.hard_link("h", "l").add(Member { path: "h", ..set }),
                            10 => archive.file(".wh.l", b"").file("l/new", b"evil"),
                            11 => archive.symlink("l/link", "/etc").file("l/link/new", b"evil"),
                            12 => archive.add(Member {
                                kind: b'3',
                                path: "l/null",
                                device: (1, 3),
                                ..set
                            }),
                            13 => archive
                                .pax(&[("SCHILY.xattr.user.evil", b"x"), ("mtime", b"-5.5")])
                                .add(Member { kind: b'5', ..set }),
                            14 => archive
                                .directory("l")
                                .symlink("l", "../canary")
                                .file("l/inner/more", b"evil"),
                            _ => archive.add(Member { kind: b'3', ..set }).file("l/x", b"evil"),
                        }
                    }));
                }
            }
        }
    }
}

/// Where the numbers of a header are, and how long.
const FIELDS: [(&str, usize, usize); 9] = [
    ("mode", 100, 8),
    ("uid", 108, 8),
    ("gid", 116, 8),
    ("size", 124, 12),
    ("mtime", 136, 12),
    ("checksum", 148, 8),
    ("major", 329, 8),
    ("minor", 337, 8),
    ("version", 257, 8),
];

fn numbers(cases: &mut Vec<Case>) {
    let values: [&[u8]; 12] = [
        b"",
        b"-1",
        b"9",
        b"77777777777",
        b"0x10",
        b"       ",
        b"1 2 3",
        b"\x80",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xfe",
        b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for (field, at, length) in FIELDS {
        for value in values {
            for kind in *b"0345" {
                let name = format!("field {field} {value:?} kind {:?}", char::from(kind));
                cases.push(raw(name, move |_| {
                    let mut archive = Archive::default()
                        .add(Member {
                            device: (1, 3),
                            content: if kind == b'0' { b"x" } else { b"" },
                            ..member(kind, "f")
                        })
                        .finish();
                    let value = &value[..value.len().min(length)];
                    archive[at..at + length].fill(0);
                    archive[at..at + value.len()].copy_from_slice(value);
                    if field != "checksum" {
                        crate::archive::seal((&mut archive[..512]).try_into().unwrap());
                    }
                    archive
                }));
            }
        }
    }
    let records: [&[u8]; 10] = [
        b"",
        b"-1",
        b"0",
        b"18446744073709551615",
        b"18446744073709551616",
        b"9223372036854775807",
        b"1e9",
        b"1.5",
        b"\0",
        b"99999999999999999999999999999999",
    ];
    for key in [
        "size",
        "uid",
        "gid",
        "mtime",
        "path",
        "linkpath",
        "GNU.sparse.realsize",
        "GNU.sparse.size",
        "GNU.sparse.map",
        "GNU.sparse.major",
        "SCHILY.xattr.",
        "SCHILY.xattr.user.",
        "SCHILY.xattr.security.capability",
        "SCHILY.xattr.user.x",
    ] {
        for value in records {
            for sparse in [false, true] {
                cases.push(case(format!("record {key} {value:?} sparse {sparse}"), move |_| {
                    let mut records: Vec<(&str, &[u8])> = vec![(key, value)];
                    if sparse {
                        records.splice(
                            0..0,
                            [
                                ("GNU.sparse.major", &b"1"[..]),
                                ("GNU.sparse.minor", b"0"),
                                ("GNU.sparse.realsize", b"8"),
                            ],
                        );
                    }
                    Archive::default()
                        .pax(&records)
                        .file("f", &[&b"1\n0\n4\n"[..], &[0; 506], b"data"].concat())
                }));
            }
        }
    }
    for (offset, real) in [
        (0, 4),
        (1 << 62, (1 << 62) + 4),
        (u64::MAX >> 1, u64::MAX >> 1),
        (5, 3),
        (1 << 19, (1 << 19) + 4),
    ] {
        cases.push(case(format!("sparse at {offset} of {real}"), move |_| {
            Archive::default().gnu_sparse("s", offset, b"data", real)
        }));
    }
}

/// One of everything, packed in every way, cut and with something behind it.
fn cuts(cases: &mut Vec<Case>) {
    type Pack = fn(&[u8]) -> Vec<u8>;
    let ways: [(&str, Pack); 3] = [("plain", <[u8]>::to_vec), ("gzip", gzip), ("zstd", zstd)];
    for (way, pack) in ways {
        let whole = pack(&crate::evil::rich());
        let step = (whole.len() / 60).max(1);
        for end in (0..whole.len()).step_by(step).chain(whole.len().saturating_sub(9)..whole.len())
        {
            let cut = whole[..end].to_vec();
            cases.push(raw(format!("{way} cut at {end}"), move |_| cut));
        }
        for (tail, behind) in [
            ("garbage", vec![0xa5; 700]),
            ("zeros", vec![0; 5000]),
            ("itself", whole.clone()),
            ("gzip", gzip(b"x")),
            ("zstd", zstd(b"x")),
        ] {
            let joined = [whole.clone(), behind].concat();
            cases.push(raw(format!("{way} and then {tail}"), move |_| joined));
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// `count` times what `part` says, made while it is read.
fn stream(count: u64, part: impl Fn(u64) -> Vec<u8> + Send + 'static) -> Source {
    struct Parts<F> {
        next: u64,
        count: u64,
        part: F,
        current: io::Cursor<Vec<u8>>,
    }
    impl<F: Fn(u64) -> Vec<u8>> Read for Parts<F> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            loop {
                let count = self.current.read(buffer)?;
                if count > 0 || self.next == self.count || buffer.is_empty() {
                    return Ok(count);
                }
                self.current = io::Cursor::new((self.part)(self.next));
                self.next += 1;
            }
        }
    }
    Box::new(Parts { next: 0, count, part, current: io::Cursor::default() })
}

fn bombs(cases: &mut Vec<Case>) {
    let wide = Limits { entries: 30_000, bytes: 1 << 30 };
    let mut bomb = |name: &str, memory, source: fn(&Target) -> Source| {
        cases.push(Case { name: name.to_owned(), source: Box::new(source), limits: wide, memory });
    };
    bomb("many directories of long names", 0, |_| {
        stream(40_000, |number| {
            let path = format!("{number:0>90}/");
            Archive::default().add(Member { mode: "755", ..member(b'5', &path) }).bytes()
        })
    });
    bomb("one directory listed again and again", 0, |_| {
        stream(10_000, |_| {
            Archive::default().pax(&[("path", &b"long/".repeat(600))]).directory("d").bytes()
        })
    });
    bomb("a directory that becomes a file and again", 0, |_| {
        stream(10_000, |number| {
            if number % 2 == 0 {
                Archive::default().file("d/x/y", b"").bytes()
            } else {
                Archive::default().file("d", b"").bytes()
            }
        })
    });
    bomb("many whiteouts", 0, |_| {
        stream(40_000, |number| Archive::default().file(&format!(".wh.{number}"), b"").bytes())
    });
    bomb("many opaque directories", 0, |_| {
        stream(8_000, |number| {
            Archive::default().file(&format!("{number}/.wh..wh..opq"), b"").bytes()
        })
    });
    bomb("headers that speak of nothing", 0, |_| {
        stream(1 << 21, |_| {
            Archive::default().add(Member { content: b"9 a=b\n", ..member(b'g', "g") }).bytes()
        })
    });
    bomb("an endless sparse map", 0, |_| {
        let mut start = Archive::default().gnu_sparse("s", 0, b"", 0).bytes();
        start[482] = 1;
        crate::archive::seal((&mut start[..512]).try_into().unwrap());
        stream(1 << 21, move |number| {
            if number == 0 {
                return start[..512].to_vec();
            }
            let mut block = vec![0; 512];
            block[504] = 1;
            block
        })
    });
    bomb("a sparse map of many pieces", 0, |_| {
        let pieces =
            (0..40_000_u64).map(|at| format!("{},0", at * 2)).collect::<Vec<_>>().join(",");
        stream(1, move |_| {
            Archive::default()
                .pax(&[
                    ("GNU.sparse.major", b"0"),
                    ("GNU.sparse.size", b"99999"),
                    ("GNU.sparse.map", pieces.as_bytes()),
                ])
                .file("s", b"")
                .bytes()
        })
    });
    // A megabyte of the shortest records takes more in a map than in the archive.
    bomb("as many records as fit", 24 << 20, |_| {
        stream(3, |_| {
            let records: Vec<(String, &[u8])> =
                (0..80_000).map(|key| (format!("{key:x}"), &b""[..])).collect();
            let records: Vec<(&str, &[u8])> =
                records.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            Archive::default().pax(&records).file("f", b"").bytes()
        })
    });
    bomb("gigabytes of zeros in gzip", 0, |_| {
        let zeros = gzip(&vec![0; 8 << 20]);
        let start = gzip(
            &Archive::default()
                .add(Member { size: Some("77777777777"), ..member(b'0', ".wh.big") })
                .bytes()[..512],
        );
        stream(1 << 10, move |number| if number == 0 { start.clone() } else { zeros.clone() })
    });
    bomb("gigabytes of zeros in zstd", 4 << 20, |_| {
        let zeros = zstd(&vec![0; 8 << 20]);
        let start = zstd(
            &Archive::default()
                .add(Member { size: Some("77777777777"), ..member(b'0', ".wh.big") })
                .bytes()[..512],
        );
        stream(1 << 10, move |number| if number == 0 { start.clone() } else { zeros.clone() })
    });
    bomb("a zstd window of a gigabyte", 0, |_| {
        // Magic, no single segment, window of 2^30, one raw block after the other.
        stream(1 << 12, |number| {
            if number == 0 {
                vec![0x28, 0xb5, 0x2f, 0xfd, 0, (30 - 10) << 3]
            } else {
                [vec![0, 0, 8], vec![0; 1 << 16]].concat()
            }
        })
    });
    bomb("a zstd frame that says it has exabytes", 0, |_| {
        stream(2, |number| {
            if number == 0 {
                [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &[0x7f; 8]].concat()
            } else {
                vec![0; 64]
            }
        })
    });
    bomb("a gzip header without an end", 0, |_| {
        stream(1 << 12, |number| {
            if number == 0 { vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3] } else { vec![b'n'; 1 << 14] }
        })
    });
    bomb("a file larger than the disk", 0, |_| {
        stream(1, |_| Archive::default().pax(&[("size", b"1000000000")]).file("f", b"").bytes())
    });
}

fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    every_path_with_every_kind(&mut cases);
    links_and_what_goes_through_them(&mut cases);
    numbers(&mut cases);
    cuts(&mut cases);
    bombs(&mut cases);
    cases
}

/// `VmRSS` or `VmHWM` of this process, in bytes.
fn memory(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn all_cases() {
    let below = Target::light();
    let lower = Archive::default()
        .symlink("l", &below.canary())
        .symlink("out", "../canary")
        .file("l2/x", b"")
        .directory("a")
        .file("0", b"")
        .file("1/x", b"");
    below.unpack(&lower.finish()).unwrap();
    let (mut refused, mut whole, mut worst) = (0, 0, (0, String::new()));
    for (number, case) in corpus().into_iter().enumerate() {
        let target = Target::light();
        let layers: Vec<PathBuf> = if number % 2 == 0 { vec![below.root()] } else { Vec::new() };
        let source = (case.source)(&target);
        let start = Instant::now();
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let result = target.unpack_stream(source, &layers, case.limits);
        let grown = memory("VmHWM").saturating_sub(before);
        assert!(
            grown <= MEMORY + case.memory,
            "{}: {} KiB more: {result:?}",
            case.name,
            grown >> 10
        );
        assert!(start.elapsed() < TIME, "{}: {:?}", case.name, start.elapsed());
        if grown > worst.0 {
            worst = (grown, case.name.clone());
        }
        match result {
            Ok(_) => whole += 1,
            Err(UnpackError::Kernel { action, path, source })
                if source.raw_os_error().is_some_and(|code| code == libc_eio()) =>
            {
                panic!("{}: {action} {path}: {source}", case.name)
            }
            Err(_) => refused += 1,
        }
        if start.elapsed() > Duration::from_secs(1) {
            println!("{:?}, {} KiB: {}", start.elapsed(), grown >> 10, case.name);
        }
    }
    println!("{refused} refused, {whole} unpacked; most memory {} KiB: {}", worst.0 >> 10, worst.1);
    assert!(refused > 500 && whole > 500, "{refused} refused, {whole} unpacked");
}

/// The kernel's word for a bug of its own.
fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

#[test]
fn every_evil_layer_is_contained() {
    if std::env::var_os(CHILD).is_some() {
        return all_cases();
    }
    // A process of its own, so that its memory is that of one layer.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "corpus::every_evil_layer_is_contained", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
