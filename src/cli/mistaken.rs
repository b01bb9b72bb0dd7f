//! Arguments that are not layouts.
//!
//! *Promise*: when an argument is not a layout, the command prints nothing on stdout and changes nothing. The
//! argument is often an image name: if `ls -q L redis` printed the images of `L`, then `rm L $(ls -q L redis)`
//! would remove all of them.
//!
//! A directory that has the files of a layout but is damaged is a layout. It does not stop the others.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use ocisweep::archive::Archives;
use ocisweep::error::{ArchiveProblem, NotALayout};
use ocisweep::model::entries::list_entries;
use ocisweep::model::images::{ImageInspector, TimeSource, list_images};
use ocisweep::oci::reference::Reference;
use ocisweep::plan::{Filters, Force, Selector, dangling};
use ocisweep::{Error, Snapshot};

use super::context::Context;
use super::exit::{self, Exit};
use super::quote::{dashes, quote, quote_path};

/// The layouts on the command line, and the arguments that a hint repeats.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// The arguments.
    pub paths: &'a [PathBuf],
    /// `--recursive`.
    pub is_recursive: bool,
    /// `--if-exists`.
    pub if_exists: bool,
    /// The directory of `--shared-blobs`.
    pub shared_blobs: Option<&'a Path>,
    /// The command prints only image IDs.
    pub is_quiet: bool,
    /// The command deletes.
    pub deletes: bool,
}

impl Given<'_> {
    /// Returns `true` if several layouts may be given, even if only one is found.
    pub const fn is_many(&self) -> bool {
        self.is_recursive || self.paths.len() > 1
    }
}

/// Returns why a path is not a layout; `None` for every layout, damaged or not.
pub fn not_a_layout(context: &Context<'_>, path: &Path) -> Option<Error> {
    context
        .open(path)
        .err()
        // Piped input cannot be read a second time to explain later what is wrong with it.
        .filter(|error| is_no_layout(error, path) || Archives::is_stream(path))
}

/// Returns `true` if opening a path failed because it is not a layout, and not because the layout is damaged, unfinished or
/// unreadable.
pub fn is_no_layout(error: &Error, opened: &Path) -> bool {
    match error {
        // A writer that has not written its first index yet.
        Error::NotALayout { what, .. } => *what != NotALayout::NoIndex,
        Error::Archive {
            what:
                ArchiveProblem::Malformed(_) | ArchiveProblem::NoDecoder(_) | ArchiveProblem::Several(_),
            ..
        } => true,
        Error::Read { path, source } => {
            path == opened
                && matches!(
                    source.kind(),
                    ErrorKind::NotFound
                        | ErrorKind::NotADirectory
                        | ErrorKind::InvalidInput
                        | ErrorKind::InvalidFilename
                )
        }
        _ => false,
    }
}

/// Reports the arguments that are not layouts, and returns the exit status. `first`: the first argument that is a layout or
/// contains one, and that layout.
pub fn report(
    context: &Context<'_>,
    given: Given<'_>,
    first: Option<(&Path, &Path)>,
    mistaken: &[(PathBuf, Error)],
) -> Exit {
    // Read once, and only for the hints.
    let snapshot = first.and_then(|(_, layout)| context.read(layout, given.shared_blobs).ok());
    let mut exit = exit::DONE;
    for (path, error) in mistaken {
        let hint = first.and_then(|(argument, _)| {
            let word = path.to_str()?;
            let meant = meaning(context, snapshot.as_ref(), path, word)?;
            Some(hint(given, argument, word, meant))
        });
        let hint = hint.or_else(|| {
            let below = layout_below(path, error)?;
            let below = quote_path(&below);
            Some(format!(
                "`-r` processes every layout below it, such as `{below}`"
            ))
        });
        exit = exit.and(context.report_with(error, hint));
    }
    exit
}

/// The maximum number of names in a directory that are read for a hint.
const MAX_NAMES: usize = 1000;

/// Returns the first layout in a directory that is not one itself.
fn layout_below(path: &Path, error: &Error) -> Option<PathBuf> {
    let Error::NotALayout { what, .. } = error else {
        return None;
    };
    if *what != NotALayout::Nothing {
        return None;
    }
    let entries = std::fs::read_dir(path).ok()?.take(MAX_NAMES).flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.join("index.json").is_file()).min()
}

/// What an argument that is not a layout would select in the first layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A name or a pattern of names.
    Name,
    /// A digest, a prefix of one, or a tag.
    Image,
}

fn meaning(
    context: &Context<'_>,
    snapshot: Option<&Snapshot>,
    path: &Path,
    word: &str,
) -> Option<Meaning> {
    let filter = format!("reference={word}");
    let filters = Filters::parse(&[filter], context.now, &TimeZone::UTC).ok()?;
    if let Some(snapshot) = snapshot {
        let mut cache = ImageInspector::new(snapshot);
        let entries = list_entries(snapshot);
        let dangling = dangling(snapshot, &entries);
        let filters = filters
            .against(snapshot, &entries, &mut cache, &dangling)
            .ok();
        let time = TimeSource::Added;
        let is_name = filters.is_some_and(|filters| {
            list_images(snapshot, context.now)
                .iter()
                .any(|image| filters.matches(image, &mut cache, time))
        });
        if is_name {
            return Some(Meaning::Name);
        }
        if Selector::new(snapshot, &entries, Force::Yes)
            .pick(word)
            .is_ok()
        {
            return Some(Meaning::Image);
        }
    }
    let is_absent = std::fs::symlink_metadata(path).is_err();
    (is_absent && could_be_name(word)).then_some(Meaning::Name)
}

/// Returns `true` if a word has the form of an image name or of a pattern of names.
fn could_be_name(word: &str) -> bool {
    let plain = word.replace(['*', '?', '[', ']'], "a");
    !word.starts_with(['/', '.', '~']) && Reference::parse_normalized(&plain).is_ok()
}

/// Returns the command that selects the image in the layout.
fn hint(given: Given<'_>, layout: &Path, word: &str, meaning: Meaning) -> String {
    let dashes = dashes([word]);
    let layout = quote_path(layout);
    if meaning == Meaning::Image {
        let word = quote(word);
        return format!("`ocisweep why {dashes}{layout} {word}` shows that image");
    }
    let quiet = if given.is_quiet { " -q" } else { "" };
    let recursive = if given.is_recursive { " -r" } else { "" };
    let store = given.shared_blobs.map_or_else(String::new, |store| {
        format!(" --shared-blobs {}", quote_path(store))
    });
    let filter = quote(&format!("reference={word}"));
    let list = format!("`ocisweep ls{quiet}{recursive}{store} -f {filter} {layout}`");
    if given.deletes && !given.is_recursive && given.shared_blobs.is_none() {
        let word = quote(word);
        return format!(
            "{list} lists the images of that name, `ocisweep rm {dashes}{layout} {word}` removes one"
        );
    }
    format!("{list} lists the images of that name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_quoted_for_a_shell() {
        let given = Given {
            is_quiet: true,
            ..Given::default()
        };
        let text = hint(given, Path::new("my images"), "redis:*", Meaning::Name);
        assert_eq!(
            text,
            "`ocisweep ls -q -f 'reference=redis:*' 'my images'` lists the images of that name"
        );
        let text = hint(given, Path::new("-L"), "$(id)", Meaning::Image);
        assert_eq!(text, "`ocisweep why ./-L '$(id)'` shows that image");
    }

    #[test]
    fn only_names_and_patterns_could_be_names() {
        for word in ["redis", "redis:7", "ghcr.io/a/b:v1", "app*", "**/app:?"] {
            assert!(could_be_name(word), "{word}");
        }
        for word in [
            "",
            "./redis",
            "/srv/images",
            "../a",
            "~/a",
            "two words",
            "a//b",
        ] {
            assert!(!could_be_name(word), "{word}");
        }
    }
}
