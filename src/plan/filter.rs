//! Filters: `key=value`, the same for `ls` and `prune`.
//!
//! Different keys are AND-ed. Docker's keys have docker's meaning (moby `daemon/containerd/image_list.go`), with two
//! differences: a malformed pattern is an error, and an image without a date is never old.

use std::collections::BTreeSet;
use std::fmt;

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

/// All keys, as the error lists them.
pub const KEYS: &str =
    "dangling, reference, label, label!, before, since, until, platform, mediatype, artifacttype";

/// Why a filter is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(String);

impl FilterError {
    fn value(key: &str, value: &str, why: impl fmt::Display) -> Self {
        Self(format!("invalid filter `{key}={value}`: {why}"))
    }
}

/// One term of `label` or `label!`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LabelTerm {
    key: String,
    value: Option<String>,
    is_negated: bool,
}

/// Parsed filters.
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
    /// `true` if an empty filter was given.
    has_empty: bool,
    /// Each filter except those on age and `dangling`, separately.
    terms: Vec<(String, Self)>,
}

impl Filters {
    /// Parses filters. Empty ones are ignored, as in docker.
    ///
    /// # Errors
    /// [`FilterError`] for the first invalid one.
    pub fn parse(texts: &[String], now: Timestamp, zone: &TimeZone) -> Result<Self, FilterError> {
        let mut filters = Self {
            has_empty: texts.iter().any(String::is_empty),
            ..Self::default()
        };
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                FilterError(format!(
                    "bad format of filter `{text}` (expected key=value)"
                ))
            })?;
            let key = key.trim().to_ascii_lowercase();
            let value = value.trim();
            filters.is_any = true;
            let added = filters.add(&key, value, now, zone);
            added.map_err(|why| match why {
                Some(why) => FilterError::value(&key, value, why),
                None => FilterError(format!("invalid filter `{key}`: the keys are {KEYS}")),
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

    /// Adds one filter. The error is what is wrong with the value; `None` if the key is unknown.
    fn add(
        &mut self,
        key: &str,
        value: &str,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Result<(), Option<String>> {
        let why = |error: &dyn std::error::Error| Some(error.to_string());
        match key {
            "dangling" => {
                let wanted = match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(Some("expected true or false".to_owned())),
                };
                if self.dangling.is_some_and(|before| before != wanted) {
                    return Err(Some("both true and false were given".to_owned()));
                }
                self.dangling = Some(wanted);
            }
            "reference" => {
                let glob = Glob::new(value).map_err(|error| why(&error))?;
                self.references.push(glob);
            }
            "label" | "label!" => self.labels.push(label_term(key, value)?),
            "before" => self.before.push(value.to_owned()),
            "since" => self.since.push(value.to_owned()),
            "until" => {
                let until = parse_until(value, now, zone).map_err(|error| why(&error))?;
                // The earliest of several is the strictest.
                self.until = Some(self.until.map_or(until, |before| before.min(until)));
            }
            "platform" => {
                let platform = PlatformSelector::parse(value, &Platform::host());
                self.platforms.push(platform.map_err(|error| why(&error))?);
            }
            "mediatype" => self.media_types.push(value.to_owned()),
            "artifacttype" => self.artifact_types.push(value.to_owned()),
            _ => return Err(None),
        }
        Ok(())
    }

    /// Returns `true` if no filter was given.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.is_any
    }

    /// Returns `true` if an empty filter was given.
    pub(super) const fn has_empty(&self) -> bool {
        self.has_empty
    }

    /// Returns the filters except those on age and `dangling`, each separately with its text.
    pub(super) fn terms(&self) -> &[(String, Self)] {
        &self.terms
    }

    /// Returns `true` if a filter is on names.
    pub(super) const fn has_references(&self) -> bool {
        !self.references.is_empty()
    }

    /// Resolves the images that filters refer to, once for a layout.
    ///
    /// # Errors
    /// [`FilterError`] if `before` or `since` names no image, or one without a date.
    pub fn against<'f>(
        &'f self,
        snapshot: &Snapshot,
        entries: &[EntryFacts],
        cache: &mut ImageInspector<'_>,
        dangling: &'f BTreeSet<usize>,
    ) -> Result<Resolved<'f>, FilterError> {
        let mut resolve = |key: &str, text: &String| {
            let wrong = |why: &str| FilterError::value(key, text, why);
            let pick = Selector::new(snapshot, entries, Force::No).pick(text);
            let pick = pick.map_err(|error| FilterError::value(key, text, error))?;
            let mut ids: Vec<&BlobId> = pick.images.iter().chain(pick.names.keys()).collect();
            ids.dedup();
            let [id] = ids[..] else {
                return Err(wrong("it names several images"));
            };
            let config = cache.config(*id);
            config
                .and_then(|config| config.created)
                .ok_or_else(|| wrong("that image has no date"))
        };
        let mut times = |key: &str, texts: &[String]| -> Result<Vec<Timestamp>, FilterError> {
            texts.iter().map(|text| resolve(key, text)).collect()
        };
        Ok(Resolved {
            filters: self,
            before: times("before", &self.before)?.into_iter().min(),
            since: times("since", &self.since)?.into_iter().max(),
            dangling,
        })
    }
}

fn label_term(key: &str, value: &str) -> Result<LabelTerm, Option<String>> {
    let (name, value) = match value.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (value, None),
    };
    // docker also reads `label=K!=V`.
    let (name, is_negated) = match name.strip_suffix('!') {
        Some(name) if value.is_some() => (name, true),
        _ => (name, key == "label!"),
    };
    if name.is_empty() {
        return Err(Some("a label needs a name".to_owned()));
    }
    Ok(LabelTerm {
        key: name.to_owned(),
        value,
        is_negated,
    })
}

/// Filters, resolved for one layout.
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
        fn any<T>(terms: &[T], matches: impl FnMut(&T) -> bool) -> bool {
            terms.is_empty() || terms.iter().any(matches)
        }
        let filters = self.filters;
        let is_dangling = || {
            let mut positions = image.entries.iter();
            image.names.is_empty() && positions.all(|position| self.dangling.contains(position))
        };
        let artifact_type = image.artifact_type.as_deref();
        filters
            .dangling
            .is_none_or(|wanted| is_dangling() == wanted)
            && any(&filters.references, |glob| names_match(glob, image))
            && any(&filters.media_types, |wanted| **wanted == *image.media_type)
            && any(&filters.artifact_types, |wanted| {
                artifact_type == Some(wanted)
            })
            && (filters.platforms.is_empty() || self.has_platform(image, cache))
            && self.labels_match(image, cache)
            && self.dates_match(image, cache, source)
    }

    /// Removes the names that no `reference=` pattern matches: such a filter selects names, all others select images.
    pub fn retain_names(&self, image: &mut Image) {
        let globs = &self.filters.references;
        if !globs.is_empty() {
            image
                .names
                .retain(|name| globs.iter().any(|glob| name_matches(glob, &name.text)));
        }
    }

    /// Returns the names that pass a filter on names, if some do and others do not.
    pub(super) fn some_names(&self, image: &Image) -> Option<Vec<String>> {
        let mut chosen = image.clone();
        self.retain_names(&mut chosen);
        let is_some = !chosen.names.is_empty() && chosen.names.len() < image.names.len();
        is_some.then(|| chosen.name_list())
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

    /// Returns `true` if one configuration of a present platform satisfies all terms; without a readable one
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
            ("label=", "a label needs a name"),
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
