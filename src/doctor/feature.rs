//! Whether the kernel has a feature that may be a module, without loading it.
//!
//! A kernel says so by the lists of its modules. One that came without those cannot load any, and what it holds shows by
//! its symbols.

use super::subject::Subject;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};

/// A function of each module.
const FUNCTIONS: [(&str, &str); 9] = [
    ("overlay", "ovl_fill_super"),
    ("bridge", "br_add_bridge"),
    ("veth", "veth_xmit"),
    ("nf_tables", "nft_do_chain"),
    ("nft_nat", "nft_nat_init"),
    ("nft_masq", "nft_masq_init"),
    ("nft_chain_nat", "nft_nat_do_chain"),
    ("nft_ct", "nft_ct_get_init"),
    ("nft_meta_bridge", "nft_meta_bridge_get_init"),
];

/// How the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// It is there.
    Present,
    /// It comes when it is asked for.
    Loadable,
    /// It is not there.
    Missing,
    /// This kernel does not say what it has.
    Unknown,
}

/// Looks for a module.
pub(super) fn module(subject: &Subject, name: &str) -> Support {
    let loaded = subject.text("/proc/modules").unwrap_or_default();
    if loaded.lines().any(|line| line.split(' ').next() == Some(name))
        || subject.path(&format!("/sys/module/{name}")).exists()
    {
        return Support::Present;
    }
    let release = release(subject);
    let directory = format!("/lib/modules/{release}");
    let list = |file: &str| subject.text(&format!("{directory}/{file}"));
    let built_in = list("modules.builtin");
    if built_in.as_deref().is_some_and(|list| list.lines().any(|line| is(line, name))) {
        return Support::Present;
    }
    match list("modules.dep") {
        Some(list) if list.lines().any(|line| is(line.split(':').next().unwrap_or(line), name)) => {
            Support::Loadable
        }
        Some(list) if !list.is_empty() => Support::Missing,
        _ if built_in.is_some_and(|list| !list.is_empty()) => Support::Missing,
        _ => match subject.symbols() {
            None => Support::Unknown,
            Some(found) if found.contains(name) => Support::Present,
            Some(_) => Support::Missing,
        },
    }
}

/// The modules of [`FUNCTIONS`] that are in the kernel, by its symbols; none when it does not show them.
pub(super) fn symbols(subject: &Subject) -> Option<BTreeSet<&'static str>> {
    let mut file = BufReader::new(File::open(subject.path("/proc/kallsyms")).ok()?);
    let (mut found, mut is_kernel) = (BTreeSet::new(), false);
    let mut line = Vec::new();
    // More than a hundred thousand lines: `0000000000000000 t veth_xmit [veth]`.
    while file.read_until(b'\n', &mut line).ok()? > 0 {
        let name = line.iter().position(|byte| *byte == b' ').and_then(|at| line.get(at + 3..));
        // Whatever is looked for begins so.
        if let Some(name) =
            name.filter(|name| matches!(name.first(), Some(b'b' | b'n' | b'o' | b'v')))
        {
            let end = name.iter().position(u8::is_ascii_whitespace).unwrap_or(name.len());
            let name = &name[..end];
            is_kernel |= name == b"vfs_read";
            let of = FUNCTIONS.iter().filter(|(_, function)| function.as_bytes() == name);
            found.extend(of.map(|(module, _)| *module));
        }
        line.clear();
    }
    is_kernel.then_some(found)
}

/// The kernel's release, as its modules are filed.
pub(super) fn release(subject: &Subject) -> String {
    subject.text("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Whether the file of a module has that name: `kernel/fs/overlayfs/overlay.ko.xz`.
fn is(path: &str, name: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split(".ko").next().unwrap_or(file);
    stem.replace('-', "_") == name
}

/// What to do about modules that are missing.
pub(super) fn remedy(subject: &Subject, options: &str) -> String {
    let release = release(subject);
    if subject.path(&format!("/lib/modules/{release}")).exists() {
        format!(
            "install the rest of the kernel's modules (Ubuntu: apt-get install linux-modules-extra-{release}) or a kernel with {options}"
        )
    } else if subject.names("/lib/modules").is_empty() {
        format!("use a kernel with {options}")
    } else {
        format!(
            "there are no modules for the kernel that runs, {release}: it was upgraded since, so reboot; else use a kernel with {options}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::a_box;
    use super::*;

    #[test]
    fn modules_are_found_wherever_they_are() {
        let (_dir, subject) = a_box(&[
            ("/proc/modules", "veth 32768 0 - Live 0x0\n"),
            ("/proc/sys/kernel/osrelease", "6.1.0\n"),
            ("/lib/modules/6.1.0/modules.builtin", "kernel/net/bridge/bridge.ko\n"),
            ("/lib/modules/6.1.0/modules.dep", "kernel/net/nf-tables.ko.xz: kernel/x.ko\n"),
        ]);
        let found = ["veth", "bridge", "nf_tables", "overlay"].map(|name| module(&subject, name));
        use Support::{Loadable, Missing, Present, Unknown};
        assert_eq!(found, [Present, Present, Loadable, Missing]);
        assert!(remedy(&subject, "X").contains("linux-modules-extra-6.1.0"));
        let (_dir, silent) = a_box(&[]);
        assert_eq!(module(&silent, "veth"), Unknown);
        let symbols = "0 T vfs_read\n0 t veth_xmit\t[veth]\n";
        let (_dir, bare) = a_box(&[("/proc/kallsyms", symbols)]);
        assert_eq!(["veth", "bridge"].map(|name| module(&bare, name)), [Present, Missing]);
        assert_eq!(remedy(&silent, "X"), "use a kernel with X");
        let (_dir, old) = a_box(&[
            ("/proc/sys/kernel/osrelease", "6.1.1\n"),
            ("/lib/modules/6.1.0/modules.dep", "a.ko:\n"),
        ]);
        assert!(remedy(&old, "X").contains("reboot"));
    }
}
