//! Values of descriptors, read tolerantly: what is of another type than expected counts as absent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::PlatformView;
use super::scan::folds_to;

/// A map of strings. Of a key that is there twice the last value counts, as in Go.
pub(super) struct Strings<'m> {
    pub(super) into: &'m mut BTreeMap<Box<str>, Box<str>>,
}

impl<'de> DeserializeSeed<'de> for Strings<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Implements the visits of values that a visitor has no use for.
macro_rules! ignore_scalars {
    ($value:ty, $ignored:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<$value, E> {
            Ok($ignored)
        }
        fn visit_i64<E>(self, _: i64) -> Result<$value, E> {
            Ok($ignored)
        }
        fn visit_u64<E>(self, _: u64) -> Result<$value, E> {
            Ok($ignored)
        }
        fn visit_f64<E>(self, _: f64) -> Result<$value, E> {
            Ok($ignored)
        }
        fn visit_unit<E>(self) -> Result<$value, E> {
            Ok($ignored)
        }
    };
}

impl<'de> Visitor<'de> for Strings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("annotations")
    }

    ignore_scalars!((), ());

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Box<str>>()? {
            if let MaybeText(Some(value)) = map.next_value()? {
                self.into.insert(key, value);
            }
        }
        Ok(())
    }
}

/// A string, or anything else as `None`.
struct MaybeText(Option<Box<str>>);

impl<'de> serde::Deserialize<'de> for MaybeText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = MaybeText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            ignore_scalars!(MaybeText, MaybeText(None));

            fn visit_str<E>(self, text: &str) -> Result<MaybeText, E> {
                Ok(MaybeText(Some(text.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<MaybeText, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(MaybeText(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MaybeText, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(MaybeText(None))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// A platform object, or anything else as `None`.
pub(super) struct PlatformSlot(pub(super) Option<PlatformView>);

impl<'de> serde::Deserialize<'de> for PlatformSlot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlatformVisitor;

        impl<'de> Visitor<'de> for PlatformVisitor {
            type Value = PlatformSlot;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a platform")
            }

            ignore_scalars!(PlatformSlot, PlatformSlot(None));

            fn visit_str<E>(self, _: &str) -> Result<PlatformSlot, E> {
                Ok(PlatformSlot(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<PlatformSlot, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(PlatformSlot(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PlatformSlot, A::Error> {
                let mut platform = PlatformView::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    let is = |name| folds_to(&key, name);
                    if is("os.features") {
                        platform.os_features = map.next_value::<Features>()?.0;
                        continue;
                    }
                    let MaybeText(value) = map.next_value()?;
                    if is("os") {
                        platform.os = value.unwrap_or_default();
                    } else if is("architecture") {
                        platform.architecture = value.unwrap_or_default();
                    } else if is("variant") {
                        platform.variant = value.filter(|text| !text.is_empty());
                    } else if is("os.version") {
                        platform.os_version = value.filter(|text| !text.is_empty());
                    }
                }
                Ok(PlatformSlot(Some(platform)))
            }
        }

        deserializer.deserialize_any(PlatformVisitor)
    }
}

/// A list of strings, or anything else as empty.
struct Features(Vec<Box<str>>);

impl<'de> serde::Deserialize<'de> for Features {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FeaturesVisitor;

        impl<'de> Visitor<'de> for FeaturesVisitor {
            type Value = Features;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of features")
            }

            ignore_scalars!(Features, Features(Vec::new()));

            fn visit_str<E>(self, _: &str) -> Result<Features, E> {
                Ok(Features(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Features, A::Error> {
                let mut features = Vec::new();
                while let Some(MaybeText(item)) = items.next_element()? {
                    features.extend(item);
                }
                Ok(Features(features))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Features, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Features(Vec::new()))
            }
        }

        deserializer.deserialize_any(FeaturesVisitor)
    }
}
