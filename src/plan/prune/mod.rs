//! `prune`: chooses the images to remove by rule, filter and budget, and gives the reasons for keeping the others.
//!
//! *Promise*: the removal equals `rm` of the chosen images, so that everything that a kept image references is kept; the
//! reason of each image is the decisive one; the reported bytes are those of the plan.

mod budget;
mod companions;
mod followers;
mod kept;
mod options;
mod remaining;
mod survey;
mod tree;
mod unneeded;

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::error::Error;
use crate::fs::Fs;
use crate::graph::EmptyIndex;
use crate::layout::BlobId;
use crate::model::entries::{EntryFacts, EntryRole};
use crate::model::images::{Image, ImageInspector};
use crate::model::inventory::{Files, Unmeasured, files};
use crate::model::snapshot::Snapshot;
use crate::oci::{Digest, EntryName};

use self::budget::choose;
use self::companions::{Follows, companions_among, follow};
use self::followers::followers;
use self::kept::kept_bytes;
pub use self::kept::{Holder, KeptBytes, KeptLink};
pub use self::options::{PruneOptions, Scope};
pub use self::remaining::BudgetHolder;
use self::remaining::{freed_bytes, holders, live_bytes};
use self::survey::Planned;
pub use self::survey::Survey;
use self::tree::{NOT_COMPARED, Standing};
pub use self::tree::{Tree, TreeShare};
use self::unneeded::{take_unneeded, without_image};
use super::age::{Age, Configs, Ties, age_of, ages};
use super::dangling::dangling;
use super::filter::Resolved;
use super::policy::{Aged, Reason, Rule};
use super::remove::{
    Removal, RemovalSet, RemoveOptions, SweepExtent, cascade, finish, kept_by, untag,
};
use super::{FilterError, Known, Policy, SweepOptions};

/// The decision on one image, and the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The image.
    pub digest: Digest,
    /// Its names.
    pub names: Vec<String>,
    /// The age that was compared.
    pub age: Age,
    /// Its bytes on disk, shared ones included.
    pub size: u64,
    /// It is removed.
    pub is_removed: bool,
    /// Names that are removed while it is kept under others: a filter on names selects names.
    pub untagged: Vec<String>,
    /// Why it is removed or kept; never empty.
    pub reasons: Vec<String>,
}

/// Whether a size budget was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Budget {
    /// No budget was given.
    None,
    /// Live blobs fit.
    Reached,
    /// Live blobs do not fit, or not enough is freed, and nothing more may be removed.
    Missed {
        /// The bytes of live blobs.
        live: u64,
        /// The number of bytes that should be freed but are not.
        lacking: u64,
        /// The rules that keep the remaining images. An image that several rules keep is counted for each.
        held: Vec<BudgetHolder>,
    },
}

/// A planned prune.
#[derive(Debug)]
pub struct Prune {
    /// The removal of the selected images.
    pub removal: Removal,
    /// The decision on each image, in the order of `index.json`. Parts and referrers of other images follow those and have
    /// no separate verdict.
    pub verdicts: Vec<Verdict>,
    /// Whether the budget was reached.
    pub budget: Budget,
    /// Everything that is listed is removed, and no hold, filter, rule or budget was given.
    pub takes_everything: bool,
    /// The kept bytes.
    pub kept: KeptBytes,
    /// Kept blobs with several hard links, which another layout may have as well.
    pub kept_links: Vec<KeptLink>,
    /// The positions of the entries that are removed.
    pub entries: BTreeSet<usize>,
    /// Blobs that count as 0 bytes.
    pub unmeasured: Option<Unmeasured>,
    /// With a [share](PruneOptions::share): what the decision for all layouts needs.
    pub survey: Option<Survey>,
}

/// Why nothing is pruned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// The layout cannot be pruned.
    #[error(transparent)]
    Layout(#[from] Error),
    /// A filter refers to an image that does not exist or has no date.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The last image would be removed.
    #[error("cannot prune `{path}`: it would be left without an image (it has {images})")]
    LastImage {
        /// The layout.
        path: String,
        /// The number of images.
        images: usize,
    },
    /// Bytes are to be freed, and blobs have hard links outside the layout or several in it, so that deleting them may free
    /// nothing.
    #[error(
        "cannot free space in `{path}`: its blobs have further hard links, and deleting one of several frees nothing"
    )]
    HardLinked {
        /// The layout.
        path: String,
    },
}

/// One image, and the decision so far.
struct Judged<'a> {
    image: &'a Image,
    age: Age,
    /// The rules that keep it.
    rules: Vec<Rule>,
    reasons: Vec<String>,
    is_dangling: bool,
    /// It has a name that is not only a digest tag, in `index.json` or docker save's list.
    is_named: bool,
    /// Filters or the scope exclude it.
    is_out_of_reach: bool,
    /// The images that its tags were derived from.
    follows: Follows,
    is_removed: bool,
    /// The names that pass a filter on names, if others do not.
    some_names: Option<Vec<String>>,
    /// Names that are removed while it is kept.
    untagged: Vec<String>,
}

impl Judged<'_> {
    /// Records the rules that keep it.
    fn keep(&mut self, reasons: Vec<Reason>) {
        self.rules.reserve_exact(reasons.len());
        self.reasons.reserve_exact(reasons.len());
        for Reason { rule, text } in reasons {
            self.rules.push(rule);
            self.reasons.push(text);
        }
    }

    /// Removes the names that pass a filter on names. The image is kept, whatever the budget: its other names were not
    /// selected.
    fn lose_names(&mut self) {
        self.untagged = self.some_names.take().unwrap_or_default();
        let lost = self.untagged.join(", ");
        self.reasons.push(format!("only {lost} passes the filters"));
        self.is_out_of_reach = true;
    }

    /// Returns `true` if it is kept with this name, and so are the companions of that.
    fn keeps(&self, name: &str) -> bool {
        !self.is_removed && !self.untagged.iter().any(|lost| lost == name)
    }

    /// Returns `true` if no hold, rule, filter or scope keeps it. A size budget removes nothing else.
    fn is_free(&self) -> bool {
        self.image.holds.is_empty() && self.rules.is_empty() && !self.is_out_of_reach
    }

    /// Removes an image that nothing keeps, or some of its names. If only a budget is given, images that are not dangling
    /// are kept as long as everything fits.
    fn decide(&mut self, options: &PruneOptions<'_>) {
        if !self.is_dangling && options.has_budget() && !options.policy.chooses() {
            let why = if self.some_names.is_some() {
                // Removing these names frees nothing while others keep the image.
                self.is_out_of_reach = true;
                "has names that do not pass the filters"
            } else {
                "fits the budget"
            };
            self.reasons.push(why.to_owned());
        } else if self.some_names.is_some() {
            self.lose_names();
        } else {
            self.is_removed = true;
            let why = if self.is_dangling {
                "dangling"
            } else {
                "no hold, filter or rule keeps it"
            };
            self.reasons.push(why.to_owned());
        }
    }
}

/// Plans a prune.
///
/// Keep the newest image of each repository and everything named `…:lts`:
///
/// ```no_run
/// use std::time::Duration;
///
/// use jiff::{Timestamp, tz::TimeZone};
/// use ocisweep::Snapshot;
/// use ocisweep::model::entries::list_entries;
/// use ocisweep::model::images::list_images;
/// use ocisweep::progress::Silent;
/// use ocisweep::oci::glob::Glob;
/// use ocisweep::plan::{Filters, Policy, PruneOptions, Scope, SweepOptions, prune};
/// use ocisweep::fs::Disk;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let now = Timestamp::now();
/// let snapshot = Snapshot::read("mirror", now, &Silent)?;
/// let policy = Policy {
///     last: Some(1),
///     keep: vec![Glob::new("**:lts")?],
///     ..Policy::default()
/// };
/// let filters = Filters::default();
/// let options = PruneOptions {
///     zone: TimeZone::system(),
///     ..PruneOptions::new(Scope::All, &filters, &policy, now)
/// };
/// let sweep = SweepOptions::new(now, now, Duration::from_secs(24 * 3600));
/// let (images, entries) = (list_images(&snapshot, now), list_entries(&snapshot));
/// let plan = prune(&snapshot, &images, &entries, &options, &sweep, &Disk)?;
/// for verdict in plan.verdicts.iter().filter(|verdict| verdict.is_removed) {
///     println!("{} {:?}: {}", verdict.digest, verdict.names, verdict.reasons.join(", "));
/// }
/// println!("{} bytes", plan.removal.plan.totals().reclaimed_bytes());
/// # Ok(())
/// # }
/// ```
///
/// Orphans newer than the grace period [of the snapshot](Snapshot::protect) are kept.
/// [`execute`](crate::execute::execute) takes [`Removal::plan`].
///
/// # Errors
/// [`PruneError`].
pub fn prune(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    options: &PruneOptions<'_>,
    sweep_options: &SweepOptions,
    fs: &dyn Fs,
) -> Result<Prune, PruneError> {
    let files = files(snapshot, fs);
    let verdicts = Verdicts::Give;
    prune_with(
        snapshot,
        images,
        entries,
        options,
        sweep_options,
        &files,
        verdicts,
    )
}

/// Whether the plan includes the decision on each image and the kept bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdicts {
    Give,
    /// Only removals and freed bytes are needed.
    Omit,
}

/// Plans a prune of a layout whose files were inspected already.
pub(crate) fn prune_with(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    options: &PruneOptions<'_>,
    sweep_options: &SweepOptions,
    all_files: &Files,
    wanted: Verdicts,
) -> Result<Prune, PruneError> {
    snapshot.layout.refuse_shared_blobs()?;
    let mut cache = ImageInspector::with_inventory(snapshot, all_files);
    let dangling = dangling(snapshot, entries);
    let filters = options
        .filters
        .against(snapshot, entries, &mut cache, &dangling)?;
    if options.free_bytes.is_some() && all_files.iter().any(|(_, file)| file.links > 1) {
        return Err(PruneError::HardLinked {
            path: snapshot.layout.path().display().to_string(),
        });
    }
    let mut judged = judge(
        snapshot, images, entries, options, &filters, &mut cache, &dangling,
    );
    if wanted == Verdicts::Omit {
        for image in &mut judged {
            image.reasons = Vec::new();
        }
    }
    // The filters were not applied to images that become dangling once the others are removed.
    let of_id: HashMap<BlobId, &Image> = images.iter().map(|image| (image.id, image)).collect();
    let mut passes = |id: BlobId| {
        let mut image = of_id.get(&id).into_iter();
        options.filters.is_empty()
            || image.any(|image| filters.matches(image, &mut cache, options.time))
    };
    let (gone, mut removal, along, budget) = loop {
        let (gone, removal, along) = plan(
            snapshot,
            entries,
            &judged,
            &mut passes,
            options,
            sweep_options,
            all_files,
        )?;
        let mut budget = Budget::None;
        if options.has_budget() && !options.shares_budget() {
            let live = live_bytes(snapshot, &gone, all_files);
            let over = options.max_size.map_or(0, |max| live.saturating_sub(max));
            let freed = freed_bytes(live, &removal.plan, all_files);
            let lacking = options
                .free_bytes
                .map_or(0, |free| free.saturating_sub(freed));
            // The first round removes as many as a count of owners suggests; later ones remove one at a time, for what the
            // count does not include.
            let excess = over.max(lacking);
            if excess > 0 {
                let survey = Survey::to_choose(snapshot, entries, &judged, all_files);
                if trim(&survey, &mut judged, excess, options) {
                    continue;
                }
            }
            budget = if excess == 0 {
                Budget::Reached
            } else {
                Budget::Missed {
                    live,
                    lacking,
                    held: holders(snapshot, &judged, &gone, all_files),
                }
            };
        }
        break (gone, removal, along, budget);
    };
    if wanted == Verdicts::Give {
        (removal.kept_by, removal.more_kept) = kept_by(snapshot, entries, &gone, &removal.plan);
    }
    let left: Vec<&EntryFacts> = entries
        .iter()
        .filter(|entry| !gone.entries.contains(&entry.position))
        .collect();
    let loses_names = entries.iter().any(|entry| is_name(entry.role))
        && !left.iter().any(|entry| is_name(entry.role));
    let is_last = !gone.entries.is_empty() && (left.is_empty() || loses_names);
    if is_last && options.empty == EmptyIndex::Refuse {
        return Err(PruneError::LastImage {
            path: snapshot.layout.path().display().to_string(),
            images: images.len(),
        });
    }
    let (kept, kept_links) = match wanted {
        Verdicts::Give => kept_bytes(snapshot, entries, &gone, &removal, all_files),
        Verdicts::Omit => Default::default(),
    };
    let takes_everything = options.scope == Scope::All
        && options.filters.is_empty()
        && !options.policy.chooses()
        && options.policy.keep.is_empty()
        && !options.has_budget()
        && images.iter().all(|image| image.holds.is_empty());
    let survey = options.share.map(|share| {
        let planned = Planned {
            gone: &gone,
            removal: &removal,
            files: all_files,
        };
        let (number, has_budget) = (share.number(), share.has_budget());
        Survey::of(
            snapshot, entries, &judged, &filters, planned, number, has_budget,
        )
    });
    let judged_images: HashSet<BlobId> = judged.iter().map(|judged| judged.image.id).collect();
    let verdict = |image: &Image, age: Age, cache: &mut ImageInspector<'_>| Verdict {
        digest: image.digest.clone(),
        names: image.name_list(),
        age,
        size: cache.sizes(image.id, None).disk,
        is_removed: true,
        untagged: Vec::new(),
        reasons: vec!["dangling once the others are removed".to_owned()],
    };
    let judged = judged.into_iter().map(|judged| Verdict {
        is_removed: judged.is_removed,
        untagged: judged.untagged,
        reasons: judged.reasons,
        ..verdict(judged.image, judged.age, &mut cache)
    });
    let mut verdicts: Vec<Verdict> = match wanted {
        Verdicts::Give => judged.collect(),
        // Each plan is made as well: a size that cannot be read is an error.
        Verdicts::Omit => {
            judged.for_each(drop);
            Vec::new()
        }
    };
    // An image that becomes unreferenced is not part of an image with a verdict, and gets its own.
    let along = images
        .iter()
        .filter(|image| along.contains(&image.id) && !judged_images.contains(&image.id));
    for image in along {
        let age = age_of(image, &mut cache, options.time);
        let verdict = verdict(image, age, &mut cache);
        if wanted == Verdicts::Give {
            verdicts.push(verdict);
        }
    }
    // A label or date that cannot be read must not cause an image to be removed, or kept in place of another one.
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
        survey,
    })
}

/// Removes more images for the budget of the layout. Returns `true` if any was chosen.
fn trim(
    survey: &Survey,
    judged: &mut [Judged<'_>],
    excess: u64,
    options: &PruneOptions<'_>,
) -> bool {
    let oldest = match options.max_size {
        Some(_) => "over the size budget, and the oldest",
        None => "too little free space, and the oldest",
    };
    let chosen = choose(&[survey], excess, oldest, options.empty);
    for chosen in &chosen {
        if let Some(image) = judged.get_mut(chosen.position) {
            image.is_removed = true;
            image.reasons = vec![chosen.reason.clone()];
        }
    }
    !chosen.is_empty()
}

/// Decides which images are removed. Parts and referrers of other images are omitted: they follow those.
fn judge<'a>(
    snapshot: &Snapshot,
    images: &'a [Image],
    entries: &[EntryFacts],
    options: &PruneOptions<'_>,
    filters: &Resolved<'_>,
    cache: &mut ImageInspector<'_>,
    dangling: &BTreeSet<usize>,
) -> Vec<Judged<'a>> {
    let follows = followers(snapshot, images, entries, dangling);
    let has_names = has_names(entries);
    let standing = images.iter().filter(|image| !follows.contains(&image.id));
    let ties = match options.share {
        _ if !options.policy.chooses() && !options.has_budget() => Ties::Leave,
        Some(_) => Ties::Expect,
        None => Ties::Break,
    };
    let configs = match options.filters.is_empty() {
        true => Configs::Drop,
        // Filters may compare labels.
        false => Configs::Keep,
    };
    let mut ages = ages(standing.clone(), cache, options.time, ties, configs);
    let layout = options.share.map_or(0, TreeShare::number);
    ages.iter_mut().for_each(|age| age.layout = layout);
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
            let mut positions = image.entries.iter();
            let is_dangling = positions.all(|position| dangling.contains(position));
            let own = image.own_entries(entries);
            let is_saved = own.clone().any(|entry| entry.role == EntryRole::Saved);
            let is_named = own.clone().any(|entry| is_name(entry.role));
            let by_name = options.policy.chooses() || !options.policy.keep.is_empty();
            let mut is_out_of_reach = false;
            if options.scope == Scope::Dangling && !is_dangling {
                if image.names.iter().any(EntryName::is_annotation) {
                    reasons.push("named".to_owned());
                } else if is_saved {
                    reasons.push("named in manifest.json".to_owned());
                } else if !has_names {
                    reasons.push("untagged, but index.json names no image".to_owned());
                }
                is_out_of_reach = true;
            } else if is_saved && by_name {
                // Rules do not read manifest.json, and might keep its names.
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
                is_named,
                is_out_of_reach,
                follows: Follows::default(),
                is_removed: false,
                some_names: filters.some_names(image),
                untagged: Vec::new(),
            }
        })
        .collect();
    // A filter on names selects companions by their own name, and only selected images count as owners.
    let by_reference = options.filters.has_references();
    let follows = companions_among(snapshot, entries, &judged, |owner: &Judged<'_>| {
        !(by_reference && owner.is_out_of_reach)
    });
    for (judged, follows) in judged.iter_mut().zip(follows) {
        judged.follows = follows;
    }
    // An image counts in the repositories of the names that pass a filter on names.
    let chosen: Vec<Option<Image>> = judged
        .iter()
        .map(|judged| {
            judged.some_names.as_ref()?;
            let mut image = judged.image.clone();
            filters.retain_names(&mut image);
            Some(image)
        })
        .collect();
    // Rules compare images that could be removed: neither an image that filters exclude nor a companion takes the place of
    // another image.
    let reasons_of = |policy: &Policy, are_companions: bool| -> Vec<(usize, Vec<Reason>)> {
        let compared = judged.iter().zip(&chosen).enumerate();
        let compared = compared.filter(|(_, (judged, _))| {
            !judged.is_out_of_reach && judged.follows.is_companion == are_companions
        });
        let aged = compared.map(|(position, (judged, chosen))| {
            let image = chosen.as_ref().unwrap_or(judged.image);
            let age = judged.age;
            (position, Aged { image, age })
        });
        let (positions, aged): (Vec<usize>, Vec<Aged<'_>>) = aged.unzip();
        let reasons = policy.reasons(&aged, options.now, &options.zone);
        positions.into_iter().zip(reasons).collect()
    };
    let compared = options.share.filter(|share| share.compares());
    let by_rule = match compared {
        Some(share) => (0..judged.len())
            .filter_map(|position| Some((position, judged.get(position)?)))
            .filter(|(_, judged)| !judged.is_out_of_reach && !judged.follows.is_companion)
            .map(|(position, judged)| {
                let reasons = share.reasons(&judged.image.digest, &judged.age);
                (position, reasons)
            })
            .collect(),
        None => reasons_of(options.policy, false),
    };
    // Only the rule on the age of an image applies to a companion itself.
    let by_age = Policy {
        within: options.policy.within,
        ..Policy::default()
    };
    for (position, reasons) in by_rule.into_iter().chain(reasons_of(&by_age, true)) {
        let Some(judged) = judged.get_mut(position) else {
            continue;
        };
        judged.keep(reasons);
        if !judged.follows.is_companion && judged.is_free() {
            let (digest, age) = (&judged.image.digest, &judged.age);
            match compared.map_or(Standing::Judged, |share| share.standing(digest, age)) {
                Standing::Judged => judged.decide(options),
                Standing::Undecided => {}
                Standing::Unknown => {
                    judged.is_out_of_reach = true;
                    judged.reasons.push(NOT_COMPARED.to_owned());
                }
            }
        }
    }
    follow(&mut judged);
    if let Some(share) = options.share {
        share.apply(&mut judged);
    }
    judged
}

/// Returns `true` if `index.json` names an image. Entries that docker save's list does not name may be images that it cannot
/// describe, such as other platforms.
fn has_names(entries: &[EntryFacts]) -> bool {
    entries.iter().any(|entry| entry.role == EntryRole::Named)
}

/// Returns `true` if an importer can request the image of an entry by name.
const fn is_name(role: EntryRole) -> bool {
    matches!(role, EntryRole::Named | EntryRole::Saved)
}

/// Plans the removal of the selected images, with everything that becomes unreferenced and passes the filters.
fn plan(
    snapshot: &Snapshot,
    entries: &[EntryFacts],
    judged: &[Judged<'_>],
    passes: &mut dyn FnMut(BlobId) -> bool,
    options: &PruneOptions<'_>,
    sweep_options: &SweepOptions,
    files: &Files,
) -> Result<(RemovalSet, Removal, BTreeSet<BlobId>), PruneError> {
    let mut gone = RemovalSet::default();
    let listed = entries;
    // Images that are kept by decision are not removed along with others.
    let mut entries = entries.to_vec();
    for position in judged.iter().flat_map(|judged| &judged.image.entries) {
        if let Some(entry) = entries.get_mut(*position) {
            entry.role = EntryRole::Named;
        }
    }
    for judged in judged.iter().filter(|judged| !judged.untagged.is_empty()) {
        let names: BTreeSet<&str> = judged.untagged.iter().map(String::as_str).collect();
        untag(judged.image.own_entries(&entries), &names, &mut gone);
    }
    let mut along = BTreeSet::new();
    for entry in without_image(&entries, judged) {
        gone.take_entry(entry);
        let is_left =
            |other: &EntryFacts| other.id == entry.id && !gone.entries.contains(&other.position);
        if let Some(id) = entry.id.filter(|_| !entries.iter().any(is_left)) {
            gone.images.push(id);
            along.insert(id);
        }
    }
    for judged in judged.iter().filter(|judged| judged.is_removed) {
        gone.take_image(judged.image);
    }
    let remove_options = RemoveOptions {
        missing: options.missing,
        ..RemoveOptions::default()
    };
    let mut left = Vec::new();
    if !gone.images.is_empty() {
        loop {
            left = cascade(snapshot, &entries, &remove_options, &mut gone);
            let unneeded = take_unneeded(snapshot, &entries, passes, &mut gone);
            if unneeded.is_empty() {
                break;
            }
            along.extend(unneeded);
        }
    }
    let extent = SweepExtent::Everything {
        empty: options.empty,
    };
    drop(entries);
    let files = Known::All(files);
    let mut removal = finish(
        snapshot,
        listed,
        &gone,
        options.missing,
        extent,
        sweep_options,
        files,
    )?;
    removal.left_referrers = left;
    Ok((gone, removal, along))
}
