//! Checks a data file page by page, by reading it, before anybody maps it.
//!
//! LMDB trusts its file: a page number beyond the end is a SIGBUS, a broken offset a read outside of the page. So the
//! whole file is walked first: both meta pages; every page of every tree of the newest transaction (its number, its
//! kind, its bounds, the order of its keys, the counts in its tree's record); overflow pages; the free list; and that no
//! page is used twice. Page contents have no checksum in LMDB, so a bit that flips inside of a value is found only when
//! the record is read. It costs one read per used page: milliseconds for the sizes of an agent.

mod layout;
mod rows;

pub use rows::{Read, read};

use super::Result;
use super::error::StoreError;
use layout::{Content, DEEPEST, HEADER, Kind, META, METAS, Meta, Page, Tree};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a sound file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Rows per table.
    pub rows: BTreeMap<String, usize>,
    /// The newest transaction.
    pub transaction: usize,
    /// Pages in use.
    pub pages: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Checks the file at `path`; [`StoreError::Corrupt`] says what is wrong with it.
pub fn verify(path: &Path) -> Result<Summary> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    Inspection::of(&file, &mut |_, _, _| {}).map_err(|finding| finding.at(path))
}

enum Finding {
    Damage(String),
    Io(io::Error),
}

impl Finding {
    fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Damage(damage) => StoreError::corrupt(path, damage),
            Self::Io(error) => StoreError::io("read", path)(error),
        }
    }
}

/// Is shown each row of each table: the table's name, the key, the value.
type Visit<'a> = &'a mut dyn FnMut(&str, &[u8], &[u8]);

type Found<T> = std::result::Result<T, Finding>;

fn damage<T>(text: impl Into<String>) -> Found<T> {
    Err(Finding::Damage(text.into()))
}

/// How the keys of a tree are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// By their bytes.
    Text,
    /// As transaction ids: the free list.
    Transactions,
}

/// What was counted while walking a tree.
#[derive(Default)]
struct Counts {
    branches: usize,
    leaves: usize,
    overflows: usize,
    entries: usize,
}

struct Walk {
    name: String,
    /// Whose rows are shown.
    table: Option<String>,
    keys: Keys,
    depth: u16,
    counts: Counts,
    /// The key before, in the order of the tree.
    previous: Option<Vec<u8>>,
    /// The trees that rows of this one hold.
    subtrees: Vec<(String, Tree)>,
}

struct Inspection<'a> {
    file: &'a File,
    bytes: u64,
    page_size: usize,
    last_page: usize,
    transaction: usize,
    /// One bit per page: in use, or on the free list.
    claimed: Vec<u64>,
    used: usize,
    visit: Visit<'a>,
}

impl<'a> Inspection<'a> {
    /// The newest transaction, and the size of a page.
    fn newest(file: &File) -> Found<(Meta, usize)> {
        let bytes = file.metadata().map_err(Finding::Io)?.len();
        if bytes == 0 {
            return damage("it is empty");
        }
        let first = Self::meta(file, 0, 0)?;
        let Some(page_size) = first.page_size() else {
            return damage("meta page 0 has an impossible page size");
        };
        let second = Self::meta(file, 1, page_size as u64)?;
        if second.page_size() != Some(page_size) {
            return damage("the meta pages have different page sizes");
        }
        let meta = if second.transaction > first.transaction { second } else { first };
        Ok((meta, page_size))
    }

    fn of(file: &'a File, visit: Visit<'a>) -> Found<Summary> {
        let (meta, page_size) = Self::newest(file)?;
        let bytes = file.metadata().map_err(Finding::Io)?.len();
        let pages = usize::try_from(bytes / page_size as u64).unwrap_or(usize::MAX);
        // The file may end before the last page, when that page is free; not by much.
        if meta.last_page < METAS - 1
            || meta.last_page > pages.saturating_mul(2).saturating_add(4096)
        {
            return damage(format!(
                "it should have {} pages and has {pages}",
                meta.last_page.saturating_add(1)
            ));
        }
        let mut inspection = Self {
            file,
            bytes,
            page_size,
            last_page: meta.last_page,
            transaction: meta.transaction,
            claimed: vec![0; meta.last_page / 64 + 1],
            used: METAS,
            visit,
        };
        inspection.tree("the free list", None, meta.free, Keys::Transactions)?;
        let tables = inspection.tree("the list of tables", None, meta.main, Keys::Text)?;
        let mut rows = BTreeMap::new();
        for (name, tree) in tables {
            let table = format!("table {name:?}");
            inspection.tree(&table, Some(name.clone()), tree, Keys::Text)?;
            rows.insert(name, tree.entries);
        }
        Ok(Summary { rows, transaction: meta.transaction, pages: inspection.used, bytes })
    }

    fn meta(file: &File, number: usize, at: u64) -> Found<Meta> {
        let mut page = [0; META];
        match file.read_exact_at(&mut page, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return damage(format!("it ends in meta page {number}"));
            }
            read => read.map_err(Finding::Io)?,
        }
        Meta::read(&page).or_else(|what| damage(format!("meta page {number} is broken: {what}")))
    }

    /// Checks one tree; the answer are the trees in its rows.
    fn tree(
        &mut self,
        name: &str,
        table: Option<String>,
        tree: Tree,
        keys: Keys,
    ) -> Found<Vec<(String, Tree)>> {
        let mut walk = Walk {
            name: name.to_owned(),
            table,
            keys,
            depth: tree.depth,
            counts: Counts::default(),
            previous: None,
            subtrees: Vec::new(),
        };
        let flags = if keys == Keys::Transactions { layout::INTEGER_KEYS } else { 0 };
        if tree.flags != flags {
            return damage(format!("{name} is of another kind"));
        }
        if tree.root == usize::MAX {
            if tree.depth != 0 {
                return damage(format!("{name} has a depth and no root"));
            }
        } else {
            if tree.depth == 0 || tree.depth > DEEPEST {
                return damage(format!("{name} has an impossible depth"));
            }
            self.page(&mut walk, tree.root, 1, None)?;
        }
        let Counts { branches, leaves, overflows, entries } = walk.counts;
        if (branches, leaves, overflows, entries)
            != (tree.branches, tree.leaves, tree.overflows, tree.entries)
        {
            return damage(format!("{name} has {entries} rows and should have {}", tree.entries));
        }
        Ok(walk.subtrees)
    }

    /// Checks a branch or leaf and what is under it. No key may be below `least`.
    fn page(
        &mut self,
        walk: &mut Walk,
        number: usize,
        level: u16,
        least: Option<&[u8]>,
    ) -> Found<()> {
        let name = walk.name.clone();
        let bytes = self.read(&name, number, 1)?;
        let page = Page(&bytes);
        let broken = |what: &str| damage(format!("page {number} of {name} {what}"));
        let expected = if level == walk.depth { Kind::Leaf } else { Kind::Branch };
        if page.kind() != Some(expected) {
            return broken("is of another kind");
        }
        let Some(nodes) = page.nodes().filter(|nodes| *nodes > 0) else {
            return broken("has impossible bounds");
        };
        match expected {
            Kind::Branch => walk.counts.branches += 1,
            _ => walk.counts.leaves += 1,
        }
        for index in 0..nodes {
            let Some(node) = page.node(index, expected) else {
                return broken("has a row that is not in it");
            };
            if let Content::Child(child) = node.content {
                // The first key of a branch is not kept: it is that of the branch itself.
                let least = if index == 0 { least } else { Some(node.key) };
                if index > 0 && !walk.is_next(node.key) {
                    return broken("has keys out of order");
                }
                self.page(walk, child, level + 1, least)?;
                continue;
            }
            if !walk.is_next(node.key)
                || least.is_some_and(|least| walk.keys.compare(node.key, least).is_lt())
            {
                return broken("has keys out of order");
            }
            walk.previous = Some(node.key.to_owned());
            walk.counts.entries += 1;
            match node.content {
                Content::Child(_) => {}
                Content::Data(data) => {
                    if walk.keys == Keys::Transactions {
                        self.free(node.key, data)?;
                    }
                    if let Some(table) = &walk.table {
                        (self.visit)(table, node.key, data);
                    }
                }
                Content::Big { page, size } => {
                    let data = self.overflow(walk, page, size)?;
                    if walk.keys == Keys::Transactions {
                        self.free(node.key, &data)?;
                    }
                    if let Some(table) = &walk.table {
                        (self.visit)(table, node.key, &data);
                    }
                }
                Content::Subtree(tree) => {
                    let name = String::from_utf8_lossy(node.key).into_owned();
                    walk.subtrees.push((name, tree));
                }
            }
        }
        Ok(())
    }

    /// Checks the pages of a large value, and reads it.
    fn overflow(&mut self, walk: &mut Walk, number: usize, size: usize) -> Found<Vec<u8>> {
        let needed = (HEADER + size).div_ceil(self.page_size);
        let bytes = self.read(&walk.name, number, needed)?;
        let page = Page(&bytes);
        let pages = page.overflow_pages().filter(|_| page.kind() == Some(Kind::Overflow));
        let Some(pages) = pages.filter(|pages| *pages >= needed) else {
            return damage(format!("page {number} of {} does not hold its value", walk.name));
        };
        for number in number + needed..number.saturating_add(pages) {
            self.claim(&walk.name, number)?;
        }
        walk.counts.overflows += pages;
        Ok(bytes[HEADER..HEADER + size].to_owned())
    }

    /// Checks one row of the free list.
    fn free(&mut self, key: &[u8], data: &[u8]) -> Found<()> {
        if layout::transaction(key).is_none_or(|transaction| transaction > self.transaction) {
            return damage("the free list has a row of no transaction");
        }
        let Some(pages) = layout::free_pages(data) else {
            return damage("the free list has a row that is cut off");
        };
        for page in pages {
            self.claim("the free list", page)?;
        }
        Ok(())
    }

    /// Reads `count` pages from `number` on, which nothing else may have.
    fn read(&mut self, name: &str, number: usize, count: usize) -> Found<Vec<u8>> {
        let at = (number as u64).saturating_mul(self.page_size as u64);
        let length = (count as u64).saturating_mul(self.page_size as u64);
        if number > self.last_page || at.saturating_add(length) > self.bytes {
            return damage(format!("page {number} of {name} is beyond the end of the file"));
        }
        for number in number..number + count {
            self.claim(name, number)?;
        }
        self.used += count;
        let mut bytes = vec![0; count * self.page_size];
        self.file.read_exact_at(&mut bytes, at).map_err(Finding::Io)?;
        if Page(&bytes).number() != Some(number) {
            return damage(format!("page {number} of {name} is another page"));
        }
        Ok(bytes)
    }

    fn claim(&mut self, name: &str, number: usize) -> Found<()> {
        if number < METAS || number > self.last_page {
            return damage(format!("{name} has page {number}, which there is not"));
        }
        let bit = 1 << (number % 64);
        match self.claimed.get_mut(number / 64) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                Ok(())
            }
            _ => damage(format!("page {number} of {name} is used twice")),
        }
    }
}

impl Walk {
    fn is_next(&self, key: &[u8]) -> bool {
        self.previous.as_ref().is_none_or(|previous| self.keys.compare(previous, key).is_lt())
    }
}

impl Keys {
    fn compare(self, a: &[u8], b: &[u8]) -> std::cmp::Ordering {
        match self {
            Self::Text => a.cmp(b),
            Self::Transactions => layout::transaction(a).cmp(&layout::transaction(b)),
        }
    }
}

#[cfg(test)]
mod tests;
