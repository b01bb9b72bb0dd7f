//! What a command may and must do to entries and names, derived only from the contract.
//!
//! "Must" and "may" differ if the contract allows two interpretations. Blobs need no prediction: they follow from the
//! remaining roots, see [`super::checks`].

use std::collections::{BTreeMap, BTreeSet};

use super::ask::{Ask, Extent, What, Word, children};
use super::disk::{Disk, Reading, Set, digest_tag};
use serde_json::Value;

/// A name with the image that it names.
pub(crate) type Pair = (String, String);

/// What a command may and must do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The valid exit statuses.
    pub(crate) codes: BTreeSet<i32>,
    /// Names that must be removed.
    pub(crate) untag: BTreeSet<Pair>,
    /// Further names that may be removed.
    pub(crate) may_untag: BTreeSet<Pair>,
    /// Images that must not have any entry.
    pub(crate) must_go: Set,
    /// Images that do not need an entry; contains `must_go`.
    pub(crate) may_go: Set,
}

/// Returns what a command has to do.
pub(crate) fn expected(disk: &Disk, ask: &Ask) -> Expected {
    match &ask.what {
        What::HoldAdd { name, .. } if disk.holds.contains_key(*name) => Expected::code(&[1]),
        What::Gc | What::HoldAdd { .. } | What::HoldRm(_) => Expected::code(&[0]),
        What::Prune => prune(disk),
        What::PruneAll {
            reference,
            keep,
            keep_last,
        } => everything(disk, reference.as_deref(), keep.as_deref(), *keep_last),
        What::Rm(words) => rm(disk, words, ask.force, ask.extent),
        What::Platform {
            digest,
            dropped,
            mode,
            image,
            ..
        } => platform(disk, digest, dropped, mode, image, ask.force),
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "exit {:?}", self.codes)?;
        writeln!(out, "  untag {:?}, may {:?}", self.untag, self.may_untag)?;
        write!(out, "  go {:?}, may {:?}", self.must_go, self.may_go)
    }
}

impl Expected {
    fn code(codes: &[i32]) -> Self {
        Self {
            codes: codes.iter().copied().collect(),
            ..Self::default()
        }
    }

    fn go(&mut self, digest: &str) {
        self.must_go.insert(digest.to_owned());
        self.may_go.insert(digest.to_owned());
    }
}

/// Returns the children and referrers of these images, transitively, listed or not.
pub(crate) fn followers(disk: &Disk, gone: &Set) -> Set {
    followers_but(disk, gone, Extent::All, &|_| false)
}

/// The same without stale referrers: attestations that no entry lists.
fn certain_followers(disk: &Disk, gone: &Set, extent: Extent) -> Set {
    let listed = disk.listed();
    followers_but(disk, gone, extent, &|digest| {
        disk.is_attestation(digest) && !listed.contains(digest)
    })
}

fn followers_but(
    disk: &Disk,
    gone: &Set,
    extent: Extent,
    is_left_over: &dyn Fn(&str) -> bool,
) -> Set {
    let mut found = gone.clone();
    loop {
        let mut next = found.clone();
        for digest in &found {
            let list = disk.json(digest).and_then(|json| json.get("manifests"));
            for child in list.and_then(Value::as_array).into_iter().flatten() {
                let digest = child.get("digest").and_then(Value::as_str);
                next.extend(digest.map(str::to_owned));
            }
        }
        if extent == Extent::All {
            for digest in disk.blobs.keys() {
                if disk
                    .subject(digest)
                    .is_some_and(|subject| next.contains(&subject) && !is_left_over(digest))
                {
                    next.insert(digest.clone());
                }
            }
            next.extend(disk.referrers(&next));
        }
        if next == found {
            return found;
        }
        found = next;
    }
}

/// Returns what certain images keep: what they reference, and their referrers.
fn kept(disk: &Disk, roots: Set, reading: Reading) -> Set {
    disk.close(roots, reading, |disk, live| disk.referrers(live))
}

/// Returns the roots that are not entries, when these images are removed: docker's element is removed with its image.
fn other_roots(disk: &Disk, gone: &Set) -> Set {
    let mut left = disk.clone();
    left.elements
        .retain(|element| !gone.iter().any(|digest| disk.is_of(element, digest)));
    left.other_roots()
}

/// Adds what is removed with the removed images: untagged and digest-tagged children and referrers that nothing kept reaches.
fn cascade(disk: &Disk, expected: &mut Expected, extent: Extent) {
    for (going, reading, certain) in [
        (expected.may_go.clone(), Reading::Strict, false),
        (expected.must_go.clone(), Reading::Generous, true),
    ] {
        let connected = if certain {
            certain_followers(disk, &going, extent)
        } else {
            followers_but(disk, &going, extent, &|_| false)
        };
        // A child with the digest tag of something that is gone may have a name that somebody chose.
        let referrers = disk.referrers(&connected);
        let is_stale = |digest: &String| {
            certain && !disk.names(digest).is_empty() && !referrers.contains(digest)
        };
        let follows = |digest: &String| {
            connected.contains(digest)
                && !going.contains(digest)
                && disk.human_names(digest).is_empty()
                && !is_stale(digest)
        };
        let candidates: Set = disk.listed().into_iter().filter(follows).collect();
        let mut roots = other_roots(disk, &going);
        let stays = |digest: &String| !going.contains(digest) && !candidates.contains(digest);
        roots.extend(disk.listed().into_iter().filter(stays));
        // What was named is removed, also where it is a referrer of something kept.
        let mut left = disk.clone();
        left.removed = going.clone();
        let kept = left.close(roots, reading, |disk, live| {
            let mut found = disk.referrers(live);
            if reading != Reading::Generous {
                found.retain(|digest| !going.contains(digest));
            }
            found
        });
        for digest in candidates.difference(&kept) {
            if certain {
                expected.go(digest);
            } else {
                expected.may_go.insert(digest.clone());
            }
        }
    }
}

fn is_held(disk: &Disk, digest: &str) -> bool {
    disk.holds.values().any(|held| held == digest)
}

/// Returns `true` if a hold is on an image or on something below it.
fn is_part_held(disk: &Disk, digest: &str) -> bool {
    let mut parts = Set::from([digest.to_owned()]);
    let mut open = vec![digest.to_owned()];
    while let Some(part) = open.pop() {
        let down = disk.down(&part, Reading::WithoutSubjects);
        open.extend(down.into_iter().filter(|child| parts.insert(child.clone())));
    }
    parts.iter().any(|part| is_held(disk, part))
}

fn has_unnamed_entry(disk: &Disk, digest: &str) -> bool {
    let mut of_digest = disk.entries.iter().filter(|entry| entry.digest == digest);
    of_digest.any(|entry| entry.names.is_empty())
}

/// The selection of one argument of `rm`.
enum Selected {
    Names(BTreeSet<Pair>),
    Image(String),
    /// The argument is an error.
    Nothing,
    /// The contract does not specify this.
    Unsure(BTreeSet<Pair>),
}

fn select(disk: &Disk, word: &Word, force: bool) -> Selected {
    let pairs = disk.all_names();
    let named = |wanted: &dyn Fn(&str) -> bool| -> BTreeSet<Pair> {
        pairs
            .iter()
            .filter(|(_, name)| wanted(name))
            .cloned()
            .collect()
    };
    let images = |found: &BTreeSet<Pair>| -> usize {
        let images: Set = found
            .iter()
            .map(|(digest, _)| digest.clone())
            .filter(|digest| !disk.is_kind_referrer(digest))
            .collect();
        images.len()
    };
    match word {
        Word::Name(text) => {
            let found = named(&|name| name == text);
            match images(&found) {
                0 if found.is_empty() => Selected::Nothing,
                2.. if !force => Selected::Nothing,
                _ => Selected::Names(found),
            }
        }
        Word::Bare(word) => {
            let exact = named(&|name| name == *word);
            let normal = format!("{word}:latest");
            let found = if exact.is_empty() {
                named(&|name| name == normal)
            } else {
                exact
            };
            // A pinned name counts as a tag of its repository.
            let pinned = named(&|name| name.starts_with(&format!("{normal}@")));
            if found.is_empty() && !pinned.is_empty() {
                return Selected::Unsure(pinned);
            }
            match images(&found) {
                0 if found.is_empty() => Selected::Nothing,
                2.. if !force => Selected::Nothing,
                _ => Selected::Names(found),
            }
        }
        Word::At(text, digest) => {
            let exact = format!("{text}@{digest}");
            let here = |wanted: &str| {
                let found = pairs
                    .iter()
                    .filter(|(on, name)| on == digest && name == wanted);
                found.cloned().collect::<BTreeSet<Pair>>()
            };
            let (pinned, plain) = (here(&exact), here(text));
            match (pinned.is_empty(), plain.is_empty()) {
                (true, true) => Selected::Nothing,
                (true, false) => Selected::Names(plain),
                (false, true) => Selected::Names(pinned),
                (false, false) => Selected::Unsure(pinned.union(&plain).cloned().collect()),
            }
        }
        Word::Glob(pattern) => {
            let found = named(&|name| matches(pattern, name));
            let twice = found.iter().any(|(digest, name)| {
                found
                    .iter()
                    .any(|(other, text)| text == name && other != digest)
            });
            if found.is_empty() {
                Selected::Nothing
            } else if twice {
                Selected::Unsure(found)
            } else {
                Selected::Names(found)
            }
        }
        Word::Id(prefix) => {
            let is_it = |digest: &&String| {
                digest
                    .split_once(':')
                    .is_some_and(|(_, hex)| hex.starts_with(prefix.as_str()))
            };
            match disk.listed().iter().find(is_it) {
                Some(digest) => Selected::Image(digest.clone()),
                None => Selected::Nothing,
            }
        }
    }
}

/// Returns `true` if a name matches a pattern of plain text with one `*` at its end.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name
            .strip_prefix(start)
            .is_some_and(|rest| !rest.contains('/')),
        None => pattern == name,
    }
}

/// Returns `true` if a name passes a filter. A pinned name counts as the tag before its digest.
pub(crate) fn passes_glob(pattern: &str, name: &str) -> bool {
    matches(pattern, name) || matches(pattern, name.split('@').next().unwrap_or_default())
}

fn rm(disk: &Disk, words: &[Word], force: bool, extent: Extent) -> Expected {
    let mut expected = Expected::default();
    // A hold keeps the content, but not the names.
    let is_part_held =
        |disk: &Disk, digest: &str| extent != Extent::Nothing && is_part_held(disk, digest);
    let mut chosen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut by_id = Set::new();
    let mut held_by_id = Set::new();
    let mut is_error = false;
    let mut only_unknown = true;
    let mut is_unsure = false;
    for word in words {
        match select(disk, word, force) {
            Selected::Names(found) => {
                for (digest, name) in found {
                    chosen.entry(digest).or_default().insert(name);
                }
            }
            Selected::Image(digest) => {
                let names = disk.names(&digest);
                // An ID together with all of the names is not a conflict.
                let is_left = |name: &String| {
                    let mut others = words.iter().filter(|other| *other != word);
                    !others.any(|other| match select(disk, other, force) {
                        Selected::Names(found) => found.contains(&(digest.clone(), name.clone())),
                        _ => false,
                    })
                };
                let is_conflict = names.len() > 1 && !force && names.iter().any(is_left);
                if is_part_held(disk, &digest) || is_conflict {
                    is_error = true;
                    only_unknown = false;
                    if is_part_held(disk, &digest) {
                        held_by_id.insert(digest);
                    }
                } else {
                    by_id.insert(digest.clone());
                    chosen
                        .entry(digest.clone())
                        .or_default()
                        .extend(disk.names(&digest));
                }
            }
            Selected::Nothing => is_error = true,
            Selected::Unsure(found) => {
                is_unsure = true;
                for (digest, name) in found {
                    expected.may_go.insert(digest.clone());
                    expected.may_untag.insert((digest, name));
                }
            }
        }
    }
    for (digest, names) in &chosen {
        let left: BTreeSet<String> = disk.names(digest).difference(names).cloned().collect();
        let is_last = left.is_empty();
        let is_by_id = by_id.contains(digest);
        let is_kin = disk.is_kind_referrer(digest) && !is_by_id;
        if is_kin && (!is_part_held(disk, digest) || chosen.len() > 1) {
            // It follows its image; where something keeps it, its name may be kept on it.
            let pairs = names.iter().map(|name| (digest.clone(), name.clone()));
            expected.may_untag.extend(pairs);
            // A word with its digest means it, whatever it follows.
            let is_meant = |word: &Word| matches!(word, Word::At(_, at) if at == digest);
            if extent == Extent::All || words.iter().any(is_meant) {
                expected.may_go.insert(digest.clone());
            }
            continue;
        }
        if is_last && is_part_held(disk, digest) && !is_by_id && !force {
            is_error = true;
            only_unknown = false;
            if has_unnamed_entry(disk, digest) {
                is_unsure = true;
                expected
                    .may_untag
                    .extend(names.iter().map(|name| (digest.clone(), name.clone())));
            }
            continue;
        }
        let pairs = names.iter().map(|name| (digest.clone(), name.clone()));
        if (is_last || force) && held_by_id.contains(digest) {
            // The conflict of the ID is that of the image: what stands beside it may be left as well.
            expected.may_untag.extend(pairs);
            continue;
        }
        expected.untag.extend(pairs);
        if !is_last {
            continue;
        }
        // Whether an entry without a name keeps the image or is only listed twice is not documented.
        if is_part_held(disk, digest) || (has_unnamed_entry(disk, digest) && !is_by_id) {
            expected.may_go.insert(digest.clone());
        } else {
            expected.go(digest);
        }
    }
    // Together with what is unsure these may be the last names of a held image.
    let held: BTreeSet<Pair> = expected
        .untag
        .iter()
        .filter(|(digest, _)| expected.may_untag.iter().any(|(on, _)| on == digest))
        .filter(|(digest, _)| is_part_held(disk, digest))
        .cloned()
        .collect();
    expected.untag.retain(|pair| !held.contains(pair));
    expected.may_untag.extend(held);
    if extent == Extent::Nothing {
        expected.must_go.clear();
        expected.may_go.clear();
    } else {
        cascade(disk, &mut expected, extent);
    }
    expected.codes = if is_unsure {
        [0, 1].into()
    } else if is_error && force && only_unknown {
        // With force, missing images are not a failure; an ambiguous name without it is.
        [0].into()
    } else if is_error {
        [1].into()
    } else {
        [0].into()
    };
    expected
}

/// Adds the dangling entries, if `named` keeps its names and `gone` is already removed.
fn dangling(disk: &Disk, expected: &mut Expected, named: &Set) {
    let mut roots = other_roots(disk, &expected.may_go);
    roots.extend(named.iter().cloned());
    let strict = kept(disk, roots.clone(), Reading::WithoutSubjects);
    roots.extend(outlived(disk));
    let generous = kept(disk, roots, Reading::Generous);
    for digest in disk.listed() {
        if named.contains(&digest) || !disk.human_names(&digest).is_empty() {
            continue;
        }
        if !generous.contains(&digest) {
            expected.go(&digest);
        } else if !strict.contains(&digest) {
            expected.may_go.insert(digest);
        }
    }
}

/// Returns the entries with a digest tag of something that no entry lists: the tag outlived its image, or is a name like others.
fn outlived(disk: &Disk) -> Set {
    let listed = disk.listed();
    let is_outlived = |digest: &&String| {
        let names = disk.names(digest);
        let mut tags = names.iter().filter_map(|name| digest_tag(name));
        tags.any(|cut| !listed.iter().any(|other| other.starts_with(cut.as_str())))
    };
    listed.iter().filter(is_outlived).cloned().collect()
}

fn prune(disk: &Disk) -> Expected {
    let mut expected = Expected::code(&[0]);
    let is_named = |digest: &String| !disk.human_names(digest).is_empty();
    let named: Set = disk.listed().into_iter().filter(is_named).collect();
    let has_digest_tags = disk.entries.iter().any(|entry| !entry.names.is_empty());
    if named.is_empty() && !has_digest_tags {
        return expected;
    }
    dangling(disk, &mut expected, &named);
    if !index_has_names(disk) {
        expected.must_go.clear();
        expected.may_go.clear();
    }
    expected
}

/// Returns `true` if `index.json` names an image, and not only signatures: otherwise nothing is dangling, whatever docker's list
/// names.
fn index_has_names(disk: &Disk) -> bool {
    let images = disk.entries.iter();
    let mut images = images.filter(|entry| !entry.has_referrer_kind());
    images.any(|entry| entry.names.iter().any(|name| digest_tag(name).is_none()))
}

fn everything(
    disk: &Disk,
    reference: Option<&str>,
    keep: Option<&str>,
    keep_last: Option<usize>,
) -> Expected {
    let mut expected = Expected::code(&[0]);
    let second: Set = disk.second.values().flatten().cloned().collect();
    let (must_keep, may_keep) = match keep_last {
        Some(count) => newest(disk, count),
        None => (Set::new(), Set::new()),
    };
    let mut named = Set::new();
    let has_names = index_has_names(disk);
    for digest in disk.listed() {
        let names = disk.human_names(&digest);
        if names.is_empty() {
            continue;
        }
        let is_kept = is_held(disk, &digest)
            || must_keep.contains(&digest)
            || keep.is_some_and(|glob| names.iter().any(|name| passes_glob(glob, name)));
        if is_kept {
            named.insert(digest);
            continue;
        }
        let passes = |name: &&String| reference.is_none_or(|glob| passes_glob(glob, name));
        let selected: BTreeSet<Pair> = names
            .iter()
            .filter(passes)
            .map(|name| (digest.clone(), name.clone()))
            .collect();
        let goes = selected.len() == names.len();
        // Rules ignore images that only docker's list names, and keep companions with their images. So do holds.
        let by_rule = keep.is_some() || keep_last.is_some();
        let mut own = names.iter();
        let may_follow = by_rule || !disk.holds.is_empty();
        let is_companion = may_follow && own.all(|name| name.ends_with("-esgztoc"));
        let is_out_of_reach = by_rule && is_only_saved(disk, &digest) || is_companion;
        if may_keep.contains(&digest) || second.contains(&digest) || is_out_of_reach {
            expected.may_untag.extend(selected);
            if goes {
                expected.may_go.insert(digest);
            } else {
                named.insert(digest);
            }
            continue;
        }
        expected.untag.extend(selected);
        if !goes {
            named.insert(digest);
        } else if has_unnamed_entry(disk, &digest) && reference.is_some() {
            expected.may_go.insert(digest);
        } else {
            expected.go(&digest);
        }
    }
    for digest in outlived(disk) {
        if disk.human_names(&digest).is_empty() && !is_held(disk, &digest) {
            let names = disk.names(&digest).into_iter();
            expected
                .may_untag
                .extend(names.map(|name| (digest.clone(), name)));
            expected.may_go.insert(digest);
        }
    }
    // An image that a kept one reaches is a part of that one, whatever its name.
    let mut roots = named.clone();
    roots.extend(disk.holds.values().cloned());
    roots.extend(second);
    let part = kept(disk, roots, Reading::Generous);
    let doubtful: Set = expected.must_go.intersection(&part).cloned().collect();
    for digest in doubtful {
        expected.must_go.remove(&digest);
        let (soft, firm): (BTreeSet<Pair>, BTreeSet<Pair>) = expected
            .untag
            .iter()
            .cloned()
            .partition(|(on, _)| *on == digest);
        expected.untag = firm;
        expected.may_untag.extend(soft);
    }
    // A signature that only shares a name with its image belongs to no image once the image has lost that name.
    let unsure = disk.all_names().into_iter();
    let unsure = unsure.filter(|(digest, _)| expected.may_go.contains(digest));
    let lost: BTreeSet<String> = expected
        .untag
        .iter()
        .chain(&expected.may_untag)
        .cloned()
        .chain(unsure)
        .map(|(_, name)| name)
        .collect();
    for digest in disk.listed() {
        let names = disk.names(&digest);
        let is_alone = disk.human_names(&digest).is_empty()
            && !names.is_empty()
            && names.iter().all(|name| lost.contains(name))
            && !is_held(disk, &digest);
        if is_alone {
            let pairs = names.into_iter().map(|name| (digest.clone(), name));
            expected.may_untag.extend(pairs);
            expected.may_go.insert(digest);
        }
    }
    if reference.is_none() {
        // What only a second index keeps loses its entry like what has a name, or is kept with it.
        let mut roots = named.clone();
        roots.extend(disk.holds.values().cloned());
        let strict = kept(disk, roots, Reading::WithoutSubjects);
        let loose = disk
            .listed()
            .into_iter()
            .filter(|digest| disk.human_names(digest).is_empty() && !strict.contains(digest));
        expected.may_go.extend(loose);
        let before = expected.must_go.clone();
        let mut maybe = named.clone();
        maybe.extend(expected.may_go.difference(&expected.must_go).cloned());
        let mut firm = expected.clone();
        dangling(disk, &mut firm, &maybe);
        dangling(disk, &mut expected, &named);
        expected.must_go = firm.must_go;
        if keep_last.is_some() || !has_names {
            // Rules may apply to images without names as well.
            expected.must_go = before;
        }
        expected.may_go.extend(expected.must_go.clone());
    }
    cascade(disk, &mut expected, Extent::All);
    if keep_last.is_some() {
        expected
            .must_go
            .retain(|digest| !disk.names(digest).is_empty());
    }
    expected
}

/// Returns `true` if only docker's list names an image.
fn is_only_saved(disk: &Disk, digest: &str) -> bool {
    let mut own = disk.entries.iter().filter(|entry| entry.digest == digest);
    own.all(|entry| entry.names.is_empty())
}

/// Returns the newest images of each repository: those that a rule must keep, and those that it may keep.
fn newest(disk: &Disk, count: usize) -> (Set, Set) {
    let mut groups: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut may = Set::new();
    for digest in disk.listed() {
        for name in disk.human_names(&digest) {
            let plain = name.split('@').next().unwrap_or_default();
            match plain.rsplit_once(':') {
                Some((repository, tag)) => groups
                    .entry(repository.to_owned())
                    .or_default()
                    .push((digest.clone(), tag.to_owned())),
                // What the repository of a bare tag is, is not documented.
                None => {
                    may.insert(digest.clone());
                }
            }
        }
    }
    let mut must = Set::new();
    for tags in groups.values() {
        let images: Set = tags.iter().map(|(digest, _)| digest.clone()).collect();
        let companion = tags.iter().any(|(_, tag)| tag.ends_with("-esgztoc"))
            || images.iter().any(|digest| is_only_saved(disk, digest));
        // Whether tags or images count is not documented, nor whether a rule counts what only docker's list names.
        if images.len() < tags.len() || companion {
            may.extend(images.iter().cloned());
            if images.len() <= count && !companion {
                must.extend(images);
            }
            continue;
        }
        let mut order: Vec<&String> = images.iter().collect();
        let mut doubtful = false;
        order.sort_by(|left, right| {
            let time = |digest: &str| disk.blobs.get(digest).map(|blob| blob.modified);
            let ((l1, l2), (r1, r2)) = (created(disk, left), created(disk, right));
            let position = |digest: &str| {
                disk.entries
                    .iter()
                    .rposition(|entry| entry.digest == digest)
            };
            let first = |digest: &str| disk.entries.iter().position(|entry| entry.digest == digest);
            if time(left) == time(right) {
                // An image without a date is new, or old.
                doubtful |= l1.is_none() || r1.is_none();
                doubtful |= l1 != l2 || r1 != r2;
                doubtful |=
                    l1 == r1 && (position(left) < position(right)) != (first(left) < first(right));
            }
            (time(left), l1, position(left)).cmp(&(time(right), r1, position(right)))
        });
        if doubtful {
            may.extend(images.iter().cloned());
            continue;
        }
        must.extend(
            order
                .iter()
                .rev()
                .take(count)
                .map(|digest| (*digest).clone()),
        );
    }
    may.retain(|digest| !must.contains(digest));
    (must, may)
}

/// Returns the first and the last `created` of the configs of an image. One of them decides, and one without a date counts as new.
fn created(disk: &Disk, digest: &str) -> (Option<String>, Option<String>) {
    let mut manifests: Vec<String> = vec![digest.to_owned()];
    let platforms = children(disk, digest).into_iter();
    let platforms = platforms.filter(|child| child.about.is_none());
    manifests.extend(platforms.map(|child| child.digest));
    let mut times: Vec<Option<String>> = Vec::new();
    for manifest in manifests {
        let config = disk
            .json(&manifest)
            .and_then(|json| json.get("config")?.get("digest"));
        let config = config
            .and_then(Value::as_str)
            .and_then(|config| disk.json(config));
        times.extend(config.map(|config| {
            let time = config.get("created").and_then(Value::as_str);
            time.map(str::to_owned)
        }));
    }
    let (first, last) = (times.iter().min(), times.iter().max());
    (first.cloned().flatten(), last.cloned().flatten())
}

fn platform(
    disk: &Disk,
    digest: &str,
    dropped: &Set,
    mode: &str,
    image: &Word,
    force: bool,
) -> Expected {
    if is_held(disk, digest) {
        return Expected::code(&[1]);
    }
    let here = |child: &str| disk.blobs.contains_key(child);
    let has_layers = |child: &str| {
        let layers = disk.json(child).and_then(|json| json.get("layers"));
        let mut layers = layers.and_then(Value::as_array).into_iter().flatten();
        layers.any(|layer| {
            let digest = layer.get("digest").and_then(Value::as_str);
            digest.is_some_and(here)
        })
    };
    let all = children(disk, digest);
    let left = all
        .iter()
        .filter(|child| child.about.is_none() && !dropped.contains(&child.digest));
    let left: Vec<String> = left.map(|child| child.digest.clone()).collect();
    let is_last = !left.iter().any(|child| here(child));
    let mut platforms = all.iter().filter(|child| child.about.is_none());
    let was_here = platforms.any(|child| dropped.contains(&child.digest) && here(&child.digest));
    let mut expected = Expected::code(&[0]);
    if !was_here {
        // Whether an image has a platform whose manifest is missing is not documented.
        expected.codes.extend([1, 3]);
    }
    if !left.iter().any(|child| has_layers(child)) {
        // Nor whether one that has lost all of its layers counts as present.
        expected.codes.extend([1, 3]);
    }
    let names = disk.names(digest);
    if is_last && !force {
        // Where the dropped platforms are missing as well, nothing that is here is removed.
        expected.codes = if was_here {
            [1, 3].into()
        } else {
            [0, 1, 3].into()
        };
    }
    if is_last && force {
        expected.codes = [0, 1, 3].into();
        expected
            .may_untag
            .extend(names.iter().map(|name| (digest.to_owned(), name.clone())));
        expected.may_go.insert(digest.to_owned());
    }
    let by_id = matches!(image, Word::Id(_));
    if mode == "rewrite" {
        let others = names.len() > 1;
        let me = Set::from([digest.to_owned()]);
        let pinned = disk.entries.iter().any(|entry| {
            entry.digest == *digest && entry.names.iter().any(|name| name.contains('@'))
        });
        // The references of an orphan do not matter.
        let live = disk.live(&disk.roots(), &disk.entries, Reading::Strict);
        let mut blobs = disk.blobs.keys();
        let by_orphan = blobs.any(|blob| disk.subject(blob).as_deref() == Some(digest));
        let by_blob = live
            .iter()
            .any(|blob| disk.subject(blob).as_deref() == Some(digest));
        let by_list = live
            .iter()
            .any(|blob| blob != digest && disk.json(blob).is_some_and(|json| lists(json, digest)));
        let second = disk.second.values().any(|list| list.contains(digest));
        let refers = !disk.referrers(&me).is_empty() || pinned || by_blob || second;
        if (others || refers) && !force {
            expected.codes.remove(&0);
            expected.codes.extend([1, 3]);
        }
        // What has several entries without a name is one image under one digest.
        let is_listed_twice = has_unnamed_entry(disk, digest) && !by_id;
        // Whether an index that lists it is in the way is not documented.
        if by_id && names.is_empty()
            || others && refers
            || is_listed_twice
            || by_orphan && !refers
            || by_list
        {
            expected.codes.extend([0, 1, 3]);
        }
        expected.may_go.insert(digest.to_owned());
        let pairs = names.iter().map(|name| (digest.to_owned(), name.clone()));
        expected.may_untag.extend(pairs);
        let going = Set::from([digest.to_owned()]);
        let connected = followers(disk, &going);
        for other in disk.listed() {
            if connected.contains(&other) && disk.human_names(&other).is_empty() {
                expected.may_go.insert(other);
            }
        }
    } else {
        let mut going = dropped.clone();
        if is_last && force {
            // The image is removed with its last platform, and everything whose subject it is along with it.
            going.insert(digest.to_owned());
        }
        let connected = followers(disk, &going);
        for other in disk.listed() {
            if connected.contains(&other) && other != *digest && disk.human_names(&other).is_empty()
            {
                expected.may_go.insert(other);
            }
        }
        // Other names that share the index, and images that list the same platform, are a conflict or not: both are safe.
        let shared = disk.names(digest).len() > 1
            || disk.listed().iter().any(|other| {
                other != digest
                    && !followers(disk, &Set::from([other.clone()])).is_disjoint(dropped)
            });
        if shared {
            expected.codes.extend([0, 1, 3]);
        }
    }
    if !was_here || dropped.iter().any(|child| is_held(disk, child)) {
        expected.codes.extend([0, 1, 3]);
    }
    expected
}

fn lists(json: &Value, digest: &str) -> bool {
    let list = json.get("manifests").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .any(|child| child.get("digest").and_then(Value::as_str) == Some(digest))
}
