//! The names of this program's own temporary files.

use crate::oci::{Algorithm, Digest};

/// What names of temporary files of this program begin with.
pub(crate) const OWN_PREFIX: &str = ".ocisweep-";

/// Returns `true` if the name is one of this program's own temporary files.
#[must_use]
pub(crate) fn is_own(name: &str) -> bool {
    name.strip_prefix(OWN_PREFIX).is_some_and(is_letters) || SwapName::parse(name).is_some()
}

fn is_letters(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The name of a temporary file while it changes places with a file of the layout:
/// `.ocisweep-swap-<random>-<old>-<new>-<name>`.
///
/// After the exchange the file bears the temporary name that had been in place, and that is another one than the
/// expected one if another program has just renamed its own there. A run that is killed before it has compared them
/// leaves it so. The name says which bytes are of no use to anybody, the old ones and those of this program, so that a
/// later run can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SwapName<'a> {
    old: &'a str,
    new: &'a str,
    /// The name of the file in the layout.
    pub(crate) name: &'a str,
}

impl<'a> SwapName<'a> {
    const PREFIX: &'static str = ".ocisweep-swap-";

    /// How many digits of a digest the name has.
    const MARK: usize = 32;

    /// The longest name that fits in. File systems take 255 bytes.
    const MAX_NAME: usize = 150;

    /// Makes a name from six random letters. `None`: that of the file is too long.
    pub(crate) fn make(letters: &str, old: &[u8], new: &[u8], name: &str) -> Option<String> {
        let (old, new) = (Self::mark(old), Self::mark(new));
        (name.len() <= Self::MAX_NAME)
            .then(|| format!("{}{letters}-{old}-{new}-{name}", Self::PREFIX))
    }

    /// Parses a name.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let is_mark = |text: &str| text.len() == Self::MARK && text.bytes().all(is_hex);
        let mut parts = name.strip_prefix(Self::PREFIX)?.splitn(4, '-');
        let letters = parts.next()?;
        let (old, new, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_one = is_letters(letters) && is_mark(old) && is_mark(new) && !name.is_empty();
        is_one.then_some(Self { old, new, name })
    }

    fn mark(bytes: &[u8]) -> String {
        let mut digest = Digest::of(Algorithm::Sha256, bytes).encoded().to_owned();
        digest.truncate(Self::MARK);
        digest
    }

    /// Returns `true` if these are the bytes that this program has written.
    pub(crate) fn is_new(&self, bytes: &[u8]) -> bool {
        Self::mark(bytes) == self.new
    }

    /// Returns `true` if nobody needs these bytes: they were replaced, or this program wrote them.
    pub(crate) fn is_expendable(&self, bytes: &[u8]) -> bool {
        let mark = Self::mark(bytes);
        // A removal begins with an empty file.
        bytes.is_empty() || mark == self.old || mark == self.new
    }
}

const fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_exchange_tells_which_bytes_nobody_needs() {
        let name = SwapName::make("aB3dE6", b"old", b"new", "a-b.json").expect("it fits in");
        assert!(is_own(&name));
        let swap = SwapName::parse(&name).expect("it is one");
        assert_eq!(swap.name, "a-b.json");
        for (bytes, is_expendable, is_new) in [
            (&b""[..], true, false),
            (b"old", true, false),
            (b"new", true, true),
            (b"old ", false, false),
            (b"X", false, false),
        ] {
            assert_eq!(swap.is_expendable(bytes), is_expendable, "{bytes:?}");
            assert_eq!(swap.is_new(bytes), is_new, "{bytes:?}");
        }
        let long = "x".repeat(200);
        assert_eq!(SwapName::make("aB3dE6", b"old", b"new", &long), None);
        for other in [&name[1..], &name[..name.len() - 9], ".ocisweep-aB3dE6"] {
            assert_eq!(SwapName::parse(other), None, "{other}");
        }
    }
}
