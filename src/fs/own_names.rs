//! The names of this program's own temporary files.

use crate::oci::digest::is_hex;
use crate::oci::{Algorithm, Digest};

/// The prefix of the temporary files of this program.
pub(crate) const OWN_PREFIX: &str = ".ocisweep-";

/// The prefix of scratch directories.
pub(super) const SCRATCH_PREFIX: &str = ".ocisweep-scratch-";

/// Returns `true` if the name is one of a scratch directory.
pub(super) fn is_scratch(name: &str) -> bool {
    name.strip_prefix(SCRATCH_PREFIX).is_some_and(is_letters)
}

/// Returns `true` if the name is one of this program's own temporary files.
#[must_use]
pub(crate) fn is_own(name: &str) -> bool {
    name.strip_prefix(OWN_PREFIX).is_some_and(is_letters) || SwapName::parse(name).is_some()
}

fn is_letters(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The name of a temporary file that is exchanged with a file of the layout: `.ocisweep-swap-<random>-<old>-<new>-<name>`.
///
/// After the exchange the file that was in place has the temporary name. It is not the expected file if another program has
/// renamed its own into place just before. If the run is killed before it has compared them, a later run recognises by the name which
/// bytes are expendable: the old ones and those of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SwapName<'a> {
    old: &'a str,
    new: &'a str,
    /// The name of the file in the layout.
    pub(crate) name: &'a str,
}

impl<'a> SwapName<'a> {
    const PREFIX: &'static str = ".ocisweep-swap-";

    /// The number of digits of each digest in the name.
    const MARK: usize = 32;

    /// The longest name that can be included. File systems accept 255 bytes.
    const MAX_NAME: usize = 150;

    /// Returns a name with six random letters; `None` if the name of the file is too long.
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
        let mut digest = Digest::of(Algorithm::Sha256, bytes).encoded();
        digest.truncate(Self::MARK);
        digest
    }

    /// Returns `true` if this program has written these bytes.
    pub(crate) fn is_new(&self, bytes: &[u8]) -> bool {
        Self::mark(bytes) == self.new
    }

    /// Returns `true` if these bytes are not needed: they were replaced, or this program has written them.
    pub(crate) fn is_expendable(&self, bytes: &[u8]) -> bool {
        let mark = Self::mark(bytes);
        // A removal starts with an empty file.
        bytes.is_empty() || mark == self.old || mark == self.new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_exchanged_file_identifies_expendable_bytes() {
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
