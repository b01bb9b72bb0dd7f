//! The known keys of a document, in any case.

use std::borrow::Cow;

use crate::oci::platform::Platform;

/// A key of a document or descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Digest,
    Size,
    MediaType,
    ArtifactType,
    Annotations,
    Platform,
    Data,
    Manifests,
    Config,
    Layers,
    Blobs,
    Subject,
    FsLayers,
    BlobSum,
    Urls,
    Other,
}

const KEYS: [(&str, Key); 15] = [
    ("digest", Key::Digest),
    ("size", Key::Size),
    ("mediatype", Key::MediaType),
    ("artifacttype", Key::ArtifactType),
    ("annotations", Key::Annotations),
    ("platform", Key::Platform),
    ("data", Key::Data),
    ("manifests", Key::Manifests),
    ("config", Key::Config),
    ("layers", Key::Layers),
    ("blobs", Key::Blobs),
    ("subject", Key::Subject),
    ("fslayers", Key::FsLayers),
    ("blobsum", Key::BlobSum),
    ("urls", Key::Urls),
];

/// The length of the longest name, in bytes.
const LONGEST: usize = 12;

impl Key {
    pub(super) fn of(text: &str) -> Self {
        // As nearly every writer spells them.
        match text {
            "digest" => return Self::Digest,
            "size" => return Self::Size,
            "mediaType" => return Self::MediaType,
            "annotations" => return Self::Annotations,
            "platform" => return Self::Platform,
            // Most annotations. Only a letter that is not ASCII equals one of fewer bytes.
            _ if text.len() > LONGEST && text.is_ascii() => return Self::Other,
            _ => {}
        }
        KEYS.iter()
            .find(|(name, _)| folds_to(text, name))
            .map_or(Self::Other, |(_, key)| *key)
    }
}

/// A key of a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlatformKey {
    Os,
    Architecture,
    Variant,
    OsVersion,
    Features,
}

impl PlatformKey {
    pub(super) fn of(key: &str) -> Option<Self> {
        let keys = [
            ("os", Self::Os),
            ("architecture", Self::Architecture),
            ("variant", Self::Variant),
            ("os.version", Self::OsVersion),
            ("os.features", Self::Features),
        ];
        keys.into_iter()
            .find(|(name, _)| folds_to(key, name))
            .map(|(_, key)| key)
    }

    /// Stores a value; one that is not a string (`None`) counts as absent.
    pub(super) fn set(self, platform: &mut Platform, text: Option<Cow<'_, str>>) {
        let text = text.map(Cow::into_owned);
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        match self {
            Self::Os => platform.os = text.unwrap_or_default(),
            Self::Architecture => platform.architecture = text.unwrap_or_default(),
            Self::Variant => platform.variant = filled(text),
            Self::OsVersion => platform.os_version = filled(text),
            Self::Features => platform.os_features = Vec::new(),
        }
    }
}

/// Compares like Go's `encoding/json`: by simple case folding, in which the long s (U+017F) equals `s` and the Kelvin sign
/// (U+212A) equals `k`.
pub(crate) fn folds_to(text: &str, lower: &str) -> bool {
    if text.len() == lower.len() {
        return text.eq_ignore_ascii_case(lower);
    }
    // The two letters have more bytes than those that they equal.
    text.len() > lower.len()
        && !text.is_ascii()
        && text
            .chars()
            .map(|letter| match letter {
                '\u{17f}' => 's',
                '\u{212a}' => 'k',
                other => other.to_ascii_lowercase(),
            })
            .eq(lower.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_longer_than_the_longest() {
        let longest = KEYS.iter().map(|(name, _)| name.len()).max();
        assert_eq!(longest, Some(LONGEST));
        for (name, key) in KEYS {
            assert_eq!(Key::of(name), key);
            assert_eq!(Key::of(&name.to_ascii_uppercase()), key);
        }
        assert_eq!(Key::of("artifactType"), Key::ArtifactType);
        assert_eq!(Key::of("artifacttype_"), Key::Other);
        assert_eq!(Key::of("\u{17f}ub\u{17f}ubject"), Key::Other);
        assert_eq!(Key::of("\u{17f}ubject"), Key::Subject);
        assert_eq!(Key::of("blob\u{17f}"), Key::Blobs);
        // More bytes than the longest name, and equal to it.
        assert_eq!(Key::of("fsLayer\u{17f}"), Key::FsLayers);
    }
}
