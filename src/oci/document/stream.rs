//! Scanning JSON of any size in bounded memory.

use std::io;

/// A reader that shortens the strings of a JSON text, so that a blob of any size is scanned in
/// bounded memory. No digest, media type or key is longer than what is kept.
pub(super) struct ShortStrings<R> {
    inner: R,
    in_string: bool,
    /// The rest of this string is dropped.
    cutting: bool,
    /// Bytes of an escape that are still to come.
    escape_left: u8,
    /// The character before was a `\u` escape, perhaps the first half of a surrogate pair.
    after_unicode: bool,
    length: usize,
}

/// Bytes of a string that are passed on, if the text can be cut there without changing the meaning
/// of what follows.
const SHORT_STRING_BYTES: usize = 4096;

/// Bytes after which a string is cut even between the halves of a surrogate pair. The scan then
/// fails, which keeps everything.
const LONG_STRING_BYTES: usize = 1 << 20;

impl<R> ShortStrings<R> {
    pub(super) const fn new(inner: R) -> Self {
        Self {
            inner,
            in_string: false,
            cutting: false,
            escape_left: 0,
            after_unicode: false,
            length: 0,
        }
    }

    /// Says whether `byte` is passed on.
    const fn passes(&mut self, byte: u8) -> bool {
        if !self.in_string {
            if byte == b'"' {
                self.in_string = true;
                self.cutting = false;
                self.after_unicode = false;
                self.length = 0;
            }
            return true;
        }
        self.length = self.length.saturating_add(1);
        if self.escape_left > 0 {
            self.escape_left -= 1;
            if self.escape_left == 0 && byte == b'u' && !self.after_unicode {
                self.escape_left = 4;
                self.after_unicode = true;
            }
            return !self.cutting;
        }
        if byte == b'"' {
            self.in_string = false;
            return true;
        }
        let starts_character = byte < 0x80 || byte >= 0xc0;
        if starts_character {
            self.cutting = self.cutting
                || (self.length > SHORT_STRING_BYTES && !self.after_unicode)
                || self.length > LONG_STRING_BYTES;
            self.after_unicode = false;
        }
        if byte == b'\\' {
            self.escape_left = 1;
        }
        !self.cutting
    }
}

impl<R: io::Read> io::Read for ShortStrings<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.inner.read(buffer)?;
            if read == 0 {
                return Ok(0);
            }
            let mut kept = 0;
            for position in 0..read {
                let Some(&byte) = buffer.get(position) else {
                    break;
                };
                if self.passes(byte) {
                    if let Some(slot) = buffer.get_mut(kept) {
                        *slot = byte;
                    }
                    kept += 1;
                }
            }
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}
