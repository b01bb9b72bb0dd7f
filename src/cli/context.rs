//! What every command needs: the terminal, the current time, and the signals.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ocisweep::archive::Archives;
use ocisweep::error::{ArchiveProblem, NotALayout, SharedStoreProblem};
use ocisweep::fs::CannotKeep;
use ocisweep::layout::IgnoredIndexes;
use ocisweep::layout::shared_blobs::SharedStore;
use ocisweep::layout::trash::TrashOptions;
use ocisweep::model::inventory::Unmeasured;
use ocisweep::plan::{Unmatched, Wider};
use ocisweep::progress::{Phase, Progress, Total};
use ocisweep::{Error, Layout, Snapshot};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::exit::Exit;
use super::term::{ProgressLine, Term};

/// What every command needs.
#[derive(Debug)]
pub struct Context<'a> {
    /// Where output goes.
    pub term: &'a Term,
    /// The current time, read once, or what `--now` pretends.
    pub now: Timestamp,
    /// When this run began.
    pub started: Timestamp,
    /// The time zone of times that are given without one.
    pub zone: TimeZone,
    /// The second indexes that are left out.
    pub ignored: IgnoredIndexes,
    /// That what is deleted goes into the trash.
    pub trash: Option<TrashOptions>,
    /// The archives that were read.
    pub archives: Archives,
    watcher: Watcher<'a>,
    has_noted_overlay: AtomicBool,
}

/// Shows progress, and knows whether a signal came.
#[derive(Debug)]
struct Watcher<'a> {
    term: &'a Term,
    progress: ProgressLine,
    stop: Arc<AtomicBool>,
    /// Several layouts are worked on at the same time: they are counted, not what is in them.
    counts_layouts: AtomicBool,
}

/// Counts layouts that are worked on at the same time, until it is dropped.
#[derive(Debug)]
pub struct Together<'a>(&'a Watcher<'a>);

impl Together<'_> {
    /// Counts a layout.
    pub fn done_with_one(&self) {
        self.0.progress.add(1);
    }
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        self.0.counts_layouts.store(false, Ordering::Relaxed);
    }
}

impl Progress for Watcher<'_> {
    // The line passes from one phase to the next: `finish` is not needed.
    fn begin(&self, phase: Phase, total: Total) {
        if self.counts_layouts.load(Ordering::Relaxed) {
            return;
        }
        let (name, noun) = match phase {
            Phase::Listing => ("listing", "blobs"),
            Phase::Reading => ("reading", "documents"),
            Phase::ScanningOrphans => ("inspecting", "orphans"),
            Phase::Sweeping => ("sweeping", "blobs"),
            Phase::Hashing => ("hashing", "blobs"),
            Phase::Unpacking => ("reading", "archive"),
            Phase::Packing => ("writing", "archive"),
            _ => ("working on", "blobs"),
        };
        self.progress.phase_of(name, noun, total.items);
        if let Some(bytes) = total.bytes {
            self.progress.expect_bytes(bytes);
        }
    }

    fn advance(&self, items: u64, bytes: u64) {
        if self.counts_layouts.load(Ordering::Relaxed) {
            return;
        }
        self.progress.add(items);
        if bytes > 0 {
            self.progress.add_bytes(bytes);
        }
    }

    fn changed(&self, layout: &Path) {
        self.term.detail(&format!(
            "`{}` changed while planning; retrying",
            layout.display()
        ));
    }

    fn parked(&self, file: &Path) {
        self.term.note(&format!(
            "`{}` was written by another program while a run that was killed replaced it; a run that changes the layout puts it back, or keeps it as `….rescued-…` where its place is taken",
            file.display()
        ));
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl<'a> Context<'a> {
    /// Starts to catch SIGINT and SIGTERM: the first asks to stop at the next file, a second one ends
    /// the process at once.
    ///
    /// # Errors
    /// What `sigaction` says.
    pub fn new(
        term: &'a Term,
        now: Option<Timestamp>,
        ignored: IgnoredIndexes,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the default action only once the flag is set already.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the command reads the clock once"
        )]
        let started = Timestamp::now();
        #[expect(
            clippy::disallowed_methods,
            reason = "the command has the time zone of its user"
        )]
        let zone = TimeZone::system();
        Ok(Self {
            term,
            now: now.unwrap_or(started),
            started,
            zone,
            ignored,
            trash: None,
            archives: Archives::default(),
            has_noted_overlay: AtomicBool::new(false),
            watcher: Watcher {
                term,
                progress: term.progress(),
                stop,
                counts_layouts: AtomicBool::new(false),
            },
        })
    }

    /// Returns what the library tells its progress to.
    pub fn watcher(&self) -> &dyn Progress {
        &self.watcher
    }

    /// Begins to show how many of so many layouts are done.
    pub fn together(&self, layouts: usize) -> Together<'_> {
        let watcher = &self.watcher;
        let total = u64::try_from(layouts).ok();
        watcher.progress.phase_of("working on", "layouts", total);
        watcher.counts_layouts.store(true, Ordering::Relaxed);
        Together(watcher)
    }

    /// Returns `true` if a signal asked to stop.
    pub fn stopped(&self) -> bool {
        self.watcher.is_cancelled()
    }

    /// Reads a layout to show what is in it.
    ///
    /// # Errors
    /// What [`Snapshot::read`] says.
    pub fn read(&self, path: &Path) -> ocisweep::Result<Snapshot> {
        Snapshot::of_to_show(self.open(path)?, self.now, self.watcher())
    }

    /// Opens a layout.
    ///
    /// # Errors
    /// What [`Layout::open`] says.
    pub fn open(&self, path: &Path) -> ocisweep::Result<Layout> {
        let layout = self.archives.open(path, self.watcher())?;
        Ok(layout.ignoring(&self.ignored))
    }

    /// Opens a layout, for what an archive cannot do: `why` says so.
    ///
    /// # Errors
    /// As [`Context::open`], and [`Error::Archive`].
    pub fn open_directory(&self, path: &Path, why: &'static str) -> ocisweep::Result<Layout> {
        let layout = self.open(path)?;
        if layout.is_packed() {
            return Err(Error::Archive {
                path: path.to_owned(),
                what: ArchiveProblem::Unsupported(why),
            });
        }
        Ok(layout)
    }

    /// Says which blobs count as 0 bytes because they cannot be measured, and returns how that ends the run.
    pub fn report_unmeasured(&self, path: &str, unmeasured: &Unmeasured) -> Exit {
        let Unmeasured { blobs, first, why } = unmeasured;
        let which = match blobs {
            1 => format!("{first} of `{path}`"),
            _ => format!("{blobs} blobs of `{path}`, the first of them {first}"),
        };
        self.term.error(
            &format!("cannot measure {which}: {why}; counted as 0B"),
            Some("run as the owner of the layout, or check the disk for errors"),
        );
        super::exit::IO
    }

    /// Says, once in a run, that what is deleted may lie in a lower layer.
    pub fn note_overlay(&self, blobs: &str) {
        if !self.has_noted_overlay.swap(true, Ordering::Relaxed) {
            self.term.note(&format!(
                "`{blobs}` lies on an overlay file system: the bytes of files in its lower layers are not freed"
            ));
        }
    }

    /// Says of which second indexes it is unknown what they list, for commands that go on without that.
    pub fn note_unknown_lists(&self, view: &Snapshot) {
        for index in &view.state.second_indexes {
            if let Err(why) = &index.links {
                self.term.note(&format!(
                    "cannot understand `{}`: {why}; what it lists is not shown, and nothing can be swept",
                    view.layout.path().join(&index.file).display()
                ));
            }
        }
    }

    /// Reads a layout whose blobs lie in a pool.
    ///
    /// # Errors
    /// What opening the pool and reading the layout say.
    pub fn read_in(&self, path: &Path, pool: &Path) -> ocisweep::Result<Snapshot> {
        Snapshot::of(self.open_in(path, pool)?, self.now, self.watcher())
    }

    /// Opens a layout that keeps its blobs in a shared store.
    ///
    /// # Errors
    /// What [`Layout::open_in`] says.
    pub fn open_in(&self, path: &Path, store: &Path) -> ocisweep::Result<Layout> {
        let layout = Layout::open_in(path, &SharedStore::open(store)?)?;
        Ok(layout.ignoring(&self.ignored))
    }

    /// Says what went wrong, with a hint where something helps, and returns how that ends the run.
    pub fn report(&self, error: &Error) -> Exit {
        self.report_with(error, None)
    }

    /// Reports an error with a hint that knows more than the error does.
    pub fn report_with(&self, error: &Error, better: Option<String>) -> Exit {
        let better = better.or_else(|| self.full_disk(error));
        let hint = better.or_else(|| hint(error));
        self.term.error(&with_causes(error), hint.as_deref());
        Exit::of(error)
    }

    /// Returns what helps on a full disk where what is deleted goes into the trash, which frees nothing.
    fn full_disk(&self, error: &Error) -> Option<String> {
        let Error::Write { source, .. } = error else {
            return None;
        };
        let is_full = matches!(
            source.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        );
        (is_full && self.trash.is_some()).then(|| {
            "the trash is empty already; `--trash=0` deletes at once and frees space".to_owned()
        })
    }

    /// Says what was asked for and matches nothing, also where quiet.
    pub fn warn_unmatched(&self, unmatched: &[Unmatched]) {
        for Unmatched { text, wider } in unmatched {
            let hint = wider.as_ref().map(|Wider { flag, value }| match *flag {
                "" => wider_hint(value),
                flag => format!("`*` stops at `/`; `{flag} {}` does not", quote(value)),
            });
            self.term.warn(text, hint.as_deref());
        }
    }

    /// Prints paths to stdout, to the byte: they are for programs. A terminal gets them escaped.
    pub fn print_paths(&self, paths: &[u8]) -> Exit {
        if self.term.width().is_none() {
            return self.print_bytes(paths);
        }
        let mut text = String::new();
        for path in paths.split_inclusive(|byte| matches!(byte, 0 | b'\n')) {
            let path = path.strip_suffix(b"\n").unwrap_or(path);
            let path = String::from_utf8_lossy(path);
            text.push_str(&self.term.foreign(&path));
            text.push('\n');
        }
        self.print(&text)
    }

    /// Prints to stdout. A reader that went away is no error; a full disk behind a redirection is.
    pub fn print(&self, text: &str) -> Exit {
        self.print_bytes(text.as_bytes())
    }

    fn print_bytes(&self, bytes: &[u8]) -> Exit {
        use std::io::Write as _;

        let mut out = self.term.out();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => super::exit::DONE,
            Err(error) => {
                drop(out);
                self.term
                    .error(&format!("cannot write to standard output: {error}"), None);
                super::exit::IO
            }
        }
    }
}

/// Returns an error with what lies under it.
pub fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Returns a command that removes images, ready to be pasted into a shell.
pub fn rm_command(layout: &Path, images: &[String]) -> String {
    let path = layout.to_string_lossy();
    let words = std::iter::once(path.as_ref()).chain(images.iter().map(String::as_str));
    let dashes = dashes(words);
    let images: Vec<String> = images.iter().map(|image| quote(image)).collect();
    format!(
        "`ocisweep rm {dashes}{} {}`",
        quote(&path),
        images.join(" ")
    )
}

/// Returns what stands before arguments of which one looks like a flag.
pub fn dashes<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> &'static str {
    let is_flag = |word: S| word.as_ref().starts_with('-');
    if words.into_iter().any(is_flag) {
        "-- "
    } else {
        ""
    }
}

/// Returns the hint at a pattern that crosses `/` and would match.
pub fn wider_hint(pattern: &str) -> String {
    format!("`*` stops at `/`; {} does not", quote(pattern))
}

/// Quotes a text for a shell, if it needs that. Names come from strangers: pasted as it is, one of them
/// could be a command.
pub fn quote(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:@%+=,-".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Returns names one after another, each quoted for a shell.
pub fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
    names.join(", ")
}

/// Quotes a path for a shell. A path that looks like a flag gets `./` in front.
pub fn quote_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('-') {
        quote(&format!("./{text}"))
    } else {
        quote(&text)
    }
}

/// Returns the arguments that undo a run over a shared store, ready to be pasted into a shell.
pub fn undo_shared(store: &Path, run: Option<&str>, layouts: &[PathBuf]) -> String {
    let mut text = format!("--shared-blobs {}", quote_path(store));
    if let Some(run) = run {
        text.push_str(" --run ");
        text.push_str(run);
    }
    for layout in layouts {
        text.push(' ');
        text.push_str(&quote_path(layout));
    }
    text
}

/// Returns the directory that a link in the place of blobs references, as `--shared-blobs` takes it.
fn pool_behind(link: &Path) -> String {
    let target = std::fs::canonicalize(link).ok();
    let is_whole = link.file_name().is_some_and(|name| name == "blobs");
    let pool = target.and_then(|target| {
        if is_whole {
            Some(target)
        } else {
            target.parent().map(Path::to_owned)
        }
    });
    pool.map_or_else(|| "DIR".to_owned(), |pool| quote_path(&pool))
}

/// Returns `true` if nothing at all lies in `blobs`, as skopeo leaves it that was told to share blobs.
fn has_no_blobs(layout: &Path) -> bool {
    std::fs::read_dir(layout.join("blobs")).map_or(true, |mut names| names.next().is_none())
}

/// Returns the attribute that a rewritten file could not keep, if that is what went wrong.
fn cannot_keep(error: &std::io::Error) -> Option<&CannotKeep> {
    error.get_ref()?.downcast_ref()
}

/// Returns the way out of a refusal, where there is one.
fn hint(error: &Error) -> Option<String> {
    Some(match error {
        Error::NotALayout { path, what } => match what {
            NotALayout::Tar => format!(
                "extract it first: `mkdir DIR && tar -C DIR -xf {}`",
                quote_path(path)
            ),
            NotALayout::RegistryStorage => {
                "use the `garbage-collect` command of that registry".to_owned()
            }
            NotALayout::ContentStore => {
                "let the daemon that owns it clean up: `ctr content prune references`, `buildctl prune`, `docker image prune`".to_owned()
            }
            NotALayout::DirCopy => {
                "copy it into a layout: `skopeo copy dir:SOURCE oci:DIR:NAME`".to_owned()
            }
            NotALayout::Old => {
                "copy its images into a new layout with a tool of that time, such as `skopeo` before 0.1.20".to_owned()
            }
            NotALayout::Mirror => {
                "mirror it to a layout: `oc image mirror` to a registry, then `skopeo copy docker://SOURCE oci:DIR:NAME`".to_owned()
            }
            NotALayout::Sparse => {
                "it is a result of a build, which `bazel clean` removes".to_owned()
            }
            NotALayout::Flat => {
                "`ocm download artifact --oci-layout` writes a layout".to_owned()
            }
            NotALayout::NoIndex => {
                "a writer may be at its first image; without `index.json` every blob would look like garbage".to_owned()
            }
            NotALayout::NothingBelow => {
                "a layout is a directory that holds `index.json` and `blobs`".to_owned()
            }
            NotALayout::NotADirectory | NotALayout::Nothing | NotALayout::NoBlobs => {
                "give the directory that holds `index.json` and `blobs`".to_owned()
            }
            _ => return None,
        },
        Error::Archive { path, what } => match what {
            ArchiveProblem::NoTrash => {
                "`-o FILE` writes the new archive to another file, so that the old one is kept; `--trash=0` does without a trash".to_owned()
            }
            ArchiveProblem::Classic => {
                "`docker load` and `docker save` of a newer docker make a layout of it".to_owned()
            }
            ArchiveProblem::NeedsOutput => {
                "`-o FILE` names it; `-o -` writes to standard output".to_owned()
            }
            ArchiveProblem::NoEncoder(_) => {
                "`--compress gzip` or `--compress none` writes another format, best with `-o FILE`".to_owned()
            }
            ArchiveProblem::Scratch(_) => {
                "TMPDIR names another directory".to_owned()
            }
            ArchiveProblem::Several(_) => format!(
                "extract it first: `mkdir DIR && tar -C DIR -xf {}`",
                quote_path(path)
            ),
            ArchiveProblem::Unsupported(_) => format!(
                "extract it first: `mkdir DIR && tar -C DIR -xf {}`",
                quote_path(path)
            ),
            _ => return None,
        },
        Error::Trash { path, .. } => {
            let is_layout = path.join("index.json").exists();
            let place = if is_layout { "" } else { "--shared-blobs " };
            format!(
                "`ocisweep trash ls {place}{}` shows what can be undone; `--trash=0` deletes without a trash",
                quote_path(path)
            )
        }
        Error::RunOfOthers { path, run, layouts } => format!(
            "`ocisweep undo {}` undoes it in all of them",
            undo_shared(path, Some(run), layouts)
        ),
        Error::SharedBlobs { path, link } => format!(
            "`ocisweep gc --shared-blobs {} {} LAYOUT...` sweeps it, with every other layout that uses the same blobs",
            pool_behind(link),
            quote_path(path)
        ),
        Error::SharedWith { path, other } => format!(
            "`ocisweep gc --shared-blobs {} {} {}` sweeps them together, with every other layout that uses the same blobs",
            pool_behind(&path.join("blobs")),
            quote_path(path),
            quote_path(other)
        ),
        Error::Write { path, source } if cannot_keep(source).is_some() => {
            let name = cannot_keep(source).map_or("NAME", |error| error.name.as_str());
            format!(
                "nothing was changed; run it as the user who may set it, or take it away: `setfattr -x {} {}`",
                quote(name),
                quote(&path.to_string_lossy())
            )
        }
        Error::Write { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            "commands that only read, and `--dry-run`, work on a read-only file system; others need it mounted for writing".to_owned()
        }
        Error::NotInSharedStore { .. } => {
            "only layouts that use the shared blobs, and have no others, can be given with them".to_owned()
        }
        Error::SharedStore { what, .. } => match what {
            SharedStoreProblem::NoBlobs | SharedStoreProblem::Link(_) => {
                "give the directory that holds `sha256`: what skopeo was given as `--dest-shared-blob-dir`".to_owned()
            }
            SharedStoreProblem::Owned(_) => {
                "give every layout that uses these blobs; otherwise blobs that the others need would be deleted".to_owned()
            }
            _ => "name every layout, or run it as a user who may read all of them".to_owned(),
        },
        Error::Incomplete { path, broken } => {
            let first = broken.first()?;
            let mut lists = first.second_indexes.iter();
            if let Some(file) = lists.next().filter(|_| !first.missing) {
                format!(
                    "write the damaged file again; `--ignore-index {}` ignores that list, and what only it lists becomes unreferenced",
                    quote(file)
                )
            } else if first.images.is_empty() {
                "run as the owner of the layout, or write the damaged file again".to_owned()
            } else {
                let holders = match first.images.as_slice() {
                    [_] => "the image that holds it",
                    _ => "the images that hold it",
                };
                let mut hint = format!("{} removes {holders}", rm_command(path, &first.images));
                if first.missing && has_no_blobs(path) {
                    return Some(format!(
                        "if its blobs lie where other layouts have theirs: `ocisweep gc --shared-blobs DIR {} LAYOUT...`, with all of them",
                        quote_path(path)
                    ));
                }
                if first.missing {
                    hint.push_str("; `--allow-missing` proceeds anyway");
                }
                hint
            }
        }
        Error::Empty { .. } => {
            "a writer may be about to fill it; `--allow-empty` proceeds anyway".to_owned()
        }
        Error::Read { source, .. } | Error::Write { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            "run as the owner of the layout".to_owned()
        }
        Error::Read { source, .. } | Error::Write { source, .. }
            if matches!(
                source.kind(),
                std::io::ErrorKind::ResourceBusy | std::io::ErrorKind::ExecutableFileBusy
            ) =>
        {
            "another program or a mount has it: try again when that has ended".to_owned()
        }
        Error::Busy { .. } => "`--lock-wait DURATION` waits longer".to_owned(),
        Error::Unstable { .. } | Error::Changed { .. } => "try again when its writer is done".to_owned(),
        Error::SecondIndex { file, .. } => format!(
            "nothing was changed; write the file again, or ignore it with `--ignore-index {}`: what only it lists becomes unreferenced",
            quote(&file.to_string_lossy())
        ),
        Error::ReleasedNote { path, .. } => format!(
            "nothing was changed; when no writer is at work, `rm {}` forgets it, and `--grace 0` proceeds anyway",
            quote_path(path)
        ),
        Error::Malformed { .. } => {
            "nothing was changed; a writer may have died half way: write the layout again or restore the file".to_owned()
        }
        _ => return None,
    })
}
