//! What an argument names: an image, or some of its names.
//!
//! The order is that of docker's look-up, except that a name wins over an ID (as `docker image inspect`
//! has it; `docker image rm` calls that ambiguous), and that what an argument could mean is listed
//! when it is ambiguous.

mod lookup;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::layout::BlobId;
use crate::layout::replaced_ids::MovedIds;
use crate::model::entries::{EntryFacts, EntryRole, unlisted_elements};
use crate::model::images::ImageInspector;
use crate::model::snapshot::Snapshot;
use crate::oci::glob::Glob;
use crate::oci::reference::Reference;
use crate::oci::{Algorithm, Digest, Role, Shape};
use crate::oci::{CONTAINERD_NAME, split_name, split_pin};

use super::remove::platforms::{children, value_of};
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

/// What one argument picks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pick {
    /// Names, by image.
    pub names: BTreeMap<BlobId, BTreeSet<Box<str>>>,
    /// Images by ID: with every name.
    pub images: BTreeSet<BlobId>,
    /// Entries that name no blob, by position.
    pub entries: BTreeSet<usize>,
    /// Names in docker save's `manifest.json` of images that no entry lists.
    pub saved: BTreeSet<Box<str>>,
}

impl Pick {
    /// Joins picks that share an image, so that an image is dealt with once, with every name that was
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

/// Why an argument picks nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// Nothing is called so.
    #[error("No such image: {familiar}{}", moved_in_words(moved))]
    NoSuchImage {
        /// The argument, completed as docker completes it.
        familiar: String,
        /// Names that are spelt alike.
        similar: Vec<String>,
        /// What the image with this ID is now, where a rewrite replaced the ID.
        moved: Vec<MovedImage>,
    },
    /// Several things are called so.
    #[error("ambiguous reference: `{text}` could be {}", candidates.join(", "))]
    Ambiguous {
        /// The argument.
        text: String,
        /// What it could be.
        candidates: Vec<String>,
        /// Arguments in the same order, each of which selects one of them only.
        exact: Vec<String>,
        /// Force selects all of them.
        can_be_forced: bool,
    },
    /// It is a part of an image.
    #[error("cannot remove {digest}: it is {what} of {image}")]
    Inside {
        /// The part.
        digest: Digest,
        /// What it is there.
        what: String,
        /// The image.
        image: String,
        /// The value for `--platform` that drops it, if it is a platform.
        platform: Option<String>,
    },
    /// A pattern that matches no name.
    #[error("No such image: no name matches `{pattern}`")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// A wider one that crosses `/` and matches.
        wider: Option<String>,
    },
    /// Not a pattern.
    #[error("invalid pattern `{pattern}`: {why}")]
    BadPattern {
        /// The text.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// Neither a name nor a digest.
    #[error("{why}: `{text}`")]
    Invalid {
        /// The text.
        text: String,
        /// What is wrong, in docker's words.
        why: String,
    },
}

/// An image that has another ID than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedImage {
    /// Its first name; `None`: it is untagged.
    pub name: Option<String>,
    /// Its short ID.
    pub id: String,
}

fn moved_in_words(moved: &[MovedImage]) -> String {
    let mut words = String::new();
    for MovedImage { name, id } in moved {
        let name = name.as_deref().unwrap_or("the image");
        words.push_str("; ");
        words.push_str(name);
        words.push_str(" is now ");
        words.push_str(id);
    }
    words
}

impl SelectError {
    /// Returns `true` if it only means that nothing is there to remove, which `-f` forgives.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchImage { .. } | Self::NoMatch { .. })
    }
}

/// Finds out what arguments name, all against one state.
#[derive(Debug)]
pub struct Selector<'a> {
    view: &'a Snapshot,
    entries: &'a [EntryFacts],
    force: Force,
    /// Read for the first ID that is unknown.
    moved: OnceCell<MovedIds>,
    lookup: Lookup<'a>,
    /// Names of images that only docker save's `manifest.json` lists, where they count.
    saved: Vec<&'a str>,
}

impl<'a> Selector<'a> {
    /// Makes a selector over the entries of a layout.
    #[must_use]
    pub const fn new(view: &'a Snapshot, entries: &'a [EntryFacts], force: Force) -> Self {
        Self {
            view,
            entries,
            force,
            moved: OnceCell::new(),
            lookup: Lookup::new(),
            saved: Vec::new(),
        }
    }

    /// Lets arguments name images as well that only docker save's `manifest.json` lists. They have no ID and no platforms:
    /// their names can be removed, and nothing else can be asked of them.
    #[must_use]
    pub fn with_saved_names(mut self) -> Self {
        let elements = unlisted_elements(self.view).into_iter();
        self.saved = elements
            .flat_map(|(_, element)| &element.repo_tags)
            .map(String::as_str)
            .collect();
        self
    }

    /// Finds out what one argument names.
    ///
    /// # Errors
    /// [`SelectError`] when that is nothing, or more than one thing.
    pub fn pick(&self, text: &str) -> Result<Pick, SelectError> {
        if text.trim().is_empty() {
            return Err(SelectError::Invalid {
                text: text.to_owned(),
                why: "image name cannot be blank".to_owned(),
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

    /// Finds out what an argument means as a name; `None` if nothing is called so.
    pub fn pick_name(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        self.by_exact_name(text)
            .or_else(|| self.by_normalised_name(text))
            .or_else(|| self.by_repository_and_digest(text))
    }

    fn names(&self) -> impl Iterator<Item = Named<'a>> {
        names(self.entries)
    }

    /// Takes names over into a pick. Referrers that share the name of their image by `kind` follow
    /// it by themselves and are no candidates of their own, unless nothing else is called so.
    fn take<'n>(&self, text: &str, found: Vec<Named<'n>>, force: Force) -> Result<Pick, SelectError>
    where
        'a: 'n,
    {
        let primary: Vec<_> = found
            .iter()
            .filter(|named| named.entry.role != EntryRole::KindReferrer)
            .collect();
        let chosen: Vec<_> = if primary.is_empty() {
            found.iter().collect()
        } else {
            primary
        };
        let mut pick = Pick::default();
        for named in &chosen {
            match named.entry.id {
                Some(id) => {
                    pick.names.entry(id).or_default().insert(named.text.into());
                }
                None => {
                    pick.entries.insert(named.entry.position);
                }
            }
        }
        let things = pick.names.len() + pick.entries.len();
        let names = pick.names.values().flatten().collect::<BTreeSet<_>>().len();
        if (things > 1 || names > 1) && force == Force::No {
            let candidates = chosen.iter().map(|named| match named.entry.id {
                Some(id) => {
                    let digest = self.view.graph.digest(id);
                    let is_alike = |other: &&&Named<'_>| {
                        other.text == named.text && other.entry.id != Some(id)
                    };
                    let exact = match chosen.iter().find(is_alike) {
                        Some(_) if split_pin(named.text).is_none() => {
                            format!("{}@{digest}", named.text)
                        }
                        Some(_) => digest.to_string(),
                        None => named.text.to_owned(),
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

    /// The exact text of a name. A bare word is a name only where it stands so in the layout, and not where it
    /// is the tag of a full name on the same entry: `alpine` does not mean `redis:alpine`.
    fn by_exact_name(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        let found = self.lookup.exact(self.entries, text);
        (!found.is_empty()).then(|| self.take(text, found.to_vec(), self.force))
    }

    /// docker's reading of a name: `alpine` is `docker.io/library/alpine:latest`. A pinned name
    /// (`alpine:3@sha256:…`) is also a tag of its repository; one without a tag is none.
    fn by_normalised_name(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        let wanted = full_name(text)?;
        let candidates = self.lookup.full(self.entries, &wanted).iter();
        let found: Vec<_> = candidates
            .filter(|(_, name)| *name == wanted || (wanted.digest.is_none() && name.tag.is_some()))
            .map(|(named, _)| *named)
            .collect();
        (!found.is_empty()).then(|| self.take(text, found, self.force))
    }

    /// `repo@digest`: every name of that repository on the image; `repo:tag@digest`: that name. A name that
    /// is no reference has to be written as it stands.
    fn by_repository_and_digest(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        let (name, digest) = split_pin(text)?;
        let wanted = Reference::parse_normalized(name).ok();
        let id = self.view.graph.id(&digest)?;
        let mut pick = Pick::default();
        for &named in self.lookup.of_image(self.entries, id) {
            let unpinned = split_pin(named.text).map_or(named.text, |(name, _)| name);
            let is_same = || {
                let (Some(wanted), Ok(reference)) =
                    (&wanted, Reference::parse_normalized(unpinned))
                else {
                    return false;
                };
                is_full(&named)
                    && reference.canonical_name() == wanted.canonical_name()
                    && (wanted.tag.is_none() || wanted.tag == reference.with_default_tag().tag)
            };
            if unpinned == name || is_same() {
                pick.names.entry(id).or_default().insert(named.text.into());
            }
        }
        (!pick.names.is_empty()).then_some(Ok(pick))
    }

    /// A name that only docker save's `manifest.json` has, of an image that no entry lists.
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

    /// A digest, or at least three hex digits of the beginning of an ID.
    fn by_id(&self, text: &str) -> Option<Result<Pick, SelectError>> {
        let whole = whole_digest(text);
        let matches: Vec<BlobId> = if let Some(digest) = &whole {
            let id = self.view.graph.id(digest)?;
            if !self.lookup.is_image(self.view, self.entries, id) {
                return self.inside(id).map(Err);
            }
            vec![id]
        } else {
            let hex = text.strip_prefix("sha256:").unwrap_or(text);
            if !is_id_prefix(hex) {
                return None;
            }
            self.lookup.ids_from(self.view, self.entries, hex)
        };
        match matches.as_slice() {
            [] => self.part(text).and_then(|id| self.inside(id)).map(Err),
            [id] => Some(Ok(Pick {
                images: BTreeSet::from([*id]),
                ..Pick::default()
            })),
            several => {
                let candidates = several.iter().map(|id| {
                    let digest = self.view.graph.digest(*id);
                    (self.describe(*id), digest.to_string())
                });
                Some(Err(ambiguous(text, candidates.collect(), false)))
            }
        }
    }

    /// `@N`: the entry at that position, as skopeo counts them. The way to reach what has neither a
    /// name nor a digest.
    fn by_position(&self, text: &str) -> Option<Pick> {
        let position: usize = text.strip_prefix('@')?.parse().ok()?;
        let entry = self.entries.get(position)?;
        Some(match entry.id {
            Some(id) => Pick {
                images: BTreeSet::from([id]),
                ..Pick::default()
            },
            None => Pick {
                entries: BTreeSet::from([position]),
                ..Pick::default()
            },
        })
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
            // Of a pinned name a pattern may also mean the tag that it stands for.
            let fits = glob.matches(named.text)
                || split_pin(named.text).is_some_and(|(name, _)| glob.matches(name))
                || reference.is_some_and(|reference| {
                    glob.matches(&reference.familiar())
                        || (reference.digest.is_some()
                            && glob.matches(&reference.without_digest().familiar()))
                });
            match named.entry.id {
                _ if !fits => {}
                Some(id) => {
                    pick.names.entry(id).or_default().insert(named.text.into());
                }
                None => {
                    pick.entries.insert(named.entry.position);
                }
            }
        }
        pick
    }

    /// The one part of an image whose digest begins so, as `ls --tree` shows it.
    fn part(&self, text: &str) -> Option<BlobId> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let graph = &self.view.graph;
        let images = self.entries.iter().filter_map(|entry| entry.id);
        let parts: BTreeSet<BlobId> = images
            .flat_map(|image| crate::graph::content_of(graph, image, None))
            .map(|(id, _)| id)
            .filter(|id| graph.digest(*id).encoded().starts_with(hex))
            .collect();
        let mut parts = parts.into_iter();
        parts.next().filter(|_| parts.next().is_none())
    }

    /// A blob that is no image of its own, but a part of one.
    fn inside(&self, id: BlobId) -> Option<SelectError> {
        let graph = &self.view.graph;
        for entry in self.entries {
            let Some(image) = entry.id else { continue };
            let found = crate::graph::content_of(graph, image, None)
                .into_iter()
                .filter_map(|(parent, _)| graph.node(parent))
                .flat_map(|node| &node.edges)
                .find(|edge| edge.to == id && edge.role != Role::Subject);
            let Some(edge) = found else { continue };
            let platform = edge
                .details
                .as_ref()
                .and_then(|details| details.platform.as_ref())
                .filter(|platform| edge.role == Role::Child && platform.os != "unknown")
                .map(|platform| platform.to_string());
            let what = match (edge.role, &platform) {
                (_, Some(platform)) => format!("platform {platform}"),
                (Role::Child, None) => "a child".to_owned(),
                (Role::Config, None) => "the config".to_owned(),
                (Role::Layer, None) => "a layer".to_owned(),
                (Role::Blob | Role::Subject | Role::Annotation | Role::Other, None) => {
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

    /// Returns the value for `--platform` that drops exactly this child of an image, or the child whose
    /// config or attestation this is.
    fn platform_value(&self, image: BlobId, part: BlobId) -> Option<String> {
        let graph = &self.view.graph;
        let is_index = |id| {
            graph
                .node(id)
                .is_some_and(|node| node.shape == Shape::Index)
        };
        if !is_index(image) {
            return None;
        }
        let children = children(self.view, &mut ImageInspector::new(self.view), image, &[]);
        let has_config = |child: BlobId| {
            let edges = graph.edges(child);
            let mut configs = edges.iter().filter(|edge| edge.role == Role::Config);
            configs.any(|edge| edge.to == part)
        };
        let child = children.iter().find(|child| child.id == part).or_else(|| {
            // A config that several children have names none of them.
            let mut owners = children.iter().filter(|child| has_config(child.id));
            owners.next().filter(|_| owners.next().is_none())
        })?;
        Some(value_of(graph, &children, child))
    }

    /// Returns an image's first name, else its short ID.
    fn describe(&self, id: BlobId) -> String {
        let short = self.view.graph.digest(id).short();
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

    /// Returns up to three names that somebody may have meant, the closest first: one letter in three may be wrong, missing
    /// or in the place of its neighbour. A registry and a repository above the last one need not be typed.
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

    /// Returns what the images are now whose old ID, or the beginning of it, this is.
    fn moved(&self, text: &str) -> Vec<MovedImage> {
        let whole = whole_digest(text);
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if whole.is_none() && !is_id_prefix(hex) {
            return Vec::new();
        }
        let moved = self
            .moved
            .get_or_init(|| MovedIds::read(&self.view.layout))
            .latest(|from| match &whole {
                Some(whole) => from == whole,
                None => from.encoded().starts_with(hex),
            });
        let listed = |digest: &Digest| {
            let id = self.view.graph.id(digest)?;
            let mut own = self
                .entries
                .iter()
                .filter(|entry| entry.id == Some(id))
                .peekable();
            // What was removed since then is nowhere.
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
        let mut similar: Vec<String> = self
            .names()
            .filter(|named| {
                let (repository, tag) = split_name(named.text);
                let repository = repository
                    .and_then(|name| Reference::parse_normalized(name).ok())
                    .map(|reference| reference.familiar_name());
                repository.as_deref() == Some(&wanted)
                    || repository.is_some_and(|name| name.ends_with(&format!("/{wanted}")))
                    || tag == Some(&wanted)
            })
            .map(|named| named.text.to_owned())
            .collect();
        similar.sort();
        similar.dedup();
        if similar.is_empty() && moved.is_empty() {
            similar = self.nearly(text);
        }
        SelectError::NoSuchImage {
            familiar: reference.with_default_tag().familiar(),
            similar,
            moved,
        }
    }
}

/// Returns the error for an argument that could be several things: each as it is shown, and as it is selected.
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

/// Returns `true` for what can be the beginning of an image ID: at least three hexadecimal digits.
fn is_id_prefix(hex: &str) -> bool {
    hex.len() >= 3
        && hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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

/// Reads a digest, or the 64 hex digits of one, as docker does.
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
