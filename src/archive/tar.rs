//! The headers of a tar archive: ustar, PAX and GNU, as POSIX `pax` and `tar(5)` of libarchive describe them.
//!
//! No crate is used, for three reasons: a member must be copied with every block that belongs to it, so its span must be
//! known; no value in a header may cause unbounded memory use; and if two readers would interpret an archive differently,
//! for example because of sizes of links or two names for one member, it is refused.
//!
//! *Failure*: anything that cannot be parsed is a [`TarProblem`], never a shorter archive.

use std::io::{self, Read};

/// The unit of an archive, in bytes.
pub(crate) const BLOCK: u64 = 512;
/// The same, as an array length.
pub(crate) const BLOCK_LEN: usize = 512;

/// The largest extended header that is read, in bytes: names and attributes.
const MAX_EXTENDED_BYTES: u64 = 1 << 20;

/// The largest padding after the end of an archive, in bytes. GNU tar pads to 10 KiB, a tape drive to any length.
const MAX_TRAILER_BYTES: u64 = 16 << 20;

/// Why an archive cannot be read.
#[derive(Debug)]
pub(crate) enum TarProblem {
    /// An error of the system or of the decompressor.
    Io(io::Error),
    /// It cannot be parsed; the text follows the name of the archive.
    Bad(String),
}

impl From<io::Error> for TarProblem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => truncated(),
            _ => Self::Io(error),
        }
    }
}

pub(crate) fn truncated() -> TarProblem {
    TarProblem::Bad("it ends too early: it is truncated".to_owned())
}

/// The input of an archive.
pub(crate) trait Input: Read {
    /// Skips this number of bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there are fewer.
    fn skip(&mut self, len: u64) -> io::Result<()>;
}

/// The kind of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    HardLink,
    SymbolicLink,
    /// A device or a FIFO.
    Special,
}

/// A member of an archive. Positions are counted from the start of the uncompressed archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TarEntry {
    /// The position of the first of its headers.
    pub(crate) start: u64,
    /// The position of its own header, after extended ones.
    pub(crate) header: u64,
    /// Its path, without `./` and trailing slashes. Empty for the root directory.
    pub(crate) path: Vec<u8>,
    /// The target of a link, as written.
    pub(crate) link: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// Bytes of its content.
    pub(crate) len: u64,
    /// When it was written, in nanoseconds since 1970.
    pub(crate) modified: i128,
    /// An extended header has its length.
    pub(crate) has_extended_size: bool,
}

impl TarEntry {
    /// Returns the position of the content.
    pub(crate) const fn data(&self) -> u64 {
        self.header.saturating_add(BLOCK)
    }

    /// Returns the position of the next member.
    pub(crate) fn end(&self) -> u64 {
        self.data().saturating_add(padded(self.len))
    }
}

/// Returns the space that this number of bytes takes in an archive.
pub(crate) const fn padded(len: u64) -> u64 {
    len.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// Reads the members of an archive, one after another.
pub(crate) struct Members<'a> {
    input: &'a mut dyn Input,
    position: u64,
    /// The remaining bytes of the content of the current member, and of its padding.
    content: u64,
    padding: u64,
    /// The header of the current member.
    header: [u8; BLOCK_LEN],
}

/// The values in extended headers for the member after them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<i128>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    has_pax: bool,
}

impl<'a> Members<'a> {
    pub(crate) fn new(input: &'a mut dyn Input) -> Self {
        Self {
            input,
            position: 0,
            content: 0,
            padding: 0,
            header: [0; BLOCK_LEN],
        }
    }

    /// Returns the header of the current member.
    pub(crate) const fn header(&self) -> &[u8; BLOCK_LEN] {
        &self.header
    }

    /// Advances to the next member; `None` at the end of the archive, after everything that follows it was read.
    pub(crate) fn next(&mut self) -> Result<Option<TarEntry>, TarProblem> {
        self.leave()?;
        let mut start = self.position;
        let mut extended = Extended::default();
        loop {
            let at = self.position;
            let Some(block) = self.block()? else {
                return Err(if at == 0 {
                    TarProblem::Bad("it is empty".to_owned())
                } else {
                    TarProblem::Bad(
                        "it lacks the blocks of zeros at its end: it is truncated".to_owned(),
                    )
                });
            };
            if block.iter().all(|byte| *byte == 0) {
                if at != start {
                    return Err(TarProblem::Bad(
                        "an extended header has no member after it".to_owned(),
                    ));
                }
                self.finish()?;
                return Ok(None);
            }
            let header = HeaderBlock(&block);
            header.check(at)?;
            match header.byte(156) {
                b'x' => {
                    if std::mem::replace(&mut extended.has_pax, true) {
                        return Err(twice(at));
                    }
                    let text = self.extended(&header)?;
                    extended.read(&text)?;
                }
                b'g' => {
                    if at != start {
                        return Err(TarProblem::Bad(
                            "an extended header has a global one after it".to_owned(),
                        ));
                    }
                    let text = self.extended(&header)?;
                    let mut global = Extended::default();
                    global.read(&text)?;
                    if global.path.is_some() || global.link.is_some() || global.size.is_some() {
                        return Err(TarProblem::Bad(
                            "a global header gives all members one path or size".to_owned(),
                        ));
                    }
                    // It applies to all members after it, and is kept when the next one is removed.
                    start = self.position;
                }
                which @ (b'L' | b'K') => {
                    let mut text = self.extended(&header)?;
                    while text.last() == Some(&0) {
                        text.pop();
                    }
                    let place = match which {
                        b'L' => &mut extended.long_path,
                        _ => &mut extended.long_link,
                    };
                    if place.replace(text).is_some() {
                        return Err(twice(at));
                    }
                }
                _ => {
                    let entry = header.entry(start, at, extended)?;
                    entry
                        .data()
                        .checked_add(padded(entry.len))
                        .filter(|end| *end < i64::MAX.cast_unsigned())
                        .ok_or_else(|| TarProblem::Bad(bad_size(&entry.path)))?;
                    self.header = block;
                    self.content = entry.len;
                    self.padding = padded(entry.len).saturating_sub(entry.len);
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Returns the position of the next byte.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Skips this number of bytes of the current member.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), TarProblem> {
        let len = len.min(self.content);
        self.input.skip(len)?;
        self.position = self.position.saturating_add(len);
        self.content = self.content.saturating_sub(len);
        Ok(())
    }

    /// Skips the rest of the current member.
    fn leave(&mut self) -> Result<(), TarProblem> {
        let left = self.content.saturating_add(self.padding);
        self.input.skip(left)?;
        self.position = self.position.saturating_add(left);
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads a block; `None` at the end of the input.
    fn block(&mut self) -> Result<Option<[u8; BLOCK_LEN]>, TarProblem> {
        let mut block = [0; BLOCK_LEN];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(truncated()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.position = self.position.saturating_add(BLOCK);
        Ok(Some(block))
    }

    /// Reads the content of an extended header.
    fn extended(&mut self, header: &HeaderBlock<'_>) -> Result<Vec<u8>, TarProblem> {
        let len = header.number(124, 12, "size")?;
        if len > MAX_EXTENDED_BYTES {
            return Err(TarProblem::Bad(format!(
                "an extended header of {len} bytes is too large"
            )));
        }
        self.content = len;
        self.padding = padded(len).saturating_sub(len);
        let mut text = Vec::new();
        self.read_to_end(&mut text)?;
        if text.len() as u64 != len {
            return Err(truncated());
        }
        self.leave()?;
        Ok(text)
    }

    /// Reads the rest after the end of the archive, which must be zeros.
    fn finish(&mut self) -> Result<(), TarProblem> {
        let mut read = 0;
        while let Some(block) = self.block()? {
            if block.iter().any(|byte| *byte != 0) {
                return Err(TarProblem::Bad(
                    "there is data after its end (another archive?)".to_owned(),
                ));
            }
            read += BLOCK;
            if read > MAX_TRAILER_BYTES {
                return Err(TarProblem::Bad(format!(
                    "more than {MAX_TRAILER_BYTES} zeros follow its end"
                )));
            }
        }
        Ok(())
    }
}

impl Read for Members<'_> {
    /// Reads the content of the current member.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let read = self.input.read(buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position = self.position.saturating_add(read as u64);
        self.content = self.content.saturating_sub(read as u64);
        Ok(read)
    }
}

fn twice(at: u64) -> TarProblem {
    TarProblem::Bad(format!(
        "the extended header at byte {at} repeats another one"
    ))
}

/// Returns bytes of an archive for a message.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn bad_size(path: &[u8]) -> String {
    format!("the size of its member `{}` is impossible", shown(path))
}

impl Extended {
    /// Reads the records of a PAX header: `<length> <key>=<value>\n`.
    fn read(&mut self, mut text: &[u8]) -> Result<(), TarProblem> {
        let bad = || TarProblem::Bad("an extended header cannot be parsed".to_owned());
        // Some writers fill the block.
        while text.first().is_some_and(|byte| *byte != 0) {
            let space = text.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let len = text
                .get(..space)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| digits.parse::<usize>().ok())
                .ok_or_else(bad)?;
            let record = text.get(space + 1..len).ok_or_else(bad)?;
            let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(bad)?;
            let (key, value) = record.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            let number = || {
                let text = std::str::from_utf8(value).ok()?;
                text.parse::<u64>().ok()
            };
            match key {
                b"path" => self.path = Some(value.to_owned()),
                b"linkpath" => self.link = Some(value.to_owned()),
                b"size" => self.size = Some(number().ok_or_else(bad)?),
                // If a time cannot be parsed, the one in the header is used.
                b"mtime" => self.modified = time_of(value),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(TarProblem::Bad(
                        "it has sparse members (`GNU.sparse`)".to_owned(),
                    ));
                }
                _ => {}
            }
            text = text.get(len..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Reads a time such as `1350244992.023960108`, in nanoseconds since 1970.
fn time_of(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, whole),
    };
    let seconds = i128::from(digits.parse::<u64>().ok()?);
    let mut nanoseconds = 0;
    for position in 0..9 {
        let digit = match fraction.as_bytes().get(position) {
            Some(digit) if digit.is_ascii_digit() => digit - b'0',
            Some(_) => return None,
            None => 0,
        };
        nanoseconds = nanoseconds * 10 + i128::from(digit);
    }
    Some(sign * (seconds * 1_000_000_000 + nanoseconds))
}

/// A header block.
struct HeaderBlock<'a>(&'a [u8; BLOCK_LEN]);

impl HeaderBlock<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    fn field(&self, at: usize, len: usize) -> &[u8] {
        self.0.get(at..at + len).unwrap_or_default()
    }

    /// Returns a field up to its first NUL.
    fn text(&self, at: usize, len: usize) -> &[u8] {
        let field = self.field(at, len);
        let end = field.iter().position(|byte| *byte == 0);
        field.get(..end.unwrap_or(len)).unwrap_or_default()
    }

    /// Reads a number: octal digits, or, with the highest bit of the first byte, base 256.
    fn number(&self, at: usize, len: usize, what: &str) -> Result<u64, TarProblem> {
        let bad = || TarProblem::Bad(format!("a header has no valid {what}"));
        let field = self.field(at, len);
        let (first, rest) = field.split_first().ok_or_else(bad)?;
        if first & 0x80 != 0 {
            if first & 0x40 != 0 {
                // Negative.
                return Err(bad());
            }
            return rest
                .iter()
                .try_fold(u64::from(first & 0x3f), |number, byte| {
                    number.checked_mul(256)?.checked_add(u64::from(*byte))
                })
                .ok_or_else(bad);
        }
        let digits = self.text(at, len).trim_ascii();
        digits
            .iter()
            .try_fold(0_u64, |number, byte| match byte {
                b'0'..=b'7' => number.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
                _ => None,
            })
            .ok_or_else(bad)
    }

    /// Compares the checksum: the sum of all bytes, with spaces in its own place. Old writers added signed bytes.
    fn check(&self, at: u64) -> Result<(), TarProblem> {
        let stored = self.number(148, 8, "checksum")?;
        let bytes = || {
            self.0.iter().enumerate().map(|(at, byte)| match at {
                148..156 => b' ',
                _ => *byte,
            })
        };
        let unsigned: u64 = bytes().map(u64::from).sum();
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        if stored == unsigned || i64::try_from(stored) == Ok(signed) {
            Ok(())
        } else if at == 0 {
            Err(TarProblem::Bad("it is not a tar archive".to_owned()))
        } else {
            Err(TarProblem::Bad(format!(
                "there is no header at byte {at}: it is damaged"
            )))
        }
    }

    /// Returns the path in the header itself.
    fn path(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let prefix = match self.field(257, 6) {
            b"ustar\0" => self.text(345, 155),
            // GNU tar stores other values in its place.
            _ => &[],
        };
        if prefix.is_empty() {
            name.to_owned()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    fn entry(&self, start: u64, at: u64, extended: Extended) -> Result<TarEntry, TarProblem> {
        let Extended {
            path,
            link,
            size,
            modified,
            long_path,
            long_link,
            ..
        } = extended;
        if path.is_some() && long_path.is_some() || link.is_some() && long_link.is_some() {
            return Err(twice(at));
        }
        let path = path.or(long_path).unwrap_or_else(|| self.path());
        let link = link
            .or(long_link)
            .unwrap_or_else(|| self.text(157, 100).to_owned());
        let is_named_directory = path.last() == Some(&b'/');
        let kind = match self.byte(156) {
            b'0' | 0 | b'7' if is_named_directory => EntryKind::Directory,
            b'0' | 0 | b'7' => EntryKind::File,
            b'5' => EntryKind::Directory,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::SymbolicLink,
            b'3' | b'4' | b'6' => EntryKind::Special,
            b'S' => {
                return Err(TarProblem::Bad(format!(
                    "its member `{}` is sparse",
                    shown(&path)
                )));
            }
            other => {
                return Err(TarProblem::Bad(format!(
                    "its member `{}` is of an unknown type (`{}`)",
                    shown(&path),
                    other.escape_ascii()
                )));
            }
        };
        let has_extended_size = size.is_some();
        let len = match size {
            Some(size) => size,
            None => self.number(124, 12, "size")?,
        };
        if kind != EntryKind::File && len != 0 {
            // Some readers skip that number of bytes, others do not.
            return Err(TarProblem::Bad(bad_size(&path)));
        }
        let seconds = || {
            let seconds = self.number(136, 12, "time").unwrap_or_default();
            i128::from(seconds) * 1_000_000_000
        };
        let modified = modified.unwrap_or_else(seconds);
        let path = relative(&path, kind)?;
        Ok(TarEntry {
            start,
            header: at,
            path,
            link,
            kind,
            len,
            modified,
            has_extended_size,
        })
    }
}

/// Returns a path without `./` and redundant slashes.
///
/// # Errors
/// If the path leads out of the directory, or is not a path.
fn relative(path: &[u8], kind: EntryKind) -> Result<Vec<u8>, TarProblem> {
    let bad = |what: &str| TarProblem::Bad(format!("its member `{}` {what}", shown(path)));
    if path.first() == Some(&b'/') {
        return Err(bad("has an absolute path"));
    }
    if path.contains(&0) {
        return Err(bad("has a NUL in its path"));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(bad("has `..` in its path")),
            part => parts.push(part),
        }
    }
    if parts.is_empty() && kind != EntryKind::Directory {
        return Err(bad("has no name"));
    }
    Ok(parts.join(&b'/'))
}

/// Returns the header of a file with content of another length. The name of a new file must fit.
pub(crate) fn edited_header(
    header: &[u8; BLOCK_LEN],
    len: u64,
    name: Option<&[u8]>,
) -> [u8; BLOCK_LEN] {
    let mut block = *header;
    if let Some(name) = name {
        put(&mut block, 0, 100, name);
        // A long path may be in two parts.
        if block.get(257..263) == Some(b"ustar\0") {
            put(&mut block, 345, 155, &[]);
        }
        put(&mut block, 156, 1, b"0");
        put(&mut block, 157, 100, &[]);
    }
    put_number(&mut block, 124, len);
    put(&mut block, 148, 8, b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block, 148, 8, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Returns the extended header with the path of a file, for one that does not fit into its own header.
pub(crate) fn path_header(header: &[u8; BLOCK_LEN], path: &[u8]) -> Vec<u8> {
    // The length of a record counts its own digits.
    let rest = path.len() + " path=\n".len();
    let mut len = rest;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    let mut record = format!("{len} path=").into_bytes();
    record.extend_from_slice(path);
    record.push(b'\n');
    let mut block = edited_header(header, record.len() as u64, Some(b"././@PaxHeader"));
    put(&mut block, 156, 1, b"x");
    put(&mut block, 257, 8, b"ustar\x0000");
    put(&mut block, 345, 155, &[]);
    let mut bytes = edited_header(&block, record.len() as u64, None).to_vec();
    let end = bytes.len() + usize::try_from(padded(record.len() as u64)).unwrap_or_default();
    bytes.extend_from_slice(&record);
    bytes.resize(end, 0);
    bytes
}

fn put(block: &mut [u8; BLOCK_LEN], at: usize, len: usize, text: &[u8]) {
    if let Some(field) = block.get_mut(at..at + len) {
        field.fill(0);
        for (place, byte) in field.iter_mut().zip(text) {
            *place = *byte;
        }
    }
}

/// Writes a size: octal digits, or base 256 if they do not fit.
fn put_number(block: &mut [u8; BLOCK_LEN], at: usize, number: u64) {
    if number < 1 << 33 {
        put(block, at, 12, format!("{number:011o}\0").as_bytes());
    } else {
        let mut bytes = [0; 12];
        if let Some(field) = bytes.get_mut(4..) {
            field.copy_from_slice(&number.to_be_bytes());
        }
        bytes[0] = 0x80;
        put(block, at, 12, &bytes);
    }
}

/// Returns `true` if a file begins like a tar archive: its first block is a header.
pub(crate) fn begins_like_tar(head: &[u8]) -> bool {
    let Some(Ok(block)) = head.get(..BLOCK_LEN).map(TryInto::try_into) else {
        return false;
    };
    HeaderBlock(block).check(0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes<'a>(&'a [u8]);

    impl Read for Bytes<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Input for Bytes<'_> {
        fn skip(&mut self, len: u64) -> io::Result<()> {
            let len = usize::try_from(len).expect("it fits");
            self.0 = self.0.get(len..).ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok(())
        }
    }

    fn read(bytes: &[u8]) -> Result<Vec<(TarEntry, Vec<u8>)>, String> {
        members_of(bytes).map_err(|problem| match problem {
            TarProblem::Bad(why) => why,
            TarProblem::Io(error) => error.to_string(),
        })
    }

    fn members_of(bytes: &[u8]) -> Result<Vec<(TarEntry, Vec<u8>)>, TarProblem> {
        let mut input = Bytes(bytes);
        let mut members = Members::new(&mut input);
        let mut found = Vec::new();
        while let Some(entry) = members.next()? {
            let mut content = Vec::new();
            members.read_to_end(&mut content)?;
            found.push((entry, content));
        }
        Ok(found)
    }

    /// Returns an archive written by the `tar` crate.
    fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o640);
            header.set_mtime(1_700_000_000);
            builder
                .append_data(&mut header, path, *content)
                .expect("it is appended");
        }
        builder.into_inner().expect("it ends")
    }

    #[test]
    fn reads_names_of_every_length_and_their_content() {
        let long = format!("a/{}/b", "x".repeat(200));
        let files: [(&str, &[u8]); 3] = [
            ("index.json", b"{}"),
            (&long, &[7; 513]),
            ("./blobs//sha256/", b""),
        ];
        let bytes = packed(&files[..2]);
        let found = read(&bytes).expect("it is read");
        assert_eq!(found.len(), 2);
        for ((entry, content), (path, want)) in found.iter().zip(files) {
            assert_eq!(entry.path, path.as_bytes());
            assert_eq!(content, want);
            assert_eq!(entry.modified, 1_700_000_000_000_000_000);
        }
        // The name of the second one is in two blocks before its header.
        assert_eq!(found[0].0.end(), found[1].0.start);
        assert_eq!(found[1].0.header - found[1].0.start, 1024);
    }

    #[test]
    fn an_archive_that_is_truncated_anywhere_is_refused() {
        let bytes = packed(&[("index.json", b"{}"), ("blobs/sha256/a", &[7; 1000])]);
        let len = bytes.len();
        let whole = read(&bytes).expect("it is read");
        for end in 0..len {
            match read(&bytes[..end]) {
                // One block of zeros is enough to recognise the end.
                Ok(found) => assert!(end == len - 512 && found == whole, "{end}"),
                Err(why) => assert!(
                    why.contains("truncated") || end == 0 && why == "it is empty",
                    "{end}: {why}"
                ),
            }
        }
    }

    #[test]
    fn an_edited_header_has_the_new_values() {
        let bytes = packed(&[("index.json", b"{}")]);
        let header: &[u8; 512] = bytes[..512].try_into().expect("a block");
        for len in [0, 7, 8_589_934_591, 8_589_934_592, 1 << 40] {
            let block = edited_header(header, len, None);
            HeaderBlock(&block).check(0).expect("its checksum is right");
            assert_eq!(HeaderBlock(&block).number(124, 12, "size").ok(), Some(len));
            let mut same = block;
            put(&mut same, 124, 12, header.get(124..136).expect("a size"));
            put(&mut same, 148, 8, header.get(148..156).expect("a sum"));
            assert_eq!(same, *header, "nothing else changed");
        }
        let path = format!("{}/blobs/sha512/{}", "p".repeat(90), "a".repeat(128));
        let mut new = path_header(header, path.as_bytes());
        new.extend_from_slice(&edited_header(header, 2, Some(b"short")));
        new.extend_from_slice(&bytes[512..]);
        let found = read(&new).expect("it is read");
        assert_eq!(found[0].0.path, path.as_bytes());
        assert_eq!(found[0].1, b"{}");
        // Another reader can parse it as well.
        let mut other = tar::Archive::new(&new[..]);
        let entry = other.entries().expect("entries").next();
        let entry = entry.expect("there is one").expect("it is read");
        assert_eq!(entry.path().expect("a path").to_str(), Some(&*path));
    }

    #[test]
    fn ambiguous_archives_are_refused() {
        let one = |edit: &dyn Fn(&mut tar::Header)| {
            let mut header = tar::Header::new_ustar();
            header.set_path("a").expect("a path");
            header.set_size(0);
            edit(&mut header);
            header.set_cksum();
            let mut bytes = header.as_bytes().to_vec();
            bytes.resize(bytes.len() + 2048, 0);
            read(&bytes).err()
        };
        let name = |header: &mut tar::Header, name: &[u8]| {
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
        };
        type Case<'a> = (&'a str, &'a dyn Fn(&mut tar::Header));
        let cases: &[Case<'_>] = &[
            ("absolute path", &|header| name(header, b"/etc/passwd")),
            ("`..`", &|header| name(header, b"a/../../b")),
            ("has no name", &|header| name(header, b".")),
            ("impossible", &|header| {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(512);
            }),
            ("impossible", &|header| {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(512);
            }),
            ("truncated", &|header| header.set_size(1 << 20)),
            ("truncated", &|header| header.set_size(u64::MAX >> 2)),
            ("no valid size", &|header| {
                header
                    .as_old_mut()
                    .size
                    .copy_from_slice(b"0000009\0\0\0\0\0");
            }),
            ("sparse", &|header| {
                header.set_entry_type(tar::EntryType::GNUSparse);
            }),
            ("unknown type", &|header| {
                header.set_entry_type(tar::EntryType::new(b'M'));
            }),
        ];
        for (want, edit) in cases {
            let why = one(edit).unwrap_or_default();
            assert!(why.contains(want), "{want}: {why}");
        }
        assert_eq!(one(&|_| {}), None);
    }

    #[test]
    fn times_have_fractions() {
        for (text, want) in [
            ("1350244992.023960108", Some(1_350_244_992_023_960_108)),
            ("7", Some(7_000_000_000)),
            ("-7.5", Some(-7_500_000_000)),
            ("7.5x", None),
            ("", None),
        ] {
            assert_eq!(time_of(text.as_bytes()), want, "{text}");
        }
    }
}
