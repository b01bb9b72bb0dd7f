//! Keep rules: which images stay, and why. Any rule that keeps an image is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::images::Image;
use crate::oci::Digest;
use crate::oci::glob::Glob;
use crate::oci::reference::Reference;
use crate::oci::split_name;

use super::age::{Age, Tie};
use super::filter::names_match;

/// What has to stay, also where a size budget is not reached by that.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The newest so many of each group.
    pub last: Option<usize>,
    /// Everything younger than this.
    pub within: Option<Duration>,
    /// The newest of each of the last so many days that have an image.
    pub daily: Option<usize>,
    /// The newest of each of the last so many weeks that have an image.
    pub weekly: Option<usize>,
    /// The newest of each of the last so many months that have an image.
    pub monthly: Option<usize>,
    /// Whatever has a name that matches.
    pub keep: Vec<Glob>,
    /// What a list names; everything else goes.
    pub keep_from: Option<KeepFrom>,
    /// Among what the newest are looked for.
    pub group_by: GroupBy,
}

/// Among what the newest images are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// Each repository for itself; bare tags together.
    #[default]
    Name,
    /// All images of the layout.
    None,
}

/// A list of references that stay, one a line.
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
    /// Reads a list. Blank lines and lines that begin with `#` are left out.
    ///
    /// # Errors
    /// A text that names the line which is a bad pattern.
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
            let digest = line
                .rsplit('@')
                .next()
                .and_then(|text| Digest::parse(text).ok());
            lines.push(KeepLine {
                text: line.to_owned(),
                reference: Reference::parse_normalized(line).ok(),
                digest,
                glob,
            });
        }
        Ok(Self { lines })
    }

    /// Returns the first line that names an image.
    fn line_for(&self, image: &Image) -> Option<&str> {
        self.lines
            .iter()
            .find(|line| line.names(image))
            .map(|line| line.text.as_str())
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
        if self.digest.as_ref() == Some(&image.digest)
            || self
                .glob
                .as_ref()
                .is_some_and(|glob| names_match(glob, image))
        {
            return true;
        }
        let wanted = self
            .reference
            .clone()
            .filter(|reference| reference.digest.is_none())
            .map(Reference::with_default_tag);
        image.names.iter().any(|name| {
            *name.text == *self.text
                || (name.text.contains(['/', ':'])
                    && wanted.is_some()
                    && Reference::parse_normalized(&name.text)
                        .ok()
                        .map(Reference::with_default_tag)
                        == wanted)
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
    /// What it says of this image.
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

/// An image with what rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Aged<'a> {
    /// The image.
    pub image: &'a Image,
    /// How old it is.
    pub age: Age,
}

impl Policy {
    /// Returns `true` if any rule chooses what goes. `--keep` alone only protects.
    #[must_use]
    pub const fn chooses(&self) -> bool {
        self.last.is_some()
            || self.within.is_some()
            || self.daily.is_some()
            || self.weekly.is_some()
            || self.monthly.is_some()
            || self.keep_from.is_some()
    }

    /// Returns why an image is kept whatever the rules of age and number say.
    #[must_use]
    pub fn always(&self, image: &Image) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = self
            .keep
            .iter()
            .filter(|glob| names_match(glob, image))
            .map(|glob| {
                let rule = Rule::Keep(glob.as_str().to_owned());
                let text = rule.to_string();
                Reason { rule, text }
            })
            .collect();
        if let Some(line) = self
            .keep_from
            .as_ref()
            .and_then(|list| list.line_for(image))
        {
            reasons.push(Reason {
                rule: Rule::KeepFrom,
                text: format!("listed as {line}"),
            });
        }
        reasons
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
        if let Some(within) = self.within {
            let oldest = now.checked_sub(within).unwrap_or(Timestamp::MIN);
            for (Aged { age, .. }, reasons) in images.iter().zip(&mut reasons) {
                if age.time.is_none_or(|time| time > oldest) {
                    let text = format!("within {}", crate::parse::size::human_duration(within));
                    reasons.push(Reason::new(Rule::Within(within), text, None));
                }
            }
        }
        for (group, members) in self.groups(images) {
            let mut members: Vec<(usize, Age)> = members
                .into_iter()
                .filter_map(|position| Some((position, images.get(position)?.age)))
                .collect();
            members.sort_by_key(|(_, age)| std::cmp::Reverse(*age));
            let of = if group.is_empty() {
                String::new()
            } else {
                format!(" of {group}")
            };
            if let Some(last) = self.last {
                let next = members.get(last);
                for (position, age) in members.iter().take(last) {
                    let tie = next.and_then(|(_, next)| age.tie(next));
                    if let Some(reasons) = reasons.get_mut(*position) {
                        let text = format!("last {last}{of}");
                        reasons.push(Reason::new(Rule::Last(last), text, tie));
                    }
                }
            }
            for (wanted, name, period) in [
                (self.daily, "daily", Period::Day),
                (self.weekly, "weekly", Period::Week),
                (self.monthly, "monthly", Period::Month),
            ] {
                let Some(wanted) = wanted else { continue };
                for (position, label, tie) in firsts(&members, wanted, period, zone) {
                    if let Some(reasons) = reasons.get_mut(position) {
                        let text = format!("{name} {label}{of}");
                        reasons.push(Reason::new(period.rule(wanted), text, tie));
                    }
                }
            }
        }
        reasons
    }

    /// Groups positions by repository, or all together.
    fn groups(&self, images: &[Aged<'_>]) -> BTreeMap<String, Vec<usize>> {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        // An overwritten tag is of no repository: it takes no place among the tags and has none of its
        // own, unless nothing at all is named.
        let has_names = images.iter().any(|aged| !aged.image.names.is_empty());
        for (position, aged) in images.iter().enumerate() {
            if has_names && aged.image.names.is_empty() {
                continue;
            }
            let mut names: BTreeSet<String> = BTreeSet::new();
            if self.group_by == GroupBy::Name {
                names.extend(aged.image.names.iter().map(|name| repository(&name.text)));
            }
            if names.is_empty() {
                names.insert(String::new());
            }
            for name in names {
                groups.entry(name).or_default().push(position);
            }
        }
        groups
    }
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

/// Returns the newest member of each of the last periods, with what the period is called and what else than the clock
/// decided. Where all members have one time, which is that of an archive, `created` tells the periods: by that time only
/// one image would be kept of all.
fn firsts(
    members: &[(usize, Age)],
    wanted: usize,
    period: Period,
    zone: &TimeZone,
) -> Vec<(usize, String, Option<Tie>)> {
    let is_archive = members.len() > 1
        && members
            .windows(2)
            .all(|pair| matches!(pair, [(_, a), (_, b)] if a.time == b.time));
    let mut kept = Vec::new();
    let mut periods: BTreeSet<String> = BTreeSet::new();
    for (number, (position, age)) in members.iter().enumerate() {
        // Without a date there is no telling which day it stands for: it is kept.
        let Some(time) = age.time else {
            kept.push((*position, "without a date".to_owned(), None));
            continue;
        };
        let built = age.created.filter(|_| is_archive);
        let label = period.of(built.unwrap_or(time), zone);
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

#[derive(Debug, Clone, Copy)]
enum Period {
    Day,
    Week,
    Month,
}

impl Period {
    /// Returns the rule that keeps the newest of each of the last periods.
    const fn rule(self, count: usize) -> Rule {
        match self {
            Self::Day => Rule::Daily(count),
            Self::Week => Rule::Weekly(count),
            Self::Month => Rule::Monthly(count),
        }
    }

    /// Returns the name of the period that a moment lies in.
    fn of(self, time: Timestamp, zone: &TimeZone) -> String {
        let date = time.to_zoned(zone.clone()).date();
        match self {
            Self::Day => date.to_string(),
            Self::Week => {
                let week = date.iso_week_date();
                format!("{}-W{:02}", week.year(), week.week())
            }
            Self::Month => format!("{}-{:02}", date.year(), date.month()),
        }
    }
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

    #[test]
    fn each_rule_alone_chooses() {
        let none = Policy::default;
        let list = KeepFrom::parse("app:v1\n").expect("valid");
        for policy in [
            Policy {
                last: Some(1),
                ..none()
            },
            Policy {
                within: Some(Duration::from_secs(1)),
                ..none()
            },
            Policy {
                daily: Some(1),
                ..none()
            },
            Policy {
                weekly: Some(1),
                ..none()
            },
            Policy {
                monthly: Some(1),
                ..none()
            },
            Policy {
                keep_from: Some(list),
                ..none()
            },
        ] {
            assert!(policy.chooses(), "{policy:?}");
        }
        assert!(!none().chooses());
        // What stays whatever the others say is no choice among them.
        let keep = vec![Glob::new("*").expect("a pattern")];
        assert!(!Policy { keep, ..none() }.chooses());
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
    fn keeps_what_is_young_enough() {
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
        // A bare tag is no repository.
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
