//! `check`: verifies that everything live is present, with its size and its digest.
//!
//! *Promise*: nothing is changed and nothing is locked. All problems are reported, not only the first: each blob is checked
//! separately, and one that cannot be read is a finding like others. Only if the layout cannot be listed or `index.json`
//! cannot be parsed, [`Snapshot::read`] fails.

mod absent;
mod read;
mod since;
mod subset;
mod trash;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::lacks_layers;
use crate::graph::reachability::Reachability;
use crate::graph::{BlobSet, Graph, ReferencePaths, RootSource};
use crate::layout::BlobId;
use crate::model::snapshot::Snapshot;
use crate::oci::{Digest, Role};
use crate::progress::Progress;

use absent::{Absence, absences};
use read::{BlobState, ContentVerdict, hash, inspect};
pub use since::{FileVersion, Verified};
use subset::{Candidate, choose};
pub use subset::{Subset, SubsetError};
pub use trash::{TrashFinding, TrashReport, check_trash};

/// The maximum size of a configuration that is read even if layers are not.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// The result of a check for one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Class {
    /// It is present and matches its digest and its descriptors, as far as requested.
    Ok,
    /// It is absent, and should be present.
    Missing,
    /// Its length differs from that in a descriptor.
    WrongSize,
    /// It does not match its digest.
    WrongDigest,
    /// It matches its digest, and is not a valid document.
    Malformed,
    /// It is present and cannot be read.
    Unreadable,
    /// It is absent because this is a partial copy, or because it is a foreign layer. Not damage.
    Sparse,
    /// It is unreferenced. Not damage; `gc` deletes such blobs.
    Orphan,
    /// A file in `blobs/` that is not a blob. Not damage.
    Foreign,
}

impl Class {
    /// All classes, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Missing,
        Self::WrongSize,
        Self::WrongDigest,
        Self::Malformed,
        Self::Unreadable,
        Self::Sparse,
        Self::Orphan,
        Self::Foreign,
    ];

    /// Returns its name in text and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::WrongSize => "wrong-size",
            Self::WrongDigest => "wrong-digest",
            Self::Malformed => "malformed",
            Self::Unreadable => "unreadable",
            Self::Sparse => "sparse",
            Self::Orphan => "orphan",
            Self::Foreign => "foreign",
        }
    }

    /// Returns `true` if such a blob is damage.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        !matches!(self, Self::Ok | Self::Sparse | Self::Orphan | Self::Foreign)
    }
}

/// The blobs to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Content {
    /// All blobs.
    #[default]
    All,
    /// Documents and configurations; for layers only the length is compared.
    Documents,
}

/// Whether unreferenced blobs are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Orphans {
    /// They are counted.
    #[default]
    Count,
    /// Their digests are verified as well: writers do not write blobs that exist, and one that
    /// uses a damaged orphan writes a damaged image.
    Read,
    /// They are ignored: other layouts may use them.
    Skip,
}

/// Options of a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// The blobs to read.
    pub content: Content,
    /// Whether orphans are read.
    pub orphans: Orphans,
    /// The part of these blobs that is read; `None`: all of them.
    pub subset: Option<Subset>,
}

/// Damage, or something sparse.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub class: Class,
    /// The blob; `None` for an entry of `index.json` without a valid digest, and for a second index.
    pub digest: Option<Digest>,
    /// The description that follows the digest: "is 3 bytes long, 7 are declared".
    pub why: Box<str>,
    /// Its length in bytes, if it is present.
    pub len: Option<u64>,
    /// The length in bytes that a descriptor declares: one that differs, if there is one.
    pub declared: Option<u64>,
    /// The shortest reference path from a root, without the middle of a long one; empty for an orphan.
    pub path: Vec<String>,
    /// The images that reference it: what to pass to `rm` so that it is unreferenced.
    pub images: Arc<[String]>,
    /// The holds that reference it.
    pub holds: Arc<[String]>,
    /// The second indexes that reference it, by file name.
    pub second_indexes: Arc<[String]>,
    /// The second index that is damaged itself.
    pub file: Option<PathBuf>,
    /// It is unreferenced, so that a sweep deletes it.
    pub is_orphan: bool,
}

impl Finding {
    /// Returns a finding about something that is not a blob.
    fn malformed(why: String, label: String) -> Self {
        Self {
            class: Class::Malformed,
            digest: None,
            why: why.into(),
            len: None,
            declared: None,
            path: vec![label],
            images: [].into(),
            holds: [].into(),
            second_indexes: [].into(),
            file: None,
            is_orphan: false,
        }
    }
}

/// A number of blobs, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// The number.
    pub blobs: u64,
    /// Their bytes; the declared ones for absent blobs.
    pub bytes: u64,
}

impl Count {
    const fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Adds another count.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            blobs: self.blobs + other.blobs,
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// Damage first, by class and digest; then what is sparse.
    pub findings: Vec<Finding>,
    /// Blobs that match their digest.
    pub verified: Count,
    /// Blobs that were not read because of [`CheckOptions::subset`] or of the record of earlier runs.
    pub not_read: Count,
    /// Those of them that an earlier run verified.
    pub verified_earlier: Count,
    /// Images with manifests but without any layer, by name or short ID. Not damage: a copy
    /// without layers cannot be distinguished from one that lost them.
    pub without_layers: Vec<String>,
    counts: HashMap<Class, Count>,
}

impl Report {
    /// Returns the number of blobs of a class. An entry of `index.json` without a valid digest counts as one.
    #[must_use]
    pub fn count(&self, class: Class) -> Count {
        self.counts.get(&class).copied().unwrap_or_default()
    }

    /// Returns the number of damaged blobs.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.findings
            .iter()
            .filter(|finding| finding.class.is_damage())
            .count() as u64
    }

    fn tally(&mut self, class: Class, bytes: u64) {
        self.counts.entry(class).or_default().add(bytes);
    }
}

/// A blob with a problem.
struct Problem {
    id: BlobId,
    class: Class,
    why: String,
    len: Option<u64>,
    is_orphan: bool,
}

/// Checks a snapshot of a layout.
///
/// ```no_run
/// use jiff::Timestamp;
/// use ocisweep::Snapshot;
/// use ocisweep::report::check::{CheckOptions, check};
/// use ocisweep::progress::Silent;
///
/// # fn main() -> Result<(), ocisweep::Error> {
/// let snapshot = Snapshot::read("mirror", Timestamp::now(), &Silent)?;
/// let report = check(&snapshot, &CheckOptions::default(), &Silent)?;
/// for finding in report.findings.iter().filter(|finding| finding.class.is_damage()) {
///     println!("{:?} {} ({})", finding.digest, finding.why, finding.path.join(" → "));
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Interrupted`].
pub fn check(
    snapshot: &Snapshot,
    options: &CheckOptions,
    progress: &dyn Progress,
) -> Result<Report> {
    check_since(snapshot, options, None, progress)
}

/// Like [`check`], with a record of what earlier runs verified: a blob in it is not read, except by a [`Subset::Amount`],
/// after all blobs that are not in it. Blobs that are read are added to the record.
///
/// # Errors
/// [`Error::Interrupted`].
pub fn check_since(
    snapshot: &Snapshot,
    options: &CheckOptions,
    record: Option<&dyn Verified>,
    progress: &dyn Progress,
) -> Result<Report> {
    let graph = &snapshot.graph;
    let live: Vec<BlobId> = graph.ids().filter(|id| graph.is_rooted(*id)).collect();
    let sizes = DeclaredSizes::of(snapshot, &live);
    let mut ids = live.clone();
    let mut report = Report::default();
    for orphan in graph.orphans() {
        match (orphan.file, options.orphans) {
            (Some(_), Orphans::Read) => ids.push(orphan.id),
            (Some(file), Orphans::Count) => report.tally(Class::Orphan, file.len),
            // Reported below.
            (None, _) | (Some(_), Orphans::Skip) => {}
        }
    }
    let mut states = inspect(snapshot, &ids, record, progress)?;
    let wanted = Wanted::of(graph, options, record, &live).choosing(&ids, &states);
    hash(snapshot, &ids, &mut states, &wanted, progress)?;
    let left = recheck(snapshot, &ids, &mut states, &wanted, progress)?;
    let absences = absences(
        snapshot,
        &live,
        states.get(..live.len()).unwrap_or_default(),
    );
    let mut problems = Vec::new();
    for (position, (id, state)) in ids.iter().zip(states).enumerate() {
        if left.contains(*id) {
            continue;
        }
        match state {
            BlobState::Here(len, ContentVerdict::Right) => report.verified.add(len),
            BlobState::Here(len, verdict) if wanted.leaves_out(*id, len) => {
                report.not_read.add(len);
                if matches!(verdict, ContentVerdict::Earlier(_)) {
                    report.verified_earlier.add(len);
                }
            }
            _ => {}
        }
        let is_orphan = position >= live.len();
        let absence = absences.get(id).copied();
        let (class, why, len) = judge(graph, *id, state, &sizes, absence);
        if is_orphan && matches!(class, Class::Ok | Class::Missing | Class::Sparse) {
            // An orphan that was deleted concurrently does not count.
            if class == Class::Ok {
                report.tally(Class::Orphan, len.unwrap_or_default());
            }
            continue;
        }
        let id = *id;
        report.tally(class, len.or_else(|| sizes.any(id)).unwrap_or_default());
        if class != Class::Ok {
            problems.push(Problem {
                id,
                class,
                why,
                len,
                is_orphan,
            });
        }
    }
    for (id, error) in graph.unreadable_orphans() {
        if !graph.is_rooted(*id) {
            report.tally(Class::Unreadable, 0);
            problems.push(Problem {
                id: *id,
                class: Class::Unreadable,
                why: format!("cannot be read and may be a referrer of a live image: {error}"),
                len: None,
                is_orphan: true,
            });
        }
    }
    for _ in &graph.blobs().foreign {
        report.tally(Class::Foreign, 0);
    }
    describe(snapshot, problems, &sizes, &mut report);
    report.without_layers = without_layers(snapshot);
    Ok(report)
}

/// Returns the images that lack all of their layers, each by its first label, in the order of `index.json`.
fn without_layers(snapshot: &Snapshot) -> Vec<String> {
    let Snapshot { state, graph, .. } = snapshot;
    let mut seen = BlobSet::default();
    let entries = graph.roots().iter().filter(|root| {
        let is_new = |id: &BlobId| seen.insert(*id);
        matches!(root.source, RootSource::Entry(_)) && root.target.as_ref().is_ok_and(is_new)
    });
    entries
        .filter(|root| matches!(root.target, Ok(id) if lacks_layers(graph, id)))
        .map(|root| graph.root_label(state, root))
        .collect()
}

/// Inspects listed blobs again that no longer exist. Another process may have removed them together with what references
/// them: in a layout that changed, only blobs that are live after the change are missing. Returns those that are no longer
/// live.
fn recheck(
    snapshot: &Snapshot,
    ids: &[BlobId],
    states: &mut [BlobState],
    wanted: &Wanted<'_>,
    progress: &dyn Progress,
) -> Result<BlobSet> {
    let mut left = BlobSet::default();
    let blobs = snapshot.graph.blobs();
    let is_gone = |id: BlobId, state: &BlobState| {
        *state == BlobState::Absent && blobs.digest(id).is_some() && !blobs.is_link(id)
    };
    let gone: Vec<(usize, BlobId)> = ids
        .iter()
        .zip(&*states)
        .enumerate()
        .filter(|(_, (id, state))| is_gone(**id, state))
        .map(|(position, (id, _))| (position, *id))
        .collect();
    if gone.is_empty() {
        return Ok(left);
    }
    let now = match snapshot.again(progress) {
        Ok(now) => now,
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        // The layout was removed, or cannot be read: the first result is reported.
        Err(_) => return Ok(left),
    };
    for (position, id) in gone {
        let digest = snapshot.graph.digest(id);
        let id_now = now.graph.id(digest);
        if !id_now.is_some_and(|id| now.graph.is_rooted(id)) {
            left.insert(id);
        } else if let Some(place) = states.get_mut(position) {
            // It may have been written again.
            *place = inspect(snapshot, &[id], wanted.record, progress)?
                .pop()
                .unwrap_or(BlobState::Absent);
        }
    }
    hash(snapshot, ids, states, wanted, progress)?;
    Ok(left)
}

/// The blobs to read.
struct Wanted<'a> {
    graph: &'a Graph,
    configs: BlobSet,
    content: Content,
    subset: Option<Subset>,
    record: Option<&'a dyn Verified>,
    /// The chosen blobs among those that a full check reads; `None`: all.
    chosen: Option<BlobSet>,
}

impl<'a> Wanted<'a> {
    fn of(
        graph: &'a Graph,
        options: &CheckOptions,
        record: Option<&'a dyn Verified>,
        live: &[BlobId],
    ) -> Self {
        Self {
            graph,
            configs: configs(graph, live),
            content: options.content,
            subset: options.subset,
            record,
            chosen: None,
        }
    }

    /// Chooses blobs if not all are to be read. This is done once: a blob that is read later because it was replaced must
    /// not take the place of others.
    fn choosing(mut self, ids: &[BlobId], states: &[BlobState]) -> Self {
        if self.subset.is_none() && self.record.is_none() {
            return self;
        }
        let candidates = ids.iter().zip(states).filter_map(|(id, state)| {
            let (id, BlobState::Here(len, verdict)) = (*id, state) else {
                return None;
            };
            let verified = match verdict {
                ContentVerdict::NotRead => None,
                ContentVerdict::Earlier(when) => Some(*when),
                ContentVerdict::Right | ContentVerdict::Wrong | ContentVerdict::WrongPayload(_) => {
                    return None;
                }
            };
            self.is_candidate(id, *len).then(|| Candidate {
                id,
                digest: self.graph.digest(id),
                len: *len,
                verified,
            })
        });
        let candidates = candidates.collect();
        self.chosen = Some(choose(candidates, self.subset, self.record.is_some()));
        self
    }

    /// Returns `true` if a blob is always read, because it decides what is live.
    fn is_always_read(&self, id: BlobId, len: u64) -> bool {
        let is_small_config = self.configs.contains(id) && len <= MAX_CONFIG_BYTES;
        // A damaged document is read to find out whether it matches its digest.
        let is_document = self.graph.damage(id).is_some() || self.graph.node(id).is_some();
        is_small_config || is_document
    }

    /// Returns `true` if a blob is read when it is chosen.
    fn is_candidate(&self, id: BlobId, len: u64) -> bool {
        // Orphans are read if requested, also if layers are not.
        let is_orphan = !self.graph.is_rooted(id);
        let is_verifiable = self.graph.digest(id).algorithm().is_some();
        let is_wanted = self.content == Content::All || is_orphan;
        is_verifiable && is_wanted && !self.is_always_read(id, len)
    }

    fn is_chosen(&self, id: BlobId) -> bool {
        let chosen = self.chosen.as_ref();
        chosen.is_none_or(|chosen| chosen.contains(id))
    }

    fn is_read(&self, id: BlobId, len: u64) -> bool {
        self.is_always_read(id, len) || (self.is_candidate(id, len) && self.is_chosen(id))
    }

    /// Returns `true` if a blob is not read because it was not chosen.
    fn leaves_out(&self, id: BlobId, len: u64) -> bool {
        self.is_candidate(id, len) && !self.is_chosen(id)
    }

    /// Returns the record for a blob that was read; `None` if every run reads it.
    fn record_of(&self, id: BlobId, len: u64) -> Option<&dyn Verified> {
        self.record.filter(|_| !self.is_always_read(id, len))
    }
}

/// Returns the blobs that are a configuration somewhere.
fn configs(graph: &Graph, live: &[BlobId]) -> BlobSet {
    let mut configs = BlobSet::default();
    let edges = live.iter().filter_map(|id| graph.node(*id));
    for edge in edges.flat_map(|node| &node.edges) {
        if edge.role == Role::Config {
            configs.insert(edge.to);
        }
    }
    configs
}

/// Returns the class of one blob, the reason, and its length.
fn judge(
    graph: &Graph,
    id: BlobId,
    state: BlobState,
    sizes: &DeclaredSizes,
    absence: Option<Absence>,
) -> (Class, String, Option<u64>) {
    let (len, verdict) = match state {
        BlobState::Carried if matches!(absence, None | Some(Absence::Carried)) => {
            return (Class::Ok, String::new(), sizes.any(id));
        }
        BlobState::Unreadable(why) => {
            return (Class::Unreadable, format!("cannot be read: {why}"), None);
        }
        BlobState::Absent | BlobState::Carried => {
            let (class, why) = judge_absent(graph, id, absence);
            return (class, why.to_owned(), None);
        }
        BlobState::Here(len, verdict) => (len, verdict),
    };
    // docker declares the length of the payload, which is right although the file is longer by its signatures.
    let other = sizes
        .other_than(id, len)
        .filter(|declared| verdict != ContentVerdict::WrongPayload(*declared));
    let (class, why) = if let Some(declared) = other {
        let digest = match verdict {
            ContentVerdict::Right => ", though its digest is right",
            ContentVerdict::Wrong
            | ContentVerdict::WrongPayload(_)
            | ContentVerdict::NotRead
            | ContentVerdict::Earlier(_) => "",
        };
        let why = format!("is {len} bytes long, and {declared} are declared{digest}");
        (Class::WrongSize, why)
    } else if matches!(
        verdict,
        ContentVerdict::Wrong | ContentVerdict::WrongPayload(_)
    ) {
        (Class::WrongDigest, "does not match its digest".to_owned())
    } else if let Some(why) = graph.damage(id) {
        (Class::Malformed, why.to_owned())
    } else {
        (Class::Ok, String::new())
    };
    (class, why, Some(len))
}

fn judge_absent(graph: &Graph, id: BlobId, absence: Option<Absence>) -> (Class, &'static str) {
    // A blob that the directory lists was not omitted from a copy.
    if graph.blobs().digest(id).is_some() {
        return if graph.blobs().is_link(id) {
            (Class::Missing, "is a symbolic link without a target")
        } else {
            (Class::Missing, "vanished while it was read")
        };
    }
    match absence {
        Some(Absence::Listed) => (Class::Missing, "is missing"),
        Some(Absence::Torn) => (
            Class::Missing,
            "is missing, but other layers of the same manifest are present",
        ),
        Some(Absence::Foreign) => (
            Class::Sparse,
            "is a foreign layer, which is fetched elsewhere",
        ),
        Some(Absence::Sparse | Absence::Carried) | None => (Class::Sparse, "is not in this copy"),
    }
}

/// Adds the findings, with reference paths and the images that need each blob.
fn describe(
    snapshot: &Snapshot,
    problems: Vec<Problem>,
    sizes: &DeclaredSizes,
    report: &mut Report,
) {
    let Snapshot { state, graph, .. } = snapshot;
    for root in graph.roots() {
        if let (RootSource::Entry(_), Err(why)) = (root.source, &root.target) {
            report.tally(Class::Malformed, 0);
            let label = graph.root_label(state, root);
            report.findings.push(Finding {
                images: [label.clone()].into(),
                ..Finding::malformed(format!("has {why}"), label)
            });
        }
    }
    for index in &state.second_indexes {
        if let Err(why) = &index.links {
            report.tally(Class::Malformed, 0);
            report.findings.push(Finding {
                second_indexes: [index.label()].into(),
                file: Some(index.file.clone()),
                ..Finding::malformed(why.clone(), index.label())
            });
        }
    }
    if problems.is_empty() {
        return;
    }
    let paths = ReferencePaths::of(&snapshot.graph, &snapshot.state);
    let mut wanted = BlobSet::default();
    for problem in &problems {
        wanted.insert(problem.id);
    }
    let reachability = Reachability::of(&snapshot.graph, &snapshot.state, &wanted);
    let (mut images, mut holds) = (reachability.images(), reachability.holds());
    let mut second_indexes = reachability.second_indexes();
    for problem in problems {
        let Problem { id, len, .. } = problem;
        let declared = len
            .and_then(|len| sizes.other_than(id, len))
            .or_else(|| sizes.any(id));
        report.findings.push(Finding {
            class: problem.class,
            digest: Some(graph.digest(id).clone()),
            why: problem.why.into(),
            len,
            declared,
            path: paths.shortest_abbreviated(id),
            images: images.of(id),
            holds: holds.of(id),
            second_indexes: second_indexes.of(id),
            file: None,
            is_orphan: problem.is_orphan,
        });
    }
    report
        .findings
        .sort_by(|a, b| (a.class, &a.digest).cmp(&(b.class, &b.digest)));
}

/// Returns the length of the file that a descriptor declares. For a signed manifest it may be that of its payload.
fn of_file(graph: &Graph, id: BlobId, declared: u64) -> u64 {
    match graph.node(id) {
        Some(node) if graph.payload_len(id) == Some(declared) => node.len,
        _ => declared,
    }
}

/// The declared lengths of blobs: one, and another one that differs.
#[derive(Debug, Default)]
struct DeclaredSizes(HashMap<BlobId, (u64, Option<u64>)>);

impl DeclaredSizes {
    fn of(snapshot: &Snapshot, live: &[BlobId]) -> Self {
        let Snapshot { state, graph, .. } = snapshot;
        let mut sizes = Self::default();
        for entry in state.index.entries() {
            if let (Ok(digest), Some(size)) = (&entry.digest, entry.size)
                && let Some(id) = graph.id(digest)
            {
                sizes.add(id, of_file(graph, id, size));
            }
        }
        let nodes = live.iter().filter_map(|id| graph.node(*id));
        for edge in nodes.flat_map(|node| &node.edges) {
            // In an object that only resembles a descriptor, size may have another meaning.
            if let Some(size) = edge.size()
                && edge.role != Role::Other
            {
                sizes.add(edge.to, of_file(graph, edge.to, size));
            }
        }
        sizes
    }

    /// Two different lengths are enough: one of them is wrong in any case.
    fn add(&mut self, id: BlobId, size: u64) {
        let (first, other) = self.0.entry(id).or_insert((size, None));
        if *first != size && other.is_none() {
            *other = Some(size);
        }
    }

    fn any(&self, id: BlobId) -> Option<u64> {
        self.0.get(&id).map(|(first, _)| *first)
    }

    fn other_than(&self, id: BlobId, len: u64) -> Option<u64> {
        let (first, other) = self.0.get(&id)?;
        if *first == len { *other } else { Some(*first) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_declared_length_that_differs() {
        type Case<'a> = (&'a [u64], u64, Option<u64>);
        let cases: &[Case<'_>] = &[
            (&[], 5, None),
            (&[5], 5, None),
            (&[5, 5, 5], 5, None),
            (&[6], 5, Some(6)),
            (&[5, 6], 5, Some(6)),
            (&[6, 5], 5, Some(6)),
            (&[5, 6, 7], 5, Some(6)),
            (&[7, 6], 5, Some(7)),
        ];
        for (declared, len, want) in cases {
            let mut sizes = DeclaredSizes::default();
            for size in *declared {
                sizes.add(7, *size);
            }
            assert_eq!(sizes.other_than(7, *len), *want, "{declared:?}");
            assert_eq!(sizes.any(7), declared.first().copied(), "{declared:?}");
            assert_eq!(sizes.other_than(8, *len), None);
        }
    }

    #[test]
    fn every_class_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = Class::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Class::ALL.len());
        let damage: Vec<_> = Class::ALL.into_iter().filter(|c| c.is_damage()).collect();
        assert!(Class::ALL.is_sorted(), "damage comes first in a report");
        assert_eq!(damage.as_slice(), Class::ALL.get(1..6).unwrap_or_default());
    }
}
