//! Values of `--platform` and the filter `platform=`: a platform, or one child by its digest.

use std::fmt;

use super::{Platform, PlatformError};
use crate::oci::{Algorithm, Digest};

/// The fewest hexadecimal digits that abbreviate a digest, as for image IDs.
const MIN_DIGITS: usize = 3;

/// A value of `--platform`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlatformSelector {
    /// Every child that this platform selects.
    Platform(Platform),
    /// The child whose digest begins with this: `sha256:` and hexadecimal digits, or only digits. It selects one of two
    /// children with the same platform.
    Digest(String),
}

impl PlatformSelector {
    /// Parses a value. A platform takes precedence over a digest: `386` is an architecture.
    ///
    /// # Errors
    /// Those of [`Platform::parse_specifier`]; [`PlatformError::InvalidDigest`] for a string with a colon that is not the
    /// beginning of a digest.
    pub fn parse(text: &str, host: &Platform) -> Result<Self, PlatformError> {
        if let Some((algorithm, digits)) = text.split_once(':') {
            let is_digest = Digest::parse(text).is_ok()
                || (Algorithm::from_name(algorithm).is_some() && is_prefix(digits));
            return if is_digest {
                Ok(Self::Digest(text.to_owned()))
            } else {
                Err(PlatformError::InvalidDigest(text.to_owned()))
            };
        }
        match Platform::parse_specifier(text, host) {
            Ok(platform) => Ok(Self::Platform(platform)),
            Err(PlatformError::Unknown(_)) if is_prefix(text) => Ok(Self::Digest(text.to_owned())),
            Err(error) => Err(error),
        }
    }

    /// Parses a repeatable, comma-separated flag, in order.
    ///
    /// # Errors
    /// The first error of an item; an empty value or item is [`PlatformError::Empty`].
    pub fn parse_list(values: &[String], host: &Platform) -> Result<Vec<Self>, PlatformError> {
        values
            .iter()
            .flat_map(|value| value.split(','))
            .map(|item| Self::parse(item, host))
            .collect()
    }

    /// Returns `true` if this selects the manifest with that digest and that platform.
    #[must_use]
    pub fn selects(&self, digest: &Digest, platform: Option<&Platform>) -> bool {
        match self {
            Self::Platform(wanted) => {
                platform.is_some_and(|platform| platform.is_selected_by(wanted))
            }
            Self::Digest(text) if text.contains(':') => digest.to_string().starts_with(text),
            Self::Digest(digits) => digest.encoded().starts_with(digits),
        }
    }
}

/// Writes it as it is typed.
impl fmt::Display for PlatformSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform(platform) => platform.fmt(f),
            Self::Digest(text) => f.write_str(text),
        }
    }
}

fn is_prefix(text: &str) -> bool {
    text.len() >= MIN_DIGITS
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:386d1b74e0b0a2f5a7d3f6c0e1b2a3948576fedcba98765432100123456789ab";

    fn host() -> Platform {
        Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            ..Platform::default()
        }
    }

    fn parse(text: &str) -> Result<PlatformSelector, PlatformError> {
        PlatformSelector::parse(text, &host())
    }

    #[test]
    fn a_digest_or_its_prefix_is_accepted_as_a_platform() {
        let digest = Digest::parse(DIGEST).expect("a digest");
        for text in [DIGEST, "sha256:386", "386d", "386d1b74e0b0", &DIGEST[7..]] {
            let selector = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(matches!(selector, PlatformSelector::Digest(_)), "{text}");
            assert!(selector.selects(&digest, None), "{text}");
            assert_eq!(selector.to_string(), text);
        }
        for text in ["sha256:387", "sha512:386", "386e"] {
            let selector = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(!selector.selects(&digest, Some(&host())), "{text}");
        }
        // An architecture, although it looks like the prefix of a digest.
        let Ok(PlatformSelector::Platform(platform)) = parse("386") else {
            panic!("386 is an architecture");
        };
        assert_eq!(platform.to_string(), "linux/386");
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in ["sha256:", "sha256:38", "sha256:38G", "md5:", ":abc", "A:b"] {
            assert!(
                matches!(parse(text), Err(PlatformError::InvalidDigest(_))),
                "{text}: {:?}",
                parse(text)
            );
        }
        for text in ["ab", "foo", "abG", "abcx"] {
            assert!(
                matches!(parse(text), Err(PlatformError::Unknown(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn lists_are_split_at_commas_and_have_no_empty_items() {
        let list = |values: &[&str]| {
            let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
            PlatformSelector::parse_list(&values, &host()).map(|list| {
                list.iter()
                    .map(PlatformSelector::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(
            list(&["linux/amd64,linux/arm64", "386", "sha256:abc,fed"]),
            Ok("linux/amd64 linux/arm64 linux/386 sha256:abc fed".to_owned())
        );
        assert_eq!(list(&[]), Ok(String::new()));
        for values in [
            &[""][..],
            &["a/b,"],
            &[",a/b"],
            &["a/b,,c/d"],
            &["a/b", ""],
            &[","],
        ] {
            assert_eq!(list(values), Err(PlatformError::Empty), "{values:?}");
        }
        assert!(list(&["linux/amd64, linux/arm64"]).is_err());
    }
}
