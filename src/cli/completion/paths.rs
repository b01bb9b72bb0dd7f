//! Paths as candidates: layouts, directories and files.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::candidates::{CompletionCandidate, sort};
use crate::cli::locations::is_layout;

/// The maximum number of names of a directory that are read.
const MAX_NAMES: usize = 20_000;

/// The endings of archives.
const ARCHIVES: [&str; 12] = [
    ".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".oci",
    ".gz", ".zst",
];

/// The kind of the paths that are candidates. Directories always are: a path continues below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// Layouts, and archives where the command reads them.
    Layouts { archives: bool },
    /// Only directories.
    Directories,
    /// Files of every kind.
    Files,
}

/// Returns the path that a word names in a shell: `~` and an exported variable at its beginning are expanded.
pub fn expand(word: &str, env: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    let with = |name: &str, rest: &str| {
        let mut path = env(name)?;
        path.push(rest);
        Some(PathBuf::from(path))
    };
    let found = match word.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => with("HOME", rest),
        _ => word.strip_prefix('$').and_then(|rest| {
            if let Some((name, rest)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'))
            {
                return with(name, rest);
            }
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            with(name, rest)
        }),
    };
    found.unwrap_or_else(|| PathBuf::from(word))
}

/// Returns the directory that a word begins with, and the length of its name in the word.
pub fn directory_of(word: &str, env: &dyn Fn(&str) -> Option<OsString>) -> (PathBuf, usize) {
    match word.rfind('/') {
        Some(at) => (expand(&word[..=at], env), at + 1),
        None => (PathBuf::from("."), 0),
    }
}

/// Returns the paths in a directory that begin with `word`, sorted; `start`: where the name of the file begins in it.
pub fn paths(
    word: &str,
    directory: &Path,
    start: usize,
    wanted: PathKind,
) -> Vec<CompletionCandidate> {
    let (parent, name) = word.split_at(start);
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.take(MAX_NAMES).flatten() {
        let own = entry.file_name();
        let Some(text) = own.to_str().filter(|text| text.starts_with(name)) else {
            continue;
        };
        if text.starts_with('.') && !name.starts_with('.') {
            continue;
        }
        found.extend(candidate(parent, text, &entry.path(), wanted));
    }
    sort(&mut found);
    found
}

fn candidate(
    parent: &str,
    name: &str,
    path: &Path,
    wanted: PathKind,
) -> Option<CompletionCandidate> {
    // A leading dash would make it a flag.
    let parent = match parent {
        "" if name.starts_with('-') => "./",
        parent => parent,
    };
    let value = format!("{parent}{name}");
    let kind = std::fs::metadata(path).ok()?;
    if kind.is_dir() {
        let is_whole = matches!(wanted, PathKind::Layouts { .. }) && is_layout(path);
        return Some(match is_whole {
            true => CompletionCandidate::new(value, "image layout"),
            false => CompletionCandidate::partial(format!("{value}/"), "directory"),
        });
    }
    match wanted {
        PathKind::Files => Some(CompletionCandidate::new(value, "")),
        PathKind::Layouts { archives: true } if kind.is_file() && is_archive(name.as_ref()) => {
            Some(CompletionCandidate::new(value, "archive"))
        }
        PathKind::Layouts { .. } | PathKind::Directories => None,
    }
}

fn is_archive(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ARCHIVES.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<OsString> {
        let value = match name {
            "HOME" => "/home/me",
            "L" => "/srv/images",
            _ => return None,
        };
        Some(value.into())
    }

    #[test]
    fn a_path_is_expanded_as_by_the_shell() {
        for (word, path) in [
            ("images", "images"),
            ("~", "/home/me"),
            ("~/images", "/home/me/images"),
            ("~root/images", "~root/images"),
            ("$L", "/srv/images"),
            ("$L/a", "/srv/images/a"),
            ("${L}2", "/srv/images2"),
            ("$NONE/a", "$NONE/a"),
            ("a$L", "a$L"),
        ] {
            assert_eq!(expand(word, &env), Path::new(path), "{word}");
        }
    }
}
