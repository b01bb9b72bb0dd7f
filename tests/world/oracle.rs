//! The oracle: what a sweep of a [`World`] may do and must do, by the simplest reasoning.
//!
//! From the abstract description it adds references of live nodes to a set until nothing changes.
//!
//! Rules, from the promises of the program:
//! - Roots are all entries, held blobs, the lists of second indexes, and the configs and layers of docker-save elements.
//! - An annotation whose value is the digest of a present blob references it, except for descriptive ones.
//! - A blob that a media type declares as a layer or config is never read; a declared document must be readable and match
//!   its digest; anything else is read if it begins like JSON, and is compared with its digest in any case.
//! - References count in every place, in any case of the keys, and however often a key occurs there.
//! - An orphan in JSON whose `subject` is live is live, with everything below it, whether it matches its digest or not,
//!   unless it is an attestation of the kind that is always listed.
//! - The sweep is refused if a damaged document is reached, or if a document that `index.json` lists is missing, unless a
//!   live descriptor embeds it in `data`: then its references are known, and live. An unlisted referrer with a wrong digest
//!   is live, and the `data` of its descriptors counts.
//!
//! If the promises allow several results, the verdict does so as well: [`Verdict::may_refuse`] and [`Verdict::may_stay`].

use std::collections::BTreeSet;

use crate::support::media;
use crate::world::layout::{
    ATTESTS, Content, Data, Document, IndexStyle, Note, Place, Ref, Role, State, World, role,
};

/// What a sweep may do and must do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Why it must refuse; empty if it must not.
    pub(crate) must_refuse: BTreeSet<String>,
    /// Why it may refuse.
    pub(crate) may_refuse: BTreeSet<String>,
    /// Nodes that must be kept.
    pub(crate) live: BTreeSet<usize>,
    /// Nodes that may be kept; contains `live`.
    pub(crate) may_stay: BTreeSet<usize>,
    /// Nodes that are live only because their subject is.
    pub(crate) referrers: BTreeSet<usize>,
}

/// Judges a world.
pub(crate) fn judge(world: &World) -> Verdict {
    // Three readings, each a superset of the previous one. A node that the first finds damaged is damaged in every reading.
    let strict = Marking::run(world, Forged::Ignored, LeafReferrers::Leaves);
    let normal = Marking::run(world, Forged::Followed, LeafReferrers::Leaves);
    let generous = Marking::run(world, Forged::Followed, LeafReferrers::Read);
    // Except for a missing document: the `data` in a referrer with a wrong digest counts.
    let mut must_refuse = strict.damage;
    must_refuse.extend(normal.missing_roots(world));
    let mut verdict = Verdict {
        must_refuse,
        may_refuse: generous.damage,
        live: normal.live,
        may_stay: generous.live,
        referrers: normal.referrers,
    };
    verdict.may_refuse.extend(generous.doubts);
    for node in &generous.misnamed {
        let reason = format!("node {node} is called a document and is none");
        // Its digest is right, so it is known to contain no references. If another descriptor has the media type of a layer,
        // the program may trust that one; if all descriptors have that of a document, something is wrong.
        if strict.misnamed.contains(node) && !generous.otherwise.contains(node) {
            verdict.must_refuse.insert(reason);
        } else {
            verdict.may_refuse.insert(reason);
        }
    }

    if world.entries.is_empty() && world.index != IndexStyle::InvalidDigest && !world.allow_empty {
        let has_blobs = world.nodes.iter().any(|node| node.state.present());
        // A hold does not prove that the list is complete; another list with a present blob does.
        let second = world.second.iter().filter(|second| !second.is_ignored);
        let mut others = second
            .flat_map(|second| second.refs.iter().map(|item| item.target))
            .chain(
                world
                    .elements
                    .iter()
                    .flat_map(|element| &element.layers)
                    .copied(),
            )
            .chain(world.elements.iter().map(|element| element.config));
        let is_known = others.any(|node| world.node(node).state.present());
        if has_blobs && !is_known {
            verdict.must_refuse.insert("no entries".to_owned());
        } else if !has_blobs && !world.foreign.is_empty() {
            verdict
                .may_refuse
                .insert("no entries, only foreign files".to_owned());
        }
    }
    if world.index == IndexStyle::InvalidDigest {
        verdict
            .must_refuse
            .insert("index.json has an invalid digest".to_owned());
    }
    if world.index == IndexStyle::Twice && !world.entries.is_empty() {
        verdict
            .may_refuse
            .insert("index.json has `manifests` twice".to_owned());
    }
    verdict
}

/// Whether orphans with a wrong digest count as referrers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forged {
    Ignored,
    Followed,
}

/// Whether a document that is live as a layer is also inspected as a referrer, and whether an annotated subject is kept.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum LeafReferrers {
    #[default]
    Leaves,
    Read,
}

#[derive(Default)]
struct Marking {
    leaves: LeafReferrers,
    live: BTreeSet<usize>,
    referrers: BTreeSet<usize>,
    /// Nodes whose references have been followed.
    read: BTreeSet<usize>,
    /// References to follow: node, media type, content of `data`, whether `index.json` lists it.
    waiting: Vec<(usize, &'static str, Data, bool)>,
    seen: BTreeSet<(usize, &'static str, bool, bool)>,
    damage: BTreeSet<String>,
    doubts: BTreeSet<String>,
    /// Nodes with the media type of a document that cannot be one.
    misnamed: BTreeSet<usize>,
    /// Nodes to which some descriptor gives another media type than that of a document.
    otherwise: BTreeSet<usize>,
    /// Missing documents that `index.json` lists, by node.
    missing_roots: BTreeSet<usize>,
    /// Nodes that some live descriptor embeds in `data`.
    carried: BTreeSet<usize>,
    /// Missing nodes to which some live descriptor gives the media type of a document.
    absent_documents: BTreeSet<usize>,
    /// Nodes that some live descriptor with the media type of a layer embeds in `data`.
    carried_as_layers: BTreeSet<usize>,
}

impl Marking {
    fn run(world: &World, forged: Forged, leaves: LeafReferrers) -> Self {
        let mut marking = Self {
            leaves,
            ..Self::default()
        };
        for entry in &world.entries {
            marking.enqueue(world, entry, true);
        }
        for held in &world.holds {
            // A hold has no media type: the content decides.
            marking.waiting.push((*held, "", Data::None, false));
        }
        for second in world.second.iter().filter(|second| !second.is_ignored) {
            for item in &second.refs {
                marking.enqueue(world, item, false);
                if world.node(item.target).state == State::Absent {
                    let reason = format!("node {} of a second index is missing", item.target);
                    marking.doubts.insert(reason);
                }
            }
        }
        for element in &world.elements {
            for node in std::iter::once(&element.config).chain(&element.layers) {
                marking.live.insert(*node);
                marking.otherwise.insert(*node);
            }
        }
        loop {
            marking.follow(world);
            let unwrapped = marking.unwrap(world);
            if !marking.adopt(world, forged) && !unwrapped {
                break;
            }
        }
        marking
    }

    /// The reasons to refuse a sweep for missing documents that `index.json` lists and that no live descriptor embeds.
    fn missing_roots(&self, world: &World) -> BTreeSet<String> {
        let unknown = self.missing_roots.difference(&self.carried);
        unknown
            .filter(|_| !world.allow_missing)
            .map(|node| format!("node {node} is listed in index.json and missing"))
            .collect()
    }

    /// Follows all pending references.
    fn follow(&mut self, world: &World) {
        while let Some((position, media_type, data, listed)) = self.waiting.pop() {
            self.live.insert(position);
            let node = world.node(position);
            let known = role(media_type) == Role::Document;
            if !known {
                self.otherwise.insert(position);
            }
            if known && node.state == State::Absent {
                self.absent_documents.insert(position);
            }
            if role(media_type) == Role::Leaf {
                if data == Data::Embedded {
                    self.carried_as_layers.insert(position);
                }
                if listed && node.state == State::Absent {
                    self.doubts.insert(format!(
                        "node {position}, a layer in index.json, is missing"
                    ));
                }
                continue;
            }
            if node.state == State::Absent {
                if data == Data::Embedded {
                    self.carried.insert(position);
                    self.read_content(world, position, known);
                } else if listed {
                    if known {
                        self.missing_roots.insert(position);
                    } else {
                        self.doubts
                            .insert(format!("node {position} of no known type is missing"));
                    }
                }
            } else if node.state.damaged() {
                let reason = format!("node {position} is damaged and reached");
                // These two contain no descriptors that count, so a program may treat them as leaves.
                if matches!(media_type, media::IN_TOTO | media::CACHE_CONFIG) {
                    self.doubts.insert(reason);
                } else {
                    self.damage.insert(reason);
                }
            } else {
                self.read_content(world, position, known);
            }
        }
    }

    /// Reads an intact node, as a document of known type or by its content.
    fn read_content(&mut self, world: &World, position: usize, known: bool) {
        // A node that exists only in `data` may count as damaged or as missing.
        let certain = known && world.node(position).state != State::Absent;
        match &world.node(position).content {
            Content::Binary(_) | Content::Pretence if certain => {
                self.misnamed.insert(position);
            }
            Content::Binary(_) | Content::Pretence if known => {
                self.doubts
                    .insert(format!("node {position} is no document, by its `data`"));
            }
            Content::Plain | Content::Config(_) | Content::Statement { .. } | Content::List(_)
                if known =>
            {
                self.doubts
                    .insert(format!("node {position} is no manifest"));
            }
            Content::Pretence => {
                self.doubts.insert(format!("node {position} is no JSON"));
            }
            Content::Document(document) if document.flaw.is_some() => {
                let reason = format!("node {position} has an invalid digest");
                if certain {
                    self.damage.insert(reason);
                } else {
                    self.doubts.insert(reason);
                }
            }
            Content::Binary(_)
            | Content::Plain
            | Content::Config(_)
            | Content::Statement { .. }
            | Content::List(_)
            | Content::Document(_) => {}
        }
        self.follow_content(world, position);
    }

    fn follow_content(&mut self, world: &World, position: usize) {
        if !self.read.insert(position) {
            return;
        }
        for reference in world.node(position).content.refs() {
            self.enqueue(world, reference, false);
        }
    }

    fn enqueue(&mut self, world: &World, reference: &Ref, listed: bool) {
        for (key, note) in &reference.notes {
            let Note::Digest(target) = note else { continue };
            // A referrer need not keep its subject.
            let counts = self.leaves == LeafReferrers::Read || !key.ends_with("subject");
            if counts && *key != ATTESTS && world.node(*target).state.present() {
                self.waiting.push((*target, "", Data::None, false));
            }
        }
        for target in std::iter::once(reference.target).chain(reference.twin) {
            if reference.place == Place::FsLayers && !listed {
                // A schema 1 layer has no media type; it is a layer nevertheless.
                if world.node(target).state.damaged() {
                    self.doubts
                        .insert(format!("schema 1 layer {target} is damaged"));
                }
                self.live.insert(target);
                self.otherwise.insert(target);
                continue;
            }
            let untyped: &[&'static str] = &[""];
            let types = if reference.types.is_empty() {
                untyped
            } else {
                &reference.types
            };
            for media_type in types {
                let carried = reference.data == Data::Embedded;
                if self.seen.insert((target, *media_type, carried, listed)) {
                    self.waiting
                        .push((target, *media_type, reference.data, listed));
                }
            }
        }
    }

    /// Reads documents that exist only in the `data` of a descriptor with the media type of a layer.
    ///
    /// A program that therefore does not report a document of `index.json` as missing must also follow its references. For
    /// other documents that is optional.
    fn unwrap(&mut self, world: &World) -> bool {
        let found: Vec<usize> = self
            .carried_as_layers
            .iter()
            .copied()
            .filter(|node| world.node(*node).state == State::Absent)
            .filter(|node| {
                let is_missed = self.absent_documents.contains(node);
                let excuse = is_missed && !world.allow_missing && self.missing_roots.contains(node);
                excuse || self.leaves == LeafReferrers::Read
            })
            .filter(|node| !self.read.contains(node))
            .collect();
        for node in &found {
            self.carried.insert(*node);
            self.read_content(world, *node, true);
        }
        !found.is_empty()
    }

    /// Adds orphans whose subject is live; returns `true` if there were any.
    fn adopt(&mut self, world: &World, forged: Forged) -> bool {
        let mut found = false;
        for (position, node) in world.nodes.iter().enumerate() {
            let Content::Document(document) = &node.content else {
                continue;
            };
            let readable = match node.state {
                State::Whole => true,
                State::Forged => forged == Forged::Followed,
                State::Absent | State::Cut | State::Hollow => false,
            };
            // A layer with a subject may have been read in the search for referrers before it was known to be a layer.
            let reached = self.live.contains(&position);
            if !readable
                || self.read.contains(&position)
                || (reached && self.leaves == LeafReferrers::Leaves)
                || !(self.is_referrer(document) || reached && document.has_subject())
            {
                continue;
            }
            found = true;
            self.live.insert(position);
            self.referrers.insert(position);
            self.follow_content(world, position);
        }
        found
    }

    fn is_referrer(&self, document: &Document) -> bool {
        document.artifact_type != Some(media::ATTESTATION)
            && document.refs.iter().any(|reference| {
                reference.place == Place::Subject
                    && std::iter::once(reference.target)
                        .chain(reference.twin)
                        .any(|subject| self.live.contains(&subject))
            })
    }
}
