//! `prune`: which images go by rule, filter and budget, and why each of the others stays.
//!
//! *Promise*: the removal is the same as `rm` of the chosen images, so whatever something that stays
//! references stays; each image has a reason that was computed and not guessed; the bytes that are
//! announced are those of the plan.

mod along;
mod budget;
mod kept;
mod options;

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::error::Error;
use crate::fs::Fs;
use crate::graph::{EmptyIndex, RootSource};
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::images::{Image, ImageInspector};
use crate::model::inventory::{Files, Unmeasured, files};
use crate::model::snapshot::Snapshot;
use crate::oci::{Digest, Role};

use self::along::{Follows, companions_among, follow};
pub use self::budget::BudgetHolder;
use self::budget::{holders, live_bytes, trim};
use self::kept::kept_bytes;
pub use self::kept::{Holder, KeptBytes, KeptLink};
pub use self::options::{PruneOptions, Scope};
use super::age::{Age, Ties, ages};
use super::dangling::{dangling_among, unneeded};
use super::filter::Resolved;
use super::policy::{Aged, Reason, Rule};
use super::remove::{
    Extent, Removal, RemovalSet, RemoveOptions, SweepExtent, cascade, finish, kept_by, untag,
};
use super::{FilterError, Force, Policy, Referrers, SweepOptions};

/// What becomes of one image, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The image.
    pub digest: Digest,
    /// Its names.
    pub names: Vec<String>,
    /// Its age, as it was judged.
    pub age: Age,
    /// Bytes of it on disk, shared ones included.
    pub size: u64,
    /// It goes.
    pub goes: bool,
    /// Names that it loses while it stays under others: a filter on names chooses names.
    pub untagged: Vec<String>,
    /// Why it goes or stays; never empty.
    pub reasons: Vec<String>,
}

/// Whether a size budget was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Budget {
    /// None was given.
    None,
    /// Live blobs fit.
    Reached,
    /// They do not, and nothing more may go.
    Missed {
        /// Bytes that live blobs still take.
        live: u64,
        /// What keeps the images that are left, rule by rule. What several keep is counted for each.
        held: Vec<BudgetHolder>,
    },
}

/// A planned prune.
#[derive(Debug)]
pub struct Prune {
    /// What is done.
    pub removal: Removal,
    /// What becomes of each image, in the order of `index.json`. Parts and referrers of other images
    /// follow those and have no verdict of their own.
    pub verdicts: Vec<Verdict>,
    /// Whether the budget was reached.
    pub budget: Budget,
    /// Everything goes that is listed, and nothing was said that would keep anything.
    pub takes_everything: bool,
    /// What stays, in bytes.
    pub kept: KeptBytes,
    /// What of that has several names, which another layout may have as well.
    pub kept_links: Vec<KeptLink>,
    /// The positions of the entries that go.
    pub entries: BTreeSet<usize>,
    /// Blobs that count as 0 bytes.
    pub unmeasured: Option<Unmeasured>,
}

/// Why nothing is pruned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The layout cannot be pruned.
    #[error(transparent)]
    Layout(#[from] Error),
    /// A filter means nothing here.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The last image would go.
    #[error("cannot prune `{path}`: it would be left without an image (it has {images})")]
    LastImage {
        /// The layout.
        path: String,
        /// How many images there are.
        images: usize,
    },
}

/// One image while it is judged.
struct Judged<'a> {
    image: &'a Image,
    age: Age,
    /// The rules that keep it.
    rules: Vec<Rule>,
    reasons: Vec<String>,
    /// It is what overwriting a tag leaves.
    is_dangling: bool,
    /// Filters or the scope leave it alone.
    is_out_of_reach: bool,
    /// The images that its tags were derived from.
    follows: Follows,
    goes: bool,
    /// The names that pass a filter on names, where others do not.
    some_names: Option<Vec<String>>,
    /// Names that it loses while it stays.
    untagged: Vec<String>,
}

impl Judged<'_> {
    /// Notes the rules that keep it.
    fn keep(&mut self, reasons: Vec<Reason>) {
        for Reason { rule, text } in reasons {
            self.rules.push(rule);
            self.reasons.push(text);
        }
    }

    /// Takes the names away that pass a filter on names. The image is kept, whatever the budget: its other names were
    /// not chosen.
    fn lose_names(&mut self) {
        self.untagged = self.some_names.take().unwrap_or_default();
        let lost = self.untagged.join(", ");
        self.reasons.push(format!("only {lost} passes the filters"));
        self.is_out_of_reach = true;
    }

    /// Returns `true` if nothing that was asked for keeps it. A size budget takes nothing else.
    fn is_free(&self) -> bool {
        self.image.holds.is_empty() && self.rules.is_empty() && !self.is_out_of_reach
    }
}

/// Plans a prune.
///
/// Which images would go if the newest of each repository stayed, and whatever is called `…:lts`:
///
/// ```no_run
/// use std::time::Duration;
///
/// use jiff::{Timestamp, tz::TimeZone};
/// use ocisweep::Snapshot;
/// use ocisweep::model::entries::list_entries;
/// use ocisweep::graph::{EmptyIndex, MissingDocuments};
/// use ocisweep::model::images::list_images;
/// use ocisweep::progress::Silent;
/// use ocisweep::oci::glob::Glob;
/// use ocisweep::plan::{Filters, Policy, PruneOptions, Scope, SweepOptions, prune};
/// use ocisweep::model::images::TimeSource;
/// use ocisweep::fs::Disk;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = Timestamp::now();
/// let view = Snapshot::read("mirror", now, &Silent)?;
/// let policy = Policy {
///     last: Some(1),
///     keep: vec![Glob::new("**:lts")?],
///     ..Policy::default()
/// };
/// let options = PruneOptions {
///     scope: Scope::All,
///     filters: &Filters::default(),
///     policy: &policy,
///     max_size: None,
///     time: TimeSource::Added,
///     now,
///     zone: TimeZone::system(),
///     empty: EmptyIndex::Refuse,
///     missing: MissingDocuments::Refuse,
/// };
/// let sweep = SweepOptions::new(now, now, Duration::from_secs(24 * 3600));
/// let (images, entries) = (list_images(&view, now), list_entries(&view));
/// let plan = prune(&view, &images, &entries, &options, &sweep, &Disk)?;
/// for verdict in plan.verdicts.iter().filter(|verdict| verdict.goes) {
///     println!("{} {:?}: {}", verdict.digest, verdict.names, verdict.reasons.join(", "));
/// }
/// println!("{} bytes", plan.removal.plan.totals().reclaimed_bytes());
/// # Ok(())
/// # }
/// ```
///
/// Orphans younger than the grace period [of the view](Snapshot::protect) are kept, and
/// [`execute`](crate::execute::execute) does what [`Removal::plan`] says.
///
/// # Errors
/// [`PruneError`]; nothing is done then.
pub fn prune(
    view: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    options: &PruneOptions<'_>,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Prune, PruneError> {
    let all_files = files(view, fs);
    prune_with(
        view,
        images,
        entries,
        options,
        sweep_options,
        fs,
        &all_files,
    )
}

/// Plans a prune of a layout whose files were looked at already.
pub(crate) fn prune_with(
    view: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    options: &PruneOptions<'_>,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
    all_files: &Files,
) -> Result<Prune, PruneError> {
    let mut cache = ImageInspector::with_inventory(view, all_files);
    let dangling = dangling_among(view, entries);
    let filters = options
        .filters
        .against(view, entries, &mut cache, &dangling)?;
    let mut judged = judge(
        view, images, entries, options, &filters, &mut cache, &dangling,
    );
    // What dangles once the others are removed was not shown to the filters yet.
    let of_id: HashMap<BlobId, &Image> = images.iter().map(|image| (image.id, image)).collect();
    let mut passes = |id: BlobId| {
        let mut image = of_id.get(&id).into_iter();
        options.filters.is_empty()
            || image.any(|image| filters.matches(image, &mut cache, options.time))
    };
    let mut budget = Budget::None;
    let removal = loop {
        let (gone, removal, along) = plan(
            view,
            entries,
            &judged,
            &mut passes,
            options,
            sweep_options,
            fs,
        )?;
        let Some(max_size) = options.max_size else {
            break (gone, removal, along);
        };
        let live = live_bytes(view, &gone, all_files);
        if live <= max_size {
            budget = Budget::Reached;
            break (gone, removal, along);
        }
        // The first round takes as many as a count of owners says; later ones take one at a time,
        // for what the count cannot see.
        let excess = live - max_size;
        if !trim(view, entries, &mut judged, excess, options, all_files) {
            let held = holders(view, &judged, &gone, all_files);
            budget = Budget::Missed { live, held };
            break (gone, removal, along);
        }
    };
    let (gone, mut removal, along) = removal;
    (removal.kept_by, removal.more_kept) = kept_by(view, entries, &gone, &removal.plan);
    let left: Vec<&EntryFacts> = entries
        .iter()
        .filter(|entry| !gone.entries.contains(&entry.position))
        .collect();
    let is_last =
        !gone.entries.is_empty() && (left.is_empty() || (has_names(entries) && !has_names(left)));
    if is_last && options.empty == EmptyIndex::Refuse {
        return Err(PruneError::LastImage {
            path: view.layout.path().display().to_string(),
            images: images.len(),
        });
    }
    let (kept, kept_links) = kept_bytes(view, entries, &gone, &removal, all_files);
    let takes_everything = options.scope == Scope::All
        && options.filters.is_empty()
        && !options.policy.chooses()
        && options.policy.keep.is_empty()
        && options.max_size.is_none()
        && images.iter().all(|image| image.holds.is_empty());
    let judged_images: HashSet<BlobId> = judged.iter().map(|judged| judged.image.id).collect();
    let mut verdicts: Vec<Verdict> = judged
        .into_iter()
        .map(|judged| Verdict {
            digest: judged.image.digest.clone(),
            names: judged
                .image
                .names
                .iter()
                .map(|name| name.text.to_string())
                .collect(),
            age: judged.age,
            size: cache.sizes(judged.image.id, None).disk,
            goes: judged.goes,
            untagged: judged.untagged,
            reasons: judged.reasons,
        })
        .collect();
    // What nothing needs any more is no part of an image that is shown, so it is shown itself.
    let along = images
        .iter()
        .filter(|image| along.contains(&image.id) && !judged_images.contains(&image.id));
    for image in along {
        verdicts.push(Verdict {
            digest: image.digest.clone(),
            names: image
                .names
                .iter()
                .map(|name| name.text.to_string())
                .collect(),
            age: Age {
                time: cache.time(image.id, options.time),
                position: image.entries.last().copied().unwrap_or_default(),
                ..Age::default()
            },
            size: cache.sizes(image.id, None).disk,
            goes: true,
            untagged: Vec::new(),
            reasons: vec!["dangling once the others are removed".to_owned()],
        });
    }
    // Judged without a label or a date that it has, an image would go or take the place of one that stays.
    cache.take_error()?;
    Ok(Prune {
        removal,
        verdicts,
        budget,
        takes_everything,
        kept,
        kept_links,
        entries: gone.entries,
        unmeasured: all_files.unmeasured().cloned(),
    })
}

/// Finds out which images stand for themselves, and what is to become of each.
fn judge<'a>(
    view: &Snapshot,
    images: &'a [Image],
    entries: &[EntryFacts],
    options: &PruneOptions<'_>,
    filters: &Resolved<'_>,
    cache: &mut ImageInspector<'_>,
    dangling: &BTreeSet<usize>,
) -> Vec<Judged<'a>> {
    let follows = followers(view, images, entries, dangling);
    let has_names = has_names(entries);
    let standing = images.iter().filter(|image| !follows.contains(&image.id));
    let ties = if options.policy.chooses() || options.max_size.is_some() {
        Ties::Break
    } else {
        Ties::Leave
    };
    let ages = ages(standing.clone(), cache, options.time, ties);
    let mut judged: Vec<Judged<'a>> = standing
        .zip(ages)
        .map(|(image, age)| {
            let holds = image.holds.iter();
            let mut reasons: Vec<String> = holds.map(|hold| format!("held by {hold}")).collect();
            let mut rules = Vec::new();
            for reason in options.policy.always(image) {
                rules.push(reason.rule);
                reasons.push(reason.text);
            }
            let is_dangling = image
                .entries
                .iter()
                .all(|position| dangling.contains(position));
            let mut own = image
                .entries
                .iter()
                .filter_map(|position| entries.get(*position));
            let is_saved = own.any(|entry| entry.role == EntryRole::Saved);
            let by_name = options.policy.chooses() || !options.policy.keep.is_empty();
            let mut is_out_of_reach = false;
            if options.scope == Scope::Dangling && !is_dangling {
                if !image.names.is_empty() {
                    reasons.push("named".to_owned());
                } else if is_saved {
                    reasons.push("named in manifest.json".to_owned());
                } else if !has_names {
                    reasons.push("untagged, but nothing in the layout is named".to_owned());
                }
                is_out_of_reach = true;
            } else if is_saved && by_name {
                // Rules see the names in `index.json`, and these might be among those that they keep.
                reasons.push("named only in manifest.json, which rules do not read".to_owned());
                is_out_of_reach = true;
            } else if !filters.matches(image, cache, options.time) {
                reasons.push("does not pass the filters".to_owned());
                is_out_of_reach = true;
            }
            Judged {
                image,
                age,
                rules,
                reasons,
                is_dangling,
                is_out_of_reach,
                follows: Follows::default(),
                goes: false,
                some_names: filters.some_names(image),
                untagged: Vec::new(),
            }
        })
        .collect();
    // A filter on names chooses companions by their own name: then only what it chooses is an owner.
    let by_reference = options.filters.has_references();
    let follows = companions_among(view, entries, &judged, |owner: &Judged<'_>| {
        !(by_reference && owner.is_out_of_reach)
    });
    for (judged, follows) in judged.iter_mut().zip(follows) {
        judged.follows = follows;
    }
    // The rules look at what could go; what filters leave alone takes nobody's place, and neither does a companion.
    let (companions, positions): (Vec<usize>, Vec<usize>) = judged
        .iter()
        .enumerate()
        .filter(|(_, judged)| !judged.is_out_of_reach)
        .map(|(position, _)| position)
        .partition(|position| {
            judged
                .get(*position)
                .is_some_and(|judged| judged.follows.is_companion)
        });
    // Nor do names that a filter leaves alone: an image counts in the repositories of those that pass.
    let chosen: Vec<Option<Image>> = judged
        .iter()
        .map(|judged| {
            judged.some_names.as_ref()?;
            let mut image = judged.image.clone();
            filters.retain_names(&mut image);
            Some(image)
        })
        .collect();
    let reasons_of = |policy: &Policy, positions: &[usize]| {
        let aged: Vec<Aged<'_>> = positions
            .iter()
            .filter_map(|position| Some((judged.get(*position)?, chosen.get(*position)?)))
            .map(|(judged, chosen)| Aged {
                image: chosen.as_ref().unwrap_or(judged.image),
                age: judged.age,
            })
            .collect();
        policy.reasons(&aged, options.now, &options.zone)
    };
    let by_rule = reasons_of(options.policy, &positions);
    // Of the rules only the one on the age of each image is about a companion itself.
    let by_age = Policy {
        within: options.policy.within,
        ..Policy::default()
    };
    let of_companions = reasons_of(&by_age, &companions);
    for (position, reasons) in companions.into_iter().zip(of_companions) {
        if let Some(judged) = judged.get_mut(position) {
            judged.keep(reasons);
        }
    }
    for (position, reasons) in positions.into_iter().zip(by_rule) {
        let Some(judged) = judged.get_mut(position) else {
            continue;
        };
        judged.keep(reasons);
        if !judged.is_free() {
            continue;
        }
        // With nothing but a budget, whatever is no garbage stays as long as everything fits.
        if !judged.is_dangling && options.max_size.is_some() && !options.policy.chooses() {
            if judged.some_names.is_some() {
                // No name is worth a byte while the others keep the image.
                judged.is_out_of_reach = true;
                let why = "has names that do not pass the filters";
                judged.reasons.push(why.to_owned());
            } else {
                judged.reasons.push("fits the budget".to_owned());
            }
        } else if judged.some_names.is_some() {
            judged.lose_names();
        } else {
            judged.goes = true;
            judged.reasons.push(if judged.is_dangling {
                "dangling".to_owned()
            } else {
                "no hold, filter or rule keeps it".to_owned()
            });
        }
    }
    follow(&mut judged);
    judged
}

fn has_names<'a>(entries: impl IntoIterator<Item = &'a EntryFacts>) -> bool {
    let mut entries = entries.into_iter();
    entries.any(|entry| entry.role == EntryRole::Named)
}

/// Returns the images that are parts or referrers of others: they follow those. What is held stands
/// for itself: the hold is about it alone.
fn followers(
    view: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    dangling: &BTreeSet<usize>,
) -> BTreeSet<BlobId> {
    let has_names = has_names(entries);
    let listed: BTreeSet<BlobId> = images.iter().map(|image| image.id).collect();
    let below = below(view, images);
    // What is named or held keeps also what it is itself a referrer of, listed or not, with whatever belongs to that.
    let has_role = |image: &Image, role| {
        let mut own = image.entries.iter();
        own.any(|place| entries.get(*place).is_some_and(|entry| entry.role == role))
    };
    let anchors = images.iter().filter(|image| {
        !image.holds.is_empty()
            || has_role(image, EntryRole::Named)
            || has_role(image, EntryRole::Saved)
    });
    // So does what a hold or another file lists without an entry here.
    let others = view.graph.roots().iter().filter(|root| {
        !matches!(
            root.source,
            RootSource::Entry(_) | RootSource::InsideEntry(_)
        )
    });
    let others = others.filter_map(|root| root.target.as_ref().ok().copied());
    let anchored = view
        .graph
        .reach(anchors.map(|image| image.id).chain(others));
    let named: BTreeSet<&str> = entries
        .iter()
        .filter(|entry| entry.role == EntryRole::Named && entry.id.is_some())
        .flat_map(|entry| &entry.names)
        .map(|name| &*name.text)
        .collect();
    let follows = |image: &Image, entry: &EntryFacts| {
        let is_about_another = || {
            let mut about = entry.about.iter().filter(|about| **about != image.id);
            about.any(|about| {
                listed.contains(about) || below.contains(about) || anchored.contains(*about)
            })
        };
        match entry.role {
            EntryRole::Named | EntryRole::Saved => false,
            EntryRole::DigestTag => {
                is_about_another() || below.contains(&image.id) || anchored.contains(image.id)
            }
            EntryRole::KindReferrer => entry.names.iter().any(|name| named.contains(&*name.text)),
            EntryRole::Untagged if has_names => !dangling.contains(&entry.position),
            // What a hold or another file keeps is no image of its own here either, or a run that takes the last name
            // would leave something to the next one.
            EntryRole::Untagged => {
                below.contains(&image.id) || is_about_another() || anchored.contains(image.id)
            }
        }
    };
    images
        .iter()
        .filter(|image| {
            let mut own = image
                .entries
                .iter()
                .filter_map(|position| entries.get(*position));
            image.holds.is_empty() && own.all(|entry| follows(image, entry))
        })
        .map(|image| image.id)
        .collect()
}

/// Returns what images lead to beside themselves: their content, and what is about that.
fn below(view: &Snapshot, images: &[Image]) -> HashSet<BlobId> {
    let mut below = HashSet::new();
    for image in images {
        let mut seen = HashSet::from([image.id]);
        let mut queue = vec![image.id];
        while let Some(id) = queue.pop() {
            let edges = view.graph.edges(id);
            let content = edges
                .iter()
                .filter(|edge| edge.role != Role::Subject)
                .map(|edge| edge.to);
            let referrers = view.graph.referrers(id).iter().copied();
            queue.extend(content.chain(referrers).filter(|id| seen.insert(*id)));
        }
        seen.remove(&image.id);
        below.extend(seen);
    }
    below
}

/// Plans the removal of what was judged to go, with everything that nothing references and that passes the filters.
fn plan(
    view: &Snapshot,
    entries: &[EntryFacts],
    judged: &[Judged<'_>],
    passes: &mut dyn FnMut(BlobId) -> bool,
    options: &PruneOptions<'_>,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<(RemovalSet, Removal, BTreeSet<BlobId>), PruneError> {
    let mut gone = RemovalSet::default();
    // What was judged to stay is not dragged along by what goes.
    let mut entries = entries.to_vec();
    for judged in judged {
        for position in &judged.image.entries {
            if let Some(entry) = entries.get_mut(*position) {
                entry.role = EntryRole::Named;
            }
        }
    }
    for judged in judged.iter().filter(|judged| !judged.untagged.is_empty()) {
        let names: BTreeSet<&str> = judged.untagged.iter().map(String::as_str).collect();
        let positions = judged.image.entries.iter();
        let own = positions.filter_map(|position| entries.get(*position));
        untag(own, &names, &mut gone);
    }
    let mut along = BTreeSet::new();
    for entry in without_image(&entries, judged) {
        gone.entries.insert(entry.position);
        gone.names
            .extend(entry.names.iter().map(|name| name.text.to_string()));
        let is_left =
            |other: &EntryFacts| other.id == entry.id && !gone.entries.contains(&other.position);
        if let Some(id) = entry.id.filter(|_| !entries.iter().any(is_left)) {
            gone.images.push(id);
            along.insert(id);
        }
    }
    let chosen = judged.iter().filter(|judged| judged.goes);
    for image in chosen.map(|judged| judged.image) {
        gone.entries.extend(&image.entries);
        gone.names
            .extend(image.names.iter().map(|name| name.text.to_string()));
        gone.images.push(image.id);
        gone.unwanted.insert(image.id);
    }
    let remove_options = RemoveOptions {
        force: Force::No,
        referrers: Referrers::Follow,
        extent: Extent::Images,
        missing: options.missing,
    };
    let mut left = Vec::new();
    if !gone.images.is_empty() {
        loop {
            left = cascade(view, &entries, &remove_options, &mut gone);
            let unneeded = take_unneeded(view, &entries, passes, &mut gone);
            if unneeded.is_empty() {
                break;
            }
            along.extend(unneeded);
        }
    }
    let extent = SweepExtent::Everything {
        empty: options.empty,
    };
    let mut removal = finish(view, &gone, options.missing, extent, sweep_options, fs)?;
    removal.left_referrers = left;
    Ok((gone, removal, along))
}

/// Returns signatures and the like that only share a name with their image, where images lose that name and stay under
/// others: nothing tells any more whose they are, and the next prune would take them by that name.
fn without_image<'a>(entries: &'a [EntryFacts], judged: &[Judged<'_>]) -> Vec<&'a EntryFacts> {
    let lost: BTreeSet<&str> = judged
        .iter()
        .flat_map(|judged| &judged.untagged)
        .map(String::as_str)
        .collect();
    if lost.is_empty() {
        return Vec::new();
    }
    let kept: BTreeSet<&str> = judged
        .iter()
        .filter(|judged| !judged.goes)
        .flat_map(|judged| {
            let names = judged.image.names.iter().map(|name| &*name.text);
            names.filter(|name| !judged.untagged.iter().any(|lost| lost == name))
        })
        .collect();
    let is_alone = |entry: &&EntryFacts| {
        let mut names = entry.names.iter().map(|name| &*name.text);
        entry.role == EntryRole::KindReferrer
            && names.all(|name| lost.contains(name) && !kept.contains(name))
    };
    entries.iter().filter(is_alone).collect()
}

/// Adds entries without a name of their own that only what goes led to: they dangle from now on, and
/// the next prune would take them. What does not pass the filters stays, as it would then. Returns the images that have no
/// other entry.
fn take_unneeded(
    view: &Snapshot,
    entries: &[EntryFacts],
    passes: &mut dyn FnMut(BlobId) -> bool,
    gone: &mut RemovalSet,
) -> Vec<BlobId> {
    let is_gone = |entry: &EntryFacts| gone.entries.contains(&entry.position);
    let change = gone.change();
    let mut spared: HashSet<BlobId> = HashSet::new();
    let unneeded = loop {
        let is_spared = |entry: &EntryFacts| entry.id.is_some_and(|id| spared.contains(&id));
        let found = unneeded(
            view,
            entries,
            &is_gone,
            &is_spared,
            &gone.survivors,
            &change,
        );
        let untagged = found
            .iter()
            .filter(|entry| entry.role == EntryRole::Untagged);
        let kept: Vec<BlobId> = untagged
            .filter_map(|entry| entry.id)
            .filter(|id| !passes(*id))
            .collect();
        if kept.is_empty() {
            break found;
        }
        spared.extend(kept);
    };
    let mut images = Vec::new();
    for entry in &unneeded {
        gone.entries.insert(entry.position);
        gone.names
            .extend(entry.names.iter().map(|name| name.text.to_string()));
        images.extend(entry.id);
    }
    gone.images.extend(&images);
    images
}
