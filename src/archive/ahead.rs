//! Decodes in a separate thread, while another one hashes, copies or compresses the bytes.
//!
//! *Failure*: the end of the stream is a separate message. A decoder that ends without it, by a panic, causes an error and
//! never a shorter stream.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// The number of bytes read at once.
pub(super) const BUFFER_BYTES: usize = 128 << 10;

/// The number of buffers that wait to be read. With the one being filled and the one being read, this bounds the memory.
const WAITING: usize = 4;

/// Compressed archives up to this number of bytes are decoded in the reading thread: another thread costs more than it
/// saves.
pub(super) const MIN_BYTES: u64 = 256 << 10;

/// A buffer, and the filled length of it; nothing at the end of the stream.
type Filled = (Vec<u8>, usize);

/// The output of a decoding thread.
struct ReadAhead {
    filled: Receiver<io::Result<Filled>>,
    /// Returns buffers that were read to the decoder.
    used: Sender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    len: usize,
    has_ended: bool,
}

/// Moves a decoder to a separate thread, and returns a reader of its output. The thread ends with the stream, or with the
/// current buffer when the reader is dropped.
pub(super) fn read_ahead(decoder: Box<dyn Read + Send>) -> Box<dyn BufRead> {
    let (give, take) = sync_channel::<Box<dyn Read + Send>>(1);
    let (fill, filled) = sync_channel(WAITING);
    let (used, empty) = channel();
    let decode = move || {
        if let Ok(decoder) = take.recv() {
            decode(decoder, &fill, &empty);
        }
    };
    let thread = thread::Builder::new().name("decode".to_owned());
    let given = match thread.spawn(decode) {
        Ok(_) => give.send(decoder).map_err(|unsent| unsent.0),
        Err(_) => Err(decoder),
    };
    match given {
        Ok(()) => Box::new(ReadAhead {
            filled,
            used,
            buffer: Vec::new(),
            at: 0,
            len: 0,
            has_ended: false,
        }),
        // No further thread can be started.
        Err(decoder) => Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)),
    }
}

/// Decodes until the end or an error, or until the reader is dropped.
fn decode(
    mut decoder: Box<dyn Read + Send>,
    fill: &SyncSender<io::Result<Filled>>,
    empty: &Receiver<Vec<u8>>,
) {
    loop {
        let mut buffer = empty.try_recv().unwrap_or_else(|_| vec![0; BUFFER_BYTES]);
        let mut len = 0;
        let mut failed = None;
        while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
            match decoder.read(rest) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let is_full = len == buffer.len();
        // Bytes decoded before an error are read first, as without a thread.
        if len > 0 && fill.send(Ok((buffer, len))).is_err() {
            return;
        }
        if !is_full {
            let end = failed.map_or(Ok((Vec::new(), 0)), Err);
            drop(fill.send(end));
            return;
        }
    }
}

impl BufRead for ReadAhead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.len && !self.has_ended {
            let died = |_| io::Error::other("the decoder ended unexpectedly");
            let (buffer, len) = self.filled.recv().map_err(died)??;
            self.has_ended = len == 0;
            let used = std::mem::replace(&mut self.buffer, buffer);
            (self.at, self.len) = (0, len);
            if !used.is_empty() {
                // The decoder has ended if it accepts none.
                drop(self.used.send(used));
            }
        }
        Ok(self.buffer.get(self.at..self.len).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.at.saturating_add(amount).min(self.len);
    }
}

impl Read for ReadAhead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let found = self.fill_buf()?;
        let len = found.len().min(into.len());
        if let (Some(into), Some(found)) = (into.get_mut(..len), found.get(..len)) {
            into.copy_from_slice(found);
        }
        self.consume(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the requested bytes, up to its length, and then runs a function.
    struct Then {
        left: usize,
        last: fn() -> io::Result<usize>,
    }

    impl Read for Then {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            // Pieces of odd lengths, as decoders return them.
            let len = self.left.min(into.len()).min(7777);
            if len == 0 {
                return (self.last)();
            }
            for (at, byte) in into.iter_mut().take(len).enumerate() {
                *byte = (self.left - at).to_le_bytes()[0];
            }
            self.left -= len;
            Ok(len)
        }
    }

    fn all(left: usize, last: fn() -> io::Result<usize>) -> (Vec<u8>, io::Result<usize>) {
        let mut found = Vec::new();
        let result = read_ahead(Box::new(Then { left, last })).read_to_end(&mut found);
        (found, result)
    }

    #[test]
    fn every_byte_is_read_and_then_the_end_or_the_error() {
        for len in [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, 3_000_001] {
            let want: Vec<u8> = (1..=len).rev().map(|at| at.to_le_bytes()[0]).collect();
            let (found, result) = all(len, || Ok(0));
            assert!(found == want && result.ok() == Some(len), "{len}");
            let (found, result) = all(len, || Err(io::ErrorKind::InvalidData.into()));
            let kind = result.map_err(|error| error.kind());
            assert!(found == want, "{len}");
            assert_eq!(kind, Err(io::ErrorKind::InvalidData), "{len}");
        }
    }

    #[test]
    fn a_decoder_that_panics_is_an_error() {
        let (found, result) = all(5, || std::panic::resume_unwind(Box::new(())));
        assert_eq!((found.len(), result.is_err()), (0, true));
    }

    #[test]
    fn a_decoder_ends_with_its_reader() {
        let held = std::sync::Arc::new(());
        struct Endless(#[expect(dead_code, reason = "it is counted")] std::sync::Arc<()>);
        impl Read for Endless {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                Ok(into.len())
            }
        }
        let mut reader = read_ahead(Box::new(Endless(std::sync::Arc::clone(&held))));
        reader.read_exact(&mut [0; 10]).expect("it reads");
        drop(reader);
        while std::sync::Arc::strong_count(&held) > 1 {
            thread::yield_now();
        }
    }
}
