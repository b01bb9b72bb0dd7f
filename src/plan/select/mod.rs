//! Resolves arguments: each selects an image, or some of its names.
//!
//! The order of the lookup is docker's, except that a name takes precedence over an ID (as in `docker image inspect`;
//! `docker image rm` reports that as ambiguous), and that the candidates of an ambiguous argument are listed.

mod lookup;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::layout::BlobId;
use crate::layout::replaced_ids::MovedIds;
use crate::model::entries::{EntryFacts, EntryRole, unlisted_elements};
use crate::model::images::ImageInspector;
use crate::model::snapshot::Snapshot;
use crate::oci::digest::is_hex;
use crate::oci::glob::Glob;
use crate::oci::reference::Reference;
use crate::oci::{Algorithm, Digest, Role};
use crate::oci::{CONTAINERD_NAME, split_name, split_pin};

use super::remove::platforms::{children, value_of, written};
use lookup::{Lookup, Named, names};

/// Whether conflicts are overridden.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Force {
    /// A conflict is an error.
    #[default]
    No,
    /// Conflicts are overridden.
    Yes,
}

/// The selection of one argument.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pick {
    /// Names, by image.
    pub names: BTreeMap<BlobId, BTreeSet<Box<str>>>,
    /// Images by ID: with every name.
    pub images: BTreeSet<BlobId>,
    /// Entries without a valid digest, by position.
    pub entries: BTreeSet<usize>,
    /// Names in docker save's `manifest.json` of images that no entry lists.
    pub saved: BTreeSet<Box<str>>,
}

impl Pick {
    fn image(id: BlobId) -> Self {
        Self {
            images: BTreeSet::from([id]),
            ..Self::default()
        }
    }

    /// Adds a name, or its entry if that has no valid digest.
    fn add(&mut self, named: &Named<'_>) {
        match named.entry.id {
            Some(id) => {
                self.names.entry(id).or_default().insert(named.text.into());
            }
            None => {
                self.entries.insert(named.entry.position);
            }
        }
    }

    /// Joins picks that share an image, so that each image is in one pick, with every name that was
    /// given for it.
    pub(super) fn merged(picks: &[Self]) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for pick in picks {
            let mut joined = pick.clone();
            let is_shared = |other: &Self| {
                let mut ids = other.names.keys().chain(&other.images);
                ids.any(|id| pick.names.contains_key(id) || pick.images.contains(id))
            };
            let mut place = merged.len();
            while let Some(position) = merged.iter().position(is_shared) {
                let other = merged.remove(position);
                for (id, names) in other.names {
                    joined.names.entry(id).or_default().extend(names);
                }
                joined.images.extend(other.images);
                joined.entries.extend(other.entries);
                joined.saved.extend(other.saved);
                place = place.min(position);
            }
            merged.insert(place.min(merged.len()), joined);
        }
        merged
    }
}

/// Why an argument selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// There is no such name or ID.
    #[error("No such image: {familiar}{}", moved_in_words(moved))]
    NoSuchImage {
        /// The argument, completed as docker completes it.
        familiar: String,
        /// Similar names.
        similar: Vec<String>,
        /// The current image, if a rewrite replaced this ID.
        moved: Vec<MovedImage>,
    },
    /// The argument could be several images or names.
    #[error("ambiguous reference: `{text}` could be {}", candidates.join(", "))]
    Ambiguous {
        /// The argument.
        text: String,
        /// The candidates.
        candidates: Vec<String>,
        /// Arguments in the same order, each selecting only one of them.
        exact: Vec<String>,
        /// Force selects all of them.
        can_be_forced: bool,
    },
    /// It is part of an image.
    #[error("cannot remove {digest}: it is {what} of {image}")]
    Inside {
        /// The part.
        digest: Digest,
        /// Its role there.
        what: String,
        /// The image.
        image: String,
        /// The value of `--platform` that drops it, if it is a platform.
        platform: Option<String>,
    },
    /// A pattern that matches no name.
    #[error("No such image: no name matches `{pattern}`")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// A wider pattern that crosses `/` and matches.
        wider: Option<String>,
    },
    /// The pattern is malformed.
    #[error("invalid pattern `{pattern}`: {why}")]
    BadPattern {
        /// The argument.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// Neither a name nor a digest.
    #[error("{why}: `{text}`")]
    Invalid {
        /// The argument.
        text: String,
        /// What is wrong, in docker's words.
        why: String,
    },
}

/// An image whose ID a rewrite replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedImage {
    /// Its first name; `None` if it is untagged.
    pub name: Option<String>,
    /// Its new short ID.
    pub id: String,
}

fn moved_in_words(moved: &[MovedImage]) -> String {
    let describe = |image: &MovedImage| {
        let name = image.name.as_deref().unwrap_or("the image");
        format!("; {name} is now {}", image.id)
    };
    moved.iter().map(describe).collect()
}

impl SelectError {
    /// Returns `true` if there is nothing to remove, which `-f` ignores.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchImage { .. } | Self::NoMatch { .. })
    }
}

/// Resolves arguments against one state of a layout.
#[derive(Debug)]
pub struct Selector<'a> {
    snapshot: &'a Snapshot,
    entries: &'a [EntryFacts],
    force: Force,
    /// Read for the first unknown ID.
    moved: OnceCell<MovedIds>,
    lookup: Lookup<'a>,
    /// Names of images that only docker save's `manifest.json` lists, if they count.
    saved: Vec<&'a str>,
}

impl<'a> Selector<'a> {
    /// Makes a selector over the entries of a layout.
    #[must_use]
    pub const fn new(snapshot: &'a Snapshot, entries: &'a [EntryFacts], force: Force) -> Self {
        Self {
            snapshot,
            entries,
            force,
            moved: OnceCell::new(),
            lookup: Lookup::new(snapshot, entries),
            saved: Vec::new(),
        }
    }

    /// Lets arguments also select images that only docker save's `manifest.json` lists. They have no ID and no platforms:
    /// only their names can be removed.
    #[must_use]
    pub fn with_saved_names(mut self) -> Self {
        let elements = unlisted_elements(self.snapshot).into_iter();
        self.saved = elements
            .flat_map(|(_, element)| &element.repo_tags)
            .map(String::as_str)
            .collect();
        self
    }

    /// Resolves one argument.
    ///
    /// # Errors
    /// [`SelectError`] if it selects nothing, or is ambiguous.
    pub fn pick(&self, text: &str) -> Result<Pick, SelectError> {
        if text.trim().is_empty() {
            return self.by_blank_name(text).unwrap_or_else(|| {
                Err(SelectError::Invalid {
                    text: text.to_owned(),
                    why: "image name cannot be blank".to_owned(),
                })
            });
        }
        if let Some(found) = self.pick_name(text) {
            return found;
        }
        if let Some(found) = self.by_saved_name(text) {
            return Ok(found);
        }
        if let Some(found) = self.by_id(text) {
            return found;
        }
        if let Some(found) = self.by_position(text) {
            return Ok(found);
        }
        if Glob::is_pattern(text) {
            return self.by_pattern(text);
        }
        Err(self.no_such_image(text))
    }

    /// A name of spaces, exactly as it is written. Nothing has an empty name: a variable that is not set selects nothing.
    fn by_blank_name(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        if text.is_empty() {
            return None;
        }
        self.by_exact_name(text)
            .or_else(|| self.by_saved_name(text).map(Ok))
    }

    /// Resolves an argument as a name; `None` if there is no such name.
    pub fn pick_name(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        self.by_exact_name(text)
            .or_else(|| self.by_normalised_name(text))
            .or_else(|| self.by_repository_and_digest(text))
    }

    fn names(&self) -> impl Iterator<Item = Named<'a>> {
        names(self.entries)
    }

    /// Makes a pick of names. Referrers that share the name of their image by `kind` follow it, and are not candidates
    /// unless nothing else has the name.
    fn take(&self, text: &str, mut found: Vec<Named<'_>>) -> Result<Pick, SelectError> {
        let is_primary = |named: &Named<'_>| named.entry.role != EntryRole::KindReferrer;
        if found.iter().any(is_primary) {
            found.retain(is_primary);
        }
        let mut pick = Pick::default();
        for named in &found {
            pick.add(named);
        }
        let things = pick.names.len() + pick.entries.len();
        let names = pick.names.values().flatten().collect::<BTreeSet<_>>().len();
        if (things > 1 || names > 1) && self.force == Force::No {
            let candidates = found.iter().map(|named| match named.entry.id {
                Some(id) => {
                    let digest = self.snapshot.graph.digest(id);
                    let is_shared = found
                        .iter()
                        .any(|other| other.text == named.text && other.entry.id != Some(id));
                    let exact = if !is_shared {
                        named.text.to_owned()
                    } else if split_pin(named.text).is_none() {
                        format!("{}@{digest}", named.text)
                    } else {
                        digest.to_string()
                    };
                    (format!("{} ({})", named.text, digest.short()), exact)
                }
                None => {
                    let text = format!("@{}", named.entry.position);
                    (text.clone(), text)
                }
            });
            return Err(ambiguous(text, candidates.collect(), true));
        }
        Ok(pick)
    }

    /// The exact text of a name. A bare word is a name only if the layout has it, and not if it
    /// is the tag of a full name on the same entry: `alpine` does not mean `redis:alpine`.
    fn by_exact_name(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        let found = self.lookup.exact(text);
        (!found.is_empty()).then(|| self.take(text, found.to_vec()))
    }

    /// A name as docker completes it: `alpine` is `docker.io/library/alpine:latest`. A pinned name
    /// (`alpine:3@sha256:…`) is also a tag of its repository; one without a tag is not.
    fn by_normalised_name(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        let wanted = full_name(text)?;
        let candidates = self.lookup.full(&wanted).iter();
        let found: Vec<_> = candidates
            .filter(|(_, name)| *name == wanted || (wanted.digest.is_none() && name.tag.is_some()))
            .map(|(named, _)| *named)
            .collect();
        (!found.is_empty()).then(|| self.take(text, found))
    }

    /// `repo@digest`: every name of that repository on the image; `repo:tag@digest`: that name. A name that is not a
    /// reference must be given exactly.
    fn by_repository_and_digest(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        let (name, digest) = split_pin(text)?;
        let wanted = Reference::parse_normalized(name).ok();
        let id = self.snapshot.graph.id(&digest)?;
        let mut pick = Pick::default();
        for named in self.lookup.of_image(id) {
            let unpinned = split_pin(named.text).map_or(named.text, |(name, _)| name);
            let is_same = || {
                let (Some(wanted), Ok(reference)) =
                    (&wanted, Reference::parse_normalized(unpinned))
                else {
                    return false;
                };
                is_full(named)
                    && reference.canonical_name() == wanted.canonical_name()
                    && (wanted.tag.is_none() || wanted.tag == reference.with_default_tag().tag)
            };
            if unpinned == name || is_same() {
                pick.add(named);
            }
        }
        (!pick.names.is_empty()).then_some(Ok(pick))
    }

    /// A name of an image that only docker save's `manifest.json` lists.
    fn by_saved_name(&self, text: &str) -> Option<Pick> {
        let exact = self.saved.iter().filter(|name| **name == text);
        let mut saved: BTreeSet<Box<str>> = exact.map(|name| (*name).into()).collect();
        if saved.is_empty() {
            let wanted = full_name(text)?;
            let same = |name: &&&str| full_name(name).as_ref() == Some(&wanted);
            saved.extend(self.saved.iter().filter(same).map(|name| (*name).into()));
        }
        (!saved.is_empty()).then(|| Pick {
            saved,
            ..Pick::default()
        })
    }

    /// A digest, or a prefix of an ID of at least three hex digits.
    fn by_id(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        let whole = whole_digest(text);
        let matches: Vec<BlobId> = if let Some(digest) = &whole {
            let id = self.snapshot.graph.id(digest)?;
            if !self.lookup.is_image(id) {
                return self.inside(id).map(Err);
            }
            vec![id]
        } else {
            let hex = text.strip_prefix("sha256:").unwrap_or(text);
            if !is_id_prefix(hex) {
                return None;
            }
            self.lookup.ids_from(hex)
        };
        match matches.as_slice() {
            [] => self.part(text).and_then(|id| self.inside(id)).map(Err),
            [id] => Some(Ok(Pick::image(*id))),
            several => {
                let candidates = several.iter().map(|id| {
                    let digest = self.snapshot.graph.digest(*id);
                    (self.describe(*id), digest.to_string())
                });
                Some(Err(ambiguous(text, candidates.collect(), false)))
            }
        }
    }

    /// `@N`: the entry at that position, as skopeo counts them. This selects entries with neither a
    /// name nor a digest.
    fn by_position(&self, text: &str) -> Option<Pick> {
        let position: usize = text.strip_prefix('@')?.parse().ok()?;
        let entry = self.entries.get(position)?;
        Some(entry.id.map_or_else(
            || Pick {
                entries: BTreeSet::from([position]),
                ..Pick::default()
            },
            Pick::image,
        ))
    }

    fn by_pattern(&self, text: &str) -> Result<Pick, SelectError> {
        let glob = Glob::new(text).map_err(|error| SelectError::BadPattern {
            pattern: text.to_owned(),
            why: error.to_string(),
        })?;
        let pick = self.matching(&glob);
        if pick == Pick::default() {
            let mut wider = glob.wider().into_iter();
            let wider = wider.find(|glob| self.matching(glob) != Pick::default());
            return Err(SelectError::NoMatch {
                pattern: text.to_owned(),
                wider: wider.map(|glob| glob.as_str().to_owned()),
            });
        }
        Ok(pick)
    }

    /// Returns all names that a pattern matches.
    fn matching(&self, glob: &Glob) -> Pick {
        let mut pick = Pick::default();
        let familiar = |name: &str| full_name(name).map(|reference| reference.familiar());
        for name in &self.saved {
            if glob.matches(name) || familiar(name).is_some_and(|name| glob.matches(&name)) {
                pick.saved.insert((*name).into());
            }
        }
        for named in self.names() {
            let reference = is_full(&named).then(|| full_name(named.text)).flatten();
            // A pattern also matches a pinned name by its tag.
            let fits = glob.matches(named.text)
                || split_pin(named.text).is_some_and(|(name, _)| glob.matches(name))
                || reference.is_some_and(|reference| {
                    glob.matches(&reference.familiar())
                        || (reference.digest.is_some()
                            && glob.matches(&reference.without_digest().familiar()))
                });
            if fits {
                pick.add(&named);
            }
        }
        pick
    }

    /// Returns the only part of an image whose digest has this prefix, as `ls --tree` shows it.
    fn part(&self, text: &str) -> Option<BlobId> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let graph = &self.snapshot.graph;
        let images = self.entries.iter().filter_map(|entry| entry.id);
        let parts: BTreeSet<BlobId> = images
            .flat_map(|image| crate::graph::content_of(graph, image, None))
            .map(|(id, _)| id)
            .filter(|id| graph.digest(*id).encoded().starts_with(hex))
            .collect();
        let mut parts = parts.into_iter();
        parts.next().filter(|_| parts.next().is_none())
    }

    /// Returns the error for a blob that is part of an image, but not an image.
    fn inside(&self, id: BlobId) -> Option<SelectError> {
        let graph = &self.snapshot.graph;
        for entry in self.entries {
            let Some(image) = entry.id else { continue };
            let found = crate::graph::content_of(graph, image, None)
                .into_iter()
                .filter_map(|(parent, _)| graph.node(parent))
                .flat_map(|node| &node.edges)
                .find(|edge| edge.to == id && edge.role != Role::Subject);
            let Some(edge) = found else { continue };
            let details = edge.details.as_ref().filter(|_| edge.role == Role::Child);
            let platform = details.and_then(|details| written(details));
            let what = match (edge.role, platform) {
                (_, Some(platform)) if platform.os != "unknown" => format!("platform {platform}"),
                (Role::Child, _) => "a child".to_owned(),
                (Role::Config, _) => "the config".to_owned(),
                (Role::Layer, _) => "a layer".to_owned(),
                (Role::Blob | Role::Subject | Role::Annotation | Role::Other, _) => {
                    "a part".to_owned()
                }
            };
            return Some(SelectError::Inside {
                digest: graph.digest(id).clone(),
                what,
                image: self.describe(image),
                platform: self.platform_value(image, id),
            });
        }
        None
    }

    /// Returns the value of `--platform` that drops only this child of an image, or the child whose
    /// config this is.
    fn platform_value(&self, image: BlobId, part: BlobId) -> Option<String> {
        let graph = &self.snapshot.graph;
        if !graph.is_index(image) {
            return None;
        }
        let children = children(
            self.snapshot,
            &mut ImageInspector::new(self.snapshot),
            image,
            &[],
        );
        let has_config = |child: BlobId| {
            let edges = graph.edges(child);
            let mut configs = edges.iter().filter(|edge| edge.role == Role::Config);
            configs.any(|edge| edge.to == part)
        };
        let child = children.iter().find(|child| child.id == part).or_else(|| {
            // A config that several children share selects none of them.
            let mut owners = children.iter().filter(|child| has_config(child.id));
            owners.next().filter(|_| owners.next().is_none())
        })?;
        Some(value_of(graph, &children, child))
    }

    /// Returns an image's first name, else its short ID.
    fn describe(&self, id: BlobId) -> String {
        let short = self.snapshot.graph.digest(id).short();
        let name = self
            .entries
            .iter()
            .filter(|entry| entry.id == Some(id))
            .find_map(|entry| entry.names.first());
        match name {
            Some(name) => format!("{} ({short})", name.text),
            None => short,
        }
    }

    /// Returns at most three similar names, the closest first: one letter in three may be wrong, missing or swapped with its
    /// neighbour. The registry and all but the last component of the repository may be omitted.
    fn nearly(&self, text: &str) -> Vec<String> {
        let most = (text.chars().count() / 3).min(3);
        let distance = |name: &str| {
            let last = name.rsplit('/').next().unwrap_or(name);
            let (_, tag) = split_name(name);
            let forms = [Some(name), Some(last), tag].into_iter().flatten();
            let forms = forms.filter(|form| form.len().abs_diff(text.len()) <= 2 * most + 2);
            forms.map(|form| strsim::osa_distance(form, text)).min()
        };
        let mut found: Vec<(usize, &str)> = self
            .names()
            .filter_map(|named| Some((distance(named.text)?, named.text)))
            .filter(|(distance, _)| *distance <= most)
            .collect();
        found.sort_unstable();
        found.dedup();
        let names = found.into_iter().map(|(_, name)| name.to_owned());
        names.take(3).collect()
    }

    /// Returns the current images whose old ID is this, or has this prefix.
    fn moved(&self, text: &str) -> Vec<MovedImage> {
        let whole = whole_digest(text);
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if whole.is_none() && !is_id_prefix(hex) {
            return Vec::new();
        }
        let moved = self
            .moved
            .get_or_init(|| MovedIds::read(&self.snapshot.layout))
            .latest(|from| match &whole {
                Some(whole) => from == whole,
                None => from.encoded().starts_with(hex),
            });
        let listed = |digest: &Digest| {
            let id = self.snapshot.graph.id(digest)?;
            let mut own = self
                .entries
                .iter()
                .filter(|entry| entry.id == Some(id))
                .peekable();
            // An image that was removed since then is not listed.
            own.peek()?;
            Some(MovedImage {
                name: own
                    .find_map(|entry| entry.names.first())
                    .map(|name| name.text.to_string()),
                id: digest.short(),
            })
        };
        moved.iter().filter_map(listed).collect()
    }

    fn no_such_image(&self, text: &str) -> SelectError {
        let moved = self.moved(text);
        // `name:tag` reads like a digest of an unknown algorithm.
        if let Some(digest) = whole_digest(text).filter(|digest| digest.algorithm().is_some()) {
            return SelectError::NoSuchImage {
                familiar: digest.to_string(),
                similar: Vec::new(),
                moved,
            };
        }
        let reference = match Reference::parse_normalized(text) {
            Ok(reference) => reference,
            Err(error) => {
                return SelectError::Invalid {
                    text: text.to_owned(),
                    why: error.to_string(),
                };
            }
        };
        let wanted = reference.familiar_name();
        let is_similar = |named: &Named<'_>| {
            let (repository, tag) = split_name(named.text);
            let repository = repository
                .and_then(|name| Reference::parse_normalized(name).ok())
                .map(|reference| reference.familiar_name());
            tag == Some(&wanted)
                || repository
                    .is_some_and(|name| name == wanted || name.ends_with(&format!("/{wanted}")))
        };
        let names = self.names().filter(is_similar);
        let similar: BTreeSet<String> = names.map(|named| named.text.to_owned()).collect();
        SelectError::NoSuchImage {
            familiar: reference.with_default_tag().familiar(),
            similar: if similar.is_empty() && moved.is_empty() {
                self.nearly(text)
            } else {
                similar.into_iter().collect()
            },
            moved,
        }
    }
}

/// Returns the error for an ambiguous argument. `candidates`: each as shown, and the argument that selects it.
fn ambiguous(
    text: &str,
    mut candidates: Vec<(String, String)>,
    can_be_forced: bool,
) -> SelectError {
    candidates.sort();
    candidates.dedup();
    let (candidates, exact) = candidates.into_iter().unzip();
    SelectError::Ambiguous {
        text: text.to_owned(),
        candidates,
        exact,
        can_be_forced,
    }
}

/// Returns `true` for a possible prefix of an image ID: at least three hexadecimal digits.
fn is_id_prefix(hex: &str) -> bool {
    hex.len() >= 3 && hex.bytes().all(is_hex)
}

/// Returns `true` if a name is more than a tag.
fn is_full(named: &Named<'_>) -> bool {
    named.text.contains(['/', ':', '@'])
        || named
            .entry
            .details
            .annotations
            .get(CONTAINERD_NAME)
            .map(AsRef::as_ref)
            == Some(named.text)
}

/// Parses a digest, or the 64 hex digits of one, as docker does.
pub(crate) fn whole_digest(text: &str) -> Option<Digest> {
    Digest::parse(text)
        .ok()
        .or_else(|| Digest::from_hex(Algorithm::Sha256, text.as_bytes()))
}

fn full_name(text: &str) -> Option<Reference> {
    Reference::parse_normalized(text)
        .ok()
        .map(Reference::with_default_tag)
}
