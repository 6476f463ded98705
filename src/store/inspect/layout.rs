//! Where LMDB (data version 1) keeps what in a page. Numbers are in the machine's own order and width: a data file is
//! not portable between 32 and 64 bits.

/// Bytes of a page number, a size or a transaction id.
pub(super) const WORD: usize = size_of::<usize>();
/// Bytes of a page's header.
pub(super) const HEADER: usize = WORD + 8;
/// Bytes of a node's header.
pub(super) const NODE: usize = 8;
/// Bytes of a tree's record.
pub(super) const TREE: usize = 8 + 5 * WORD;
/// Bytes of the header and content of a meta page.
pub(super) const META: usize = HEADER + 8 + 2 * WORD + 2 * TREE + 2 * WORD;
/// The number of pages that hold metas.
pub(super) const METAS: usize = 2;
/// LMDB's limit for the depth of a tree.
pub(super) const DEEPEST: u16 = 32;

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META_PAGE: u16 = 0x08;

/// The data of the node is on overflow pages.
const BIG: u16 = 0x01;
/// The data of the node is a tree's record.
const SUBTREE: u16 = 0x02;

/// Keys are numbers: the free list.
pub(super) const INTEGER_KEYS: u16 = 0x08;

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
    Overflow,
    Meta,
}

/// A page, or the beginning of one; every access is checked.
pub(super) struct Page<'a>(pub(super) &'a [u8]);

/// A tree: its root and what it says to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    /// Of the free list: the page size.
    pub(super) pad: u32,
    /// How LMDB orders its keys.
    pub(super) flags: u16,
    pub(super) depth: u16,
    pub(super) branches: usize,
    pub(super) leaves: usize,
    pub(super) overflows: usize,
    pub(super) entries: usize,
    /// All ones when the tree is empty.
    pub(super) root: usize,
}

/// A meta page: one of the two newest transactions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    pub(super) free: Tree,
    pub(super) main: Tree,
    pub(super) last_page: usize,
    pub(super) transaction: usize,
}

/// A key and what belongs to it.
pub(super) struct Node<'a> {
    pub(super) key: &'a [u8],
    pub(super) content: Content<'a>,
}

/// What a node holds.
pub(super) enum Content<'a> {
    Child(usize),
    Data(&'a [u8]),
    Big { page: usize, size: usize },
    Subtree(Tree),
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from_ne_bytes(bytes.get(at..at.checked_add(WORD)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn quarter(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// The words of a free list's row: how many, then that many page numbers.
pub(super) fn free_pages(data: &[u8]) -> Option<impl Iterator<Item = usize> + '_> {
    let count = word(data, 0)?;
    let pages = data.get(WORD..WORD.checked_add(count.checked_mul(WORD)?)?)?;
    Some(pages.chunks_exact(WORD).filter_map(|page| word(page, 0)))
}

/// A free list's key: the transaction that freed the pages.
pub(super) fn transaction(key: &[u8]) -> Option<usize> {
    if key.len() == WORD { word(key, 0) } else { None }
}

impl Tree {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            pad: half(bytes, at)?,
            flags: quarter(bytes, at + 4)?,
            depth: quarter(bytes, at + 6)?,
            branches: word(bytes, at + 8)?,
            leaves: word(bytes, at + 8 + WORD)?,
            overflows: word(bytes, at + 8 + 2 * WORD)?,
            entries: word(bytes, at + 8 + 3 * WORD)?,
            root: word(bytes, at + 8 + 4 * WORD)?,
        })
    }
}

impl Meta {
    /// Reads a meta page.
    pub(super) fn read(page: &[u8]) -> Result<Self, &'static str> {
        let broken = "it is cut off";
        let header = Page(page);
        if header.kind() != Some(Kind::Meta) {
            return Err("it is not marked as one");
        }
        if half(page, HEADER) != Some(MAGIC) {
            return Err("it does not say that this is an LMDB file");
        }
        if half(page, HEADER + 4) != Some(VERSION) {
            return Err("it is of another version of LMDB");
        }
        let trees = HEADER + 8 + 2 * WORD;
        Ok(Self {
            free: Tree::read(page, trees).ok_or(broken)?,
            main: Tree::read(page, trees + TREE).ok_or(broken)?,
            last_page: word(page, trees + 2 * TREE).ok_or(broken)?,
            transaction: word(page, trees + 2 * TREE + WORD).ok_or(broken)?,
        })
    }

    /// Bytes of a page, if it is a size that LMDB uses.
    pub(super) fn page_size(&self) -> Option<usize> {
        let size = usize::try_from(self.free.pad).ok()?;
        (size.is_power_of_two() && (512..=65536).contains(&size)).then_some(size)
    }
}

impl<'a> Page<'a> {
    pub(super) fn number(&self) -> Option<usize> {
        word(self.0, 0)
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        // No other flag is ever on disk: they say where a page is in memory.
        match quarter(self.0, WORD + 2)? {
            BRANCH => Some(Kind::Branch),
            LEAF => Some(Kind::Leaf),
            OVERFLOW => Some(Kind::Overflow),
            META_PAGE => Some(Kind::Meta),
            _ => None,
        }
    }

    /// How many pages an overflow page begins.
    pub(super) fn overflow_pages(&self) -> Option<usize> {
        usize::try_from(half(self.0, WORD + 4)?).ok()
    }

    /// The number of nodes of a branch or leaf, if its bounds make sense.
    pub(super) fn nodes(&self) -> Option<usize> {
        let lower = usize::from(quarter(self.0, WORD + 4)?);
        let upper = usize::from(quarter(self.0, WORD + 6)?);
        (HEADER <= lower && lower <= upper && upper <= self.0.len() && lower.is_multiple_of(2))
            .then(|| (lower - HEADER) / 2)
    }

    /// A node, if it lies in the page.
    pub(super) fn node(&self, index: usize, kind: Kind) -> Option<Node<'a>> {
        let at = usize::from(quarter(self.0, HEADER + 2 * index)?);
        if at < usize::from(quarter(self.0, WORD + 6)?) {
            return None;
        }
        let low = usize::try_from(half(self.0, at)?).ok()?;
        let flags = quarter(self.0, at + 4)?;
        let key_size = usize::from(quarter(self.0, at + 6)?);
        let data_at = at + NODE + key_size;
        let key = self.0.get(at + NODE..data_at)?;
        if kind == Kind::Branch {
            // On 64 bits the flags are the upper part of the page number.
            #[cfg(target_pointer_width = "64")]
            let low = low | (usize::from(flags) << 32);
            return Some(Node { key, content: Content::Child(low) });
        }
        let content = match flags {
            0 => Content::Data(self.0.get(data_at..data_at.checked_add(low)?)?),
            BIG => Content::Big { page: word(self.0, data_at)?, size: low },
            SUBTREE if low == TREE => Content::Subtree(Tree::read(self.0, data_at)?),
            _ => return None,
        };
        Some(Node { key, content })
    }
}
