//! JSON tokens from a reader, in bounded memory.
//!
//! *Promise*: accepts everything that Go's `encoding/json` accepts, because most readers of layouts are written in Go: numbers of
//! any size, unpaired surrogates, and bytes that are not UTF-8 (both read as U+FFFD). Otherwise it follows RFC 8259.

use std::borrow::Cow;
use std::io::{self, BufRead};

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The input is not JSON.
    #[error("{what} at byte {offset}")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// The position, counted from 0.
        offset: u64,
    },
    /// The input is nested deeper than readers of its type accept.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The accepted number of levels.
        limit: usize,
    },
    /// The input cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
}

impl ScanError {
    /// Returns `true` if the input could not be read, so that its syntax is unknown.
    #[must_use]
    pub const fn is_io(&self) -> bool {
        matches!(self, Self::Read(_))
    }
}

/// The maximum number of bytes of a string that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keep(usize);

impl Keep {
    /// The string is only checked.
    pub(super) const NOTHING: Self = Self(0);
    /// The longest known key has 12 bytes, or more with the letters that [`folds_to`](super::folds_to) accepts.
    pub(super) const KEY: Self = Self(64);
    /// No digest is longer.
    pub(super) const DIGEST: Self = Self(512);
}

/// Reads tokens.
#[derive(Debug)]
pub(super) struct Lexer<R> {
    input: R,
    offset: u64,
    /// The last string, unescaped.
    text: Vec<u8>,
    keep: usize,
    is_cut: bool,
    /// The maximum number of bytes that are kept of a string with a meaning, and of `data`.
    limits: (usize, usize),
}

/// Returns the buffered bytes; none at the end of the input. Retries when a signal interrupts the call.
fn buffered<R: BufRead>(input: &mut R) -> io::Result<&[u8]> {
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // The buffer is filled, so this reads nothing. Returning it from inside the loop would borrow `input` for all rounds.
    input.fill_buf()
}

/// Returns `true` for a byte that ends a string or begins an escape, and for control characters.
const fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f)
}

/// Returns the position of the first [special](is_special) byte.
fn first_special(bytes: &[u8]) -> Option<usize> {
    // The bytes of a block are tested together, without a branch for each.
    let (blocks, rest) = bytes.as_chunks::<16>();
    for (number, block) in blocks.iter().enumerate() {
        if block
            .iter()
            .fold(false, |found, byte| found | is_special(*byte))
        {
            let position = block.iter().position(|byte| is_special(*byte))?;
            return Some(number * 16 + position);
        }
    }
    let position = rest.iter().position(|byte| is_special(*byte))?;
    Some(blocks.len() * 16 + position)
}

impl<R: BufRead> Lexer<R> {
    /// Reads input that is in memory: strings are kept at any length.
    pub(super) const fn whole(input: R) -> Self {
        Self::with_limits(input, (usize::MAX, usize::MAX))
    }

    /// Like [`Self::whole`], with a buffer for strings that an earlier lexer [left](Self::into_buffer).
    pub(super) fn whole_with(input: R, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            text: buffer,
            ..Self::whole(input)
        }
    }

    /// Returns the buffer for strings, to use it again.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.text
    }

    /// Reads input of any size. No media type or annotation that counts is longer than 4 KiB, and no `data` than 1 MiB.
    pub(super) const fn stream(input: R) -> Self {
        Self::with_limits(input, (4 << 10, 1 << 20))
    }

    const fn with_limits(input: R, limits: (usize, usize)) -> Self {
        Self {
            input,
            offset: 0,
            text: Vec::new(),
            keep: 0,
            is_cut: false,
            limits,
        }
    }

    /// Returns the number of bytes that are kept of a string with a meaning.
    pub(super) const fn text_limit(&self) -> Keep {
        Keep(self.limits.0)
    }

    /// Returns the number of bytes that are kept of the `data` of a descriptor.
    pub(super) const fn data_limit(&self) -> Keep {
        Keep(self.limits.1)
    }

    pub(super) const fn error(&self, what: &'static str) -> ScanError {
        ScanError::Syntax {
            what,
            offset: self.offset,
        }
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.offset = self.offset.saturating_add(count as u64);
    }

    fn peek(&mut self) -> Result<Option<u8>, ScanError> {
        Ok(buffered(&mut self.input)?.first().copied())
    }

    /// Takes one byte; the end of the input is an error.
    pub(super) fn take(&mut self) -> Result<u8, ScanError> {
        match self.peek()? {
            Some(byte) => {
                self.consume(1);
                Ok(byte)
            }
            None => Err(self.error("unexpected end")),
        }
    }

    /// Skips white space and returns the next byte without taking it; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<u8>, ScanError> {
        loop {
            let buffer = buffered(&mut self.input)?;
            let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
            let spaces = buffer.iter().take_while(|byte| is_space(byte)).count();
            let byte = buffer.get(spaces).copied();
            let is_end = buffer.is_empty();
            self.consume(spaces);
            if byte.is_some() || is_end {
                return Ok(byte);
            }
        }
    }

    /// Checks that only white space is left.
    pub(super) fn end(&mut self) -> Result<(), ScanError> {
        match self.next()? {
            None => Ok(()),
            Some(_) => Err(self.error("text after the value")),
        }
    }

    /// Skips white space and takes the next byte.
    pub(super) fn take_next(&mut self) -> Result<u8, ScanError> {
        self.next()?;
        self.take()
    }

    /// Reads a string whose opening quote was taken.
    pub(super) fn string(&mut self, keep: Keep) -> Result<(), ScanError> {
        self.text.clear();
        self.keep = keep.0;
        self.is_cut = false;
        loop {
            let buffer = buffered(&mut self.input)?;
            if buffer.is_empty() {
                return Err(self.error("unexpected end of a string"));
            }
            let stop = first_special(buffer);
            let length = stop.unwrap_or(buffer.len());
            let special = stop.and_then(|at| buffer.get(at).copied());
            let room = self.keep.saturating_sub(self.text.len());
            let kept = buffer.get(..length.min(room)).unwrap_or_default();
            self.text.extend_from_slice(kept);
            self.is_cut |= length > room;
            self.consume(length + usize::from(special.is_some()));
            match special {
                None => {}
                Some(b'"') => return Ok(()),
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.error("a control character in a string")),
            }
        }
    }

    /// Returns the last string; `None` if it was too long to be kept.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        // Checking alone is faster than the search for what must be replaced.
        (!self.is_cut).then(|| match std::str::from_utf8(&self.text) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(&self.text),
        })
    }

    fn push(&mut self, letter: char) {
        let mut bytes = [0; 4];
        let bytes = letter.encode_utf8(&mut bytes).as_bytes();
        if self.text.len() + bytes.len() <= self.keep {
            self.text.extend_from_slice(bytes);
        } else {
            self.is_cut = true;
        }
    }

    /// Reads the rest of an escape.
    fn escape(&mut self) -> Result<(), ScanError> {
        let mut letter = self.take()?;
        // The first half of a surrogate pair.
        let mut high = None;
        loop {
            if letter != b'u' {
                if high.is_some() {
                    self.push(char::REPLACEMENT_CHARACTER);
                }
                let meant = match letter {
                    b'"' | b'\\' | b'/' => char::from(letter),
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    _ => return Err(self.error("an unknown escape in a string")),
                };
                self.push(meant);
                return Ok(());
            }
            let unit = self.unit()?;
            let pair = high.take().and_then(|high: u32| match unit {
                0xdc00..=0xdfff => {
                    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00))
                }
                _ => {
                    self.push(char::REPLACEMENT_CHARACTER);
                    None
                }
            });
            if let Some(letter) = pair {
                self.push(letter);
                return Ok(());
            }
            if !matches!(unit, 0xd800..=0xdbff) {
                self.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(());
            }
            if self.peek()? != Some(b'\\') {
                self.push(char::REPLACEMENT_CHARACTER);
                return Ok(());
            }
            self.consume(1);
            high = Some(unit);
            letter = self.take()?;
        }
    }

    /// Reads the four hex digits of a `\u` escape.
    fn unit(&mut self) -> Result<u32, ScanError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.take()?).to_digit(16);
            let digit = digit.ok_or_else(|| self.error("no hex digit in an escape"))?;
            unit = unit * 16 + digit;
        }
        Ok(unit)
    }

    /// Reads the rest of a number that begins with `first`. Returns `None` if it is not an integer from 0 to 2⁶⁴ − 1.
    pub(super) fn number(&mut self, first: u8) -> Result<Option<u64>, ScanError> {
        let is_negative = first == b'-';
        let first = if is_negative { self.take()? } else { first };
        let mut value = match first {
            b'0'..=b'9' => Some(u64::from(first - b'0')),
            _ => return Err(self.error("a digit is missing")),
        };
        if first != b'0' {
            while let Some(digit @ b'0'..=b'9') = self.peek()? {
                self.consume(1);
                value = value
                    .and_then(|value| value.checked_mul(10))
                    .and_then(|value| value.checked_add(u64::from(digit - b'0')));
            }
        }
        if is_negative {
            value = None;
        }
        if self.peek()? == Some(b'.') {
            self.consume(1);
            self.digits()?;
            value = None;
        }
        if let Some(b'e' | b'E') = self.peek()? {
            self.consume(1);
            if let Some(b'+' | b'-') = self.peek()? {
                self.consume(1);
            }
            self.digits()?;
            value = None;
        }
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        if !self.take()?.is_ascii_digit() {
            return Err(self.error("a digit is missing"));
        }
        while let Some(b'0'..=b'9') = self.peek()? {
            self.consume(1);
        }
        Ok(())
    }

    /// Reads the rest of `true`, `false` or `null`.
    pub(super) fn word(&mut self, rest: &[u8]) -> Result<(), ScanError> {
        for byte in rest {
            if self.take()? != *byte {
                return Err(self.error("an unknown word"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Option<String> {
        let mut lexer = Lexer::whole(text.as_bytes());
        lexer.string(lexer.text_limit()).ok()?;
        lexer.text().map(Cow::into_owned)
    }

    #[test]
    fn reads_strings_as_go_does() {
        for (text, want) in [
            (r#"a""#, Some("a")),
            (r#"""#, Some("")),
            (r#"\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (r#"\u00e9\u20AC""#, Some("é€")),
            (r#"\ud83d\ude00x""#, Some("😀x")),
            (r#"\ud800""#, Some("\u{fffd}")),
            (r#"\ud800x""#, Some("\u{fffd}x")),
            (r#"\udc00x""#, Some("\u{fffd}x")),
            (r#"\ud800\n""#, Some("\u{fffd}\n")),
            (r#"\ud800\u0041""#, Some("\u{fffd}A")),
            (r#"\ud800\ud83d\ude00""#, Some("\u{fffd}😀")),
            (r#"\ud800\ud800""#, Some("\u{fffd}\u{fffd}")),
            (r#"\x""#, None),
            (r#"\u12g4""#, None),
            (r#"\u12"#, None),
            ("a\n\"", None),
            ("a", None),
            ("\\", None),
        ] {
            assert_eq!(string(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn the_first_special_byte_is_found_at_any_position() {
        for len in 0..50 {
            assert_eq!(first_special(&vec![b'x'; len]), None, "{len}");
            for position in 0..len {
                for special in [b'"', b'\\', 0, 0x1f] {
                    let mut bytes = vec![0xff; len];
                    bytes[position] = special;
                    bytes[len - 1] = if position == len - 1 { special } else { b'"' };
                    assert_eq!(first_special(&bytes), Some(position), "{len}");
                }
            }
        }
    }

    #[test]
    fn keeps_strings_up_to_a_length() {
        for (text, keep, want) in [
            ("abc\"", 3, Some("abc")),
            ("abc\"", 2, None),
            ("ab\\n\"", 3, Some("ab\n")),
            ("ab\\n\"", 2, None),
            ("\\u20ac\"", 2, None),
            ("\"", 0, Some("")),
        ] {
            let mut lexer = Lexer::stream(text.as_bytes());
            lexer.string(Keep(keep)).expect("a string");
            assert_eq!(lexer.text().as_deref(), want, "{text}");
            assert_eq!(
                lexer.next().expect("readable"),
                None,
                "{text} is read to its end"
            );
        }
    }

    #[test]
    fn reads_numbers_of_any_size() {
        for (text, want) in [
            ("0", Some(Some(0))),
            ("7", Some(Some(7))),
            ("18446744073709551615", Some(Some(u64::MAX))),
            ("18446744073709551616", Some(None)),
            ("-1", Some(None)),
            ("1.0", Some(None)),
            ("1e400", Some(None)),
            ("1E-400", Some(None)),
            ("-", None),
            ("1.", None),
            ("1e", None),
            ("1e+", None),
            ("-x", None),
        ] {
            let mut lexer = Lexer::stream(text.as_bytes());
            let first = lexer.take().expect("it is not empty");
            assert_eq!(lexer.number(first).ok(), want, "{text}");
        }
    }
}
