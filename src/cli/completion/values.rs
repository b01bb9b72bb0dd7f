//! The candidates for the value of an argument, by its value name in help.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Arg, Command};
use jiff::Timestamp;
use ocisweep::oci::glob::Glob;

use super::candidates::{CompletionCandidate, plain};
use super::contents::{CompletionSource, Contents};
use super::line::ParsedLine;
use super::paths::{PathKind, directory_of, expand, paths};
use crate::cli::locations::{self, is_layout, layout_of, transport};
use crate::cli::topics::TOPICS;

/// The time limit for reading directories and layouts for one answer. Without optimisation everything takes several times as
/// long.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 8000 } else { 800 });

/// The maximum number of layouts that are read for one answer.
const MAX_LAYOUTS: usize = 8;

/// The keys of filters, and their values.
const FILTERS: [(&str, &str); 10] = [
    (
        "dangling",
        "true: images that `prune` removes without --all",
    ),
    ("reference", "names that match a pattern"),
    ("label", "images with a label"),
    ("label!", "images without a label"),
    ("before", "images created before an image"),
    ("since", "images created after an image"),
    ("until", "images older than a time: 24h, 7d, 2026-01-31"),
    ("platform", "images with a platform"),
    ("mediatype", "images of a media type"),
    ("artifacttype", "images of an artifact type"),
];

/// What an answer depends on in addition to the words.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// All commands.
    pub root: &'a Command,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The current time.
    pub now: Timestamp,
    /// When the request began.
    pub begin: Instant,
}

impl Surroundings<'_> {
    /// Returns the time that is left for reading.
    fn time_left(&self) -> Duration {
        LIMIT.saturating_sub(self.begin.elapsed())
    }
}

/// The value of one argument at the cursor.
pub struct ArgValue<'a> {
    pub line: &'a ParsedLine<'a>,
    pub arg: &'a Arg,
    /// The part of it before the cursor.
    pub word: &'a str,
    pub around: Surroundings<'a>,
}

impl ArgValue<'_> {
    /// Returns the candidates, unfiltered.
    pub fn candidates(&self) -> Vec<CompletionCandidate> {
        let possible = self.arg.get_possible_values();
        if !possible.is_empty() {
            let shown = possible.iter().filter(|value| !value.is_hide_set());
            return shown
                .map(|value| {
                    let help = value.get_help().map(ToString::to_string);
                    CompletionCandidate::new(value.get_name(), help.unwrap_or_default())
                })
                .collect();
        }
        let names = self.arg.get_value_names().unwrap_or_default();
        match names.first().map_or("", |name| name.as_str()) {
            "LAYOUT" => self.layouts(),
            "IMAGE" => self.images(),
            "GLOB" => self.patterns(),
            "DIGEST|IMAGE" => self.images_and_blobs(),
            "DIGEST" => self.in_sources(|source, _| source.trashed_digests()),
            "RUN" => self.runs(),
            "NAME" => match self.line.name.as_str() {
                "hold add" => self.implied_images(),
                _ => self.holds(),
            },
            "FILTER" => self.filters(),
            "PLATFORM" => self.platforms(),
            "LAYOUT|DIR" => self.paths(PathKind::Layouts { archives: false }),
            "DIR" => self.paths(PathKind::Directories),
            "FILE" | "PATH" => self.paths(PathKind::Files),
            "COMMAND" => self.commands(false),
            "COMMAND|TOPIC" => self.commands(true),
            _ => Vec::new(),
        }
    }

    fn paths(&self, wanted: PathKind) -> Vec<CompletionCandidate> {
        let (directory, start) = directory_of(self.word, self.around.env);
        let word = self.word.to_owned();
        within(self.around.time_left(), move || {
            paths(&word, &directory, start, wanted)
        })
    }

    /// Layouts; and, since LAYOUT may be omitted, the candidates for the next argument in the implied layout.
    fn layouts(&self) -> Vec<CompletionCandidate> {
        // A trash of shared blobs is not in a layout.
        if self.line.name == "trash empty" && self.line.has("shared-blobs") {
            return self.runs();
        }
        let archives = !["hold", "undo", "trash"].contains(&self.first_name());
        let transport = transport(self.word);
        let path = ArgValue {
            word: &self.word[transport.len()..],
            ..*self
        };
        if let Some(found) = self.located_images(transport) {
            return found;
        }
        let found = path.paths(PathKind::Layouts { archives });
        let mut found = prefixed(found, transport);
        let is_first = self.arg.is_positional() && self.line.positionals.is_empty();
        if is_first && !self.line.has("shared-blobs") {
            found.extend(match self.line.command.get_name() {
                "rm" if self.first_name() == "hold" => self.holds(),
                "rm" => self.images(),
                "why" => self.images_and_blobs(),
                _ => Vec::new(),
            });
        }
        found
    }

    /// Images after the layout of a location: `oci:DIR:TAG`. `None`: the word is not a location with a colon after its
    /// layout.
    fn located_images(&self, transport: &str) -> Option<Vec<CompletionCandidate>> {
        let takes_image = match self.line.command.get_name() {
            "rm" => self.first_name() != "hold",
            "why" => true,
            "add" => self.first_name() == "hold",
            _ => false,
        };
        if transport.is_empty() || !takes_image {
            return None;
        }
        let path = layout_of(Path::new(self.word));
        let prefix = format!("{transport}{}:", path.display());
        let image = self.word.strip_prefix(&prefix)?.to_owned();
        let source = CompletionSource { path, store: None };
        let found = within(self.around.time_left(), move || {
            let contents = source.read();
            contents.map_or_else(Vec::new, |contents| contents.images(&image))
        });
        Some(prefixed(found, &prefix))
    }

    fn first_name(&self) -> &str {
        self.line.name.split(' ').next().unwrap_or_default()
    }

    /// Images, without those on the line.
    fn images(&self) -> Vec<CompletionCandidate> {
        let mut found = self.in_layouts(Contents::images);
        found.retain(|candidate| !self.line.positionals.contains(&candidate.value));
        found
    }

    /// Names as patterns. A name that is a pattern itself would match others as well.
    fn patterns(&self) -> Vec<CompletionCandidate> {
        let mut found = self.in_layouts(Contents::images);
        let is_plain = |name: &str| !Glob::is_pattern(name) && !name.contains('\\');
        found.retain(|candidate| is_plain(&candidate.value));
        found
    }

    /// Images in place of the name of a hold: if LAYOUT is omitted, the name is the first argument.
    fn implied_images(&self) -> Vec<CompletionCandidate> {
        match self.line.positionals.as_slice() {
            [first] if !self.path_of(first).exists() => self.images(),
            _ => Vec::new(),
        }
    }

    fn images_and_blobs(&self) -> Vec<CompletionCandidate> {
        let mut found = self.images();
        found.extend(self.in_sources(CompletionSource::blob_digests));
        found
    }

    fn holds(&self) -> Vec<CompletionCandidate> {
        let mut found = self.in_layouts(|contents, _| contents.holds());
        found.retain(|candidate| !self.line.positionals.contains(&candidate.value));
        found
    }

    fn runs(&self) -> Vec<CompletionCandidate> {
        let to_undo = self.first_name() == "undo";
        let takes_layouts = self.line.has("recursive") || self.line.has("shared-blobs");
        if to_undo && takes_layouts && self.arg.is_positional() {
            return self.paths(PathKind::Layouts { archives: false });
        }
        // One run, after one layout.
        if self.arg.is_positional() && self.line.positionals.len() > 1 {
            return Vec::new();
        }
        let now = self.around.now;
        self.in_sources(move |source, _| source.runs(now, to_undo))
    }

    fn filters(&self) -> Vec<CompletionCandidate> {
        let Some((key, _)) = self.word.split_once('=') else {
            let keys = FILTERS.iter();
            return keys
                .map(|(key, about)| CompletionCandidate::partial(format!("{key}="), *about))
                .collect();
        };
        let inner = ArgValue {
            word: &self.word[key.len() + 1..],
            ..*self
        };
        let found = match key {
            "dangling" => plain(["true", "false"]),
            "reference" => inner.patterns(),
            "before" | "since" => inner.in_layouts(Contents::images),
            "label" | "label!" => inner.in_layouts(Contents::labels),
            "platform" => inner.all_platforms(Vec::new()),
            "mediatype" => inner.in_layouts(|contents, _| contents.media_types()),
            "artifacttype" => inner.in_layouts(|contents, _| contents.artifact_types()),
            _ => Vec::new(),
        };
        prefixed(found, &format!("{key}="))
    }

    /// Platforms of the images on the line, after the last comma.
    fn platforms(&self) -> Vec<CompletionCandidate> {
        let start = self.word.rfind(',').map_or(0, |comma| comma + 1);
        let (before, word) = self.word.split_at(start);
        let images = self.line.positionals.iter().skip(1).cloned().collect();
        let mut found = ArgValue { word, ..*self }.all_platforms(images);
        let given: Vec<&str> = before.split(',').collect();
        found.retain(|candidate| !given.contains(&candidate.value.as_str()));
        prefixed(found, before)
    }

    fn all_platforms(&self, images: Vec<String>) -> Vec<CompletionCandidate> {
        self.in_layouts(move |contents, _| contents.platforms(&images))
    }

    /// The commands below those that were named, and the topics of help.
    fn commands(&self, topics: bool) -> Vec<CompletionCandidate> {
        let words = &self.line.positionals;
        let command = words.iter().try_fold(self.around.root, |command, word| {
            command.find_subcommand(word)
        });
        let mut found = command.map(subcommands).unwrap_or_default();
        if topics && words.is_empty() {
            found.extend(TOPICS.map(|(name, _)| CompletionCandidate::new(name, "help topic")));
        }
        found
    }

    /// Returns candidates from the contents of the layouts.
    fn in_layouts(
        &self,
        read: impl Fn(&Contents, &str) -> Vec<CompletionCandidate> + Send + 'static,
    ) -> Vec<CompletionCandidate> {
        self.in_sources(move |source, word| {
            let contents = source.read();
            contents.map_or_else(Vec::new, |contents| read(&contents, word))
        })
    }

    /// Returns candidates from the layouts that are read in time.
    fn in_sources(
        &self,
        read: impl Fn(&CompletionSource, &str) -> Vec<CompletionCandidate> + Send + 'static,
    ) -> Vec<CompletionCandidate> {
        let (sources, word) = (self.sources(), self.word.to_owned());
        within(self.around.time_left(), move || {
            let found = sources.iter().flat_map(|source| read(source, &word));
            found.collect()
        })
    }

    /// Returns the layouts that the command line names, or the implied one.
    fn sources(&self) -> Vec<CompletionSource> {
        let line = self.line;
        let mut stores = line.values("shared-blobs");
        let store = stores.next().map(|store| self.path_of(store));
        let words = line.positionals.iter().enumerate();
        let named = words.filter(|(at, _)| {
            let arg = line.positional(*at);
            let names = arg.and_then(Arg::get_value_names).unwrap_or_default();
            names.first().is_some_and(|name| name == "LAYOUT")
        });
        let mut paths: Vec<PathBuf> = named.map(|(_, word)| self.path_of(word)).collect();
        // The trash of a store is read without a layout.
        if paths.is_empty() && store.is_some() {
            paths.extend(store.clone());
        }
        // No layout is named. Only for `hold add` the first of several words is not one.
        let is_implied = match paths.as_slice() {
            [] => true,
            [path] => line.positionals.len() == 1 && line.name == "hold add" && !path.exists(),
            _ => false,
        };
        if is_implied {
            paths = self.implied().into_iter().collect();
        }
        let paths = paths.into_iter().take(MAX_LAYOUTS);
        paths
            .map(|path| CompletionSource {
                path,
                store: store.clone(),
            })
            .collect()
    }

    /// Returns the layout of commands that are given none.
    fn implied(&self) -> Option<PathBuf> {
        let variable = (self.around.env)(locations::VARIABLE).filter(|value| !value.is_empty());
        match variable {
            Some(value) => Some(layout_of(Path::new(&value))),
            None => is_layout(Path::new(".")).then(|| PathBuf::from(".")),
        }
    }

    fn path_of(&self, word: &str) -> PathBuf {
        layout_of(&expand(word, self.around.env))
    }
}

/// Returns the commands of a command: those that help lists.
pub fn subcommands(command: &Command) -> Vec<CompletionCandidate> {
    let visible = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    visible
        .map(|command| CompletionCandidate::new(command.get_name(), about(command)))
        .collect()
}

/// Returns other names of the commands of a command, with docker's groups.
pub fn other_commands(command: &Command) -> Vec<CompletionCandidate> {
    let all = command.get_subcommands();
    all.flat_map(|command| {
        let names = command.get_visible_aliases();
        let hidden = command.is_hide_set().then(|| command.get_name());
        let names = names.chain(hidden);
        names.map(|name| CompletionCandidate::new(name, about(command)))
    })
    .collect()
}

fn about(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string);
    about.unwrap_or_default()
}

fn prefixed(mut found: Vec<CompletionCandidate>, prefix: &str) -> Vec<CompletionCandidate> {
    for candidate in &mut found {
        candidate.value.insert_str(0, prefix);
    }
    found
}

/// Returns the result of `work`, or nothing if it takes too long. It runs in a thread that ends with the process: a file
/// system that does not respond must not block the shell.
fn within<T: Default + Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    let start = std::thread::Builder::new().spawn(move || {
        // A late answer has no receiver.
        drop(sender.send(work()));
    });
    match start {
        Ok(_) => receiver.recv_timeout(limit).unwrap_or_default(),
        Err(_) => T::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_line;
    use ocisweep::plan::filter::KEYS;

    #[test]
    fn every_filter_is_offered() {
        let offered = FILTERS.map(|(key, _)| key).join(", ");
        assert_eq!(offered, KEYS);
    }

    #[test]
    fn every_argument_is_completed_or_listed_as_having_no_candidates() {
        /// They have no candidates.
        const FREE: [&str; 6] = ["DURATION", "TIME", "SIZE", "N", "TEXT", "N/M|P%|SIZE"];
        const KNOWN: [&str; 15] = [
            "LAYOUT",
            "IMAGE",
            "GLOB",
            "DIGEST|IMAGE",
            "DIGEST",
            "RUN",
            "NAME",
            "FILTER",
            "PLATFORM",
            "LAYOUT|DIR",
            "DIR",
            "FILE",
            "PATH",
            "COMMAND",
            "COMMAND|TOPIC",
        ];
        let mut open = vec![command_line::command()];
        while let Some(command) = open.pop() {
            for arg in command.get_arguments() {
                let name = arg.get_value_names().and_then(|names| names.first());
                let name = name.map_or("", |name| name.as_str());
                let is_known = !arg.get_action().takes_values()
                    || !arg.get_possible_values().is_empty()
                    || KNOWN.contains(&name)
                    || FREE.contains(&name);
                assert!(is_known, "`{name}` of `{}` has no rule", command.get_name());
            }
            open.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn an_answer_that_takes_too_long_is_dropped() {
        let slow = || {
            std::thread::sleep(Duration::from_secs(60));
            vec![1]
        };
        assert_eq!(within(Duration::from_millis(1), slow), Vec::<i32>::new());
        assert_eq!(within(Duration::from_secs(60), || vec![1]), [1]);
    }
}
