//! Filters, patterns and list entries that match nothing.
//!
//! An unset variable in a script (`--filter "reference=$NAME"`) or a pattern that does not cross `/` keeps or selects
//! nothing, and nothing else shows that.

use std::collections::BTreeSet;

use crate::model::entries::EntryFacts;
use crate::model::images::{Image, ImageInspector, TimeSource};
use crate::model::snapshot::Snapshot;
use crate::oci::glob::Glob;

use super::filter::{name_matches, names_match};
use super::{Filters, Policy};

/// A filter, a pattern or a line of a list that matches no image of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// The message.
    pub text: String,
    /// A flag with a wider pattern that would match.
    pub wider: Option<Wider>,
}

/// A wider pattern that matches an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wider {
    /// The flag that takes it: `--keep` or `--filter`; empty for a line of a list.
    pub flag: &'static str,
    /// The value.
    pub value: String,
}

/// Returns what matches nothing in a layout. Filters on age and `dangling` are omitted: if they match nothing, there is
/// simply nothing to do.
#[must_use]
pub fn unmatched(
    snapshot: &Snapshot,
    images: &[Image],
    entries: &[EntryFacts],
    filters: &Filters,
    policy: &Policy,
) -> Vec<Unmatched> {
    let mut found = Vec::new();
    let unmatched = |text: &str| Unmatched {
        text: text.to_owned(),
        wider: None,
    };
    if filters.has_empty() {
        found.push(unmatched("an empty `--filter` filters nothing"));
    }
    let mut cache = ImageInspector::new(snapshot);
    // None of these filters is `dangling`.
    let dangling = BTreeSet::new();
    for (text, term) in filters.terms() {
        let Ok(resolved) = term.against(snapshot, entries, &mut cache, &dangling) else {
            continue;
        };
        let mut passes = |image: &Image| resolved.matches(image, &mut cache, TimeSource::default());
        if images.iter().any(&mut passes) {
            continue;
        }
        let pattern = text.strip_prefix("reference=");
        found.push(Unmatched {
            text: format!("no image passes the filter `{text}`"),
            wider: pattern.and_then(|pattern| {
                let value = format!("reference={}", wider(pattern, images)?);
                let flag = "--filter";
                Some(Wider { flag, value })
            }),
        });
    }
    for glob in &policy.keep {
        // The name of an entry with an invalid digest counts as well.
        let mut names = entries.iter().flat_map(|entry| &entry.names);
        if names.any(|name| name_matches(glob, &name.text)) {
            continue;
        }
        let (flag, pattern) = ("--keep", glob.as_str());
        let shown = if pattern.is_empty() { "''" } else { pattern };
        found.push(Unmatched {
            text: format!("no image has a name that matches `{flag} {shown}`"),
            wider: wider(pattern, images).map(|value| Wider { flag, value }),
        });
    }
    if let Some(list) = &policy.keep_from {
        if list.is_empty() {
            let text = "the list of `--keep-from` has no line that keeps an image";
            found.push(unmatched(text));
        }
        found.extend(list.unused(images).into_iter().map(|line| Unmatched {
            text: format!("the `--keep-from` entry `{line}` matches no image"),
            wider: wider(line, images).map(|value| Wider { flag: "", value }),
        }));
    }
    found
}

/// Returns a pattern like this one that crosses `/` and matches a name.
fn wider(pattern: &str, images: &[Image]) -> Option<String> {
    let mut wider = Glob::new(pattern).ok()?.wider().into_iter();
    let found = wider.find(|glob| images.iter().any(|image| names_match(glob, image)))?;
    Some(found.as_str().to_owned())
}

/// Returns what matches nothing in any of several layouts, with the first wider pattern that matches in one.
#[must_use]
pub fn unmatched_everywhere<'a>(
    mut layouts: impl Iterator<Item = &'a [Unmatched]>,
) -> Vec<Unmatched> {
    let mut common = layouts.next().unwrap_or_default().to_vec();
    for other in layouts {
        common.retain_mut(|unmatched| {
            let same = other.iter().find(|other| other.text == unmatched.text);
            if let Some(same) = same
                && unmatched.wider.is_none()
            {
                unmatched.wider.clone_from(&same.wider);
            }
            same.is_some()
        });
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_that_match_in_no_layout_are_reported() {
        let unmatched = |text: &str, value: Option<&str>| Unmatched {
            text: text.to_owned(),
            wider: value.map(|value| Wider {
                flag: "--keep",
                value: value.to_owned(),
            }),
        };
        let layouts = [
            vec![unmatched("a", None), unmatched("b", None)],
            vec![unmatched("b", Some("**b")), unmatched("c", None)],
            vec![unmatched("b", Some("**/b"))],
        ];
        let common = unmatched_everywhere(layouts.iter().map(Vec::as_slice));
        assert_eq!(common, [unmatched("b", Some("**b"))]);
        let none: [&[Unmatched]; 0] = [];
        assert!(unmatched_everywhere(none.into_iter()).is_empty());
    }
}
