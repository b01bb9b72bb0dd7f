//! The expected result of a prune of a random layout, by the simplest reasoning: sets of images, extended until nothing
//! changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::support::json::REF_NAME;
use crate::world::layout::{Config, Content, Note, Place, Ref, SUBJECTS, Shape, World};
use crate::world::wish::Wish;
use crate::world::write::hours_ago;

/// The expected result for one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeleteResult {
    pub(crate) goes: bool,
    pub(crate) reasons: Vec<String>,
    /// Neither a budget nor anything else removes it.
    pub(crate) is_safe: bool,
    /// The names that are removed while it is kept.
    pub(crate) loses: Vec<String>,
}

/// A drawn layout with the options; documents are identified by the positions of their blobs.
pub(crate) struct Judge<'a> {
    pub(crate) world: &'a World,
    pub(crate) wish: &'a Wish,
    /// The digest of each blob.
    pub(crate) digests: &'a [String],
}

type Set = BTreeSet<usize>;

impl Judge<'_> {
    /// Every document.
    pub(crate) fn all(&self) -> impl Iterator<Item = usize> + '_ {
        let is_document = |node: &usize| matches!(self.content(*node), Content::Document(_));
        (0..self.world.nodes.len()).filter(is_document)
    }

    fn content(&self, position: usize) -> &Content {
        &self.world.node(position).content
    }

    fn is_index(&self, position: usize) -> bool {
        matches!(self.content(position), Content::Document(document) if document.shape == Shape::Index)
    }

    fn is_held(&self, position: usize) -> bool {
        self.world.holds.contains(&position)
    }

    fn entries(&self, position: usize) -> impl Iterator<Item = &Ref> {
        let entries = self.world.entries.iter();
        entries.filter(move |entry| entry.target == position)
    }

    /// Returns the matching content of its entries.
    fn notes<T>(&self, position: usize, wanted: impl Fn(&str, &Note) -> Option<T>) -> Vec<T> {
        let notes = self.entries(position).flat_map(|entry| &entry.notes);
        notes.filter_map(|(key, note)| wanted(key, note)).collect()
    }

    /// Its selected names.
    pub(crate) fn chosen(&self, position: usize) -> Vec<String> {
        self.notes(position, |key, note| match note {
            Note::Text(name) if key == REF_NAME => Some(name.clone()),
            _ => None,
        })
    }

    /// The image that it signs according to its name.
    fn digest_tag_of(&self, position: usize) -> Option<usize> {
        let tags = self.notes(position, |_, note| match note {
            Note::DigestTag { of, .. } => Some(*of),
            _ => None,
        });
        tags.first().copied()
    }

    fn config(&self, position: usize) -> Option<Config> {
        let config = self.content(position).at(Place::Config).next()?;
        match self.content(config) {
            Content::Config(config) => Some(*config),
            _ => None,
        }
    }

    /// Whether `index.json` lists it.
    pub(crate) fn is_entry(&self, position: usize) -> bool {
        self.entries(position).count() > 0
    }

    /// Whether one of its names was selected.
    pub(crate) fn is_named(&self, position: usize) -> bool {
        !self.chosen(position).is_empty()
    }

    pub(crate) fn has_names(&self) -> bool {
        self.all().any(|position| self.is_named(position))
    }

    /// Its names, digest tags included.
    fn names(&self, position: usize) -> Vec<String> {
        let mut names = self.chosen(position);
        if let Some(of) = self.digest_tag_of(position) {
            names.push(format!("{}.sig", self.digests[of].replacen(':', "-", 1)));
        }
        names
    }

    fn subject(&self, position: usize) -> Option<usize> {
        self.content(position).at(Place::Subject).next()
    }

    /// Its subjects according to `index.json`.
    fn about(&self, position: usize) -> Option<usize> {
        let about = self.notes(position, |key, note| match note {
            Note::Digest(of) if SUBJECTS.contains(&key) => Some(*of),
            _ => None,
        });
        about.first().copied().or(self.digest_tag_of(position))
    }

    fn children(&self, position: usize) -> impl DoubleEndedIterator<Item = usize> {
        let children: Vec<usize> = self.content(position).at(Place::Manifests).collect();
        children.into_iter()
    }

    /// Everything that these keep live: their references, and the referrers of those except removed ones.
    fn live(&self, roots: &Set, going: &Set) -> Set {
        let mut live = roots.clone();
        loop {
            let mut more = live.clone();
            for &position in &live {
                more.extend(self.children(position));
                more.extend(self.subject(position));
            }
            let adopted = self.all().filter(|position| {
                let subject = self.subject(*position);
                subject.is_some_and(|subject| live.contains(&subject)) && !going.contains(position)
            });
            more.extend(adopted);
            if more == live {
                return live;
            }
            live = more;
        }
    }

    /// Entries without a name that no kept entry needs.
    pub(crate) fn dangling(&self) -> Set {
        if !self.has_names() {
            return Set::new();
        }
        let is_root = |position: &usize| self.is_named(*position) || self.is_held(*position);
        let is_tag = |position: &usize| self.digest_tag_of(*position).is_some();
        let entries = || self.all().filter(|position| self.is_entry(*position));
        let mut roots: Set = entries().filter(is_root).collect();
        let mut rest: Set = entries().filter(|position| !is_root(position)).collect();
        loop {
            let live = self.live(&roots, &Set::new());
            let is_about = |position: usize, those: &Set| {
                let about = self.about(position);
                those.contains(&position) || about.is_some_and(|about| those.contains(&about))
            };
            let mut stays: Set = rest
                .iter()
                .copied()
                .filter(|p| is_about(*p, &live))
                .collect();
            if stays.is_empty() {
                // A digest tag is removed with its subject, and not otherwise.
                let untagged = rest.iter().copied().filter(|p| !is_tag(p)).collect();
                let going = self.live(&untagged, &Set::new());
                let is_own = |p: &usize| is_tag(p) && !is_about(*p, &going);
                stays = rest.iter().copied().filter(is_own).collect();
            }
            if stays.is_empty() {
                break;
            }
            rest.retain(|position| !stays.contains(position));
            roots.extend(stays);
        }
        rest.retain(|position| !is_tag(position));
        rest
    }

    /// Entries that are not judged separately: parts and referrers of other entries.
    pub(crate) fn followers(&self) -> Set {
        let mut below = Set::new();
        for entry in self.all().filter(|position| self.is_entry(*position)) {
            let mut seen = Set::from([entry]);
            loop {
                let mut more = seen.clone();
                for &position in &seen {
                    more.extend(self.children(position));
                }
                more.extend(self.all().filter(|position| {
                    self.subject(*position)
                        .is_some_and(|subject| seen.contains(&subject))
                }));
                if more == seen {
                    break;
                }
                seen = more;
            }
            seen.remove(&entry);
            below.extend(seen);
        }
        let dangling = self.dangling();
        // A named or held referrer keeps its subject, even if nothing lists that.
        let is_anchor = |position: &usize| self.is_named(*position) || self.is_held(*position);
        let anchors = self.all().filter(is_anchor).collect();
        let anchored = self.live(&anchors, &Set::new());
        self.all()
            .filter(|position| {
                let is_anchored =
                    |about: Option<usize>| about.is_some_and(|about| anchored.contains(&about));
                let is_about_another = self
                    .about(*position)
                    .is_some_and(|about| below.contains(&about) || self.is_entry(about))
                    || self
                        .subject(*position)
                        .is_some_and(|subject| below.contains(&subject) || self.is_entry(subject))
                    || is_anchored(self.about(*position))
                    || is_anchored(self.subject(*position));
                let is_part = if self.has_names() {
                    // An entry that is not dangling is needed by something; a digest tag may also exist on its own.
                    self.digest_tag_of(*position).is_none()
                        || below.contains(position)
                        || anchored.contains(position)
                } else {
                    // Blobs that a hold keeps are kept here as well.
                    below.contains(position) || anchored.contains(position)
                };
                self.is_entry(*position)
                    && !self.is_named(*position)
                    && !self.is_held(*position)
                    && !dangling.contains(position)
                    && (is_part || is_about_another)
            })
            .collect()
    }

    /// Its age in hours, by the chosen clock.
    fn hours(&self, position: usize) -> Option<u64> {
        if self.wish.by_created {
            self.created(position)
        } else {
            self.world.node(position).hours
        }
    }

    /// The age in hours of the build of its first manifest.
    fn created(&self, position: usize) -> Option<u64> {
        let mut open = vec![position];
        let mut seen = Set::from([position]);
        while let Some(position) = open.pop() {
            if !self.is_index(position) {
                return self.config(position)?.created;
            }
            let children = self.children(position).rev();
            open.extend(children.filter(|child| seen.insert(*child)));
        }
        None
    }

    fn time(&self, position: usize) -> Option<Timestamp> {
        self.hours(position).map(hours_ago)
    }

    /// Sorts images from the newest to the oldest. Images without a date count as new.
    fn age(&self, position: usize) -> (u64, u64, std::cmp::Reverse<usize>) {
        let rank = |hours: Option<u64>| hours.map_or(0, |hours| hours + 1);
        let second = if self.wish.by_created {
            None
        } else {
            self.created(position)
        };
        (
            rank(self.hours(position)),
            rank(second),
            std::cmp::Reverse(position),
        )
    }

    /// The tie-breaker by which an image precedes the next one.
    fn tie(&self, chosen: usize, next: Option<&usize>) -> &'static str {
        let Some(next) = next else { return "" };
        let ((time, created, _), (other_time, other_created, _)) =
            (self.age(chosen), self.age(*next));
        match (time == other_time, created == other_created) {
            (false, _) => "",
            (true, false) => ", by created",
            (true, true) => ", by position in index.json",
        }
    }

    /// Its names, except those that a filter on names excludes.
    fn chosen_names(&self, position: usize) -> Vec<String> {
        let mut names = self.names(position);
        if let Some(wanted) = self.wish.repository {
            names.retain(|name| repository(name) == wanted);
        }
        names
    }

    fn passes(&self, position: usize) -> bool {
        let until = self
            .wish
            .until_hours
            .is_none_or(|hours| self.time(position).is_some_and(|time| time < ago(hours)));
        let repository = self.wish.repository.is_none_or(|wanted| {
            self.chosen(position)
                .iter()
                .any(|name| repository(name) == wanted)
        });
        let label = self.wish.label.is_none_or(|(wanted, value)| {
            let manifests = self.manifests(position);
            manifests.iter().any(|manifest| {
                (self.config(*manifest).and_then(|it| it.label) == Some(value)) == wanted
            })
        });
        until && repository && label
    }

    fn manifests(&self, position: usize) -> Set {
        let mut open = vec![position];
        let mut seen = Set::new();
        while let Some(position) = open.pop() {
            if seen.insert(position) {
                open.extend(self.children(position));
            }
        }
        seen.retain(|position| !self.is_index(*position));
        seen
    }

    /// The result for each image that does not depend on another, before a budget removes more.
    pub(crate) fn fates(&self) -> BTreeMap<usize, DeleteResult> {
        let wish = self.wish;
        let dangling = self.dangling();
        let followers = self.followers();
        let standing = self
            .all()
            .filter(|position| self.is_entry(*position) && !followers.contains(position));
        let takes_all = wish.all || wish.keep_from.is_some();
        let mut fates = BTreeMap::new();
        let mut reachable = Vec::new();
        for position in standing {
            let mut reasons = self.always(position);
            let is_always = !reasons.is_empty();
            let mut is_safe = is_always;
            if !takes_all && !dangling.contains(&position) {
                is_safe = true;
                if !self.names(position).is_empty() {
                    reasons.push("named".to_owned());
                } else if !self.has_names() {
                    reasons.push("untagged, but index.json names no image".to_owned());
                }
            } else if self.passes(position) {
                reachable.push(position);
            } else {
                is_safe = true;
                reasons.push("does not pass the filters".to_owned());
            }
            let fate = DeleteResult {
                goes: false,
                reasons,
                is_safe,
                loses: Vec::new(),
            };
            fates.insert(position, fate);
        }
        let rules = self.rules(&reachable);
        let chooses = wish.last.is_some()
            || wish.within_hours.is_some()
            || wish.daily.is_some()
            || wish.weekly.is_some()
            || wish.monthly.is_some()
            || wish.keep_from.is_some();
        for position in reachable {
            let fate = fates.get_mut(&position).expect("it is there");
            fate.reasons
                .extend(rules.get(&position).into_iter().flatten().cloned());
            if !fate.reasons.is_empty() {
                // No budget removes an image that a rule keeps.
                fate.is_safe = true;
                continue;
            }
            let is_dangling = dangling.contains(&position);
            let names = self.names(position);
            let chosen = self.chosen_names(position);
            if chosen.len() < names.len() {
                // The filter selected some of its names, and the others are not selected.
                fate.is_safe = true;
                if wish.max_size.is_none() || chooses {
                    let reason = format!("only {} passes the filters", chosen.join(", "));
                    fate.reasons.push(reason);
                    fate.loses = chosen;
                } else {
                    let reason = "has names that do not pass the filters";
                    fate.reasons.push(reason.to_owned());
                }
                continue;
            }
            fate.goes = is_dangling || wish.max_size.is_none() || chooses;
            fate.reasons.push(
                match (is_dangling, fate.goes) {
                    (true, _) => "dangling",
                    (false, true) => "no hold, filter or rule keeps it",
                    (false, false) => "fits the budget",
                }
                .to_owned(),
            );
        }
        fates
    }

    fn always(&self, position: usize) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.is_held(position) {
            reasons.push(format!("held by hold-{position}"));
        }
        let names = self.names(position);
        if let Some(keep) = self.wish.keep
            && names.iter().any(|name| is_kept_by(keep, name))
        {
            reasons.push(format!("--keep {keep}"));
        }
        let lines = self.wish.keep_from.iter().flatten();
        for line in lines {
            if names.iter().any(|name| name == line) {
                reasons.push(format!("listed as {line}"));
                break;
            }
        }
        reasons
    }

    /// The rules of age and number that keep each of these.
    fn rules(&self, among: &[usize]) -> BTreeMap<usize, Vec<String>> {
        let wish = self.wish;
        let mut reasons: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for &position in among {
            let is_within = wish
                .within_hours
                .is_some_and(|hours| self.time(position).is_none_or(|time| time > ago(hours)));
            if is_within {
                reasons
                    .entry(position)
                    .or_default()
                    .push("within".to_owned());
            }
        }
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let any_named = among.iter().any(|position| self.is_named(*position));
        for &position in among {
            // An image with only a digest tag is not an image of its repository.
            let mut names = self.chosen_names(position);
            names.retain(|name| self.chosen(position).contains(name));
            let is_tag = self.digest_tag_of(position).is_some();
            if names.is_empty() && (any_named || is_tag) {
                continue;
            }
            let mut of: BTreeSet<String> = names
                .iter()
                .map(|name| repository(name).to_owned())
                .collect();
            if wish.group_all || of.is_empty() {
                of = BTreeSet::from([String::new()]);
            }
            for group in of {
                groups.entry(group).or_default().push(position);
            }
        }
        for (group, mut members) in groups {
            members.sort_by_key(|position| self.age(*position));
            let of = if group.is_empty() {
                group
            } else {
                format!(" of {group}")
            };
            for &position in members.iter().take(wish.last.unwrap_or(0)) {
                let last = wish.last.unwrap_or(0);
                let tie = self.tie(position, members.get(last));
                reasons
                    .entry(position)
                    .or_default()
                    .push(format!("last {last}{of}{tie}"));
            }
            for (count, word, format) in [
                (wish.daily, "daily", "%Y-%m-%d"),
                (wish.weekly, "weekly", "%G-W%V"),
                (wish.monthly, "monthly", "%Y-%m"),
            ] {
                let Some(count) = count else { continue };
                // The build date counts, not that of the archive.
                let times: BTreeSet<_> = members.iter().map(|other| self.hours(*other)).collect();
                let is_archive = members.len() > 1 && times.len() == 1 && !wish.by_created;
                let mut seen = BTreeSet::new();
                for (number, &position) in members.iter().enumerate() {
                    let built = self.created(position).filter(|_| is_archive);
                    let label = self.time(position).map(|time| {
                        let time = built.map_or(time, hours_ago);
                        time.strftime(format).to_string()
                    });
                    let is_kept = match &label {
                        None => true,
                        Some(label) => seen.len() < count && seen.insert(label.clone()),
                    };
                    if is_kept {
                        let tie = match &label {
                            None => "",
                            Some(_) if built.is_some() => ", by created",
                            Some(_) => self.tie(position, members.get(number + 1)),
                        };
                        let label = label.unwrap_or_else(|| "without a date".to_owned());
                        reasons
                            .entry(position)
                            .or_default()
                            .push(format!("{word} {label}{of}{tie}"));
                    }
                }
            }
        }
        reasons
    }

    /// The entries that remain when these are removed: all others, except those that depend on removed ones.
    pub(crate) fn left(&self, going: &Set) -> Set {
        let followers = self.followers();
        let mut roots: Set = self
            .all()
            .filter(|position| {
                let is_root = self.is_entry(*position) && !followers.contains(position);
                is_root && !going.contains(position)
            })
            .collect();
        // Parts and referrers of removed images are removed with them; anything else that only those needed is removed if it
        // passes the filters itself.
        let mut along = going.clone();
        loop {
            let mut more = along.clone();
            more.extend(along.iter().flat_map(|position| self.children(*position)));
            more.extend(self.all().filter(|position| {
                let of = [self.subject(*position), self.about(*position)];
                of.iter().flatten().any(|of| along.contains(of))
            }));
            if more == along {
                break;
            }
            along = more;
        }
        let spared = followers.iter().copied();
        roots
            .extend(spared.filter(|position| !self.passes(*position) && !along.contains(position)));
        loop {
            let live = self.live(&roots, going);
            let before = roots.len();
            roots.extend(followers.iter().copied().filter(|position| {
                let about = self.about(*position);
                live.contains(position) || about.is_some_and(|about| live.contains(&about))
            }));
            if roots.len() == before {
                return roots;
            }
        }
    }

    /// Every image that is live when these are removed, listed or not.
    pub(crate) fn live_after(&self, going: &Set) -> Set {
        self.live(&self.left(going), going)
    }

    /// The order in which a budget removes images.
    pub(crate) fn budget_key(
        &self,
        position: usize,
    ) -> (
        bool,
        std::cmp::Reverse<(u64, u64, std::cmp::Reverse<usize>)>,
    ) {
        (
            self.is_named(position),
            std::cmp::Reverse(self.age(position)),
        )
    }
}

fn ago(hours: u64) -> Timestamp {
    hours_ago(hours)
}

fn repository(name: &str) -> &str {
    name.split_once(':')
        .map_or("", |(repository, _)| repository)
}

/// The patterns of the drawn options.
fn is_kept_by(pattern: &str, name: &str) -> bool {
    match pattern {
        "**" => true,
        "app:*" => repository(name) == "app",
        "*:1" => name.ends_with(":1") && !name.contains('/'),
        "v?" => name.len() == 2 && name.starts_with('v'),
        other => panic!("nobody draws {other}"),
    }
}
