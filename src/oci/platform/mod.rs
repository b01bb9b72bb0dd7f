//! Platforms: specifiers that users type, values in documents, and comparisons.
//!
//! *Promises*: the grammar of specifiers and the normalisation are those of `containerd/platforms` as docker uses them. There
//! are two comparisons. [`Platform::matches_strict`] is containerd's: an image runs on a host. [`Platform::is_selected_by`] is
//! that of `--platform`: the parts of the specifier must be equal, and any other part matches. The first must not decide what is
//! removed: by it `windows(10.0.26100)` selects images of every build from 20348 on. *Failure*: an empty string is an error. For
//! docker an empty `--platform` is no flag, so that a script with an unset variable removes the whole image.

mod selector;

use std::env::consts;
use std::fmt::{self, Write as _};

pub use selector::PlatformSelector;

/// Operating systems that a single word may name, as listed by Go.
const KNOWN_OS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// Architectures that a single word may name, as listed by Go.
const KNOWN_ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// The build number of Windows Server 2022. Windows of this or a later build runs images of older builds down to this one.
const WINDOWS_STABLE_BUILD: u16 = 20348;

/// Why a string is not a platform. Each variant has the whole string last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The string, or an item of a list, is empty.
    #[error("the platform is empty, write for example `linux/arm64`")]
    Empty,
    /// The string has a `*`.
    #[error("`{0}`: wildcards are not supported in a platform")]
    Wildcard(String),
    /// This first part does not have the form of an operating system.
    #[error("`{0}` is not a valid operating system in platform `{1}`")]
    InvalidOs(String, String),
    /// This later part is empty or has a character that is not allowed.
    #[error("`{0}` is not a valid part of platform `{1}`, letters, digits, `_`, `.` and `-` are")]
    InvalidPart(String, String),
    /// This version or feature in parentheses has an invalid percent escape.
    #[error("`{0}` in platform `{1}` has a broken escape")]
    InvalidOption(String, String),
    /// The parentheses are empty, as a script with an unset variable writes them.
    #[error("the version in platform `{0}` is empty, omit the parentheses to select all versions")]
    EmptyOption(String),
    /// The string begins like a digest and is not one.
    #[error("`{0}` is neither a digest nor the first 3 or more digits of one")]
    InvalidDigest(String),
    /// A single word is neither an operating system nor an architecture.
    #[error("`{0}` is not a known operating system or architecture")]
    Unknown(String),
    /// There are more than three parts.
    #[error("`{0}` has too many parts, a platform is `os/arch` or `os/arch/variant`")]
    TooManyParts(String),
}

/// A platform with the fields of the image-spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Platform {
    /// Operating system in Go's spelling, such as `linux`.
    pub os: String,
    /// Architecture in Go's spelling, such as `arm64`.
    pub architecture: String,
    /// Variant of the architecture, such as `v7`; an empty one counts as absent.
    pub variant: Option<String>,
    /// Version of the operating system, such as `10.0.20348.2700`.
    pub os_version: Option<String>,
    /// Features of the operating system that the image needs.
    pub os_features: Vec<String>,
}

impl Platform {
    /// Returns the platform that this program was built for.
    ///
    /// The variant of a 32-bit ARM processor is not detected; without one it counts as `v7`.
    #[must_use]
    pub fn host() -> Self {
        let little = cfg!(target_endian = "little");
        let architecture = match consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "loongarch64" => "loong64",
            "powerpc" => "ppc",
            "powerpc64" if little => "ppc64le",
            "powerpc64" => "ppc64",
            "mips" if little => "mipsle",
            "mips64" if little => "mips64le",
            "riscv32" => "riscv",
            "wasm32" | "wasm64" => "wasm",
            same => same,
        };
        let os = if consts::OS == "macos" {
            "darwin"
        } else {
            consts::OS
        };
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            ..Self::default()
        }
    }

    /// Parses a specifier: `os`, `arch`, `os/arch` or `os/arch/variant`.
    ///
    /// Omitted parts come from `host`. The operating system may have options: `windows(10.0.17763+win32k)/amd64`. Two parts are
    /// always system and architecture, so `arm64/v8` is a system `arm64`, which matches nothing. The variant is kept as typed
    /// where docker keeps it (`linux/arm64/v8`); see [`Self::normalized`].
    ///
    /// ```
    /// use ocisweep::oci::platform::Platform;
    ///
    /// let typed = Platform::parse_specifier("linux/aarch64", &Platform::host())?;
    /// let written = Platform::parse_specifier("linux/arm64/v8", &Platform::host())?;
    /// assert!(written.matches_strict(&typed));
    /// # Ok::<(), ocisweep::oci::platform::PlatformError>(())
    /// ```
    ///
    /// # Errors
    /// Those of `platforms.Parse` in the same order, and [`PlatformError::Empty`] for an empty string.
    pub fn parse_specifier(text: &str, host: &Self) -> Result<Self, PlatformError> {
        if text.is_empty() {
            return Err(PlatformError::Empty);
        }
        let owned = || text.to_owned();
        if text.contains('*') {
            return Err(PlatformError::Wildcard(owned()));
        }
        let mut parts = text.splitn(4, '/');
        let first = parts.next().unwrap_or_default();
        let (os, os_version, os_features) = parse_os(text, first)?;
        let rest: Vec<&str> = parts.collect();
        if let Some(part) = rest.iter().find(|part| !is_part(part)) {
            return Err(PlatformError::InvalidPart((*part).to_owned(), owned()));
        }
        let base = Self {
            os,
            os_version,
            os_features,
            ..Self::default()
        };
        match *rest.as_slice() {
            [] => base.complete(text, host),
            [architecture] => Ok(base.with_architecture(architecture)),
            [architecture, variant] => {
                let (architecture, variant) = normalize_architecture(architecture, variant);
                // docker prints the `v8` and ignores it in comparisons.
                let variant = if architecture == "arm64" && variant.is_empty() {
                    "v8".to_owned()
                } else {
                    variant
                };
                Ok(Self {
                    architecture,
                    variant: some(variant),
                    ..base
                })
            }
            _ => Err(PlatformError::TooManyParts(owned())),
        }
    }

    /// Adds the part that a single word omits.
    fn complete(self, text: &str, host: &Self) -> Result<Self, PlatformError> {
        if KNOWN_OS.contains(&self.os.as_str()) {
            let variant = host
                .variant
                .clone()
                .filter(|v| host.architecture == "arm" && v != "v7");
            return Ok(Self {
                architecture: host.architecture.clone(),
                variant,
                ..self
            });
        }
        let platform = Self {
            os: host.os.clone(),
            ..self.with_architecture(text)
        };
        if KNOWN_ARCHITECTURES.contains(&platform.architecture.as_str()) {
            Ok(platform)
        } else {
            Err(PlatformError::Unknown(text.to_owned()))
        }
    }

    /// Sets an architecture that was typed without a variant.
    fn with_architecture(self, architecture: &str) -> Self {
        let (architecture, variant) = normalize_architecture(architecture, "");
        // `linux/arm` is printed as typed; comparisons add the `v7` again.
        let variant = if architecture == "arm" && variant == "v7" {
            String::new()
        } else {
            variant
        };
        Self {
            architecture,
            variant: some(variant),
            ..self
        }
    }

    /// Returns the normal form, in which equivalent platforms are equal.
    ///
    /// Lower case; `aarch64` is `arm64`, `x86_64` is `amd64`, `i386` is `386`; `arm` without variant is `v7`; `arm64/v8` and
    /// `amd64/v1` have no variant; features are sorted and unique (`platforms.Normalize`). Unlike there an empty system remains
    /// empty instead of becoming the host's: a document without a platform must not be dropped because of the host.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let (architecture, variant) = normalize_architecture(
            &self.architecture,
            self.variant.as_deref().unwrap_or_default(),
        );
        let mut os_features = self.os_features.clone();
        os_features.sort_unstable();
        os_features.dedup();
        Self {
            os: normalize_os(&self.os),
            architecture,
            variant: some(variant),
            os_version: self.os_version.clone().and_then(some),
            os_features,
        }
    }

    /// Returns `true` if an image for `self` runs on `wanted` (`platforms.OnlyStrict`).
    ///
    /// In normal form, system, architecture and variant are equal, and `wanted` has every feature of `self`. For Windows the
    /// versions must be compatible: a missing one with any, a build before 20348 only with itself, a later one with every build
    /// from 20348 to itself.
    ///
    /// This chooses what runs on a host, never what is removed.
    #[must_use]
    pub fn matches_strict(&self, wanted: &Self) -> bool {
        let (ours, wanted) = (self.normalized(), wanted.normalized());
        ours.has_base_of(&wanted)
            && (wanted.os != "windows"
                || windows_versions_fit(wanted.os_version.as_deref(), ours.os_version.as_deref()))
            && ours
                .os_features
                .iter()
                .all(|feature| wanted.os_features.binary_search(feature).is_ok())
    }

    /// Returns `true` if `wanted` selects `self`.
    ///
    /// In normal form, system, architecture and variant are equal. A version in `wanted` selects the versions that begin with its
    /// dot-separated parts, for every system. Features in `wanted` select exactly that set. Any other part matches.
    ///
    /// ```
    /// use ocisweep::oci::platform::Platform;
    ///
    /// let parse = |text| Platform::parse_specifier(text, &Platform::host());
    /// let image = parse("windows(10.0.20348.2700+win32k)/amd64")?;
    /// assert!(image.is_selected_by(&parse("windows/amd64")?));
    /// assert!(image.is_selected_by(&parse("windows(10.0.20348)/amd64")?));
    /// assert!(!image.is_selected_by(&parse("windows(10.0.2034)/amd64")?));
    /// assert!(!image.is_selected_by(&parse("windows(+win32k+other)/amd64")?));
    /// # Ok::<(), ocisweep::oci::platform::PlatformError>(())
    /// ```
    #[must_use]
    pub fn is_selected_by(&self, wanted: &Self) -> bool {
        let (ours, wanted) = (self.normalized(), wanted.normalized());
        let is_version = match (&wanted.os_version, &ours.os_version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(ours)) => {
                let mut parts = ours.split('.');
                wanted.split('.').all(|part| parts.next() == Some(part))
            }
        };
        ours.has_base_of(&wanted)
            && is_version
            && (wanted.os_features.is_empty() || wanted.os_features == ours.os_features)
    }

    fn has_base_of(&self, wanted: &Self) -> bool {
        (&self.os, &self.architecture, &self.variant)
            == (&wanted.os, &wanted.architecture, &wanted.variant)
    }
}

/// Writes `os/arch[/variant]`, with version and features in parentheses after the system, like `platforms.FormatAll`. Characters
/// that its own grammar refuses (`macOS 13`) are percent-encoded, so that the output can be typed.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() {
            return f.write_str("unknown");
        }
        f.write_str(&self.os)?;
        let version = self.os_version.as_deref().unwrap_or_default();
        if !version.is_empty() || !self.os_features.is_empty() {
            let mut features: Vec<&str> = self.os_features.iter().map(String::as_str).collect();
            features.sort_unstable();
            write!(f, "({}", escape_option(version))?;
            for feature in features {
                write!(f, "+{}", escape_option(feature))?;
            }
            f.write_str(")")?;
        }
        let variant = self.variant.as_deref().unwrap_or_default();
        for part in [self.architecture.as_str(), variant] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(is_part_byte)
}

fn is_part_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// Parses `os`, `os(version)`, `os(version+feature+…)` or `os(+feature)`.
fn parse_os(
    text: &str,
    part: &str,
) -> Result<(String, Option<String>, Vec<String>), PlatformError> {
    let invalid = || PlatformError::InvalidOs(part.to_owned(), text.to_owned());
    let option = |raw: &str| {
        unescape_option(raw)
            .ok_or_else(|| PlatformError::InvalidOption(raw.to_owned(), text.to_owned()))
    };

    if part.ends_with("()") {
        return Err(PlatformError::EmptyOption(text.to_owned()));
    }
    let (os, options) = match part.split_once('(') {
        Some((os, rest)) => (os, Some(rest.strip_suffix(')').ok_or_else(invalid)?)),
        None => (part, None),
    };
    if os.is_empty()
        || !os
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    {
        return Err(invalid());
    }
    let mut options = options.unwrap_or_default().split('+');
    let version = options.next().unwrap_or_default();
    let features: Vec<&str> = options.collect();
    let is_option = |raw: &&str| raw.bytes().all(|b| b == b'%' || is_part_byte(b));
    if !is_option(&version) || !features.iter().all(|f| !f.is_empty() && is_option(f)) {
        return Err(invalid());
    }
    let os_version = some(option(version)?);
    let os_features = features.into_iter().map(option).collect::<Result<_, _>>()?;
    Ok((normalize_os(os), os_version, os_features))
}

/// Decodes `%2F` and the like; `None` for an invalid escape or bytes that are not UTF-8.
fn unescape_option(raw: &str) -> Option<String> {
    let mut pieces = raw.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let code = piece
            .get(..2)
            .filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(piece.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// Percent-encodes every byte that the grammar does not allow in a version or a feature.
fn escape_option(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_part_byte(byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn normalize_os(os: &str) -> String {
    let os = os.to_lowercase();
    if os == "macos" {
        "darwin".to_owned()
    } else {
        os
    }
}

/// Returns architecture and variant in normal form; an empty variant is absent.
fn normalize_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_lowercase(), variant.to_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        // The old names of the hard and soft float builds imply the variant, whatever is given.
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        same => same,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// Returns `true` if an image of version `ours` runs on version `wanted`.
fn windows_versions_fit(wanted: Option<&str>, ours: Option<&str>) -> bool {
    let (Some(wanted), Some(ours)) = (wanted, ours) else {
        return true;
    };
    // An invalid `wanted` version matches any, but an image with an invalid version matches none.
    let (wanted, build) = windows_version(wanted);
    if (wanted, build) == ((0, 0), 0) {
        return true;
    }
    let (ours, our_build) = windows_version(ours);
    ours == wanted
        && if build < WINDOWS_STABLE_BUILD {
            build == our_build
        } else {
            (WINDOWS_STABLE_BUILD..=build).contains(&our_build)
        }
}

/// Returns version and build number of `10.0.20348[.1]`, or zeros.
fn windows_version(text: &str) -> ((u8, u8), u16) {
    fn number<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
        let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits?.parse().ok()
    }
    let mut parts = text.splitn(4, '.');
    let mut parse = || {
        let version = (number(parts.next())?, number(parts.next())?);
        Some((version, number(parts.next())?))
    };
    parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{cell, rows};

    fn host() -> Platform {
        Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            ..Platform::default()
        }
    }

    fn parse(text: &str) -> Platform {
        Platform::parse_specifier(text, &host()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Compares the fields of a platform with the cells of a row.
    fn assert_fields(platform: &Platform, row: &[String]) {
        let fields = [
            platform.os.clone(),
            platform.architecture.clone(),
            platform.variant.clone().unwrap_or_default(),
            platform.os_version.clone().unwrap_or_default(),
            platform.os_features.join(" "),
        ];
        for (at, field) in fields.iter().enumerate() {
            assert_eq!(field, cell(row, at), "{platform:?}, field {at}");
        }
    }

    #[test]
    fn parses_and_normalises_as_containerd() {
        // Where the package is older than docker, `platform-docker.tsv` has what docker does.
        let newer = rows("platform-docker.tsv");
        for row in rows("platform.tsv")
            .iter()
            .filter(|row| cell(row, 0) == "parse")
        {
            let text = cell(row, 1);
            if newer.iter().any(|newer| cell(newer, 1) == text) {
                continue;
            }
            let ours = Platform::parse_specifier(text, &host());
            if cell(row, 2) == "!" {
                assert!(ours.is_err(), "{text:?}: {ours:?}");
                continue;
            }
            let ours = ours.unwrap_or_else(|error| panic!("{text:?}: {error}"));
            let variant = ours.variant.clone().unwrap_or_default();
            assert_eq!(
                (
                    ours.os.as_str(),
                    ours.architecture.as_str(),
                    variant.as_str()
                ),
                (cell(row, 2), cell(row, 3), cell(row, 4)),
                "{text:?}"
            );
            assert_eq!(
                ours.normalized().to_string(),
                cell(row, 5),
                "{text:?} normalised"
            );
        }
    }

    #[test]
    fn parses_and_normalises_as_docker() {
        for row in rows("platform-docker.tsv")
            .iter()
            .filter(|row| cell(row, 0) == "parse")
        {
            let text = cell(row, 1);
            let ours = Platform::parse_specifier(text, &host());
            if cell(row, 2) == "!" {
                let theirs = cell(row, 3);
                let expected = match ours.expect_err(text) {
                    PlatformError::Empty if text.is_empty() => "",
                    PlatformError::Wildcard(..) => "wildcards not yet supported",
                    PlatformError::InvalidOs(..) => "is an invalid OS component",
                    PlatformError::InvalidPart(..) => "is an invalid component",
                    PlatformError::Unknown(..) => "unknown operating system or architecture",
                    PlatformError::TooManyParts(..) => "cannot parse platform specifier",
                    other => panic!("{text:?}: {other}"),
                };
                assert!(theirs.contains(expected), "{text:?}: {theirs}");
                continue;
            }
            let ours = ours.unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_fields(&ours, row.get(2..).unwrap_or_default());
            assert_eq!(ours.normalized().to_string(), cell(row, 7), "{text:?}");
        }
    }

    #[test]
    fn strict_matches_agree_with_containerd_and_docker() {
        for file in ["platform.tsv", "platform-docker.tsv"] {
            for row in rows(file).iter().filter(|row| cell(row, 0) == "strict") {
                let (wanted, ours) = (parse(cell(row, 1)), parse(cell(row, 2)));
                assert_eq!(
                    ours.matches_strict(&wanted).to_string(),
                    cell(row, 3),
                    "{file}: {wanted} wanted, {ours} present"
                );
            }
        }
    }

    #[test]
    fn windows_versions_follow_the_build_number() {
        let cases = [
            ("windows(10.0.17763)", "windows(10.0.17763.9999)", true),
            ("windows(10.0.17763)", "windows(10.0.18362)", false),
            ("windows(10.0.17763)", "windows", true),
            ("windows(10.0.17763)", "windows(junk)", false),
            ("windows(junk)", "windows(10.0.17763)", true),
            ("windows(10.0)", "windows(10.0.17763)", true),
            ("windows(10.0.26100)", "windows(10.0.20348)", true),
            ("windows(10.0.26100)", "windows(10.0.17763)", false),
            ("windows(10.0.20348)", "windows(10.0.26100)", false),
            ("windows(10.1.20348)", "windows(10.0.20348)", false),
            ("windows(10.0.99999)", "windows(10.0.17763)", true),
            ("linux(5)", "linux(6)", true),
            ("windows(10.0.17763+win32k)", "windows(10.0.17763)", true),
            ("windows(10.0.17763)", "windows(10.0.17763+win32k)", false),
            ("windows(+b+a)", "windows(+a)", true),
            ("windows(+a)", "windows(+a+a)", true),
            ("windows(+a)", "windows(+a+b)", false),
        ];
        let on_amd64 = |text: &str| parse(&format!("{text}/amd64"));
        for (wanted, ours, fits) in cases {
            assert_eq!(
                on_amd64(ours).matches_strict(&on_amd64(wanted)),
                fits,
                "{wanted} wanted, {ours} present"
            );
        }
    }

    #[test]
    fn options_of_the_system_are_parsed_and_printed() {
        let cases = [
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
            ("windows(+b+a)/amd64", "windows(+a+b)/amd64"),
            ("windows(1%2B2)/amd64", "windows(1%2B2)/amd64"),
            ("windows(1%2f2+%25)/amd64", "windows(1%2F2+%25)/amd64"),
            ("linux(6.1)", "linux(6.1)/amd64"),
            ("darwin(macOS%2013)/amd64", "darwin(macOS%2013)/amd64"),
            ("windows(10%3A0)/amd64", "windows(10%3A0)/amd64"),
            ("linux(%C3%A9%2C+a%0A)/amd64", "linux(%C3%A9%2C+a%0A)/amd64"),
            ("linux(%2d%2E%5f)/amd64", "linux(-._)/amd64"),
        ];
        for (text, shown) in cases {
            assert_eq!(parse(text).to_string(), shown, "{text}");
        }
        for text in [
            "windows(",
            "windows)/amd64",
            "windows(1",
            "windows(1)x/amd64",
            "windows(1))/amd64",
            "windows(1+)/amd64",
            "windows(1++a)/amd64",
            "windows(a b)/amd64",
            "(1)/amd64",
            "win.dows/amd64",
            "windows(é)/amd64",
        ] {
            let result = Platform::parse_specifier(text, &host());
            assert!(
                matches!(result, Err(PlatformError::InvalidOs(..))),
                "{text}: {result:?}"
            );
        }
        for text in ["windows()/amd64", "windows()"] {
            let result = Platform::parse_specifier(text, &host());
            assert!(
                matches!(result, Err(PlatformError::EmptyOption(..))),
                "{text}: {result:?}"
            );
        }
        for text in [
            "windows(%)/amd64",
            "windows(%2)/amd64",
            "windows(%zz)/amd64",
            "windows(1+%ff)/amd64",
            "windows(%%)/amd64",
        ] {
            let result = Platform::parse_specifier(text, &host());
            assert!(
                matches!(result, Err(PlatformError::InvalidOption(..))),
                "{text}: {result:?}"
            );
        }
    }

    #[test]
    fn a_single_word_is_completed_from_the_host() {
        let arm = |variant: Option<&str>| Platform {
            os: "darwin".to_owned(),
            architecture: "arm".to_owned(),
            variant: variant.map(str::to_owned),
            ..Platform::default()
        };
        let cases = [
            ("linux", arm(Some("v6")), "linux/arm/v6"),
            ("linux", arm(Some("v7")), "linux/arm"),
            ("linux", arm(None), "linux/arm"),
            ("arm64", arm(None), "darwin/arm64"),
            ("armel", arm(None), "darwin/arm/v6"),
            ("macos", arm(None), "darwin/arm"),
        ];
        for (text, host, shown) in cases {
            let ours = Platform::parse_specifier(text, &host).map(|p| p.to_string());
            assert_eq!(ours, Ok(shown.to_owned()), "{text} on {host}");
        }
    }

    #[test]
    fn given_parts_must_be_equal_and_omitted_parts_match_all() {
        let version = "windows(10.0.20348.2700)/amd64";
        let twin = "linux(+nydus.remoteimage.v1)/amd64";
        let both = "windows(10.0.17763.1+win32k)/amd64";
        let cases = [
            ("windows/amd64", version, true),
            ("windows(10.0.20348.2700)/amd64", version, true),
            ("windows(10.0.20348)/amd64", version, true),
            ("windows(10)/amd64", version, true),
            ("windows(10.0.20348.27)/amd64", version, false),
            ("windows(10.0.20348.)/amd64", version, false),
            ("windows(10.0.20348.2700.1)/amd64", version, false),
            ("windows(10.0.26100)/amd64", version, false),
            ("windows(10.0.26100.2314)/amd64", version, false),
            ("windows(10.0.20348.2701)/amd64", version, false),
            ("windows(junk)/amd64", version, false),
            ("windows(10.0.20348)/arm64", version, false),
            ("windows(10.0.20348)/amd64", "windows/amd64", false),
            ("windows(+win32k)/amd64", version, false),
            ("linux(5)/amd64", "linux(6)/amd64", false),
            ("linux(6)/amd64", "linux(6.1)/amd64", true),
            (
                "darwin(macOS%2013)/amd64",
                "darwin(macOS%2013.1)/amd64",
                true,
            ),
            ("darwin(macOS%201)/amd64", "darwin(macOS%2013)/amd64", false),
            (
                "darwin(macos%2013)/amd64",
                "darwin(macOS%2013)/amd64",
                false,
            ),
            ("linux/amd64", twin, true),
            ("linux(+nydus.remoteimage.v1)/amd64", twin, true),
            ("linux(+nydus.remoteimage.v1)/amd64", "linux/amd64", false),
            ("linux(+nydus)/amd64", twin, false),
            ("linux(+nydus.remoteimage.v1+a)/amd64", twin, false),
            ("windows/amd64", both, true),
            ("windows(10.0.17763)/amd64", both, true),
            ("windows(+win32k)/amd64", both, true),
            ("windows(10.0.17763+win32k)/amd64", both, true),
            ("windows(10.0.17763+win32)/amd64", both, false),
            ("windows(10.0.20348+win32k)/amd64", both, false),
            ("linux(+b+a+b)/amd64", "linux(+a+b)/amd64", true),
            ("linux(+a)/amd64", "linux(+a+b)/amd64", false),
            ("linux/aarch64", "linux(+a)/arm64/v8", true),
        ];
        for (wanted, ours, is_selected) in cases {
            assert_eq!(
                parse(ours).is_selected_by(&parse(wanted)),
                is_selected,
                "{wanted} wanted, {ours} present"
            );
        }
    }

    #[test]
    fn both_comparisons_agree_without_versions_and_features() {
        let mut seen = 0;
        for file in ["platform.tsv", "platform-docker.tsv"] {
            for row in rows(file).iter().filter(|row| cell(row, 0) == "strict") {
                let (wanted, ours) = (cell(row, 1), cell(row, 2));
                if wanted.contains('(') {
                    continue;
                }
                seen += 1;
                assert_eq!(
                    parse(ours).is_selected_by(&parse(wanted)).to_string(),
                    cell(row, 3),
                    "{file}: {wanted} wanted, {ours} present"
                );
            }
        }
        assert!(seen > 200, "{seen}");
    }

    /// The rows of `platform-options.tsv` come from containerd's grammar and its documented tests.
    #[test]
    fn options_are_parsed_as_in_containerd() {
        for row in rows("platform-options.tsv") {
            let text = cell(&row, 0);
            let found = Platform::parse_specifier(text, &host());
            if cell(&row, 1) == "!" {
                assert!(found.is_err(), "{text}: {found:?}");
                continue;
            }
            let found = found.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_fields(&found, row.get(1..).unwrap_or_default());
        }
    }

    #[test]
    fn a_printed_platform_can_be_parsed() {
        let texts = [
            "10.0.20348.2700",
            "macOS 13",
            "a,b",
            "(1)",
            "50%",
            "a+b",
            "x/y",
            "é\u{1f600}",
            "\u{1b}[31m",
            "*",
            ".",
            "'\"`$",
            "%25",
        ];
        for version in texts {
            for features in [&[][..], &[version], &["z", version, "a"]] {
                let platform = Platform {
                    os: "linux".to_owned(),
                    architecture: "arm".to_owned(),
                    variant: Some("v7".to_owned()),
                    os_version: Some(version.to_owned()),
                    os_features: features.iter().map(|text| (*text).to_owned()).collect(),
                };
                let shown = platform.to_string();
                assert_eq!(parse(&shown).normalized(), platform.normalized(), "{shown}");
                assert!(platform.is_selected_by(&parse(&shown)), "{shown}");
                assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown}");
                assert!(!shown.contains([',', '*']), "{shown}");
            }
        }
    }

    #[test]
    fn platforms_of_documents_are_normalised_without_the_host() {
        let given = Platform {
            os: String::new(),
            architecture: "AArch64".to_owned(),
            variant: Some(String::new()),
            os_version: Some(String::new()),
            os_features: vec!["b".to_owned(), "a".to_owned(), "b".to_owned()],
        };
        let normal = given.normalized();
        assert_eq!(
            (normal.os.as_str(), normal.architecture.as_str()),
            ("", "arm64")
        );
        assert_eq!((&normal.variant, &normal.os_version), (&None, &None));
        assert_eq!(normal.os_features, ["a", "b"]);
        assert_eq!(normal.to_string(), "unknown");
        assert!(!given.matches_strict(&parse("linux/arm64")));
    }

    #[test]
    fn the_host_is_known_to_go() {
        let host = Platform::host();
        assert!(KNOWN_OS.contains(&host.os.as_str()), "{host}");
        assert!(
            KNOWN_ARCHITECTURES.contains(&host.architecture.as_str()),
            "{host}"
        );
    }
}
