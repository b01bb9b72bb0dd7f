//! Keep rules: which images stay, and why. Any rule that keeps an image is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::graph::split_name;
use crate::images::Image;
use crate::oci::Digest;
use crate::oci::glob::Glob;
use crate::oci::reference::Reference;

use super::filter::names_match;

/// What has to stay.
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
    /// Whatever has a name that matches. Always wins, also over a size budget.
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

/// An image with what rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Aged<'a> {
    /// The image.
    pub image: &'a Image,
    /// How old it is; `None` never counts as old.
    pub time: Option<Timestamp>,
}

impl Policy {
    /// Says whether any rule chooses what goes. `--keep` alone only protects.
    #[must_use]
    pub const fn chooses(&self) -> bool {
        self.last.is_some()
            || self.within.is_some()
            || self.daily.is_some()
            || self.weekly.is_some()
            || self.monthly.is_some()
            || self.keep_from.is_some()
    }

    /// Returns why an image stays whatever else is asked for: `--keep` and `--keep-from` are never
    /// overruled by a size budget.
    #[must_use]
    pub fn always(&self, image: &Image) -> Vec<String> {
        let mut reasons: Vec<String> = self
            .keep
            .iter()
            .filter(|glob| names_match(glob, image))
            .map(|glob| format!("--keep {}", glob.as_str()))
            .collect();
        if let Some(line) = self
            .keep_from
            .as_ref()
            .and_then(|list| list.line_for(image))
        {
            reasons.push(format!("listed as {line}"));
        }
        reasons
    }

    /// Returns why each image stays by the rules of age and number, by position in `images`.
    #[must_use]
    pub fn reasons(
        &self,
        images: &[Aged<'_>],
        now: Timestamp,
        zone: &TimeZone,
    ) -> Vec<Vec<String>> {
        let mut reasons: Vec<Vec<String>> = vec![Vec::new(); images.len()];
        if let Some(within) = self.within {
            let oldest = now.checked_sub(within).unwrap_or(Timestamp::MIN);
            for (aged, reasons) in images.iter().zip(&mut reasons) {
                if aged.time.is_none_or(|time| time > oldest) {
                    let age = crate::units::human_duration(within);
                    reasons.push(format!("within {age}"));
                }
            }
        }
        for (group, mut members) in self.groups(images) {
            // Newest first; what has no date counts as new, and the digest makes ties stable.
            members.sort_by(|a, b| {
                let key = |position: &usize| {
                    images.get(*position).map(|aged| {
                        (
                            aged.time.unwrap_or(Timestamp::MAX),
                            std::cmp::Reverse(aged.image.digest.clone()),
                        )
                    })
                };
                key(b).cmp(&key(a))
            });
            let of = if group.is_empty() {
                String::new()
            } else {
                format!(" of {group}")
            };
            for (rank, position) in members.iter().enumerate() {
                if let (Some(last), Some(reasons)) = (self.last, reasons.get_mut(*position))
                    && rank < last
                {
                    reasons.push(format!("last {last}{of}"));
                }
            }
            for (wanted, name, period) in [
                (self.daily, "daily", Period::Day),
                (self.weekly, "weekly", Period::Week),
                (self.monthly, "monthly", Period::Month),
            ] {
                let Some(wanted) = wanted else { continue };
                let mut periods: BTreeSet<String> = BTreeSet::new();
                for position in &members {
                    let time = images.get(*position).and_then(|aged| aged.time);
                    // Without a date there is no telling which day it stands for: it stays.
                    let label = time.map(|time| period.of(time, zone));
                    let is_first = match &label {
                        None => true,
                        Some(label) => {
                            !periods.contains(label)
                                && periods.len() < wanted
                                && periods.insert(label.clone())
                        }
                    };
                    if is_first && let Some(reasons) = reasons.get_mut(*position) {
                        let label = label.unwrap_or_else(|| "without a date".to_owned());
                        reasons.push(format!("{name} {label}{of}"));
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

#[derive(Debug, Clone, Copy)]
enum Period {
    Day,
    Week,
    Month,
}

impl Period {
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
    use crate::graph::{EntryName, REF_NAME};
    use crate::oci::Algorithm;

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
            .map(|(image, (_, time))| Aged {
                image,
                time: time.map(|time| time.parse().expect("a time")),
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
