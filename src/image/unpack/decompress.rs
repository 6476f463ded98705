//! Plain, gzip or zstd: told by the first bytes, because media types lie and Docker archives have none.
//!
//! A gzip stream may hold several members and a zstd stream several frames, skippable ones included: parallel and
//! seekable compressors write those.

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, BufReader, Read};

const BUFFER: usize = 64 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Largest zstd window, which is held in memory: what the strongest setting of the image builders uses.
const WINDOW: u64 = 32 << 20;

/// The plain bytes of `source`.
pub fn decompress<'a>(source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let start = source.fill_buf()?;
    Ok(if start.starts_with(&GZIP) {
        Box::new(MultiGzDecoder::new(source))
    } else if is_zstd(start) {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Box::new(Zstd { source, decoder, in_frame: false })
    } else {
        Box::new(source)
    })
}

/// Whether what `source` begins with is compressed.
pub fn is_compressed(source: impl Read) -> io::Result<bool> {
    let mut start = Vec::new();
    source.take(4).read_to_end(&mut start)?;
    Ok(start.starts_with(&GZIP) || is_zstd(&start))
}

/// A frame, or a skippable frame.
fn is_zstd(start: &[u8]) -> bool {
    match start.first_chunk::<4>().map(|magic| u32::from_le_bytes(*magic)) {
        Some(magic) => magic == 0xFD2F_B528 || magic & 0xFFFF_FFF0 == 0x184D_2A50,
        None => false,
    }
}

/// All frames of a zstd stream, one after the other.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.in_frame {
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    self.decoder
                        .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                        .map_err(invalid)?;
                }
                if self.decoder.can_collect() > 0 {
                    return self.decoder.read(buffer);
                }
                self.in_frame = false;
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => self.in_frame = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped =
                        io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
                    if skipped != length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(invalid(error)),
            }
        }
    }
}

fn invalid(error: FrameDecoderError) -> io::Error {
    if let FrameDecoderError::WindowSizeTooBig { requested, .. } = error {
        let why = format!(
            "its zstd window has {requested} bytes and {WINDOW} is the most; compress it without --long or --ultra"
        );
        return io::Error::new(io::ErrorKind::InvalidData, why);
    }
    io::Error::new(io::ErrorKind::InvalidData, error)
}
