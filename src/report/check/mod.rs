//! `check`: is everything that is live here, of its size and of its digest?
//!
//! *Promise*: nothing is changed and nothing is locked. The first damage does not end it: each blob is
//! judged by itself, and one that cannot be read is a finding like others. Only what cannot be listed
//! or understood as a whole, such as `index.json`, is an error, and that of [`Snapshot::read`].

mod absent;
mod read;
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
use read::{Look, Verdict, hash, look};
pub use trash::{TrashFinding, TrashReport, check_trash};

/// A configuration up to this size is read also when the content of layers is not.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// What becomes of a blob in a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Class {
    /// It is here and as its digest and its descriptors say, as far as that was asked for.
    Ok,
    /// It is not here, and should be.
    Missing,
    /// It has another length than a descriptor declares.
    WrongSize,
    /// It is other than its digest says.
    WrongDigest,
    /// It is what its digest says, and no document that anybody could follow.
    Malformed,
    /// It is here and cannot be read.
    Unreadable,
    /// It is not here because this is a copy of a part, or because it is a foreign layer. No damage.
    Sparse,
    /// Nothing references it. No damage; `gc` deletes such blobs.
    Orphan,
    /// A file in `blobs/` that is no blob. No damage.
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

    /// Returns the word for people and JSON.
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

    /// Returns `true` if such a blob makes a layout damaged.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        match self {
            Self::Missing
            | Self::WrongSize
            | Self::WrongDigest
            | Self::Malformed
            | Self::Unreadable => true,
            Self::Ok | Self::Sparse | Self::Orphan | Self::Foreign => false,
        }
    }
}

/// How much is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Content {
    /// Every blob in full.
    #[default]
    All,
    /// Documents and configurations; of layers only the length is compared.
    Documents,
}

/// Whether blobs are read to which nothing leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Orphans {
    /// They are counted.
    #[default]
    Count,
    /// They are compared with their digests as well: writers use again what is there, and one that
    /// uses a damaged orphan writes a damaged image.
    Read,
    /// They are of no interest: other layouts may need them.
    Skip,
}

/// What to check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// How much is read.
    pub content: Content,
    /// Whether orphans are read.
    pub orphans: Orphans,
}

/// Something that is not as it should be, or sparse.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub class: Class,
    /// The blob; `None` for an entry of `index.json` that names none, and for a second index.
    pub digest: Option<Digest>,
    /// What is wrong, in words that follow the digest: "is 3 bytes long, 7 are declared".
    pub why: Box<str>,
    /// Its length in bytes, where it is here.
    pub len: Option<u64>,
    /// The length in bytes that a descriptor declares: one that differs, if there is one.
    pub declared: Option<u64>,
    /// How a root references it, the shortest way, without the middle of a long one; empty for an orphan.
    pub path: Vec<String>,
    /// The images that need it: what to give to `rm` so that nothing does any more.
    pub images: Arc<[String]>,
    /// The holds that need it.
    pub holds: Arc<[String]>,
    /// The second indexes that need it, by file name.
    pub second_indexes: Arc<[String]>,
    /// The second index that is wrong itself.
    pub file: Option<PathBuf>,
    /// Nothing references it, so that a sweep deletes it.
    pub is_orphan: bool,
}

/// A number of blobs, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub blobs: u64,
    /// Their bytes; of what is not here those that are declared.
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

/// What a check brought.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// Damage first, by class and digest; what is sparse after that.
    pub findings: Vec<Finding>,
    /// Blobs that were compared with their digest.
    pub verified: Count,
    /// Images of which manifests are here and no layer is, by name or short ID. This is not damage: a copy that
    /// leaves all layers out looks the same as one that lost them.
    pub without_layers: Vec<String>,
    counts: HashMap<Class, Count>,
}

impl Report {
    /// Returns how many blobs are of a class. An entry of `index.json` that names no blob counts as one.
    #[must_use]
    pub fn count(&self, class: Class) -> Count {
        self.counts.get(&class).copied().unwrap_or_default()
    }

    /// Returns how many blobs are damaged.
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

/// What is known of one blob that is not as it should be.
struct Trouble {
    id: BlobId,
    class: Class,
    why: String,
    len: Option<u64>,
    is_orphan: bool,
}

/// Checks a layout as it was read.
///
/// ```no_run
/// use jiff::Timestamp;
/// use ocisweep::Snapshot;
/// use ocisweep::report::check::{CheckOptions, check};
/// use ocisweep::progress::Silent;
///
/// # fn main() -> Result<(), ocisweep::Error> {
/// let view = Snapshot::read("mirror", Timestamp::now(), &Silent)?;
/// let report = check(&view, &CheckOptions::default(), &Silent)?;
/// for finding in report.findings.iter().filter(|finding| finding.class.is_damage()) {
///     println!("{:?} {} ({})", finding.digest, finding.why, finding.path.join(" → "));
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Interrupted`]; nothing else.
pub fn check(view: &Snapshot, options: &CheckOptions, progress: &dyn Progress) -> Result<Report> {
    let graph = &view.graph;
    let live: Vec<BlobId> = graph.ids().filter(|id| graph.is_rooted(*id)).collect();
    let sizes = Sizes::of(view, &live);
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
    let mut looks = look(view, &ids, progress)?;
    let configs = configs(graph, &live);
    let is_wanted = |id: BlobId, len: u64| {
        let is_small_config = configs.contains(id) && len <= MAX_CONFIG_BYTES;
        // Of a damaged document it has to be told whether the file is wrong, or what was written.
        let is_document = graph.damage(id).is_some() || graph.node(id).is_some();
        // Who asks for the orphans wants to know them, whatever is said of layers.
        let is_orphan = !graph.is_rooted(id);
        options.content == Content::All || is_small_config || is_document || is_orphan
    };
    hash(view, &ids, &mut looks, is_wanted, progress)?;
    let left = recheck(view, &ids, &mut looks, is_wanted, progress)?;
    let absences = absences(view, &live, looks.get(..live.len()).unwrap_or_default());
    let mut troubles = Vec::new();
    for (position, (id, look)) in ids.iter().zip(looks).enumerate() {
        if left.contains(*id) {
            continue;
        }
        if let Look::Here(len, Verdict::Right) = look {
            report.verified.add(len);
        }
        let is_orphan = position >= live.len();
        let absence = absences.get(id).copied();
        let (class, why, len) = judge(graph, *id, look, &sizes, absence);
        if is_orphan && matches!(class, Class::Ok | Class::Missing | Class::Sparse) {
            // One that vanished meanwhile is no orphan any more.
            if class == Class::Ok {
                report.tally(Class::Orphan, len.unwrap_or_default());
            }
            continue;
        }
        report.tally(class, len.or_else(|| sizes.any(*id)).unwrap_or_default());
        if class != Class::Ok {
            troubles.push(Trouble {
                id: *id,
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
            troubles.push(Trouble {
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
    describe(view, troubles, &sizes, &mut report);
    report.without_layers = without_layers(view);
    Ok(report)
}

/// Returns the images that lack all of their layers, each by its first label, in the order of `index.json`.
fn without_layers(view: &Snapshot) -> Vec<String> {
    let Snapshot { state, graph, .. } = view;
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

/// Looks again at blobs that were listed and are gone. Another process may have removed them together with what references
/// them: in a layout that changed, only what is live after the change is missing. Returns those that are not live any more.
fn recheck(
    view: &Snapshot,
    ids: &[BlobId],
    looks: &mut [Look],
    is_wanted: impl Fn(BlobId, u64) -> bool,
    progress: &dyn Progress,
) -> Result<BlobSet> {
    let mut left = BlobSet::default();
    let blobs = view.graph.blobs();
    let is_gone = |id: BlobId, look: &Look| {
        *look == Look::Absent && blobs.digest(id).is_some() && !blobs.is_link(id)
    };
    let gone: Vec<(usize, BlobId)> = ids
        .iter()
        .zip(&*looks)
        .enumerate()
        .filter(|(_, (id, look))| is_gone(**id, look))
        .map(|(position, (id, _))| (position, *id))
        .collect();
    if gone.is_empty() {
        return Ok(left);
    }
    let now = match view.again(progress) {
        Ok(now) => now,
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        // Removed altogether, or unreadable now: what is gone is reported as it was found.
        Err(_) => return Ok(left),
    };
    for (position, id) in gone {
        let digest = view.graph.digest(id);
        let is_live = now
            .graph
            .id(digest)
            .is_some_and(|id| now.graph.is_rooted(id));
        if !is_live {
            left.insert(id);
        } else if let Some(place) = looks.get_mut(position) {
            // It may have been written again meanwhile.
            *place = look(view, &[id], progress)?.pop().unwrap_or(Look::Absent);
        }
    }
    hash(view, ids, looks, is_wanted, progress)?;
    Ok(left)
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

/// Decides on the class of one blob, and says why.
fn judge(
    graph: &Graph,
    id: BlobId,
    look: Look,
    sizes: &Sizes,
    absence: Option<Absence>,
) -> (Class, String, Option<u64>) {
    let (len, verdict) = match look {
        Look::Carried if matches!(absence, None | Some(Absence::Carried)) => {
            return (Class::Ok, String::new(), sizes.any(id));
        }
        Look::Unreadable(why) => {
            return (Class::Unreadable, format!("cannot be read: {why}"), None);
        }
        Look::Absent | Look::Carried => {
            let (class, why) = judge_absent(graph, id, absence);
            return (class, why.to_owned(), None);
        }
        Look::Here(len, verdict) => (len, verdict),
    };
    // Docker declares the length of the payload: that is right where the file is longer by its signatures.
    let other = sizes
        .other_than(id, len)
        .filter(|declared| verdict != Verdict::WrongPayload(*declared));
    let (class, why) = if let Some(declared) = other {
        let digest = match verdict {
            Verdict::Right => ", though its digest is right",
            Verdict::Wrong | Verdict::WrongPayload(_) | Verdict::NotRead => "",
        };
        let why = format!("is {len} bytes long, and {declared} are declared{digest}");
        (Class::WrongSize, why)
    } else if matches!(verdict, Verdict::Wrong | Verdict::WrongPayload(_)) {
        (Class::WrongDigest, "does not match its digest".to_owned())
    } else if let Some(why) = graph.damage(id) {
        (Class::Malformed, why.to_owned())
    } else {
        (Class::Ok, String::new())
    };
    (class, why, Some(len))
}

fn judge_absent(graph: &Graph, id: BlobId, absence: Option<Absence>) -> (Class, &'static str) {
    // Of a name that the directory lists nobody can say that it was left out.
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

/// Puts into words how one gets to the blobs, and whom they concern.
fn describe(view: &Snapshot, troubles: Vec<Trouble>, sizes: &Sizes, report: &mut Report) {
    let Snapshot { state, graph, .. } = view;
    for root in graph.roots() {
        if let (RootSource::Entry(_), Err(why)) = (root.source, &root.target) {
            report.tally(Class::Malformed, 0);
            let label = graph.root_label(state, root);
            report.findings.push(Finding {
                class: Class::Malformed,
                digest: None,
                why: format!("has {why}").into(),
                len: None,
                declared: None,
                path: vec![label.clone()],
                images: [label].into(),
                holds: [].into(),
                second_indexes: [].into(),
                file: None,
                is_orphan: false,
            });
        }
    }
    for index in &state.second_indexes {
        if let Err(why) = &index.links {
            report.tally(Class::Malformed, 0);
            report.findings.push(Finding {
                class: Class::Malformed,
                digest: None,
                why: why.clone().into(),
                len: None,
                declared: None,
                path: vec![index.label()],
                images: [].into(),
                holds: [].into(),
                second_indexes: [index.label()].into(),
                file: Some(index.file.clone()),
                is_orphan: false,
            });
        }
    }
    if troubles.is_empty() {
        return;
    }
    let ways = ReferencePaths::of(&view.graph, &view.state);
    let mut wanted = BlobSet::default();
    for trouble in &troubles {
        wanted.insert(trouble.id);
    }
    let needs = Reachability::of(&view.graph, &view.state, &wanted);
    let (mut images, mut holds) = (needs.images(), needs.holds());
    let mut second_indexes = needs.second_indexes();
    for trouble in troubles {
        let Trouble { id, len, .. } = trouble;
        let declared = len
            .and_then(|len| sizes.other_than(id, len))
            .or_else(|| sizes.any(id));
        report.findings.push(Finding {
            class: trouble.class,
            digest: Some(graph.digest(id).clone()),
            why: trouble.why.into(),
            len,
            declared,
            path: ways.shortest_abbreviated(id),
            images: images.of(id),
            holds: holds.of(id),
            second_indexes: second_indexes.of(id),
            file: None,
            is_orphan: trouble.is_orphan,
        });
    }
    report
        .findings
        .sort_by(|a, b| (a.class, &a.digest).cmp(&(b.class, &b.digest)));
}

/// Returns the length of the file that a descriptor declares. That of a signed manifest may mean its payload.
fn of_file(graph: &Graph, id: BlobId, declared: u64) -> u64 {
    match graph.node(id) {
        Some(node) if graph.payload_len(id) == Some(declared) => node.len,
        _ => declared,
    }
}

/// What descriptors say about the length of blobs.
#[derive(Debug, Default)]
struct Sizes(HashMap<BlobId, (u64, Option<u64>)>);

impl Sizes {
    fn of(view: &Snapshot, live: &[BlobId]) -> Self {
        let Snapshot { state, graph, .. } = view;
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
            // What only looks like a descriptor may mean another size.
            if let Some(size) = edge.size
                && edge.role != Role::Other
            {
                sizes.add(edge.to, of_file(graph, edge.to, size));
            }
        }
        sizes
    }

    /// Two different lengths are enough: one of them is wrong, whatever the blob is.
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
    fn of_several_declared_lengths_one_that_differs_is_found() {
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
            let mut sizes = Sizes::default();
            for size in *declared {
                sizes.add(7, *size);
            }
            assert_eq!(sizes.other_than(7, *len), *want, "{declared:?}");
            assert_eq!(sizes.any(7), declared.first().copied(), "{declared:?}");
            assert_eq!(sizes.other_than(8, *len), None);
        }
    }

    #[test]
    fn every_class_has_a_word_of_its_own() {
        let names: std::collections::BTreeSet<_> = Class::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Class::ALL.len());
        let damage: Vec<_> = Class::ALL.into_iter().filter(|c| c.is_damage()).collect();
        let sorted = {
            let mut sorted = Class::ALL;
            sorted.sort_unstable();
            sorted
        };
        assert_eq!(sorted, Class::ALL, "damage comes first in a report");
        assert_eq!(damage.as_slice(), Class::ALL.get(1..6).unwrap_or_default());
    }
}
