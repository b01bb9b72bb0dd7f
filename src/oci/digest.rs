//! Digests, and the only names under which a blob file can be deleted.
//!
//! The grammar is that of image-spec `descriptor.md`: `algorithm ":" encoded`. For the three algorithms whose blobs this crate can
//! verify (sha256, sha384, sha512) the encoded part must be lower-case hex of the exact length, as the specification requires.
//! Digests of other algorithms are followed when something references them, and their blobs are never deleted.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// An algorithm whose blobs can be verified and, if unreferenced, deleted.
///
/// sha256 and sha512 are registered in image-spec `descriptor.md`; sha384 is accepted by every Go
/// reader through `opencontainers/go-digest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 64 hex digits.
    Sha256,
    /// SHA-384, 96 hex digits.
    Sha384,
    /// SHA-512, 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// Every algorithm whose blobs are swept, in the order in which directories are listed.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Returns the name, which is also the directory below `blobs/`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the length of the encoded part in hex digits.
    #[must_use]
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    /// Returns the algorithm of that name, if it is one of [`Algorithm::ALL`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// A digest as descriptors write it: 40 bytes, without allocation for sha256.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// `sha256:…`.
    Sha256([u8; 32]),
    /// `sha384:…`.
    Sha384(Box<[u8; 48]>),
    /// `sha512:…`.
    Sha512(Box<[u8; 64]>),
    /// Another algorithm, as written. Valid by the grammar, but not verifiable.
    Other(Box<str>),
}

/// Why a string is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// The string does not follow `algorithm ":" encoded`.
    #[error("not a digest")]
    Grammar,
    /// The algorithm is known and the encoded part is not lower-case hex of its length.
    #[error("not {} lower-case hex digits after `{}:`", .0.hex_len(), .0.name())]
    Encoded(Algorithm),
}

/// The longest digest that is accepted, in bytes. The specification sets no limit; a file name cannot be longer than 255 bytes
/// on any Linux file system.
const MAX_TEXT_BYTES: usize = 512;

impl Digest {
    /// Parses the `digest` of a descriptor (image-spec `descriptor.md`, "Digests").
    ///
    /// # Errors
    /// [`DigestError`] for anything that is not a digest; such a string never becomes a path.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(DigestError::Grammar);
        }
        let (name, encoded) = text.split_once(':').ok_or(DigestError::Grammar)?;
        if let Some(algorithm) = Algorithm::from_name(name) {
            return Self::from_hex(algorithm, encoded.as_bytes())
                .ok_or(DigestError::Encoded(algorithm));
        }
        if is_algorithm(name) && is_encoded(encoded) {
            Ok(Self::Other(text.into()))
        } else {
            Err(DigestError::Grammar)
        }
    }

    /// Returns the digest whose encoded part is `hex`, if it is lower-case hex of the right length.
    ///
    /// File names in `blobs/<algorithm>/` become digests by this; any other file there is foreign.
    #[must_use]
    pub fn from_hex(algorithm: Algorithm, hex: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Sha256 => decode(hex).map(Self::Sha256),
            Algorithm::Sha384 => decode(hex).map(|bytes| Self::Sha384(Box::new(bytes))),
            Algorithm::Sha512 => decode(hex).map(|bytes| Self::Sha512(Box::new(bytes))),
        }
    }

    /// Computes the digest of `bytes`.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the algorithm, or `None` for one that cannot be verified.
    #[must_use]
    pub const fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Sha256(_) => Some(Algorithm::Sha256),
            Self::Sha384(_) => Some(Algorithm::Sha384),
            Self::Sha512(_) => Some(Algorithm::Sha512),
            Self::Other(_) => None,
        }
    }

    /// Returns the raw bytes of a known algorithm; empty for an unknown one.
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha384(bytes) => bytes.as_slice(),
            Self::Sha512(bytes) => bytes.as_slice(),
            Self::Other(_) => &[],
        }
    }

    /// Returns the directory below `blobs/` and the file name of the blob.
    #[must_use]
    pub fn blob_name(&self) -> BlobName {
        BlobName {
            directory: self.algorithm_name().into(),
            file: self.encoded().into(),
        }
    }

    /// Returns the path of the blob in a layout: `blobs/<algorithm>/<encoded>`.
    #[must_use]
    pub fn path_in_layout(&self) -> String {
        format!("blobs/{}", self.blob_name().path())
    }

    /// Returns the name of the algorithm, even of one that cannot be verified.
    #[must_use]
    pub fn algorithm_name(&self) -> &str {
        match self {
            Self::Other(text) => text.split_once(':').map_or("", |(name, _)| name),
            Self::Sha256(_) => Algorithm::Sha256.name(),
            Self::Sha384(_) => Algorithm::Sha384.name(),
            Self::Sha512(_) => Algorithm::Sha512.name(),
        }
    }

    /// Returns the encoded part: hex digits, or for an unknown algorithm the string as written.
    #[must_use]
    pub fn encoded(&self) -> String {
        if let Self::Other(text) = self {
            return text.split_once(':').map_or("", |(_, rest)| rest).to_owned();
        }
        self.deletable_name()
            .map_or_else(String::new, |name| name.file().to_owned())
    }

    /// Returns the short form of an image ID: the first 12 characters of the encoded part.
    #[must_use]
    pub fn short(&self) -> String {
        self.encoded().chars().take(12).collect()
    }

    /// Returns `true` if `bytes` have this digest; `None` if the algorithm is unknown.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> Option<bool> {
        self.algorithm()
            .map(|algorithm| Self::of(algorithm, bytes) == *self)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm_name(), self.encoded())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The place of a blob below `blobs/`: one directory and one file name, both safe as path components.
///
/// It can only be made from a [`Digest`], so that a string from a document never becomes a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobName {
    directory: Box<str>,
    file: Box<str>,
}

impl BlobName {
    /// Returns the directory below `blobs/`.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Returns the file name in that directory.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the path below `blobs/`, or below a shared store.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory, self.file)
    }
}

/// The name under which a blob can be deleted: one of the swept algorithms and its hex digits.
///
/// It is on the stack, since a sweep needs hundreds of thousands of them. It can only be made from a [`Digest`], so that nothing
/// else is ever unlinked as a blob.
#[derive(Debug, Clone)]
pub struct DeletableName {
    algorithm: Algorithm,
    hex: [u8; 128],
}

impl DeletableName {
    /// Returns the algorithm, whose name is the directory below `blobs/`.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the file name.
    #[must_use]
    pub fn file(&self) -> &str {
        self.hex
            .get(..self.algorithm.hex_len())
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .unwrap_or_default()
    }
}

impl Digest {
    /// Returns the name under which the blob can be deleted; `None` for an algorithm that is not swept.
    #[must_use]
    pub fn deletable_name(&self) -> Option<DeletableName> {
        let algorithm = self.algorithm()?;
        let mut hex = [0; 128];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.bytes()) {
            if let [high, low] = pair {
                *high = hex_digit(byte >> 4);
                *low = hex_digit(byte & 15);
            }
        }
        Some(DeletableName { algorithm, hex })
    }
}

/// A running hash of one of the known algorithms.
#[derive(Debug, Clone)]
pub struct Hasher(HashState);

#[derive(Debug, Clone)]
enum HashState {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// Returns the hash of no bytes.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => HashState::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => HashState::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => HashState::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            HashState::Sha256(state) => state.update(bytes),
            HashState::Sha384(state) => state.update(bytes),
            HashState::Sha512(state) => state.update(bytes),
        }
    }

    /// Returns the digest of the added bytes.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            HashState::Sha256(state) => Digest::Sha256(state.finalize().into()),
            HashState::Sha384(state) => Digest::Sha384(Box::new(state.finalize().into())),
            HashState::Sha512(state) => Digest::Sha512(Box::new(state.finalize().into())),
        }
    }
}

/// `algorithm-component [algorithm-separator algorithm-component]*` of `descriptor.md`.
fn is_algorithm(name: &str) -> bool {
    name.split(['+', '.', '_', '-']).all(|component| {
        !component.is_empty()
            && component
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// `encoded ::= [a-zA-Z0-9=_-]+`: no dot and no slash, so that it is always a single safe file name.
fn is_encoded(encoded: &str) -> bool {
    !encoded.is_empty()
        && encoded
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-'))
}

fn decode<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    if hex.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    // Checked once after all digits: a listing decodes millions.
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let (high, low) = (nibble(*high), nibble(*low));
        wrong |= high | low;
        *byte = (high << 4) | (low & 15);
    }
    (wrong & NO_DIGIT == 0).then_some(bytes)
}

/// The bits that mark a character that is not a digit.
const NO_DIGIT: u8 = 0xf0;

/// The value of each character as a digit.
///
/// Upper case is refused: `descriptor.md` requires lower case, and folding case would give one blob two names.
const NIBBLES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[hex_digit(value) as usize] = value;
        value += 1;
    }
    values
};

fn nibble(digit: u8) -> u8 {
    NIBBLES[usize::from(digit)]
}

/// Returns `true` for a hexadecimal digit of a digest, which is lower-case.
#[must_use]
pub const fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Returns the digit of a value below 16.
const fn hex_digit(value: u8) -> u8 {
    if value < 10 {
        b'0' + value
    } else {
        b'a' + value - 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_takes_forty_bytes() {
        assert_eq!(std::mem::size_of::<Digest>(), 40);
    }

    #[test]
    fn digests_of_the_grammar_are_parsed_and_printed() {
        let hex64 = "0123456789abcdef".repeat(4);
        let hex96 = "0123456789abcdef".repeat(6);
        let hex128 = "0123456789abcdef".repeat(8);
        for text in [
            format!("sha256:{hex64}"),
            format!("sha384:{hex96}"),
            format!("sha512:{hex128}"),
            "blake3:abcDEF_-=".to_owned(),
            "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8".to_owned(),
            "a.b_c-d+e:x".to_owned(),
        ] {
            let digest = Digest::parse(&text).expect("valid by descriptor.md");
            assert_eq!(digest.to_string(), text);
            let name = digest.blob_name();
            assert_eq!(format!("{}:{}", name.directory(), name.file()), text);
            let deletable = digest.deletable_name();
            assert_eq!(deletable.is_some(), digest.algorithm().is_some());
            if let Some(deletable) = deletable {
                assert_eq!(deletable.file(), name.file());
                assert_eq!(deletable.algorithm().name(), name.directory());
            }
        }
    }

    #[test]
    fn a_string_that_could_be_another_path_or_name_is_refused() {
        let hex = "0123456789abcdef".repeat(4);
        for text in [
            String::new(),
            ":".to_owned(),
            "sha256".to_owned(),
            "sha256:".to_owned(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("SHA256:{hex}"),
            format!(" sha256:{hex}"),
            format!("sha256:{hex}\n"),
            "sha256:../../etc/passwd".to_owned(),
            "../x:y".to_owned(),
            "..:..".to_owned(),
            "x:..".to_owned(),
            "x:a/b".to_owned(),
            "x:".to_owned(),
            "+x:y".to_owned(),
            "x+:y".to_owned(),
            "x\0:y".to_owned(),
            format!("x:{}", "y".repeat(600)),
        ] {
            assert!(Digest::parse(&text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn the_empty_string_has_its_published_digests() {
        let cases = [
            (
                Algorithm::Sha256,
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                Algorithm::Sha384,
                "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
            ),
            (
                Algorithm::Sha512,
                "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
            ),
        ];
        for (algorithm, hex) in cases {
            let digest = Digest::of(algorithm, b"");
            assert_eq!(digest.encoded(), hex, "{}", algorithm.name());
            assert_eq!(digest.matches(b""), Some(true));
            assert_eq!(digest.matches(b"x"), Some(false));
        }
        let other = Digest::parse("blake3:00").expect("valid");
        assert_eq!(other.matches(b""), None);
    }
}
