//! Filters: `key=value`, the same for `ls` and `prune`.
//!
//! Different keys are AND-ed. Semantics are docker's where docker has the key (moby
//! `daemon/containerd/image_list.go`), with two differences: a bad pattern is an error, and an image
//! without a date is never old.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::layout::BlobId;
use crate::model::entries::EntryFacts;
use crate::model::images::TimeSource;
use crate::model::images::{Image, ImageInspector};
use crate::model::snapshot::Snapshot;
use crate::oci::glob::Glob;
use crate::oci::platform::{Platform, PlatformSelector};
use crate::oci::reference::Reference;
use crate::parse::time::parse_until;

use super::{Force, Selector};

/// Every key, for the error that lists them.
pub const KEYS: &str =
    "dangling, reference, label, label!, before, since, until, platform, mediatype, artifacttype";

/// Why a filter is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// No `=`.
    #[error("bad format of filter `{text}` (expected key=value)")]
    Format {
        /// The text.
        text: String,
    },
    /// A key that nobody knows.
    #[error("invalid filter `{key}`: the keys are {KEYS}")]
    Key {
        /// The key.
        key: String,
    },
    /// A value that the key cannot have.
    #[error("invalid filter `{key}={value}`: {why}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is wrong.
        why: String,
    },
}

/// One term of `label` or `label!`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LabelTerm {
    key: String,
    value: Option<String>,
    is_negated: bool,
}

/// Filters as typed, parsed.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    dangling: Option<bool>,
    references: Vec<Glob>,
    labels: Vec<LabelTerm>,
    before: Vec<String>,
    since: Vec<String>,
    until: Option<Timestamp>,
    platforms: Vec<PlatformSelector>,
    media_types: Vec<String>,
    artifact_types: Vec<String>,
    is_any: bool,
    /// An empty text was given.
    has_empty: bool,
    /// Each filter that is about what images are, by itself.
    terms: Vec<(String, Self)>,
}

impl Filters {
    /// Parses filters. An empty text is ignored, as docker does.
    ///
    /// # Errors
    /// [`FilterError`] for the first that is not one.
    pub fn parse(texts: &[String], now: Timestamp, zone: &TimeZone) -> Result<Self, FilterError> {
        let mut filters = Self {
            has_empty: texts.iter().any(String::is_empty),
            ..Self::default()
        };
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| FilterError::Format { text: text.clone() })?;
            let key = key.trim().to_ascii_lowercase();
            let value = value.trim();
            filters.is_any = true;
            filters
                .add(&key, value, now, zone)
                .map_err(|why| match why {
                    Some(why) => FilterError::Value {
                        key: key.clone(),
                        value: value.to_owned(),
                        why,
                    },
                    None => FilterError::Key { key: key.clone() },
                })?;
            if !matches!(key.as_str(), "dangling" | "before" | "since" | "until") {
                let mut term = Self::default();
                if term.add(&key, value, now, zone).is_ok() {
                    filters.terms.push((format!("{key}={value}"), term));
                }
            }
        }
        Ok(filters)
    }

    /// Adds one filter. The error is what is wrong with the value; `None`: with the key.
    fn add(
        &mut self,
        key: &str,
        value: &str,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Result<(), Option<String>> {
        match key {
            "dangling" => {
                let wanted = match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(Some("it is true or false".to_owned())),
                };
                if self.dangling.is_some_and(|before| before != wanted) {
                    return Err(Some("both true and false were given".to_owned()));
                }
                self.dangling = Some(wanted);
            }
            "reference" => self
                .references
                .push(Glob::new(value).map_err(|error| Some(error.to_string()))?),
            "label" | "label!" => self.labels.push(label_term(key, value)?),
            "before" => self.before.push(value.to_owned()),
            "since" => self.since.push(value.to_owned()),
            "until" => {
                let until =
                    parse_until(value, now, zone).map_err(|error| Some(error.to_string()))?;
                // Of several the earliest is the strictest.
                self.until = Some(self.until.map_or(until, |before| before.min(until)));
            }
            "platform" => self.platforms.push(
                PlatformSelector::parse(value, &Platform::host())
                    .map_err(|error| Some(error.to_string()))?,
            ),
            "mediatype" => self.media_types.push(value.to_owned()),
            "artifacttype" => self.artifact_types.push(value.to_owned()),
            _ => return Err(None),
        }
        Ok(())
    }

    /// Returns `true` if any filter was given.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.is_any
    }

    /// Returns `true` if an empty text was given.
    pub(super) const fn has_empty(&self) -> bool {
        self.has_empty
    }

    /// Returns the filters that are about what images are, each by itself with its text: all but those on age and
    /// `dangling`.
    pub(super) fn terms(&self) -> &[(String, Self)] {
        &self.terms
    }

    /// Returns `true` if a filter is on names.
    pub(super) const fn has_references(&self) -> bool {
        !self.references.is_empty()
    }

    /// Resolves what the filters refer to, once for a layout.
    ///
    /// # Errors
    /// [`FilterError::Value`] when `before` or `since` names no image, or one without a date.
    pub fn against<'f>(
        &'f self,
        view: &Snapshot,
        entries: &[EntryFacts],
        cache: &mut ImageInspector<'_>,
        dangling: &'f BTreeSet<usize>,
    ) -> Result<Resolved<'f>, FilterError> {
        let mut resolve = |key: &str, text: &String| {
            let wrong = |why: String| FilterError::Value {
                key: key.to_owned(),
                value: text.clone(),
                why,
            };
            let pick = Selector::new(view, entries, Force::No)
                .pick(text)
                .map_err(|error| wrong(error.to_string()))?;
            let ids: BTreeSet<BlobId> = pick
                .images
                .iter()
                .chain(pick.names.keys())
                .copied()
                .collect();
            let [id] = ids.into_iter().collect::<Vec<_>>()[..] else {
                return Err(wrong("it names several images".to_owned()));
            };
            cache
                .config(id)
                .and_then(|config| config.created)
                .ok_or_else(|| wrong("that image has no date".to_owned()))
        };
        let mut before = None;
        for text in &self.before {
            let time: Timestamp = resolve("before", text)?;
            before = Some(before.map_or(time, |other: Timestamp| other.min(time)));
        }
        let mut since = None;
        for text in &self.since {
            let time: Timestamp = resolve("since", text)?;
            since = Some(since.map_or(time, |other: Timestamp| other.max(time)));
        }
        Ok(Resolved {
            filters: self,
            before,
            since,
            dangling,
        })
    }
}

fn label_term(key: &str, value: &str) -> Result<LabelTerm, Option<String>> {
    let mut is_negated = key == "label!";
    let (name, value) = match value.split_once('=') {
        // docker also reads `label=K!=V`.
        Some((name, value)) => match name.strip_suffix('!') {
            Some(name) => {
                is_negated = true;
                (name, Some(value.to_owned()))
            }
            None => (name, Some(value.to_owned())),
        },
        None => (value, None),
    };
    if name.is_empty() {
        return Err(Some("a label has a name".to_owned()));
    }
    Ok(LabelTerm {
        key: name.to_owned(),
        value,
        is_negated,
    })
}

/// Filters with what they refer to in one layout.
#[derive(Debug)]
pub struct Resolved<'f> {
    filters: &'f Filters,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    dangling: &'f BTreeSet<usize>,
}

impl Resolved<'_> {
    /// Returns `true` if an image passes all filters.
    pub fn matches(
        &self,
        image: &Image,
        cache: &mut ImageInspector<'_>,
        source: TimeSource,
    ) -> bool {
        let filters = self.filters;
        let is_dangling = || {
            image.names.is_empty()
                && image
                    .entries
                    .iter()
                    .all(|position| self.dangling.contains(position))
        };
        filters
            .dangling
            .is_none_or(|wanted| is_dangling() == wanted)
            && (filters.references.is_empty()
                || filters
                    .references
                    .iter()
                    .any(|glob| names_match(glob, image)))
            && (filters.media_types.is_empty()
                || filters
                    .media_types
                    .iter()
                    .any(|wanted| **wanted == *image.media_type))
            && (filters.artifact_types.is_empty()
                || filters
                    .artifact_types
                    .iter()
                    .any(|wanted| image.artifact_type.as_deref() == Some(wanted)))
            && (filters.platforms.is_empty() || self.has_platform(image, cache))
            && self.labels_match(image, cache)
            && self.dates_match(image, cache, source)
    }

    /// Takes the names away that no `reference=` pattern matches: such a filter chooses names, all others choose images.
    pub fn retain_names(&self, image: &mut Image) {
        let globs = &self.filters.references;
        if !globs.is_empty() {
            image
                .names
                .retain(|name| globs.iter().any(|glob| name_matches(glob, &name.text)));
        }
    }

    /// Returns the names that pass a filter on names, where some do and others do not.
    pub(super) fn some_names(&self, image: &Image) -> Option<Vec<String>> {
        let mut chosen = image.clone();
        self.retain_names(&mut chosen);
        let is_some = !chosen.names.is_empty() && chosen.names.len() < image.names.len();
        is_some.then(|| {
            let names = chosen.names.iter();
            names.map(|name| name.text.to_string()).collect()
        })
    }

    fn has_platform(&self, image: &Image, cache: &mut ImageInspector<'_>) -> bool {
        let manifests = cache.manifests(image.id);
        manifests.into_iter().any(|(manifest, edge)| {
            let platform = cache.platform(manifest, edge);
            let digest = cache.digest(manifest);
            let mut wanted = self.filters.platforms.iter();
            wanted.any(|wanted| wanted.selects(digest, platform.as_ref()))
        })
    }

    /// One configuration of a present platform has to satisfy all terms; without a readable one
    /// nothing matches, not even a negation.
    fn labels_match(&self, image: &Image, cache: &mut ImageInspector<'_>) -> bool {
        if self.filters.labels.is_empty() {
            return true;
        }
        let manifests = cache.manifests(image.id);
        manifests.into_iter().any(|(manifest, _)| {
            cache.own_config(manifest).is_some_and(|config| {
                self.filters.labels.iter().all(|term| {
                    let found = config.labels.get(&term.key);
                    let is_there = match &term.value {
                        None => found.is_some(),
                        Some(value) => found == Some(value),
                    };
                    is_there != term.is_negated
                })
            })
        })
    }

    fn dates_match(
        &self,
        image: &Image,
        cache: &mut ImageInspector<'_>,
        source: TimeSource,
    ) -> bool {
        if self.before.is_some() || self.since.is_some() {
            let Some(created) = cache.config(image.id).and_then(|config| config.created) else {
                return false;
            };
            if self.before.is_some_and(|before| created >= before)
                || self.since.is_some_and(|since| created <= since)
            {
                return false;
            }
        }
        self.filters.until.is_none_or(|until| {
            cache
                .time(image.id, source)
                .is_some_and(|time| time < until)
        })
    }
}

/// Matches a pattern against every form of every name: as written, familiar and canonical, with and
/// without the tag.
#[must_use]
pub fn names_match(glob: &Glob, image: &Image) -> bool {
    let mut names = image.names.iter();
    names.any(|name| name_matches(glob, &name.text))
}

/// Matches a pattern against every form of a name.
pub(super) fn name_matches(glob: &Glob, name: &str) -> bool {
    glob.matches(name)
        || Reference::parse_normalized(name).is_ok_and(|reference| {
            let is_full = name.contains(['/', ':', '@']);
            let is_pinned = reference.digest.is_some();
            let with_tag = reference.clone().with_default_tag();
            let matches_whole = |name: &Reference| {
                glob.matches(&name.familiar()) || glob.matches(&name.canonical())
            };
            is_full
                && (glob.matches(&reference.familiar_name())
                    || glob.matches(&reference.canonical_name())
                    || matches_whole(&with_tag)
                    || (is_pinned && matches_whole(&with_tag.without_digest())))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Filters, FilterError> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Filters::parse(&texts, Timestamp::UNIX_EPOCH, &TimeZone::UTC)
    }

    #[test]
    fn reads_every_key_and_refuses_the_rest() {
        for text in [
            "dangling=true",
            "Dangling = 0",
            "reference=a/*:v?",
            "label=a",
            "label=a=b=c",
            "label!=a",
            "label!=a=b",
            "label=a!=b",
            "before=x",
            "since=x",
            "until=24h",
            "until=2026-01-01",
            "platform=linux/arm64",
            "mediatype=x",
            "artifacttype=y",
            "",
        ] {
            assert!(parse(&[text]).is_ok(), "{text}");
        }
        let cases = [
            ("foo", "expected key=value"),
            ("foo=1", "the keys are dangling"),
            ("=x", "the keys are"),
            ("dangling=maybe", "true or false"),
            ("reference=[", "invalid filter `reference=[`"),
            ("label=", "a label has a name"),
            ("until=soon", "invalid filter `until=soon`"),
            ("platform=foo", "invalid filter `platform=foo`"),
        ];
        for (text, expected) in cases {
            let error = parse(&[text]).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(parse(&["dangling=true", "dangling=false"]).is_err());
        assert!(parse(&["", ""]).expect("nothing").is_empty());
    }
}
