//! Keep rules: which images are kept, and why. One rule that keeps an image is enough.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::model::images::Image;
use crate::oci::glob::Glob;
use crate::oci::reference::{Reference, digest_tag};
use crate::oci::{Digest, EntryName, split_name};
use crate::parse::size::human_duration;

use super::age::{Age, Tie};
use super::filter::names_match;

/// The images to keep, even if a size budget is not reached.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The newest N of each group.
    pub last: Option<usize>,
    /// Everything newer than this.
    pub within: Option<Duration>,
    /// The newest of each of the last N days that have an image.
    pub daily: Option<usize>,
    /// The newest of each of the last N weeks that have an image.
    pub weekly: Option<usize>,
    /// The newest of each of the last N months that have an image.
    pub monthly: Option<usize>,
    /// Everything with a name that matches.
    pub keep: Vec<Glob>,
    /// The images that a list names; all others are removed.
    pub keep_from: Option<KeepFrom>,
    /// The groups in which the newest are kept.
    pub group_by: GroupBy,
    /// The scope of the comparison.
    pub across: Across,
}

/// Whether rules compare the images of one layout, or those of all layouts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Across {
    /// Each layout separately.
    #[default]
    Layout,
    /// All layouts together. A bare tag belongs to no repository: bare tags are one group in each layout.
    Tree,
}

/// The groups in which the newest images are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// Each repository; bare tags are one group.
    #[default]
    Name,
    /// All images of the layout.
    None,
}

/// A list of references to keep, one per line.
#[derive(Debug, Clone, Default)]
pub struct KeepFrom {
    lines: Vec<KeepLine>,
}

#[derive(Debug, Clone)]
struct KeepLine {
    text: String,
    reference: Option<Reference>,
    digest: Option<Digest>,
    glob: Option<Glob>,
}

impl KeepFrom {
    /// Parses a list. Blank lines and lines that begin with `#` are ignored.
    ///
    /// # Errors
    /// The number of the line with a malformed pattern, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let glob = Glob::is_pattern(line)
                .then(|| Glob::new(line))
                .transpose()
                .map_err(|error| format!("line {}: {error}", number + 1))?;
            let digest = line.rsplit('@').next();
            lines.push(KeepLine {
                text: line.to_owned(),
                reference: Reference::parse_normalized(line).ok(),
                digest: digest.and_then(|text| Digest::parse(text).ok()),
                glob,
            });
        }
        Ok(Self { lines })
    }

    /// Returns the first line that names an image.
    fn line_for(&self, image: &Image) -> Option<&str> {
        let line = self.lines.iter().find(|line| line.names(image))?;
        Some(&line.text)
    }

    /// Returns `true` if there is no line.
    pub(super) const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the lines that name none of the images.
    #[must_use]
    pub fn unused(&self, images: &[Image]) -> Vec<&str> {
        self.lines
            .iter()
            .filter(|line| !images.iter().any(|image| line.names(image)))
            .map(|line| line.text.as_str())
            .collect()
    }
}

impl KeepLine {
    fn names(&self, image: &Image) -> bool {
        let glob = self.glob.as_ref();
        if self.digest.as_ref() == Some(&image.digest)
            || glob.is_some_and(|glob| names_match(glob, image))
        {
            return true;
        }
        let full = |name: &str| {
            let reference = Reference::parse_normalized(name).ok();
            reference.map(Reference::with_default_tag)
        };
        let reference = self.reference.clone();
        let wanted = reference
            .filter(|reference| reference.digest.is_none())
            .map(Reference::with_default_tag);
        image.names.iter().any(|name| {
            // The line was read without the spaces around it.
            name.text.trim() == self.text
                || (name.text.contains(['/', ':'])
                    && wanted.is_some()
                    && full(&name.text) == wanted)
        })
    }
}

/// A rule that keeps images.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// `--keep`, with its pattern.
    Keep(String),
    /// `--keep-from`.
    KeepFrom,
    /// `--keep-last`.
    Last(usize),
    /// `--keep-within`.
    Within(Duration),
    /// `--keep-daily`.
    Daily(usize),
    /// `--keep-weekly`.
    Weekly(usize),
    /// `--keep-monthly`.
    Monthly(usize),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep(pattern) => write!(f, "--keep {pattern}"),
            Self::KeepFrom => f.write_str("--keep-from"),
            Self::Last(count) => write!(f, "--keep-last {count}"),
            Self::Within(age) => {
                let seconds = age.as_secs();
                let units = [("d", 86_400), ("h", 3600), ("m", 60)];
                let whole = units
                    .iter()
                    .find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
                let (unit, length) = whole.unwrap_or(&("s", 1));
                write!(f, "--keep-within {}{unit}", seconds / length)
            }
            Self::Daily(count) => write!(f, "--keep-daily {count}"),
            Self::Weekly(count) => write!(f, "--keep-weekly {count}"),
            Self::Monthly(count) => write!(f, "--keep-monthly {count}"),
        }
    }
}

/// Why an image is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The rule.
    pub rule: Rule,
    /// How the rule applies to this image.
    pub text: String,
}

impl Reason {
    fn new(rule: Rule, text: String, tie: Option<Tie>) -> Self {
        let text = match tie {
            Some(tie) => format!("{text}, {tie}"),
            None => text,
        };
        Self { rule, text }
    }
}

/// An image with its age.
#[derive(Debug, Clone, Copy)]
pub struct Aged<'a> {
    /// The image.
    pub image: &'a Image,
    /// Its age.
    pub age: Age,
}

impl Policy {
    /// Returns `true` if any rule selects what is removed. `--keep` alone only protects.
    #[must_use]
    pub const fn chooses(&self) -> bool {
        self.last.is_some()
            || self.within.is_some()
            || self.daily.is_some()
            || self.weekly.is_some()
            || self.monthly.is_some()
            || self.keep_from.is_some()
    }

    /// Returns the scope in which keep rules compare images, if there are such rules.
    #[must_use]
    pub const fn compares(&self) -> Across {
        match self.chooses() {
            true => self.across,
            false => Across::Layout,
        }
    }

    /// Returns why an image is kept regardless of the rules of age and number.
    #[must_use]
    pub fn always(&self, image: &Image) -> Vec<Reason> {
        let globs = self.keep.iter().filter(|glob| names_match(glob, image));
        let by_name = globs.map(|glob| {
            let rule = Rule::Keep(glob.as_str().to_owned());
            let text = rule.to_string();
            Reason { rule, text }
        });
        let list = self.keep_from.as_ref();
        let by_list = list
            .and_then(|list| list.line_for(image))
            .map(|line| Reason {
                rule: Rule::KeepFrom,
                text: format!("listed as {line}"),
            });
        by_name.chain(by_list).collect()
    }

    /// Returns why each image is kept by the rules of age and number, by position in `images`.
    #[must_use]
    pub fn reasons(
        &self,
        images: &[Aged<'_>],
        now: Timestamp,
        zone: &TimeZone,
    ) -> Vec<Vec<Reason>> {
        let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); images.len()];
        let mut add = |position: usize, rule, text, tie| {
            if let Some(reasons) = reasons.get_mut(position) {
                reasons.push(Reason::new(rule, text, tie));
            }
        };
        if let Some(within) = self.within {
            let oldest = now.checked_sub(within).unwrap_or(Timestamp::MIN);
            let text = format!("within {}", human_duration(within));
            for (position, Aged { age, .. }) in images.iter().enumerate() {
                if age.time.is_none_or(|time| time > oldest) {
                    add(position, Rule::Within(within), text.clone(), None);
                }
            }
        }
        for ((group, layout), members) in self.groups(images) {
            let mut members: Vec<(usize, Age)> = members
                .into_iter()
                .filter_map(|position| Some((position, images.get(position)?.age)))
                .collect();
            members.sort_by_key(|(_, age)| std::cmp::Reverse(*age));
            let of = match (group.is_empty(), self.across, layout) {
                (true, Across::Tree, None) => " of the tree".to_owned(),
                (true, ..) => String::new(),
                (false, Across::Tree, _) => format!(" of {group} in the tree"),
                (false, Across::Layout, _) => format!(" of {group}"),
            };
            let digest = |position: usize| images.get(position).map(|aged| &aged.image.digest);
            if let Some(last) = self.last {
                // A copy in another layout does not count as another image.
                let mut newest: HashSet<&Digest> = HashSet::new();
                for (position, _) in &members {
                    newest.extend(digest(*position).filter(|_| newest.len() < last));
                }
                let is_kept =
                    |position: usize| digest(position).is_some_and(|of| newest.contains(of));
                let next = members.iter().find(|(position, _)| !is_kept(*position));
                for (position, age) in members.iter().filter(|(position, _)| is_kept(*position)) {
                    let tie = next.and_then(|(_, next)| age.tie(next));
                    add(*position, Rule::Last(last), format!("last {last}{of}"), tie);
                }
            }
            let mut by_period = |wanted, name, rule: fn(usize) -> Rule, label: Label| {
                let Some(wanted) = wanted else { return };
                let mut kept = firsts(&members, wanted, label, zone);
                if self.across == Across::Tree {
                    add_copies(&mut kept, &members, digest);
                }
                for (position, label, tie) in kept {
                    add(position, rule(wanted), format!("{name} {label}{of}"), tie);
                }
            };
            by_period(self.daily, "daily", Rule::Daily, |day| day.to_string());
            by_period(self.weekly, "weekly", Rule::Weekly, |day| {
                let week = day.iso_week_date();
                format!("{}-W{:02}", week.year(), week.week())
            });
            by_period(self.monthly, "monthly", Rule::Monthly, |day| {
                format!("{}-{:02}", day.year(), day.month())
            });
        }
        reasons
    }

    /// Groups positions by repository, or all together. With several layouts, a group of a single one contains its position.
    fn groups(&self, images: &[Aged<'_>]) -> BTreeMap<Group, Vec<usize>> {
        let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        // An untagged image belongs to no repository and is not kept by these rules, unless nothing in its layout is named.
        // A referrer whose image is gone is never an image of its repository, and an unnamed one only if all are such: it
        // would take the place of an image.
        let layouts = |is_image: &dyn Fn(&Image) -> bool| -> BTreeSet<usize> {
            let images = images.iter().filter(|aged| is_image(aged.image));
            images.map(|aged| aged.age.layout).collect()
        };
        let named = layouts(&has_own_name);
        let untagged = layouts(&|image| image.names.is_empty() && !image.is_stale_referrer);
        for (position, aged) in images.iter().enumerate() {
            let layout = aged.age.layout;
            let is_tag = !aged.image.names.is_empty();
            let is_stale = is_tag || (aged.image.is_stale_referrer && untagged.contains(&layout));
            if !has_own_name(aged.image) && (is_stale || named.contains(&layout)) {
                continue;
            }
            let mut names: BTreeSet<String> = BTreeSet::new();
            if self.group_by == GroupBy::Name {
                names.extend(own_names(aged.image).map(|name| repository(&name.text)));
            }
            if names.is_empty() {
                names.insert(String::new());
            }
            for name in names {
                let is_own = name.is_empty() && self.group_by == GroupBy::Name;
                let group = (name, is_own.then_some(layout));
                groups.entry(group).or_default().push(position);
            }
        }
        groups
    }
}

/// A repository, and the position of the layout if the group is limited to it.
type Group = (String, Option<usize>);

/// Adds the images that are copies of kept ones, with the same label: otherwise a rule would remove an image in one layout
/// and keep it in another.
fn add_copies<'a>(
    kept: &mut Vec<(usize, String, Option<Tie>)>,
    members: &[(usize, Age)],
    digest: impl Fn(usize) -> Option<&'a Digest>,
) {
    let are_kept: HashSet<usize> = kept.iter().map(|(position, ..)| *position).collect();
    let labels = kept.iter();
    let labels =
        labels.filter_map(|(position, label, _)| Some((digest(*position)?, label.clone())));
    let labels: HashMap<&Digest, String> = labels.collect();
    let others = members.iter().map(|(position, _)| *position);
    for position in others.filter(|position| !are_kept.contains(position)) {
        if let Some(label) = digest(position).and_then(|digest| labels.get(digest)) {
            kept.push((position, label.clone(), None));
        }
    }
}

/// Returns the names of an image without digest tags of other images and without names that it shares as a referrer of another
/// one. A tag with the digest of its own image, as imgpkg writes, is a name.
fn own_names(image: &Image) -> impl Iterator<Item = &EntryName> {
    let names = image.names.iter();
    let names = names.filter(|name| !image.shared_names.contains(&name.text));
    names.filter(|name| {
        let tag = split_name(&name.text).1.and_then(digest_tag);
        tag.is_none_or(|tag| !tag.has_known_algorithm() || tag.refers_to(&image.digest.to_string()))
    })
}

/// Returns `true` if an image has a name of its own.
pub(super) fn has_own_name(image: &Image) -> bool {
    own_names(image).next().is_some()
}

fn repository(name: &str) -> String {
    let Some(repository) = split_name(name).0 else {
        return String::new();
    };
    Reference::parse_normalized(repository).map_or_else(
        |_| repository.to_owned(),
        |reference| reference.familiar_name(),
    )
}

/// Returns the label of the period that a day belongs to.
type Label = fn(Date) -> String;

/// Returns the newest member of each of the last periods, with the label of the period and the tie-breaker, if any. If all
/// members have the same time, as in an archive, `created` decides the period: otherwise only one image would be kept.
fn firsts(
    members: &[(usize, Age)],
    wanted: usize,
    label: Label,
    zone: &TimeZone,
) -> Vec<(usize, String, Option<Tie>)> {
    let is_archive = members.len() > 1
        && members
            .windows(2)
            .all(|pair| matches!(pair, [(_, a), (_, b)] if a.time == b.time));
    let mut kept = Vec::new();
    let mut periods: BTreeSet<String> = BTreeSet::new();
    for (number, (position, age)) in members.iter().enumerate() {
        // Without a date the period is unknown: the image is kept.
        let Some(time) = age.time else {
            kept.push((*position, "without a date".to_owned(), None));
            continue;
        };
        let built = age.created.filter(|_| is_archive);
        let time = built.unwrap_or(time).to_zoned(zone.clone());
        let label = label(time.date());
        if periods.len() < wanted && periods.insert(label.clone()) {
            let next = members.get(number + 1);
            let tie = match built {
                Some(_) => Some(Tie::Created),
                None => next.and_then(|(_, next)| age.tie(next)),
            };
            kept.push((*position, label, tie));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;
    use crate::oci::{EntryName, REF_NAME};

    fn image(name: &str) -> Image {
        Image {
            digest: Digest::of(Algorithm::Sha256, name.as_bytes()),
            id: 0,
            names: vec![EntryName {
                text: name.into(),
                key: REF_NAME,
            }],
            shared_names: Vec::new(),
            is_stale_referrer: false,
            entries: vec![0],
            media_type: "".into(),
            artifact_type: None,
            holds: Vec::new(),
            second_indexes: Vec::new(),
        }
    }

    fn kept(policy: &Policy, images: &[(&str, Option<&str>)]) -> Vec<String> {
        let built: Vec<Image> = images.iter().map(|(name, _)| image(name)).collect();
        let aged: Vec<Aged<'_>> = built
            .iter()
            .zip(images)
            .enumerate()
            .map(|(position, (image, (_, time)))| Aged {
                image,
                age: Age {
                    time: time.map(|time| time.parse().expect("a time")),
                    position,
                    ..Age::default()
                },
            })
            .collect();
        let now = "2026-11-21T12:00:00Z".parse().expect("a time");
        policy
            .reasons(&aged, now, &TimeZone::UTC)
            .iter()
            .zip(images)
            .filter(|(reasons, _)| !reasons.is_empty())
            .map(|(_, (name, _))| (*name).to_owned())
            .collect()
    }

    /// Returns the names of the kept images of several layouts: name, digest, layout, day of the month.
    fn kept_across(policy: &Policy, images: &[(&str, &str, usize, u32)]) -> Vec<String> {
        let built = images.iter().map(|(name, salt, ..)| Image {
            digest: Digest::of(Algorithm::Sha256, salt.as_bytes()),
            ..image(name)
        });
        let built: Vec<Image> = built.collect();
        let aged: Vec<Aged<'_>> = built
            .iter()
            .zip(images)
            .map(|(image, (_, _, layout, day))| Aged {
                image,
                age: Age {
                    time: format!("2026-11-{day:02}T12:00:00Z").parse().ok(),
                    layout: *layout,
                    ..Age::default()
                },
            })
            .collect();
        let now = "2026-11-21T12:00:00Z".parse().expect("a time");
        let reasons = policy.reasons(&aged, now, &TimeZone::UTC);
        let kept = reasons.iter().zip(images);
        let kept = kept.filter(|(reasons, _)| !reasons.is_empty());
        kept.map(|(_, (name, _, layout, _))| format!("{layout}:{name}"))
            .collect()
    }

    #[test]
    fn rules_of_a_tree_count_images_and_not_copies() {
        // The second layout has an old copy of the newest image of the first one.
        let images = [
            ("app:3", "three", 0, 20),
            ("app:1", "one", 0, 10),
            ("app:3", "three", 1, 5),
            ("app:2", "two", 1, 15),
            ("1.0", "bare", 0, 1),
            ("2.0", "bare too", 1, 2),
        ];
        let last = |count, group_by| Policy {
            last: Some(count),
            across: Across::Tree,
            group_by,
            ..Policy::default()
        };
        // A bare tag belongs to its layout.
        let kept = kept_across(&last(1, GroupBy::Name), &images);
        assert_eq!(kept, ["0:app:3", "1:app:3", "0:1.0", "1:2.0"]);
        let kept = kept_across(&last(2, GroupBy::Name), &images);
        assert_eq!(kept, ["0:app:3", "1:app:3", "1:app:2", "0:1.0", "1:2.0"]);
        let kept = kept_across(&last(3, GroupBy::None), &images);
        assert_eq!(kept, ["0:app:3", "0:app:1", "1:app:3", "1:app:2"]);
        let daily = Policy {
            daily: Some(1),
            across: Across::Tree,
            group_by: GroupBy::None,
            ..Policy::default()
        };
        assert_eq!(kept_across(&daily, &images), ["0:app:3", "1:app:3"]);
        // If a layout has no names, its images are one group, whatever names the others have.
        let mut nameless = image("");
        nameless.names.clear();
        let named = image("app:1");
        let aged = [(&nameless, 0), (&named, 1)].map(|(image, layout)| Aged {
            image,
            age: Age {
                layout,
                ..Age::default()
            },
        });
        let now = "2026-11-21T12:00:00Z".parse().expect("a time");
        let reasons = last(1, GroupBy::Name).reasons(&aged, now, &TimeZone::UTC);
        assert!(reasons.iter().all(|reasons| reasons.len() == 1));
    }

    #[test]
    fn each_rule_alone_selects_images() {
        type Set = fn(&mut Policy);
        let rules: [(Set, bool); 8] = [
            (|policy| policy.last = Some(1), true),
            (|policy| policy.within = Some(Duration::from_secs(1)), true),
            (|policy| policy.daily = Some(1), true),
            (|policy| policy.weekly = Some(1), true),
            (|policy| policy.monthly = Some(1), true),
            (
                |policy| policy.keep_from = KeepFrom::parse("app:v1\n").ok(),
                true,
            ),
            (|_| {}, false),
            // A rule that only protects selects nothing.
            (|policy| policy.keep.extend(Glob::new("*").ok()), false),
        ];
        for (set, expected) in rules {
            let mut policy = Policy::default();
            set(&mut policy);
            assert_eq!(policy.chooses(), expected, "{policy:?}");
        }
    }

    #[test]
    fn keeps_the_newest_of_each_repository() {
        let images = [
            ("a:1", Some("2026-11-01T00:00:00Z")),
            ("a:2", Some("2026-11-03T00:00:00Z")),
            ("b:1", Some("2026-10-01T00:00:00Z")),
            ("a:3", Some("2026-11-02T00:00:00Z")),
            ("a:x", None),
        ];
        let mut policy = Policy {
            last: Some(2),
            ..Policy::default()
        };
        assert_eq!(kept(&policy, &images), ["a:2", "b:1", "a:x"]);
        policy.last = Some(1);
        assert_eq!(kept(&policy, &images), ["b:1", "a:x"]);
        policy.last = Some(2);
        policy.group_by = GroupBy::None;
        assert_eq!(kept(&policy, &images), ["a:2", "a:x"]);
        policy.last = Some(0);
        assert!(kept(&policy, &images).is_empty());
    }

    #[test]
    fn keeps_the_newest_of_each_day_week_and_month() {
        let images = [
            ("a:1", Some("2026-11-20T01:00:00Z")),
            ("a:2", Some("2026-11-20T02:00:00Z")),
            ("a:3", Some("2026-11-19T01:00:00Z")),
            ("a:4", Some("2026-11-09T01:00:00Z")),
            ("a:5", Some("2026-10-09T01:00:00Z")),
        ];
        let policy = |daily, weekly, monthly| Policy {
            daily,
            weekly,
            monthly,
            ..Policy::default()
        };
        assert_eq!(kept(&policy(Some(2), None, None), &images), ["a:2", "a:3"]);
        assert_eq!(kept(&policy(None, Some(2), None), &images), ["a:2", "a:4"]);
        assert_eq!(kept(&policy(None, None, Some(9)), &images), ["a:2", "a:5"]);
        assert_eq!(
            kept(&policy(Some(1), None, Some(2)), &images),
            ["a:2", "a:5"]
        );
    }

    #[test]
    fn keeps_images_that_are_recent_enough() {
        let policy = Policy {
            within: Some(Duration::from_secs(86400)),
            ..Policy::default()
        };
        let images = [
            ("a:1", Some("2026-11-20T12:00:00Z")),
            ("a:2", Some("2026-11-20T12:00:00.000000001Z")),
            ("a:3", None),
            ("a:4", Some("2026-12-01T00:00:00Z")),
        ];
        assert_eq!(kept(&policy, &images), ["a:2", "a:3", "a:4"]);
    }

    #[test]
    fn a_list_names_images_in_any_form() {
        let image = image("docker.io/library/app:v1");
        let digest = image.digest.to_string();
        for (line, expected) in [
            ("app:v1", true),
            ("docker.io/library/app:v1", true),
            ("app", false),
            ("app:v2", false),
            ("app:*", true),
            (digest.as_str(), true),
            (&format!("app@{digest}"), true),
            ("# app:v1", false),
        ] {
            let list = KeepFrom::parse(line).expect("valid");
            assert_eq!(list.line_for(&image).is_some(), expected, "{line}");
        }
        // A bare tag is not a repository.
        let tagged = self::image("app");
        for (line, expected) in [("docker.io/library/app", false), ("app", true)] {
            let list = KeepFrom::parse(line).expect("valid");
            assert_eq!(list.line_for(&tagged).is_some(), expected, "{line}");
        }
        let list = KeepFrom::parse("app:v1\nother\n").expect("valid");
        assert_eq!(list.unused(&[image]), ["other"]);
        assert!(KeepFrom::parse("a\n[").is_err());
    }
}
