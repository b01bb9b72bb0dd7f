//! The input of an archive: a seekable file, or a stream, compressed or not.

use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;

use super::ahead::{self, BUFFER_BYTES};
use super::tar::{Input, begins_like_tar};

/// The number of bytes read after seeking: a header, and its content if that is small.
const WINDOW_BYTES: usize = 8 << 10;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed.
    None,
    /// `gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
    /// `xz`; read only.
    Xz,
    /// `bzip2`; read only.
    Bzip2,
}

impl Compression {
    /// Returns the compression of a file that begins with these bytes; `None`: it is not an archive.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or a skippable frame, which zstd files may begin with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            _ => begins_like_tar(head).then_some(Self::None),
        }
    }

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }

    /// Returns `true` if archives can be written in this format.
    #[must_use]
    pub const fn can_be_written(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip | Self::Zstd => cfg!(feature = "archives"),
            Self::Xz | Self::Bzip2 => false,
        }
    }

    /// Returns a decoder of the stream. `None`: this build cannot read it. `len` is the length of the stream in bytes, if
    /// known.
    pub(super) fn decoder(
        self,
        stream: impl BufRead + Send + 'static,
        len: Option<u64>,
    ) -> io::Result<Option<Box<dyn BufRead>>> {
        if self == Self::None {
            return Ok(Some(Box::new(stream)));
        }
        let is_short = len.is_some_and(|len| len < ahead::MIN_BYTES);
        Ok(self.bare_decoder(stream)?.map(|decoder| match is_short {
            true => Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)),
            false => ahead::read_ahead(decoder),
        }))
    }

    fn bare_decoder(
        self,
        stream: impl BufRead + Send + 'static,
    ) -> io::Result<Option<Box<dyn Read + Send>>> {
        Ok(match self {
            Self::None => Some(Box::new(stream)),
            #[cfg(feature = "archives")]
            Self::Gzip => Some(Box::new(GzipMembers {
                decoder: Some(flate2::bufread::GzDecoder::new(stream)),
            })),
            #[cfg(feature = "archives")]
            Self::Zstd => Some(Box::new(zstd::Decoder::with_buffer(stream)?)),
            #[cfg(feature = "archives")]
            Self::Xz => Some(Box::new(lzma_rust2::XzReader::new(stream, true))),
            #[cfg(feature = "archives")]
            Self::Bzip2 => Some(Box::new(bzip2::bufread::MultiBzDecoder::new(stream))),
            #[cfg(not(feature = "archives"))]
            Self::Gzip | Self::Zstd | Self::Xz | Self::Bzip2 => None,
        })
    }
}

/// Reads the members of a gzip file one after another. Zeros after the last one are padding, as on tapes and in blocks of
/// `dd`, and gzip ignores them too.
#[cfg(feature = "archives")]
struct GzipMembers<R> {
    /// `None`: the file has ended.
    decoder: Option<flate2::bufread::GzDecoder<R>>,
}

#[cfg(feature = "archives")]
impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(mut rest) = self.decoder.take().map(|it| it.into_inner()) else {
                break;
            };
            if skip_zeros(&mut rest)? {
                self.decoder = Some(flate2::bufread::GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}

/// Reads up to the first byte that is not zero. `false`: there is none.
#[cfg(feature = "archives")]
fn skip_zeros(stream: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = match stream.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let is_end = zeros < bytes.len();
        stream.consume(zeros);
        if is_end {
            return Ok(true);
        }
    }
}

impl Compression {
    /// Compresses the output of `write`.
    ///
    /// # Errors
    /// Those of `write`, and those of `out`, converted by `failed`.
    pub(super) fn encode<E>(
        self,
        out: &mut dyn Write,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
        failed: impl Fn(io::Error) -> E,
    ) -> Result<(), E> {
        match self {
            Self::None => write(out),
            #[cfg(feature = "archives")]
            Self::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                write(&mut encoder)?;
                encoder.finish().map(drop).map_err(failed)
            }
            #[cfg(feature = "archives")]
            Self::Zstd => {
                let encoder = zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL);
                let mut encoder = encoder.map_err(&failed)?;
                encoder.include_checksum(true).map_err(&failed)?;
                if let Some(workers) = workers() {
                    encoder.multithread(workers).map_err(&failed)?;
                    let size = zstd::zstd_safe::CParameter::JobSize(JOB_BYTES);
                    encoder.set_parameter(size).map_err(&failed)?;
                }
                write(&mut encoder)?;
                encoder.finish().map(drop).map_err(failed)
            }
            _ => Err(failed(io::ErrorKind::Unsupported.into())),
        }
    }
}

/// The number of bytes that each thread of zstd compresses at a time: bounds the memory.
#[cfg(feature = "archives")]
const JOB_BYTES: u32 = 2 << 20;

/// Returns the number of compressing threads; `None` if this thread compresses, because there is one core or no thread can
/// be started.
#[cfg(feature = "archives")]
fn workers() -> Option<u32> {
    let cores = std::thread::available_parallelism().ok()?.get();
    let workers = u32::try_from(cores.min(4))
        .ok()
        .filter(|workers| *workers > 1)?;
    let tried: io::Result<Vec<_>> = (0..workers)
        .map(|_| std::thread::Builder::new().spawn(|| {}))
        .collect();
    tried.ok().map(|_| workers)
}

/// A file that is read at any position; others may read it at the same time.
pub(super) struct FileInput<'a> {
    file: &'a File,
    at: u64,
    len: u64,
    /// The last bytes that were read, and their position.
    window: Vec<u8>,
    window_at: u64,
    buffer: Box<[u8]>,
}

impl<'a> FileInput<'a> {
    pub(super) fn new(file: &'a File, len: u64) -> Self {
        Self {
            file,
            at: 0,
            len,
            window: Vec::new(),
            window_at: 0,
            buffer: vec![0; WINDOW_BYTES].into_boxed_slice(),
        }
    }
}

impl Read for FileInput<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let inside = self
            .at
            .checked_sub(self.window_at)
            .and_then(|at| usize::try_from(at).ok());
        let known = inside.and_then(|at| self.window.get(at..));
        if let Some(known) = known.filter(|known| !known.is_empty()) {
            let len = known.len().min(into.len());
            if let (Some(into), Some(known)) = (into.get_mut(..len), known.get(..len)) {
                into.copy_from_slice(known);
            }
            self.at += len as u64;
            return Ok(len);
        }
        if into.len() >= self.buffer.len() {
            let read = self.file.read_at(into, self.at)?;
            self.at += read as u64;
            return Ok(read);
        }
        let read = self.file.read_at(&mut self.buffer, self.at)?;
        self.window.clear();
        self.window
            .extend_from_slice(self.buffer.get(..read).unwrap_or_default());
        self.window_at = self.at;
        let len = read.min(into.len());
        if let (Some(into), Some(found)) = (into.get_mut(..len), self.window.get(..len)) {
            into.copy_from_slice(found);
        }
        self.at += len as u64;
        Ok(len)
    }
}

impl Input for FileInput<'_> {
    fn skip(&mut self, len: u64) -> io::Result<()> {
        let at = self.at.checked_add(len).filter(|at| *at <= self.len);
        self.at = at.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(())
    }
}

/// A stream, which can only be read to its end.
pub(super) struct StreamInput(pub(super) Box<dyn BufRead>);

impl Read for StreamInput {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Input for StreamInput {
    fn skip(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            match self.0.fill_buf() {
                Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(found) => {
                    let most = usize::try_from(len).unwrap_or(usize::MAX);
                    let passed = found.len().min(most);
                    self.0.consume(passed);
                    len -= passed as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A file read from its start, while others may read it too.
pub(super) struct FromStart<F> {
    pub(super) file: F,
    pub(super) at: u64,
}

impl<F: Borrow<File>> Read for FromStart<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.borrow().read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads the first block of a stream, or a shorter one at its end, and returns it with the unread stream.
pub(super) fn peek<'a>(mut stream: impl Read + 'a) -> io::Result<(Vec<u8>, impl Read + 'a)> {
    // With this size it is one read.
    let mut head = Vec::with_capacity(super::tar::BLOCK_LEN);
    stream
        .by_ref()
        .take(super::tar::BLOCK)
        .read_to_end(&mut head)?;
    let whole = io::Cursor::new(head.clone()).chain(stream);
    Ok((head, whole))
}
