//! The candidates for a word.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::cli::term::escape;

/// The maximum number of candidates in an answer. A screen shows fewer.
pub const MAX_CANDIDATES: usize = 1000;

/// A candidate for the word at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionCandidate {
    /// The word.
    pub value: String,
    /// A description; empty if there is none.
    pub description: String,
    /// Only the beginning of a word: a directory, `label=`.
    pub is_partial: bool,
}

impl CompletionCandidate {
    /// Returns a whole word.
    pub fn new(value: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            description: description.into(),
            is_partial: false,
        }
    }

    /// Returns the beginning of a word.
    pub fn partial(value: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            is_partial: true,
            ..Self::new(value, description)
        }
    }
}

/// Returns words without descriptions.
pub fn plain<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Vec<CompletionCandidate> {
    let words = words.into_iter();
    words
        .map(|word| CompletionCandidate::new(word, ""))
        .collect()
}

/// Sorts by value.
pub fn sort(candidates: &mut [CompletionCandidate]) {
    let by_value = |one: &CompletionCandidate, other: &CompletionCandidate| -> Ordering {
        one.value.cmp(&other.value)
    };
    candidates.sort_by(by_value);
}

/// Returns the candidates that begin with `word` and are safe to show, each once, in their order.
///
/// A shell inserts the common prefix of all candidates. If there are too many, the first and the last are kept: for sorted
/// candidates the common prefix stays the same.
pub fn matching(candidates: Vec<CompletionCandidate>, word: &str) -> Vec<CompletionCandidate> {
    let mut known = HashSet::new();
    let mut matching: Vec<CompletionCandidate> = candidates
        .into_iter()
        .filter(|candidate| candidate.value.starts_with(word) && is_safe(&candidate.value))
        .filter(|candidate| known.insert(candidate.value.clone()))
        .collect();
    if matching.len() > MAX_CANDIDATES {
        let last = matching.pop();
        matching.truncate(MAX_CANDIDATES - 1);
        matching.extend(last);
    }
    for candidate in &mut matching {
        candidate.description = one_line(&candidate.description);
    }
    matching
}

/// Returns `true` if a terminal shows a word unchanged: a name that moves the cursor, or looks like another one, is not
/// offered.
fn is_safe(value: &str) -> bool {
    !value.is_empty() && escape(value) == value
}

/// Returns the first line of a description, safe to show.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    escape(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(candidates: &[CompletionCandidate]) -> Vec<&str> {
        let values = candidates.iter();
        values.map(|candidate| candidate.value.as_str()).collect()
    }

    #[test]
    fn names_that_control_a_terminal_are_not_offered() {
        let names = [
            "a",
            "a\u{1b}[2J",
            "a\nb",
            "a\tb",
            "a\u{202e}b",
            "a$(id)",
            "a",
            "",
        ];
        assert_eq!(values(&matching(plain(names), "")), ["a", "a$(id)"]);
        let odd = vec![CompletionCandidate::new("a", "one\u{7}\nother")];
        assert_eq!(matching(odd, "")[0].description, r"one\x07");
    }

    #[test]
    fn truncation_keeps_the_common_prefix() {
        let many: Vec<String> = (0..3000).map(|number| format!("app:{number:04}")).collect();
        let found = matching(plain(many), "app");
        assert_eq!(found.len(), MAX_CANDIDATES);
        assert_eq!(found[0].value, "app:0000");
        assert_eq!(found[MAX_CANDIDATES - 1].value, "app:2999");
    }
}
