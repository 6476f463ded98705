//! Reads the members of a tar stream with bounded memory.
//!
//! The `tar` crate parses header blocks; the stream is walked here, because metadata members (long names, pax records,
//! sparse maps) come from outside and the crate reads them whatever their size, and because it splits pax records at
//! newlines, which binary attributes contain. Where parsers are known to disagree, Go's `archive/tar` is followed:
//! it is what the tools that make images use.

use std::collections::BTreeMap;
use std::io::{self, Read};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// Most bytes of metadata (long name, pax records, sparse map) of one member.
const METADATA_LIMIT: u64 = 1 << 20;
/// Most headers in a row that speak of the whole archive.
const GLOBAL_LIMIT: u32 = 64;
/// Most pieces of one sparse file.
const PIECES_LIMIT: usize = 1 << 15;
const BLOCK: usize = 512;

/// Why the stream is not a tar archive that is taken.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The source failed, or ended early.
    #[error("the archive cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The bytes make no sense.
    #[error("the archive is damaged: {0}")]
    Damaged(&'static str),
    /// Metadata larger than anything real.
    #[error("the archive is refused: {0}")]
    Excessive(&'static str),
}

/// One member: its header and what metadata members said about it.
#[derive(Debug)]
pub struct Member {
    /// The header block.
    pub header: Header,
    /// The path, as written.
    pub path: Vec<u8>,
    /// The target of a link, as written.
    pub link: Vec<u8>,
    /// The pax records.
    pub pax: BTreeMap<Vec<u8>, Vec<u8>>,
    /// How large the file is once unpacked.
    pub size: u64,
    /// Where the stored bytes belong, in a sparse file.
    pub sparse: Option<Vec<Piece>>,
}

/// A run of stored bytes in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it belongs.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// The stream.
#[derive(Debug)]
pub struct Members<R> {
    reader: R,
    /// Bytes of the present member not yet read.
    remaining: u64,
    /// Bytes that fill its last block.
    padding: u64,
}

impl<R: Read> Members<R> {
    /// Reads from the start of an archive.
    pub fn new(reader: R) -> Self {
        Self { reader, remaining: 0, padding: 0 }
    }

    /// The stored bytes of the present member.
    pub fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    /// The source, behind the last member.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next member that is not metadata; `None` at the end.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        let (mut name, mut link, mut pax) = (None, None, None);
        let mut global = 0;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                return if name.is_some() || link.is_some() || pax.is_some() {
                    Err(TarError::Damaged("it ends after a member's metadata"))
                } else {
                    Ok(None)
                };
            };
            match header.entry_type() {
                EntryType::GNULongName => self.metadata(&header, &mut name)?,
                EntryType::GNULongLink => self.metadata(&header, &mut link)?,
                EntryType::XHeader => self.metadata(&header, &mut pax)?,
                // Records for the whole archive: git writes its commit there. Nothing that matters is taken from them.
                EntryType::XGlobalHeader => {
                    global += 1;
                    if global > GLOBAL_LIMIT {
                        return Err(TarError::Excessive("it has headers and no members"));
                    }
                    self.metadata(&header, &mut None)?;
                }
                kind => {
                    let pax = parse_pax(pax.as_deref().unwrap_or_default())?;
                    return self.member(header, kind, name, link, pax).map(Some);
                }
            }
        }
    }

    fn member(
        &mut self,
        header: Header,
        kind: EntryType,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
        mut pax: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Member, TarError> {
        // An empty value leaves what the header says.
        for key in [b"size".as_slice(), b"path", b"linkpath", b"GNU.sparse.name"] {
            match pax.get(key) {
                Some(value) if value.is_empty() => drop(pax.remove(key)),
                Some(value) if value.contains(&0) => {
                    return Err(TarError::Damaged("a pax record holds a NUL"));
                }
                _ => {}
            }
        }
        let size = match pax.get(b"size".as_slice()) {
            Some(size) => number(size).ok_or(TarError::Damaged("a pax size is not a number"))?,
            None => stored_size(&header)?,
        };
        let without_data = matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        let mut sparse = None;
        let mut real_size = if without_data { 0 } else { size };
        if kind == EntryType::GNUSparse {
            let (pieces, real) = self.gnu_sparse(&header)?;
            sparse = Some(pieces);
            real_size = real;
        }
        self.expect(if without_data { 0 } else { size })?;
        let path = pax
            .remove(b"GNU.sparse.name".as_slice())
            .or(pax.remove(b"path".as_slice()))
            .or(name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax
            .remove(b"linkpath".as_slice())
            .or(link)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        if !without_data && pax.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            let (pieces, real) = self.pax_sparse(&pax)?;
            sparse = Some(pieces);
            real_size = real;
        }
        if let Some(pieces) = &sparse {
            check_pieces(pieces, self.remaining, real_size)?;
        }
        Ok(Member {
            header,
            path: until_nul(path),
            link: until_nul(link),
            pax,
            size: real_size,
            sparse,
        })
    }

    /// Reads a metadata member into `slot`.
    fn metadata(&mut self, header: &Header, slot: &mut Option<Vec<u8>>) -> Result<(), TarError> {
        let size = stored_size(header)?;
        if size > METADATA_LIMIT {
            return Err(TarError::Excessive("a member's name or attributes take more than 1 MiB"));
        }
        if slot.is_some() {
            return Err(TarError::Damaged("two metadata members of one kind describe one member"));
        }
        self.expect(size)?;
        let mut bytes = Vec::new();
        self.data().read_to_end(&mut bytes)?;
        *slot = Some(bytes);
        Ok(())
    }

    fn expect(&mut self, size: u64) -> Result<(), TarError> {
        // Room for the padding is left.
        if size > i64::MAX as u64 {
            return Err(TarError::Damaged("a member's size is impossible"));
        }
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// Passes over what is left of the present member without reading it. That it ends early shows at the next one.
    pub fn pass(&mut self) -> Result<(), TarError>
    where
        R: io::Seek,
    {
        let rest = i64::try_from(self.remaining + self.padding)
            .map_err(|_| TarError::Damaged("a member's size is impossible"))?;
        self.reader.seek_relative(rest)?;
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    /// Goes to the next header.
    fn skip(&mut self) -> Result<(), TarError> {
        let rest = self.remaining + self.padding;
        let skipped = io::copy(&mut self.reader.by_ref().take(rest), &mut io::sink())?;
        if skipped != rest {
            return Err(TarError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads a header block; `None` at a block of zeros or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        // The sum is over the block with its own field blank. Some old tools added signed bytes.
        let (mut unsigned, mut signed) = (8_i64 * 32, 8_i64 * 32);
        for byte in bytes[..148].iter().chain(&bytes[156..]) {
            unsigned += i64::from(*byte);
            signed += i64::from(byte.cast_signed());
        }
        let written = numeric(&header.as_old().cksum)
            .ok_or(TarError::Damaged("a header's checksum is no number"))?;
        if written != unsigned && written != signed {
            return Err(TarError::Damaged("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// Fills one block; false when the stream ends before it.
    fn block(&mut self, block: &mut [u8]) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(TarError::Read(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        Ok(true)
    }

    /// The map in the header and its extension blocks, and the real size.
    fn gnu_sparse(&mut self, header: &Header) -> Result<(Vec<Piece>, u64), TarError> {
        let gnu = header.as_gnu().ok_or(TarError::Damaged("a sparse file without a GNU header"))?;
        let real = gnu.real_size()?;
        let mut pieces = Vec::new();
        let mut add = |entries: &[GnuSparseHeader]| -> Result<(), TarError> {
            for entry in entries.iter().filter(|entry| !entry.is_empty()) {
                pieces.push(Piece { offset: entry.offset()?, length: entry.length()? });
            }
            if pieces.len() > PIECES_LIMIT {
                return Err(TarError::Excessive("a sparse file has too many pieces"));
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        let mut extensions = 0;
        while more {
            extensions += 1;
            if extensions > PIECES_LIMIT {
                return Err(TarError::Excessive("a sparse file has too many pieces"));
            }
            let mut extension = GnuExtSparseHeader::new();
            if !self.block(extension.as_mut_bytes())? {
                return Err(TarError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            add(extension.sparse())?;
            more = extension.is_extended();
        }
        Ok((pieces, real))
    }

    /// The map in pax records (format 0.1) or before the data (format 1.0), and the real size.
    fn pax_sparse(
        &mut self,
        pax: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(Vec<Piece>, u64), TarError> {
        let record = |key: &[u8]| pax.get(key).and_then(|value| number(value));
        let real = record(b"GNU.sparse.realsize")
            .or(record(b"GNU.sparse.size"))
            .ok_or(TarError::Damaged("a sparse file without its size"))?;
        let mut numbers = Vec::new();
        if let Some(map) = pax.get(b"GNU.sparse.map".as_slice()) {
            for text in map.split(|b| *b == b',') {
                numbers.push(number(text).ok_or(TarError::Damaged("a sparse map is not numbers"))?);
            }
        } else if record(b"GNU.sparse.major") == Some(1) {
            numbers = self.sparse_map()?;
        } else {
            return Err(TarError::Excessive(
                "sparse format 0.0 is not supported; write it with --sparse-version=1.0",
            ));
        }
        if numbers.len() % 2 != 0 || numbers.len() / 2 > PIECES_LIMIT {
            return Err(TarError::Damaged("a sparse map is not pairs of numbers"));
        }
        let pieces = numbers.chunks_exact(2).map(|pair| Piece { offset: pair[0], length: pair[1] });
        Ok((pieces.collect(), real))
    }

    /// The map of format 1.0: decimal lines, the count of pieces first, in whole blocks before the data.
    fn sparse_map(&mut self) -> Result<Vec<u64>, TarError> {
        let mut numbers = Vec::new();
        let mut digits = Vec::new();
        let mut wanted = 1;
        while numbers.len() < wanted {
            let mut block = [0; BLOCK];
            self.data().read_exact(&mut block)?;
            for byte in block {
                if numbers.len() == wanted {
                    break;
                }
                if byte != b'\n' {
                    digits.push(byte);
                    if digits.len() > 20 {
                        return Err(TarError::Damaged("a sparse map is not numbers"));
                    }
                    continue;
                }
                let value =
                    number(&digits).ok_or(TarError::Damaged("a sparse map is not numbers"))?;
                digits.clear();
                if numbers.is_empty() {
                    let count = usize::try_from(value).unwrap_or(usize::MAX);
                    if count > PIECES_LIMIT {
                        return Err(TarError::Excessive("a sparse file has too many pieces"));
                    }
                    wanted = 1 + 2 * count;
                }
                numbers.push(value);
            }
        }
        numbers.remove(0);
        Ok(numbers)
    }
}

/// Reads the stored bytes of one member.
#[derive(Debug)]
pub struct Data<'a, R>(&'a mut Members<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.0.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.0.reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.remaining -= count as u64;
        Ok(count)
    }
}

/// Pieces follow each other, lie inside the file and are exactly what is stored.
fn check_pieces(pieces: &[Piece], stored: u64, real: u64) -> Result<(), TarError> {
    let (mut end, mut sum) = (0_u64, 0_u64);
    for piece in pieces {
        let next = piece.offset.checked_add(piece.length);
        match next {
            Some(next) if piece.offset >= end && next <= real => end = next,
            _ => return Err(TarError::Damaged("a sparse map is out of order or out of the file")),
        }
        sum += piece.length;
    }
    if sum == stored {
        Ok(())
    } else {
        Err(TarError::Damaged("a sparse map does not fit its data"))
    }
}

/// `<length> <key>=<value>\n`, the length counting all of it.
fn parse_pax(mut records: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, TarError> {
    const BAD: TarError = TarError::Damaged("a pax record is malformed");
    let mut parsed = BTreeMap::new();
    // Some writers fill the last block with NULs that they count.
    while records.first().is_some_and(|byte| *byte != 0) {
        let space = records.iter().position(|b| *b == b' ').ok_or(BAD)?;
        let length = number(&records[..space]).and_then(|n| usize::try_from(n).ok()).ok_or(BAD)?;
        let record = records.get(space + 1..length).ok_or(BAD)?;
        let record = record.strip_suffix(b"\n").ok_or(BAD)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or(BAD)?;
        parsed.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        records = &records[length..];
    }
    Ok(parsed)
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A numeric header field: octal text, blank for zero, or binary in base 256 when its first bit is set.
pub(super) fn numeric(field: &[u8]) -> Option<i64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        // Two's complement; the first bit only marks the encoding, the second is the sign.
        let start =
            if first & 0x40 == 0 { i64::from(first & 0x3F) } else { i64::from(first | 0xC0) - 256 };
        return rest
            .iter()
            .try_fold(start, |value, byte| value.checked_mul(256)?.checked_add(i64::from(*byte)));
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn stored_size(header: &Header) -> Result<u64, TarError> {
    numeric(&header.as_old().size)
        .and_then(|size| u64::try_from(size).ok())
        .ok_or(TarError::Damaged("a member's size is no number"))
}

/// GNU names end with a NUL; a path cannot hold one.
fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(nul) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(nul);
    }
    bytes
}
