//! Patterns for names: Go's `path.Match`, with `**` to cross a `/`.
//!
//! *Promises*: a pattern is checked as a whole before it is matched, so that a typing error is never reported as "no match" (docker
//! ignores it silently). Matching takes time proportional to the length of the pattern times that of the name for any pattern:
//! both may be hostile.
//!
//! | pattern | matches |
//! | --- | --- |
//! | `*` | any string without `/`, including an empty one |
//! | `**` | any string, including an empty one |
//! | `?` | one character except `/` |
//! | `[abc]`, `[a-z]`, `[^a-z]` | one of these characters, or any other (even `/`, as in Go) |
//! | `\c` | the character `c` |
//!
//! One result differs from Go, which tries a star only at the first match of the rest and so misses a later class that matches
//! a `/`: `[ab]*[^a]*` matches `a*/cb` here and not there.

use std::fmt;

/// A malformed pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad pattern `{pattern}`: {why}")]
pub struct BadPattern {
    /// The whole pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: BadPatternReason,
}

/// Why a pattern is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadPatternReason {
    /// The pattern ends in a backslash.
    #[error("nothing follows the last backslash")]
    TrailingBackslash,
    /// A `[` has no `]`.
    #[error("a `[` is not closed")]
    UnclosedClass,
    /// `[]` or `[^]`.
    #[error("a `[` has no characters")]
    EmptyClass,
    /// A `-` in a class has no character on one side.
    #[error("a range within `[` lacks an end")]
    IncompleteRange,
}

/// A valid pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Box<str>,
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(char),
    /// `?`
    One,
    /// `*`
    Within,
    /// `**`
    Across,
    Class {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
}

impl Token {
    /// Returns `true` if this token matches `c`; a star can match further characters.
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::One | Self::Within => c != '/',
            Self::Across => true,
            Self::Class { negated, ranges } => {
                *negated != ranges.iter().any(|(low, high)| (*low..=*high).contains(&c))
            }
        }
    }

    fn is_star(&self) -> bool {
        matches!(self, Self::Within | Self::Across)
    }
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`BadPattern`] if Go returns `path.ErrBadPattern` for some string.
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        let tokens = tokens(pattern).map_err(|why| BadPattern {
            pattern: pattern.to_owned(),
            why,
        })?;
        Ok(Self {
            pattern: pattern.into(),
            tokens: tokens.into(),
        })
    }

    /// Returns `true` if `text` is a pattern rather than a name: it has a `*`, `?` or `[` that is not escaped.
    #[must_use]
    pub fn is_pattern(text: &str) -> bool {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => drop(chars.next()),
                '*' | '?' | '[' => return true,
                _ => {}
            }
        }
        false
    }

    /// Returns the pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Returns patterns that match more because they cross `/`, the closest first: each `*` as `**`, all of them, and with a `**/`
    /// in front. They are for the hint after a pattern that matches nothing.
    #[must_use]
    pub fn wider(&self) -> Vec<Self> {
        if self.pattern.is_empty() {
            return Vec::new();
        }
        let stars = single_stars(&self.pattern);
        let widened = |stars: &[usize]| {
            let mut wider = String::new();
            for (at, c) in self.pattern.char_indices() {
                wider.push(c);
                if stars.contains(&at) {
                    wider.push('*');
                }
            }
            wider
        };
        let mut found: Vec<String> = stars
            .iter()
            .take(MAX_WIDENED)
            .map(|star| widened(&[*star]))
            .collect();
        found.push(widened(&stars));
        found.push(format!("**/{}", self.pattern));
        found
            .iter()
            .filter(|wider| **wider != *self.pattern)
            .filter_map(|wider| Self::new(wider).ok())
            .collect()
    }

    /// Returns `true` if the pattern matches the whole of `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        // The set of positions in the pattern that are possible after each character. Backtracking would take exponential
        // time for `a*a*a*…b`.
        let mut here = vec![false; self.tokens.len() + 1];
        let mut next = here.clone();
        mark(&mut here, 0);
        self.pass_stars(&mut here);
        for c in text.chars() {
            next.fill(false);
            for (at, token) in self.tokens.iter().enumerate() {
                if here.get(at) == Some(&true) && token.matches(c) {
                    mark(&mut next, if token.is_star() { at } else { at + 1 });
                }
            }
            self.pass_stars(&mut next);
            std::mem::swap(&mut here, &mut next);
            if !here.contains(&true) {
                return false;
            }
        }
        here.last() == Some(&true)
    }

    /// Adds the positions after reached stars: a star matches an empty string.
    fn pass_stars(&self, positions: &mut [bool]) {
        for (at, token) in self.tokens.iter().enumerate() {
            if token.is_star() && positions.get(at) == Some(&true) {
                mark(positions, at + 1);
            }
        }
    }
}

/// The maximum number of stars that are widened one by one: patterns may be hostile.
const MAX_WIDENED: usize = 8;

/// Returns the positions of stars that do not cross `/`.
fn single_stars(pattern: &str) -> Vec<usize> {
    let mut stars = Vec::new();
    let mut rest = pattern;
    while let Some((c, after)) = split_char(rest) {
        let at = pattern.len() - rest.len();
        rest = match c {
            '*' => {
                let behind = after.trim_start_matches('*');
                if behind.len() == after.len() {
                    stars.push(at);
                }
                behind
            }
            '\\' => split_char(after).map_or(after, |(_, behind)| behind),
            '[' => class(after).map_or(after, |(_, behind)| behind),
            _ => after,
        };
    }
    stars
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

fn mark(positions: &mut [bool], at: usize) {
    if let Some(position) = positions.get_mut(at) {
        *position = true;
    }
}

fn tokens(pattern: &str) -> Result<Vec<Token>, BadPatternReason> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some((c, after)) = split_char(rest) {
        rest = after;
        let token = match c {
            // A longer run of stars is equivalent to two.
            '*' if tokens.last().is_some_and(Token::is_star) => {
                tokens.pop();
                Token::Across
            }
            '*' => Token::Within,
            '?' => Token::One,
            '[' => {
                let (token, after) = class(rest)?;
                rest = after;
                token
            }
            '\\' => {
                let (c, after) = split_char(rest).ok_or(BadPatternReason::TrailingBackslash)?;
                rest = after;
                Token::Literal(c)
            }
            plain => Token::Literal(plain),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Parses a class after its `[`; returns it and the rest after its `]`.
fn class(rest: &str) -> Result<(Token, &str), BadPatternReason> {
    let (negated, mut rest) = rest
        .strip_prefix('^')
        .map_or((false, rest), |rest| (true, rest));
    let mut ranges = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']') {
            if ranges.is_empty() {
                return Err(BadPatternReason::EmptyClass);
            }
            return Ok((
                Token::Class {
                    negated,
                    ranges: ranges.into(),
                },
                after,
            ));
        }
        let (low, after) = class_char(rest)?;
        let (high, after) = match after.strip_prefix('-') {
            Some(after) => class_char(after)?,
            None => (low, after),
        };
        ranges.push((low, high));
        rest = after;
    }
}

/// Parses one character of a class, which may be escaped.
fn class_char(rest: &str) -> Result<(char, &str), BadPatternReason> {
    match split_char(rest).ok_or(BadPatternReason::UnclosedClass)? {
        ('-' | ']', _) => Err(BadPatternReason::IncompleteRange),
        ('\\', after) => split_char(after).ok_or(BadPatternReason::TrailingBackslash),
        plain => Ok(plain),
    }
}

fn split_char(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    chars.next().map(|c| (c, chars.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::{cell, rows};

    #[test]
    fn wider_patterns_cross_slashes() {
        for (pattern, expected) in [
            (
                "*:*-lts",
                &["**:*-lts", "*:**-lts", "**:**-lts", "**/*:*-lts"][..],
            ),
            ("*", &["**", "**", "**/*"]),
            ("app:1", &["**/app:1"]),
            ("a**b", &["**/a**b"]),
            ("[*]\\**", &["[*]\\***", "[*]\\***", "**/[*]\\**"]),
            ("", &[]),
        ] {
            let wider = Glob::new(pattern).expect("a pattern").wider();
            let wider: Vec<&str> = wider.iter().map(Glob::as_str).collect();
            assert_eq!(wider, expected, "{pattern}");
        }
    }

    #[test]
    fn agrees_with_path_match() {
        for row in rows("path-match.tsv") {
            let (pattern, text, wanted) = (cell(&row, 0), cell(&row, 1), cell(&row, 2));
            if pattern.contains("**") {
                continue;
            }
            let ours = Glob::new(pattern).map(|glob| glob.matches(text).to_string());
            let ours = ours.unwrap_or_else(|_| "!".to_owned());
            assert_eq!(ours, wanted, "{pattern:?} against {text:?}");
        }
    }

    #[test]
    fn two_stars_cross_slashes() {
        let cases = [
            ("**", "", true),
            ("**", "a/b/c", true),
            ("**:latest", "docker.io/library/alpine:latest", true),
            ("*:latest", "docker.io/library/alpine:latest", false),
            ("ghcr.io/**", "ghcr.io/acme/app:1", true),
            ("ghcr.io/**", "ghcr.io", false),
            ("**/app:*", "ghcr.io/acme/app:1", true),
            ("**/app:*", "app:1", false),
            ("**app:*", "app:1", true),
            ("a**b", "ab", true),
            ("a**b", "a/b", true),
            ("a**b*c", "a/x/b/bc", true),
            ("a**b*c", "a/x/b/b/c", false),
            ("a*b**c", "axb/y/c", true),
            ("a*b**c", "a/b/c", false),
            ("a***b", "a/b", true),
            ("***", "a/b", true),
            ("*\\*", "a*", true),
            ("\\**", "*a", true),
            ("\\**", "*a/b", false),
            ("\\***", "*a/b", true),
            ("[*]**", "*a/b", true),
            ("**[^/]", "a/b", true),
            ("**?", "a/", false),
            ("日**語", "日/本/語", true),
            // The result that differs from Go, see the head of the module.
            ("[ab]*[^a]*", "a*/cb", true),
        ];
        for (pattern, text, wanted) in cases {
            let glob = Glob::new(pattern).expect("a good pattern");
            assert_eq!(glob.matches(text), wanted, "{pattern:?} against {text:?}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        let cases = [
            ("\\", BadPatternReason::TrailingBackslash),
            ("zzz\\", BadPatternReason::TrailingBackslash),
            ("**\\", BadPatternReason::TrailingBackslash),
            ("[", BadPatternReason::UnclosedClass),
            ("a/b[", BadPatternReason::UnclosedClass),
            ("[a", BadPatternReason::UnclosedClass),
            ("[a-", BadPatternReason::UnclosedClass),
            ("[^", BadPatternReason::UnclosedClass),
            ("[]", BadPatternReason::EmptyClass),
            ("[^]", BadPatternReason::EmptyClass),
            ("[]a]", BadPatternReason::EmptyClass),
            ("[-a]", BadPatternReason::IncompleteRange),
            ("[a-]", BadPatternReason::IncompleteRange),
            ("[a-b-c]", BadPatternReason::IncompleteRange),
            ("[a\\", BadPatternReason::TrailingBackslash),
        ];
        for (pattern, why) in cases {
            assert_eq!(
                Glob::new(pattern),
                Err(BadPattern {
                    pattern: pattern.to_owned(),
                    why
                }),
                "{pattern:?}"
            );
        }
        let message = Glob::new("a[").expect_err("bad").to_string();
        assert_eq!(message, "bad pattern `a[`: a `[` is not closed");
    }

    #[test]
    fn patterns_are_distinguished_from_names() {
        let cases = [
            ("alpine:3", false),
            ("", false),
            ("alp*", true),
            ("alp?ne", true),
            ("[a]", true),
            ("a]", false),
            ("a\\*", false),
            ("a\\\\*", true),
            ("\\", false),
            ("\\[a\\?", false),
            ("日*", true),
        ];
        for (text, wanted) in cases {
            assert_eq!(Glob::is_pattern(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn hostile_patterns_take_at_most_the_product_of_the_lengths() {
        let text = "a".repeat(5000);
        for pattern in [
            "a*".repeat(500) + "b",
            "*a".repeat(500) + "b",
            "**a".repeat(500) + "b",
            "*".repeat(5000) + "b",
        ] {
            assert!(
                !Glob::new(&pattern).expect("a good pattern").matches(&text),
                "{}…",
                &pattern[..4]
            );
        }
        assert!(Glob::new(&"[".repeat(100_000)).is_err());
    }
}
