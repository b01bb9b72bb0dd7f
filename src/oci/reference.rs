//! Names of images: docker's reference grammar, its defaults, and its short form.
//!
//! *Promises*: [`Reference::parse_normalized`] accepts what `distribution/reference` accepts, gives the same result, and refuses
//! the rest with the same messages, because users know both. It is written by hand: the grammar is small, and a regular
//! expression engine is not.
//!
//! ```text
//! reference  = [ domain "/" ] path [ ":" tag ] [ "@" digest ]
//! domain     = ( label { "." label } | "[" IPv6 "]" ) [ ":" port ]
//! path       = component { "/" component }          at most 255 bytes
//! component  = alnum { ( "." | "_" | "__" | "-" { "-" } ) alnum }     lower case
//! ```

use std::fmt;

use super::digest::{Algorithm, is_hex};

/// The registry of names without one.
const DEFAULT_DOMAIN: &str = "docker.io";
/// An older name of that registry.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// The namespace of names that have a single component.
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// The longest path in bytes, without the domain (distribution/reference since 0.6).
const MAX_PATH_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;
/// The fewest hexadecimal digits of a digest in a reference.
const MIN_DIGEST_DIGITS: usize = 32;
/// The digits of a longer digest that the referrers tag of the distribution-spec keeps.
const FALLBACK_TAG_DIGITS: usize = 64;

/// Why a string is not a reference, in docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The string does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The path has upper-case letters.
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    UpperCase {
        /// The path with its defaults, without tag.
        name: String,
    },
    /// The string would follow the grammar in lower case.
    #[error("repository name must be lowercase")]
    WouldBeLower,
    /// The path is longer than 255 bytes.
    #[error("repository name must not be more than {MAX_PATH_BYTES} characters")]
    TooLong,
    /// The string consists of 64 hexadecimal digits, like an image ID.
    #[error("invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")]
    Identifier {
        /// The string.
        text: String,
    },
    /// The digest is not in lower case.
    #[error("invalid checksum digest format")]
    DigestFormat,
    /// The digest has the wrong number of digits for its algorithm.
    #[error("invalid checksum digest length")]
    DigestLength,
    /// The algorithm is not sha256, sha384 or sha512.
    #[error("unsupported digest algorithm")]
    DigestAlgorithm,
}

/// A name with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// The registry, such as `docker.io` or `localhost:5000`.
    ///
    /// Empty in one odd case, as in docker: the first component of `a_b.c/x` looks like a domain, is not a valid one, and is a
    /// valid component of a path.
    pub domain: String,
    /// The repository on that registry, such as `library/alpine`.
    pub path: String,
    /// The tag, if one was given.
    pub tag: Option<String>,
    /// The digest as `algorithm:hex`, if one was given.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses a name as typed and adds docker's defaults: `alpine:3` is `docker.io/library/alpine:3`.
    ///
    /// The first component is a domain if it has a `.` or `:`, is `localhost`, or has an upper-case letter
    /// (`ParseNormalizedNamed`). No tag is added; see [`Self::with_default_tag`].
    ///
    /// ```
    /// use ocisweep::oci::reference::Reference;
    ///
    /// let reference = Reference::parse_normalized("alpine:3")?;
    /// assert_eq!(reference.canonical(), "docker.io/library/alpine:3");
    /// assert_eq!(reference.familiar(), "alpine:3");
    /// # Ok::<(), ocisweep::oci::reference::ReferenceError>(())
    /// ```
    ///
    /// # Errors
    /// [`ReferenceError`] where docker has an error, with the same message.
    pub fn parse_normalized(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && is_lower_hex(text) {
            return Err(ReferenceError::Identifier {
                text: text.to_owned(),
            });
        }
        let (domain, remainder) = split_domain(text);
        let name = remainder.split(':').next().unwrap_or_default();
        if name.to_lowercase() != name {
            return Err(ReferenceError::UpperCase {
                name: name.to_owned(),
            });
        }
        let full = format!("{domain}/{remainder}");
        let Some(reference) = split_full(&full) else {
            // Any other upper case is in a tag or domain, where it is allowed, or is not ASCII.
            let lower = full.to_lowercase();
            return Err(if lower != full && split_full(&lower).is_some() {
                ReferenceError::WouldBeLower
            } else {
                ReferenceError::Format
            });
        };
        if reference.path.len() > MAX_PATH_BYTES {
            return Err(ReferenceError::TooLong);
        }
        if let Some(digest) = &reference.digest {
            check_digest(digest)?;
        }
        Ok(reference)
    }

    /// Adds the tag `latest` if the reference has neither tag nor digest (`TagNameOnly`).
    #[must_use]
    pub fn with_default_tag(self) -> Self {
        if self.tag.is_some() || self.digest.is_some() {
            return self;
        }
        Self {
            tag: Some(DEFAULT_TAG.to_owned()),
            ..self
        }
    }

    /// Removes the digest of a pinned name.
    #[must_use]
    pub fn without_digest(self) -> Self {
        Self {
            digest: None,
            ..self
        }
    }

    /// Returns the reference as docker prints it: `alpine:3` (`FamiliarString`).
    #[must_use]
    pub fn familiar(&self) -> String {
        self.complete(self.familiar_name())
    }

    /// Returns the name as docker prints it, without tag and digest: `alpine`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.canonical_name();
        }
        // `docker.io/library/a/b` keeps its namespace: only names with one component are official.
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(official) if !official.contains('/') => official.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// Returns the reference with domain and namespace: `docker.io/library/alpine:3`.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.complete(self.canonical_name())
    }

    /// Returns the name with domain and namespace, without tag and digest: `docker.io/library/alpine`.
    #[must_use]
    pub fn canonical_name(&self) -> String {
        if self.domain.is_empty() {
            self.path.clone()
        } else {
            format!("{}/{}", self.domain, self.path)
        }
    }

    fn complete(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest);
        }
        name
    }
}

/// Writes the canonical form.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

/// Returns a name with docker's defaults; a string that is not a reference is returned unchanged.
pub(crate) fn canonical(text: &str) -> String {
    Reference::parse_normalized(text).map_or_else(
        |_| text.to_owned(),
        |reference| reference.with_default_tag().canonical(),
    )
}

/// Splits a name into domain and rest, and adds docker's defaults.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, rest) = match text.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        // `localhost:5000` without a path is a repository with a tag.
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        (domain, format!("{OFFICIAL_PREFIX}{rest}"))
    } else {
        (domain, rest.to_owned())
    }
}

/// Splits a name with a domain into its parts; `None` if it does not follow the grammar.
///
/// No part has an `@`, a tag has neither `:` nor `/`, and a path has no `:`, so each separator can be found independently.
fn split_full(text: &str) -> Option<Reference> {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) if is_digest(digest) => (text, Some(digest.to_owned())),
        Some(_) => return None,
        None => (text, None),
    };
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match text.get(last..)?.split_once(':') {
        Some((component, tag)) if is_tag(tag) => {
            (text.get(..last + component.len())?, Some(tag.to_owned()))
        }
        Some(_) => return None,
        None => (text, None),
    };
    let (domain, path) = match name.split_once('/') {
        Some((domain, path)) if is_domain(domain) => (domain, path),
        _ => ("", name),
    };
    if !path.split('/').all(is_component) {
        return None;
    }
    Some(Reference {
        domain: domain.to_owned(),
        path: path.to_owned(),
        tag,
        digest,
    })
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rfind(']') {
        // Colons within the brackets belong to the address.
        Some(bracket) => text.split_at(bracket + 1),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let host_fits = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }
        None => host.split('.').all(is_label),
    };
    let is_number = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    host_fits && (port.is_empty() || port.strip_prefix(':').is_some_and(is_number))
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Returns `true` if `text` consists of lower-case words joined by `.`, `_`, `__` or any number of dashes.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(is_word) || !text.ends_with(is_word) {
        return false;
    }
    text.split(is_word)
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    text.len() <= MAX_TAG_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Returns `true` if `text` has the form of a digest in a reference; [`check_digest`] is stricter.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part)
        && hex.len() >= MIN_DIGEST_DIGITS
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Checks a digest of the right form like go-digest.
fn check_digest(digest: &str) -> Result<(), ReferenceError> {
    let (algorithm, hex) = digest.split_once(':').ok_or(ReferenceError::DigestFormat)?;
    match hex_digits(algorithm) {
        None if algorithm.bytes().any(|b| b.is_ascii_uppercase()) => {
            Err(ReferenceError::DigestFormat)
        }
        None => Err(ReferenceError::DigestAlgorithm),
        Some(digits) if hex.len() != digits => Err(ReferenceError::DigestLength),
        Some(_) if !is_lower_hex(hex) => Err(ReferenceError::DigestFormat),
        Some(_) => Ok(()),
    }
}

/// Returns the number of hexadecimal digits of a digest of a known algorithm.
fn hex_digits(algorithm: &str) -> Option<usize> {
    Algorithm::from_name(algorithm).map(Algorithm::hex_len)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(is_hex)
}

/// The relation of a digest tag to the image whose digest it contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DigestTagKind {
    /// `sha256-<hex>`: the referrers of the image, as in the fallback of the distribution-spec.
    Fallback,
    /// `sha256-<hex>.sig`: cosign's signatures.
    Signature,
    /// `sha256-<hex>.att`: cosign's attestations.
    Attestation,
    /// `sha256-<hex>.sbom`: cosign's software bill of materials.
    Sbom,
    /// Any other suffix, such as regclient's `.<short>.meta`.
    Other,
}

/// A tag that contains the digest of another image and belongs to that image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DigestTag<'a> {
    /// The algorithm, such as `sha256`.
    pub algorithm: &'a str,
    /// The digest in lower-case hexadecimal, or its first 64 digits; see [`Self::refers_to`].
    pub hex: &'a str,
    /// The relation to the image.
    pub kind: DigestTagKind,
}

impl DigestTag<'_> {
    /// Returns `true` if this tag belongs to the image with `digest` (`algorithm:hex`).
    ///
    /// A tag has at most 128 characters, so the distribution-spec keeps only the first 64 digits of a longer digest.
    #[must_use]
    pub fn refers_to(&self, digest: &str) -> bool {
        digest.split_once(':').is_some_and(|(algorithm, hex)| {
            algorithm == self.algorithm
                && (hex == self.hex || (self.is_cut() && hex.starts_with(self.hex)))
        })
    }

    /// Returns `true` if the tag may contain only the beginning of the digest. For an unknown algorithm that is always
    /// possible.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.hex.len() == FALLBACK_TAG_DIGITS
            && hex_digits(self.algorithm).is_none_or(|digits| self.hex.len() < digits)
    }

    /// Returns `true` if this crate can verify digests of the algorithm. A tag of another algorithm is a digest tag only if a
    /// digest that it belongs to is known.
    #[must_use]
    pub fn has_known_algorithm(&self) -> bool {
        hex_digits(self.algorithm).is_some()
    }
}

/// Parses a bare tag (the part of `ghcr.io/acme/app:sha256-….sig` after the colon); `None` if it does not have the form of a digest
/// tag.
#[must_use]
pub fn digest_tag(tag: &str) -> Option<DigestTag<'_>> {
    let (algorithm, rest) = tag.split_once('-')?;
    let end = rest.find(['.', '-', '_']).unwrap_or(rest.len());
    let (hex, suffix) = rest.split_at_checked(end)?;
    let kind = match suffix {
        "" => DigestTagKind::Fallback,
        ".sig" => DigestTagKind::Signature,
        ".att" => DigestTagKind::Attestation,
        ".sbom" => DigestTagKind::Sbom,
        "." | "-" | "_" => return None,
        _ => DigestTagKind::Other,
    };
    let has_length = match hex_digits(algorithm) {
        Some(digits) => hex.len() == digits || hex.len() == FALLBACK_TAG_DIGITS.min(digits),
        None => hex.len() >= MIN_DIGEST_DIGITS && is_component(algorithm),
    };
    (has_length && is_lower_hex(hex)).then_some(DigestTag {
        algorithm,
        hex,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{cell, rows};

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// Compares a result with a row: the canonical form in cell 1, or `!` and the error in cell 2.
    fn assert_parses(row: &[String]) -> Option<Reference> {
        let text = cell(row, 0);
        let ours = Reference::parse_normalized(text);
        let found = ours.as_ref().map(Reference::canonical);
        let found = found.map_err(ToString::to_string);
        let wanted = match cell(row, 1) {
            "!" => Err(cell(row, 2).to_owned()),
            canonical => Ok(canonical.to_owned()),
        };
        assert_eq!(found, wanted, "{text:?}");
        ours.ok()
    }

    #[test]
    fn agrees_with_distribution_reference() {
        let newer = rows("reference-docker.tsv");
        for row in rows("reference.tsv") {
            let text = cell(&row, 0);
            if newer.iter().any(|newer| cell(newer, 0) == text) {
                continue;
            }
            // The package counts the domain, docker no longer does.
            if cell(&row, 2).contains("must not be more than")
                && text.len() < 270
                && !text.contains(&"b".repeat(256))
            {
                assert!(Reference::parse_normalized(text).is_ok(), "{text:?}");
                continue;
            }
            let Some(ours) = assert_parses(&row) else {
                continue;
            };
            assert_eq!(ours.familiar(), cell(&row, 2), "{text:?}");
            assert_eq!(ours.familiar_name(), cell(&row, 3), "{text:?}");
            assert_eq!(ours.canonical_name(), cell(&row, 4), "{text:?}");
            let tagged = ours.with_default_tag();
            assert_eq!(tagged.canonical(), cell(&row, 5), "{text:?}");
        }
    }

    #[test]
    fn agrees_with_docker() {
        for row in rows("reference-docker.tsv") {
            if let Some(ours) = assert_parses(&row) {
                assert_eq!(ours.to_string(), cell(&row, 1));
                assert_eq!(ours.familiar(), cell(&row, 3), "{ours}");
                let tagged = ours.with_default_tag();
                assert_eq!(tagged.canonical(), cell(&row, 2), "{tagged}");
            }
        }
    }

    #[test]
    fn domains_are_recognised() {
        let cases = [
            ("[::1]/x", Some("[::1]")),
            ("[::1]:5000/x:y", Some("[::1]:5000")),
            ("[2001:DB8::1]:5000/x", Some("[2001:DB8::1]:5000")),
            ("[]/x", None),
            ("[:/x", None),
            ("[::1]:/x", None),
            ("[::1]5000/x", None),
            ("[::1%eth0]/x", None),
            ("[::1]]/x", None),
            ("[[::1]]/x", None),
            ("x[::1]/x", None),
            ("UP/x", Some("UP")),
            ("Foo.com:80/x", Some("Foo.com:80")),
            ("Ab_c/x", None),
            ("É/x", None),
            ("a.b.c:1/x", Some("a.b.c:1")),
            ("a:1:2/x", None),
            ("a_b.c/x", Some("")),
            ("localhost/x", Some("localhost")),
            ("LOCALHOST/x", Some("LOCALHOST")),
            ("localhostx/x", Some("docker.io")),
            ("Index.docker.io/x", Some("Index.docker.io")),
        ];
        for (text, domain) in cases {
            let ours = Reference::parse_normalized(text)
                .ok()
                .map(|reference| reference.domain);
            assert_eq!(ours.as_deref(), domain, "{text}");
        }
    }

    #[test]
    fn the_part_in_upper_case_is_reported() {
        let cases = [
            ("Alpine", "library/Alpine"),
            ("alpinE:3", "library/alpinE"),
            ("foo/Bar", "foo/Bar"),
            ("Foo/Bar", "Bar"),
            ("localhost:5000/Bar:x", "Bar"),
            ("foo@SHA256:00", "library/foo@SHA256"),
            ("Éa", "library/Éa"),
            ("<None>", "library/<None>"),
        ];
        for (text, name) in cases {
            let wanted = ReferenceError::UpperCase {
                name: name.to_owned(),
            };
            assert_eq!(Reference::parse_normalized(text), Err(wanted), "{text}");
        }
    }

    #[test]
    fn the_path_may_have_255_bytes_and_the_domain_does_not_count() {
        let path = "a".repeat(255);
        let domain = "d".repeat(200) + ".example";
        assert!(Reference::parse_normalized(&format!("{domain}/{path}:tag")).is_ok());
        let longer = Reference::parse_normalized(&format!("{domain}/{path}a"));
        assert_eq!(longer, Err(ReferenceError::TooLong));
        // The added namespace counts.
        assert!(Reference::parse_normalized(&"a".repeat(247)).is_ok());
        assert_eq!(
            Reference::parse_normalized(&"a".repeat(248)),
            Err(ReferenceError::TooLong)
        );
    }

    #[test]
    fn the_canonical_form_parses_to_the_same_reference() {
        for row in rows("reference.tsv") {
            if let Ok(reference) = Reference::parse_normalized(cell(&row, 0)) {
                assert_eq!(
                    Reference::parse_normalized(&reference.canonical()),
                    Ok(reference),
                    "{:?}",
                    cell(&row, 0)
                );
            }
        }
    }

    #[test]
    fn digest_tags_are_recognised() {
        use DigestTagKind::{Attestation, Fallback, Other, Sbom, Signature};
        let long = &format!("{HEX}{HEX}");
        let middle = &format!("{HEX}{}", &HEX[..32]);
        let cases = [
            ("sha256", HEX, "", Fallback),
            ("sha256", HEX, ".sig", Signature),
            ("sha256", HEX, ".att", Attestation),
            ("sha256", HEX, ".sbom", Sbom),
            ("sha512", long, "", Fallback),
            ("sha512", long, ".sig", Signature),
            ("sha384", middle, ".sbom", Sbom),
            ("sha512", HEX, "", Fallback),
            ("sha512", HEX, ".sig", Signature),
            ("sha256", HEX, ".SIG", Other),
            ("sha256", HEX, ".0123456789ab.meta", Other),
            ("blake3", HEX, ".sig", Signature),
            ("sha256", HEX, "-attestation", Other),
            ("sha512", HEX, "_sbom.spdx", Other),
        ];
        for (algorithm, hex, suffix, kind) in cases {
            let tag = format!("{algorithm}-{hex}{suffix}");
            let wanted = DigestTag {
                algorithm,
                hex,
                kind,
            };
            assert_eq!(digest_tag(&tag), Some(wanted), "{tag}");
        }
        let others = [
            format!("sha256-{long}"),
            format!("sha256-{HEX}."),
            format!("sha256-{HEX}-"),
            format!("sha256:{HEX}"),
            format!("sha256-{}", HEX.to_uppercase()),
            format!("sha256-{}", &HEX[1..]),
            format!("sha256-{HEX}0"),
            format!("SHA256-{HEX}"),
            format!("sha1-{}", &HEX[..31]),
            format!("sha256-{}g", &HEX[1..]),
            format!(" sha256-{HEX}"),
            format!("repo:sha256-{HEX}"),
            format!("sha256--{HEX}"),
            "sha256-".to_owned(),
            "-".to_owned(),
            String::new(),
            "latest".to_owned(),
            format!("sha256-{}", "é".repeat(32)),
        ];
        for tag in others {
            assert_eq!(digest_tag(&tag), None, "{tag}");
        }
    }

    #[test]
    fn a_shortened_digest_tag_belongs_to_every_digest_with_that_prefix() {
        let tag = format!("sha512-{HEX}");
        let tag = digest_tag(&tag).expect("a digest tag");
        assert!(tag.is_cut());
        assert!(tag.refers_to(&format!("sha512:{HEX}{HEX}")));
        assert!(!tag.refers_to(&format!("sha256:{HEX}")));
        let tag = format!("sha256-{HEX}");
        let tag = digest_tag(&tag).expect("a digest tag");
        assert!(!tag.is_cut());
        assert!(tag.refers_to(&format!("sha256:{HEX}")));
        assert!(!tag.refers_to(&format!("sha256:{HEX}0")));
        assert!(!tag.refers_to(HEX));
    }
}
